"""Whether it is still the same server that answers, and what it computes with."""

import contextlib
import socket
import threading
import time

import pytest

from serving.backends.choose import runs_on
from serving.backends.precision import computes_with, named, same_boxes
from serving.backends.runtimes.choice import runtime_in_force
from serving.backends.triton_settings import TritonSettings
from serving.contracts import DETECTORS
from serving.detectors import DetectorSet
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
    production = parse((folder / "config.pbtxt").read_text())
    assert computes_with(production) == "onnxruntime tensorrt fp16 gpu"
    assert computes_with(parse((folder / "configs/cpu.pbtxt").read_text())) == "onnxruntime f32"


def test_servers_tell_what_they_run_models_with(triton_server):
    settings = TritonSettings((triton_server.url,))
    assert runs_on(settings, "auto") == "triton onnxruntime f32"
    assert same_boxes(runs_on(settings, "auto"), runtime_in_force("onnxruntime"))
    with asking(triton_server) as backend:
        assert backend.runtime == "triton"
        backend.replicas()
        assert backend.runtime == "triton onnxruntime f32"


def test_only_the_same_arithmetic_finds_the_same_boxes():
    assert same_boxes("openvino bf16", "openvino bf16")
    assert not same_boxes("openvino bf16", "onnxruntime f32")
    half = named({"onnxruntime tensorrt fp16 gpu"})
    assert not same_boxes(half, named({"onnxruntime f32"}))
    assert not same_boxes(named({"onnxruntime f32", "onnxruntime f32 gpu"}), "onnxruntime f32")
