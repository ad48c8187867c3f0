"""Whether it is still the same server that answers, and what it computes with."""

import contextlib
import re
import socket
import threading
import time
from functools import partial
from types import SimpleNamespace

import pytest
from tritonclient.utils import InferenceServerException

from serving.backends.choose import runs_on
from serving.backends.endpoints import Endpoint
from serving.backends.links import established, links_to
from serving.backends.precision import UNKNOWN, computes_with, kinds_of, named, same_boxes
from serving.backends.runtimes.choice import runtime_in_force
from serving.backends.triton import TritonBackend
from serving.backends.triton_settings import Address, TritonSettings
from serving.contracts import DETECTORS
from serving.detectors import DetectorSet
from serving.errors import ServerUnavailable
from tests.serving.conftest import VERSIONS
from tests.serving.model_configs import parse
from tests.serving.triton import FACE, asking, tensor


class Balancer:
    """An address that leads to a server, connection by connection; ``cut`` ends those there are."""

    def __init__(self, port):
        self._port, self._sockets = port, []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"grpc://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                self._sockets += [client, server]
                self.connections += 1
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)

    def cut(self):
        while self._sockets:
            one = self._sockets.pop()
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def close(self):
        self._listener.close()
        self.cut()


@pytest.fixture
def balancer(triton_server):
    found = Balancer(triton_server.ports["grpc"])
    yield found
    found.close()


@pytest.mark.parametrize("shared_memory", [True, False])
def test_an_address_that_led_elsewhere_meanwhile_is_noticed(balancer, canary, shared_memory):
    with asking(balancer.url, shared_memory=shared_memory) as backend:
        detectors = DetectorSet(backend, VERSIONS)
        assert detectors.check()
        detectors.detect(canary)
        assert detectors.check()
        detectors.detect(canary)
        balancer.cut()  # no request is under way: none fails
        deadline = time.monotonic() + 10
        while balancer.connections < 2 and time.monotonic() < deadline:
            detectors.detect(canary)
        assert not detectors.check()
        assert detectors.check()


def test_another_client_of_the_same_server_raises_no_doubt(triton_server, canary):
    with asking(triton_server) as backend:
        detectors = DetectorSet(backend, VERSIONS)
        assert detectors.check()
        detectors.detect(canary)
        with asking(triton_server) as other:
            other.infer(FACE, {"image": tensor(1)}, version=1)
            assert detectors.check()


@pytest.mark.parametrize("contract", DETECTORS, ids=lambda one: one.name)
def test_a_configuration_tells_what_computes(repository, contract):
    folder = repository / contract.name
    production = (folder / "config.pbtxt").read_text()
    kind = computes_with(parse(production))
    assert re.fullmatch("onnxruntime fp16 gpu [0-9a-f]{8}", kind)
    for change in (("FP16", "INT8"), ("KIND_GPU", "KIND_CPU"), ('"FP16"', '""')):
        assert computes_with(parse(production.replace(*change))) != kind
    assert computes_with(parse(production.replace("max_queue_size: 128", ""))) == kind
    plain = (folder / "configs/cpu.pbtxt").read_text()
    assert computes_with(parse(plain)) == "onnxruntime f32"
    other = plain.replace('backend: "onnxruntime"', 'backend: "openvino"')
    assert computes_with(parse(other)) != "onnxruntime f32"


def test_servers_tell_what_they_run_models_with(triton_server):
    settings = TritonSettings((triton_server.url,))
    assert runs_on(settings, "auto") == "triton onnxruntime f32"
    assert same_boxes(runs_on(settings, "auto"), runtime_in_force("onnxruntime"))
    with asking(triton_server) as backend:
        assert backend.runtime == "triton unknown"
        backend.replicas()
        assert backend.runtime == "triton onnxruntime f32"


PLAIN, HALF = "onnxruntime f32", "onnxruntime fp16 gpu 01234567"


def test_a_server_that_computes_otherwise_than_planned_is_left_out(triton_server):
    backend = TritonBackend(TritonSettings((triton_server.url,)), f"triton {HALF}")
    with (
        contextlib.closing(backend),
        pytest.raises(ServerUnavailable, match="not onnxruntime fp16"),
    ):
        DetectorSet(backend, VERSIONS).check()
    agreed = TritonBackend(TritonSettings((triton_server.url,)), f"triton {PLAIN}")
    with contextlib.closing(agreed):
        assert DetectorSet(agreed, VERSIONS).check()
    assert kinds_of("openvino bf16") == kinds_of("triton") == kinds_of("triton unknown") == set()
    assert kinds_of(f"triton {PLAIN} and {UNKNOWN}") == set(), "one did not tell: nothing to hold"


