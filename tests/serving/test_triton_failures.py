"""What goes wrong with real servers: killed, frozen, overloaded, poisoned, swapped, remote."""

import errno
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from serving.backends import served, window
from serving.backends import triton as client
from serving.backends.served import check_served, served_fingerprints, served_versions
from serving.backends.shared_memory import FOLDER, PREFIX
from serving.backends.triton_settings import TritonSettings
from serving.backends.window import MODEL_WAIT_S
from serving.contracts import CONTRACTS, DETECTORS
from serving.detectors import DetectorSet
from serving.errors import (
    CanaryFailed,
    InferenceError,
    ModelCorrupt,
    ModelMissing,
    RejectedInput,
    ServerUnavailable,
)
from serving.registry import read_record
from serving.server.process import free_ports
from tests.serving import triton
from tests.serving.conftest import VERSIONS
from tests.serving.triton import FACE, PLATE, asking, found, kill, poisoned, request, same, tensor

LARGE = (1, 640, 640)


@pytest.fixture(scope="module")
def plain_repository(repository, tmp_path_factory):
    """Version 1 of both detectors."""
    return triton.copy_repository(repository, tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def _two(can_serve, plain_repository, tmp_path_factory):
    folders = [tmp_path_factory.mktemp(f"server{number}") for number in range(2)]
    servers = [triton.make_server(plain_repository, folder) for folder in folders]
    yield servers
    for server in servers:
        kill(server)


@pytest.fixture
def server(_two):
    """A server that may be killed and frozen; it runs again for the next test."""
    if not _two[0].is_running():
        _two[0].start()
    return _two[0]


@pytest.fixture
def other(_two):
    """A second one over the same repository."""
    if not _two[1].is_running():
        _two[1].start()
    return _two[1]


@pytest.fixture
def frozen(server):
    """Stops a server's process, and lets it go on at the end."""

    def freeze():
        os.kill(server.pid, signal.SIGSTOP)

    yield freeze
    if server.is_running():
        os.kill(server.pid, signal.SIGCONT)


def restart(server):
    """Kill a server and start it on the same ports."""
    ports = dict(server.ports)
    kill(server)
    server.start()
    assert server.ports == ports


def sharing(backend):
    return [one.memory.name if one.memory else None for one in backend.endpoints]


def regions(backend):
    (one,) = backend.endpoints
    return set(one.client.get_system_shared_memory_status().regions)


def expected(embedded, asked):
    return list(embedded.infer_many(asked))


# killed


def test_a_server_that_is_killed_and_restarted_loses_nothing(server, embedded):
    asked = [request(tensor(n, LARGE)) for n in range(8)]
    answers = []
    with asking(server) as backend:
        for number, answer in enumerate(backend.infer_many(iter(asked))):
            if number == 0:
                before = sharing(backend)
            if number == 1:
                restart(server)
            answers.append(answer)
        after = sharing(backend)
    assert all(map(same, answers, expected(embedded, asked)))
    assert len(answers) == len(asked)
    assert None not in before + after
    assert before != after


def test_what_a_server_judged_before_it_was_replaced_is_in_doubt(server, canary):
    with asking(server) as backend:
        detectors = DetectorSet(backend, VERSIONS)
        assert detectors.check()
        detectors.detect(canary)
        kill(server)
        server.start()
        assert not detectors.check(), "the canary passes, but not where the picture was judged"
        detectors.detect(canary)
        assert detectors.check()


def test_a_restart_between_requests_agrees_on_memory_anew(server, embedded):
    asked = [request(tensor(1))]
    with asking(server) as backend:
        first = list(backend.infer_many(asked))
        restart(server)
        second = list(backend.infer_many(asked))
        assert regions(backend) == set(sharing(backend))
    assert same(first[0], second[0])


def test_a_server_that_is_gone_for_good_is_named_after_the_outage(server):
    with asking(server, outage_s=2.0) as backend:
        backend.infer(FACE, {"image": tensor(1)}, version=1)
        kill(server)
        began = time.monotonic()
        with pytest.raises(ServerUnavailable, match=server.url) as caught:
            backend.infer(FACE, {"image": tensor(1)}, version=1)
    assert "same command" in caught.value.fix
    assert "Connection refused" in caught.value.what
    assert time.monotonic() - began < 60


def test_a_server_that_was_never_there_is_named(can_serve):
    url = f"grpc://127.0.0.1:{free_ports('grpc')['grpc']}"
    with asking(url, outage_s=1.0) as backend:
        with pytest.raises(ServerUnavailable, match=url):
            backend.replicas()
        with pytest.raises(ServerUnavailable, match=url):
            backend.infer(FACE, {"image": tensor(1)}, version=1)


def test_the_http_port_in_place_of_the_grpc_port_is_guessed(server):
    with (
        asking(f"grpc://127.0.0.1:{server.ports['http']}", outage_s=1.0) as backend,
        pytest.raises(ServerUnavailable, match="HTTP port") as caught,
    ):
        backend.replicas()
    assert "8001" in caught.value.fix


def test_a_name_that_is_no_host_is_an_outage_not_a_missing_model(can_serve):
    with (
        asking("grpcs://no-such-host.invalid:8001", outage_s=1.0) as backend,
        pytest.raises(ServerUnavailable, match="no-such-host"),
    ):
        backend.infer(FACE, {"image": tensor(1)}, version=1)


# frozen


def test_a_server_that_pauses_is_only_slow(server, embedded, frozen):
    asked = [request(tensor(n)) for n in range(3)]
    with asking(server, timeout_s=60.0) as backend:
        backend.infer(FACE, {"image": tensor(1)}, version=1)
        frozen()
        wake = subprocess.Popen(["sh", "-c", f"sleep 2; kill -CONT {server.pid}"])
        answers = list(backend.infer_many(asked))
        wake.wait()
    assert all(map(same, answers, expected(embedded, asked)))


def test_a_frozen_server_ends_one_request_and_goes_on_when_it_wakes(server, embedded, frozen):
    with asking(server, timeout_s=1.0) as backend:
        backend.infer(FACE, {"image": tensor(1)}, version=1)
        frozen()
        with pytest.raises(InferenceError, match="no answer within 1 s"):
            backend.infer(FACE, {"image": tensor(1)}, version=1)
        os.kill(server.pid, signal.SIGCONT)
        answer = backend.infer(FACE, {"image": tensor(1)}, version=1, timeout_s=60)
    assert same(answer, embedded.infer(FACE, {"image": tensor(1)}, version=1))


def test_a_server_too_slow_for_its_canary_is_no_broken_model(server):
    slow = triton.stubs(server, PLATE)
    assert slow
    with asking(server, timeout_s=0.5) as backend:
        detectors = DetectorSet(backend, VERSIONS)
        assert detectors.check()
        try:
            for process in slow:
                process.suspend()
            with pytest.raises(ServerUnavailable, match="not judged in time"):
                detectors.check()
        finally:
            for process in slow:
                process.resume()
            restart(server)


def test_a_frozen_server_does_not_hold_up_the_other(server, other, embedded, frozen):
    asked = [request(tensor(n)) for n in range(40)]
    with asking(server, other, timeout_s=2.0) as backend:
        list(backend.infer_many(asked[:8]))
        frozen()
        answers = list(backend.infer_many(iter(asked)))
        resting = next(one for one in backend.endpoints if one.address.url == server.url)
        assert resting.doubted
    assert all(map(same, answers, expected(embedded, asked)))


# overloaded


def test_a_full_queue_is_tried_again_until_there_is_room(
    can_serve, repository, tmp_path, embedded, monkeypatch
):
    folder = triton.copy_repository(repository, tmp_path / "models", [FACE])
    triton.limit_queue(folder, FACE, 1)
    asked = [request(tensor(n, (1, 320, 320))) for n in range(24)]
    with (
        triton.running(folder, tmp_path / "server") as server,
        asking(server, in_flight=12) as backend,
    ):
        sent, send = [], backend.send
        monkeypatch.setattr(backend, "send", lambda *call: sent.append(1) or send(*call))
        answers = list(backend.infer_many(asked))
    assert all(map(same, answers, expected(embedded, asked)))
    assert len(answers) == 24
    assert len(sent) > 24


# poisoned inputs


def test_poison_is_rejected_and_the_others_are_answered(triton_server, embedded):
    with asking(triton_server) as backend:
        for number in range(6):
            if number == 2:
                with pytest.raises(RejectedInput, match="face_detector"):
                    backend.infer(FACE, {"image": poisoned(number)}, version=3)
            else:
                pixels = tensor(number)
                answer = backend.infer(FACE, {"image": pixels}, version=3)
                assert same(answer, embedded.infer(FACE, {"image": pixels}, version=3))


def test_poison_among_many_ends_them_with_its_own_error(triton_server):
    asked = [request(tensor(n), version=3) for n in range(8)]
    asked[3] = request(poisoned(3), version=3)
    with asking(triton_server) as backend:
        answers = []
        with (
            closing(backend.infer_many(asked)) as source,
            pytest.raises(RejectedInput, match="on this input alone"),
        ):
            answers.extend(source)
        assert sum(one.in_flight for one in backend.endpoints) == 0
        list(backend.infer_many([request(tensor(n), version=3) for n in range(4)]))
    assert len(answers) <= 3


@pytest.mark.parametrize("row", [0, 2, 3])
def test_poison_in_a_batch_is_named_by_its_row(triton_server, row):
    pixels = poisoned(1, (4, 64, 96), row=row)
    with asking(triton_server) as backend:
        with pytest.raises(RejectedInput) as caught:
            backend.infer(FACE, {"image": pixels}, version=3)
        sound = np.delete(pixels, row, axis=0)
        assert backend.infer(FACE, {"image": sound}, version=3)["peak"].shape == (3,)
    assert caught.value.row == row


# broken servers


def test_an_ended_model_process_is_the_server_s_fault_and_not_the_model_s(server, monkeypatch):
    monkeypatch.setattr(window, "MODEL_WAIT_S", 2.0)
    detectors = DetectorSet(client.TritonBackend(TritonSettings((server.url,))), VERSIONS)
    try:
        assert detectors.check()
        for stub in triton.stubs(server, FACE):
            stub.kill()
        with pytest.raises(
            ServerUnavailable, match=rf"{server.url}: .*has ended.*{FACE}"
        ) as caught:
            detectors.check()
        assert "Start the server again" in caught.value.fix
        with pytest.raises(ServerUnavailable, match="has ended"):
            list(check_served(TritonSettings((server.url,))))
        restart(server)
        detectors.check()
        assert detectors.check()
    finally:
        detectors.close()
        kill(server)


def test_a_broken_model_process_is_left_to_the_other_server(server, other, canary, embedded):
    settings = TritonSettings((server.url, other.url))
    backend = client.TritonBackend(settings)
    detectors = DetectorSet(backend, VERSIONS)
    expected = found(DetectorSet(embedded, VERSIONS), canary)
    try:
        assert detectors.check()
        for stub in triton.stubs(server, FACE):
            stub.kill()
        results = [found(detectors, canary)]
        assert not detectors.check()
        results += [found(detectors, canary) for _ in range(2)]
        assert detectors.check()
        assert [one.address.url for one in backend.endpoints if one.ended] == [server.url]
        began = DetectorSet(client.TritonBackend(settings), VERSIONS)
        assert not began.check()
        assert began.check(), "the other alone"
        began.close()
    finally:
        detectors.close()
        kill(server)
    assert results == [expected] * 3


def test_a_killed_server_is_replaced_by_the_other_without_an_outage(server, other, embedded):
    asked = [request(tensor(n, (1, 320, 320))) for n in range(30)]
    answers = []
    with asking(server, other, outage_s=1.0) as backend:
        for number, answer in enumerate(backend.infer_many(iter(asked))):
            if number == 5:
                kill(server)
            answers.append(answer)
        backend.infer(PLATE, {"image": tensor(1)}, version=1)
    assert all(map(same, answers, expected(embedded, asked)))
    assert len(answers) == 30


def test_work_is_shared_among_servers(server, other):
    with asking(server, other) as backend:
        before = [answered(one) for one in backend.endpoints]
        list(backend.infer_many(request(tensor(n)) for n in range(60)))
        counts = [answered(one) - was for one, was in zip(backend.endpoints, before, strict=True)]
    assert sum(counts) == 60
    assert min(counts) > 10


def answered(endpoint):
    statistics = endpoint.client.get_inference_statistics(FACE, "1")
    return statistics.model_stats[0].inference_stats.success.count


def test_a_run_can_start_while_one_of_two_servers_is_down(server):
    gone = f"grpc://127.0.0.1:{free_ports('grpc')['grpc']}"
    for urls in ((gone, server.url), (server.url, gone)):
        settings = TritonSettings(urls, outage_s=3.0)
        assert served_versions(settings, FACE) == (1,)
        assert set(served_fingerprints(settings, {FACE: 1, PLATE: 1})) == {FACE, PLATE}
    with pytest.raises(ServerUnavailable, match=gone):
        served_versions(TritonSettings((gone,)), FACE)


def test_a_busy_server_is_waited_for_though_there_are_others(server, other, monkeypatch):
    """Its queue is full for longer than a server that is gone would be waited for."""
    monkeypatch.setattr(client, "REPLICA_OUTAGE_S", 0.05)
    refused = []
    send = client.TritonBackend.send

    def busy_at_first(backend, endpoint, asked, timeout_s, callback):
        if len(refused) >= 5:
            return send(backend, endpoint, asked, timeout_s, callback)
        refused.append(endpoint)
        text = "Exceeds maximum queue size"
        callback(None, InferenceServerException(text, status="StatusCode.UNAVAILABLE"))
        return None, lambda: None

    monkeypatch.setattr(client.TritonBackend, "send", busy_at_first)
    settings = TritonSettings((server.url, other.url))
    assert set(served_fingerprints(settings, {FACE: 1, PLATE: 1})) == {FACE, PLATE}
    assert len({endpoint.address.url for endpoint in refused}) == 1
    refused.clear()
    with asking(server, other) as backend:
        assert DetectorSet(backend, VERSIONS).check()


def test_a_server_that_goes_while_it_is_asked_for_fingerprints_is_left_out(
    server, other, monkeypatch, caplog
):
    """It is there when the servers are looked for, and gone when the first is asked."""
    replicas = client.TritonBackend.replicas

    def then_one_goes(backend):
        found = replicas(backend)
        kill(server)
        return found

    monkeypatch.setattr(client.TritonBackend, "replicas", then_one_goes)
    settings = TritonSettings((server.url, other.url), outage_s=3.0)
    assert set(served_fingerprints(settings, {FACE: 1, PLATE: 1})) == {FACE, PLATE}
    assert f"{server.url} is not asked for now" in caplog.text
    with pytest.raises(ServerUnavailable, match=server.url):
        served_fingerprints(TritonSettings((server.url,), outage_s=1.0), {FACE: 1})


# other models


@pytest.fixture(scope="module")
def swapped_server(can_serve, repository, tmp_path_factory):
    """A server with other weights under the number 1, poisoned 4 to 7, and another, broken model.

    The broken one is not loaded at first: the server would not get ready.
    """
    folder = triton.copy_repository(repository, tmp_path_factory.mktemp("swapped"))
    triton.add_version(folder, FACE, 4, triton.shifted)
    triton.add_version(folder, FACE, 5, triton.zeros)
    triton.add_version(folder, FACE, 6, triton.not_a_number)
    triton.add_version(folder, FACE, 7, triton.constant_rows)
    triton.add_version(folder, FACE, 1, triton.other_weights)
    broken = folder / "broken"
    (broken / "1").mkdir(parents=True)
    (broken / "1" / "model.onnx").write_bytes(b"no graph")
    text = (folder / FACE / "config.pbtxt").read_text().replace(FACE, "broken")
    (broken / "config.pbtxt").write_text(text)
    loaded = [f"--load-model={model}" for model in CONTRACTS]
    options = ["--model-control-mode=explicit", *loaded]
    place = tmp_path_factory.mktemp("swapped-server")
    with triton.running(folder, place, options=options) as server:
        yield server


def test_servers_that_serve_different_graphs_are_refused(server, swapped_server):
    settings = TritonSettings((server.url, swapped_server.url))
    with pytest.raises(ModelCorrupt, match="one server serves graph"):
        served_fingerprints(settings, {FACE: 1, PLATE: 1})
    alone = served_fingerprints(TritonSettings((server.url,)), {FACE: 1, PLATE: 1})
    assert set(alone) == {FACE, PLATE}


def test_a_server_with_another_graph_is_excluded(
    server, swapped_server, plain_repository, canary, embedded
):
    prints = {m: read_record(plain_repository / m / "1").fingerprint for m in (FACE, PLATE)}
    backend = client.TritonBackend(TritonSettings((server.url, swapped_server.url)))
    detectors = DetectorSet(backend, VERSIONS, fingerprints=prints)
    try:
        assert not detectors.check()
        assert [one.address.url for one in backend.endpoints.usable()] == [server.url]
        assert found(detectors, canary) == found(DetectorSet(embedded, VERSIONS), canary)
        assert detectors.check()
    finally:
        detectors.close()


@pytest.mark.parametrize("version", [4, 5, 6, 7], ids=["shifted", "zeros", "nan", "constant"])
def test_a_poisoned_model_fails_its_canary(swapped_server, version):
    with asking(swapped_server) as backend:
        detectors = DetectorSet(backend, {**VERSIONS, FACE: version})
        with pytest.raises(CanaryFailed, match=FACE):
            detectors.check()


def test_a_broken_model_that_nobody_asks_does_no_harm(swapped_server):
    with asking(swapped_server, outage_s=5.0) as backend:
        (one,) = backend.endpoints
        with pytest.raises(InferenceServerException):
            one.client.load_model("broken")
        assert not one.client.is_server_ready()
        assert DetectorSet(backend, VERSIONS).check()


def test_a_version_that_is_gone_after_a_restart_is_named(can_serve, repository, tmp_path):
    folder = triton.copy_repository(repository, tmp_path / "models", [FACE])
    with (
        triton.running(folder, tmp_path / "server") as server,
        asking(server, outage_s=4.0) as backend,
    ):
        backend.infer(FACE, {"image": tensor(1)}, version=1)
        kill(server)
        (folder / FACE / "1").rename(folder / FACE / "2")
        server.start()
        began = time.monotonic()
        with pytest.raises(ModelMissing, match=r"face_detector 1 at grpc") as caught:
            backend.infer(FACE, {"image": tensor(1)}, version=1)
        took = time.monotonic() - began
        assert backend.infer(FACE, {"image": tensor(1)}, version=2)["peak"].shape == (1,)
    assert "policy" in caught.value.fix
    assert took < MODEL_WAIT_S + 20


# memory


def test_too_little_shared_memory_sends_by_grpc(server, embedded, monkeypatch, caplog):
    def full(descriptor, offset, length):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    caplog.set_level(logging.INFO)
    with asking(server) as backend:
        answer = backend.infer(FACE, {"image": tensor(1)}, version=1)
        assert sharing(backend) == [None]
    assert same(answer, embedded.infer(FACE, {"image": tensor(1)}, version=1))
    assert "No space left" in caplog.text
    assert regions_of_this_process() == []


def test_a_server_elsewhere_is_sent_its_tensors(server, embedded):
    with asking(server, shared_memory=False) as backend:
        answer = backend.infer(FACE, {"image": tensor(1)}, version=1)
        assert sharing(backend) == [None]
        assert not [name for name in regions(backend) if f"_{os.getpid()}_" in name]
    assert same(answer, embedded.infer(FACE, {"image": tensor(1)}, version=1))


def test_a_region_that_the_server_lost_is_agreed_on_anew(server, embedded):
    with asking(server) as backend:
        backend.infer(FACE, {"image": tensor(1)}, version=1)
        (one,) = backend.endpoints
        one.client.unregister_system_shared_memory()
        answer = backend.infer(FACE, {"image": tensor(1)}, version=1)
        assert regions(backend) == set(sharing(backend))
    assert same(answer, embedded.infer(FACE, {"image": tensor(1)}, version=1))


def test_memory_that_is_let_go_is_not_held_by_a_server_that_lives(server):
    with asking(server) as backend:
        (one,) = backend.endpoints
        for _ in range(3):
            backend.infer(FACE, {"image": tensor(1)}, version=1)
            one.stop_sharing()
        backend.infer(FACE, {"image": tensor(1)}, version=1)
        assert regions(backend) == set(sharing(backend))


def test_a_closed_backend_leaves_nothing_on_the_server(server):
    with asking(server) as watching, asking(server) as backend:
        before = regions(watching)
        backend.infer(FACE, {"image": tensor(1)}, version=1)
        assert regions(watching) != before
        backend.close()
        assert regions(watching) == before
    assert regions_of_this_process() == []


CLIENT = """
import sys, time
sys.path.insert(0, {root!r})
from tests.serving.triton import asking, request, tensor
with asking({url!r}) as backend:
    backend.infer("face_detector", {{"image": tensor(1)}}, version=1)
    (one,) = backend.endpoints
    print(one.memory.name, flush=True)
    time.sleep(600)
"""


def test_memory_of_killed_clients_is_taken_from_the_server(server):
    code = CLIENT.format(root=str(Path(__file__).parents[2]), url=server.url)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        name = process.stdout.readline().strip()
    finally:
        process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and nobody has taken note
    with asking(server) as backend:
        assert name in regions(backend)
        backend.infer(FACE, {"image": tensor(1)}, version=1)
        assert name not in regions(backend)
        assert regions(backend) == set(sharing(backend))
    process.wait()
    process.stdout.close()
    assert not (FOLDER / name).exists()


def test_the_name_of_memory_in_use_is_hidden(server):
    with asking(server) as backend:
        backend.infer(FACE, {"image": tensor(1)}, version=1)
        assert sharing(backend) != [None]
        assert regions_of_this_process() == []


def regions_of_this_process():
    return [path.name for path in FOLDER.glob(f"{PREFIX}_*") if f"_{os.getpid()}_" in path.name]


# the way to a server


def test_servers_are_never_asked_through_a_proxy(server, monkeypatch):
    """It would be sent the pictures, and nobody would see which server is behind it."""
    proxy = f"http://127.0.0.1:{free_ports('proxy')['proxy']}"
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, proxy)
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    with asking(server, outage_s=1.0) as backend:
        assert backend.infer(FACE, {"image": tensor(1)}, version=1)["peak"].shape == (1,)
    restart(server)
    assert server.is_running()


class Telling:
    """A backend of one server that has these versions ready."""

    endpoints = (None,)

    def ready_versions(self, endpoint, model):
        return {1, 2}


def test_every_version_that_a_server_has_is_judged(monkeypatch):
    judged = []
    monkeypatch.setattr(
        served,
        "judge_version",
        lambda backend, model, versions, url: judged.append((model, dict(versions))),
    )
    lines = list(served._check_one(Telling(), "grpc://a:1"))
    assert [(model, versions[model]) for model, versions in judged] == [
        (model, version) for model in CONTRACTS for version in (1, 2)
    ]
    others = {contract.name for contract in DETECTORS}
    assert all(v[name] == 2 for model, v in judged for name in others - {model})
    assert len(lines) == len(judged)