def gone(status, text="gone"):
    return InferenceServerException(text, f"StatusCode.{status}")


@contextlib.contextmanager
def telling(monkeypatch, *urls, planned="", **told):
    """Detectors over servers of which the n-th says what ``told[n]`` gives, one after the other.

    A value is for both detectors, a pair for each of them; an exception is raised instead. The last
    is said for ever.
    """
    backend = TritonBackend(TritonSettings(urls, outage_s=20.0), planned)
    scripts = [list(one) for one in told.values()]
    names = [contract.name for contract in DETECTORS]

    def config(number, model, **_):
        script = scripts[number]
        one = script[0]
        if len(script) > 1 and (model == names[-1] or isinstance(one, Exception)):
            script.pop(0)
        if isinstance(one, Exception):
            raise one
        return SimpleNamespace(config=one[names.index(model)] if isinstance(one, tuple) else one)

    for number, endpoint in enumerate(backend.endpoints):
        monkeypatch.setattr(endpoint.client, "get_model_config", partial(config, number))
    monkeypatch.setattr("serving.backends.precision.computes_with", lambda config: config)
    monkeypatch.setattr("serving.backends.precision.TELL_PAUSES_S", (0.0, 0.0, 0.0))
    with contextlib.closing(backend):
        yield DetectorSet(backend, VERSIONS), backend


FIRST = [PLAIN, PLAIN]
"""Asked when nothing is known, and again after the canary."""


@pytest.mark.parametrize("other", [HALF, (HALF, PLAIN), (PLAIN, HALF)], ids=str)
def test_what_a_server_computes_with_is_asked_at_each_check(
    monkeypatch, triton_server, canary, other
):
    script = [*FIRST, PLAIN, other]
    with telling(monkeypatch, triton_server.url, one=script) as (detectors, backend):
        assert detectors.check()
        assert detectors.detect(canary).runtime == f"triton {PLAIN}"
        assert detectors.check()
        detectors.detect(canary)
        assert not detectors.check(), "nobody knows with what the last one was judged"
        told = detectors.detect(canary).runtime
        assert HALF in told
        assert told == backend.runtime
        assert detectors.check()


def away_for_one_check(backend, detectors, canary):
    """The second server is not asked for a while, and comes back."""
    _, second = backend.endpoints
    assert detectors.check()
    second.doubted, second.in_question = True, False
    second.rests_until = backend.endpoints.clock() + 60
    detectors.detect(canary)
    assert detectors.check()
    second.rests_until = 0.0
    while not second.in_question:
        detectors.detect(canary)
    return second


@pytest.mark.parametrize(
    "then",
    [HALF, *map(gone, ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "NOT_FOUND"))],
    ids=str,
)
def test_a_server_that_comes_back_otherwise_or_never_tells_leaves_the_work_to_others(
    monkeypatch, triton_server, balancer, canary, then
):
    planned, urls = f"triton {PLAIN}", (triton_server.url, balancer.url)
    servers = telling(monkeypatch, *urls, planned=planned, one=[PLAIN], two=[*FIRST, then])
    with servers as (detectors, backend):
        second = away_for_one_check(backend, detectors, canary)
        assert not detectors.check()
        assert second.excluded
        assert detectors.detect(canary).runtime == planned
        assert detectors.check()
        assert second not in backend.endpoints.usable()


@pytest.mark.parametrize("status", ["UNAVAILABLE", "CANCELLED", "INTERNAL", "RESOURCE_EXHAUSTED"])
def test_a_server_that_tells_when_asked_again_is_kept(monkeypatch, triton_server, canary, status):
    script, planned = [*FIRST, gone(status), gone(status), PLAIN], f"triton {PLAIN}"
    with telling(monkeypatch, triton_server.url, planned=planned, one=script) as (detectors, _):
        assert detectors.check()
        detectors.detect(canary)
        assert detectors.check()


def test_the_only_server_with_another_precision_than_planned_ends_the_run(
    monkeypatch, triton_server, canary
):
    script, planned = [*FIRST, HALF], f"triton {PLAIN}"
    with telling(monkeypatch, triton_server.url, planned=planned, one=script) as (detectors, _):
        assert detectors.check()
        detectors.detect(canary)
        with pytest.raises(ServerUnavailable, match="fp16"):
            detectors.check()


def test_what_the_only_server_judged_and_did_not_tell_about_does_not_count(
    monkeypatch, triton_server, canary
):
    silent = [gone("UNAVAILABLE")] * 3
    script, planned = [*FIRST, *silent, PLAIN], f"triton {PLAIN}"
    with telling(monkeypatch, triton_server.url, planned=planned, one=script) as (detectors, _):
        assert detectors.check()
        detectors.detect(canary)
        assert not detectors.check()
        detectors.detect(canary)
        assert detectors.check()


def test_a_loss_is_not_forgotten_because_the_precision_stayed(monkeypatch, triton_server, canary):
    with telling(monkeypatch, triton_server.url, one=[PLAIN]) as (detectors, backend):
        assert detectors.check()
        detectors.detect(canary)
        (one,) = backend.endpoints
        one.lost = True
        assert not detectors.check()


@pytest.mark.parametrize(
    "refusal",
    [
        gone("PERMISSION_DENIED", "not allowed"),
        gone("UNAVAILABLE", "This protocol is restricted, expecting header 'x'"),
    ],
    ids=["refused", "restricted"],
)
def test_a_server_that_may_not_tell_is_left_out_where_a_precision_was_agreed(
    monkeypatch, triton_server, canary, refusal
):
    with telling(monkeypatch, triton_server.url, one=[refusal]) as (detectors, _):
        assert detectors.check()
        assert detectors.detect(canary).runtime == f"triton {UNKNOWN}"
        assert detectors.check()
    planned = f"triton {PLAIN}"
    with (
        telling(monkeypatch, triton_server.url, planned=planned, one=[refusal]) as (detectors, _),
        pytest.raises(ServerUnavailable, match="unknown"),
    ):
        detectors.check()


def test_only_the_same_arithmetic_finds_the_same_boxes():
    assert same_boxes("openvino bf16", "openvino bf16")
    assert not same_boxes("openvino bf16", "onnxruntime f32")
    half = named({"onnxruntime fp16 gpu 01234567"})
    assert same_boxes(half, half)
    assert not same_boxes(half, named({"onnxruntime f32"}))
    assert not same_boxes(half, named({"onnxruntime fp16 gpu 01234568"}))
    assert not same_boxes(named({"onnxruntime f32", "onnxruntime f32 gpu"}), "onnxruntime f32")
    for nobody_knows in ("triton", named(set()), named({"onnxruntime f32", UNKNOWN})):
        assert not same_boxes(nobody_knows, nobody_knows)


def test_doubt_needs_an_answer_and_a_connection_that_did_not_stay():
    one = Endpoint(Address.parse("grpc://127.0.0.1:7"), None)
    first, second = ("127.0.0.1", 1000, "127.0.0.1", 7), ("127.0.0.1", 1001, "127.0.0.1", 7)
    elsewhere = {("127.0.0.1", 1002, "127.0.0.2", 7), ("127.0.0.1", 1003, "127.0.0.1", 8)}

    def moved(*links, answers):
        one.answers = answers
        return one.moved(frozenset({*links, *elsewhere}))

    assert not moved(answers=0)
    assert not moved(first, answers=0)
    assert not moved(first, answers=1)
    assert not moved(first, second, answers=1), "another client of this process"
    assert moved(second, answers=1)
    assert not moved(second, answers=1)
    assert moved(answers=1), "it answered, and nobody sees over what"
    assert moved(first, answers=1), "who answered in between is not known"
    assert not moved(first, answers=1)


def test_a_connection_that_ends_just_before_it_is_looked_at_hides_nobody(balancer, canary):
    with asking(balancer.url, shared_memory=False) as backend:
        detectors = DetectorSet(backend, VERSIONS)
        assert detectors.check()
        steady = backend.steady

        def cut():
            balancer.cut()
            deadline = time.monotonic() + 10
            while established_to(balancer) and time.monotonic() < deadline:
                time.sleep(0.01)

        def cut_before():
            cut()
            return steady()

        backend.steady = cut_before
        detectors.detect(canary)
        assert not detectors.check()
        backend.steady = steady
        detectors.detect(canary)  # over a connection that nobody knew of, and that ends as well
        cut()
        assert not detectors.check()
        detectors.detect(canary)
        assert detectors.check()


def established_to(balancer):
    port = Address.parse(balancer.url).port
    return links_to({("127.0.0.1", port)}, established())
