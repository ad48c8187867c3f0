"""Addresses, tokens and certificates: what is refused before any picture leaves."""

import dataclasses
import logging
import math
import pickle
import string
import sys
from concurrent import futures
from dataclasses import replace

import grpc
import numpy as np
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2, service_pb2_grpc

from serving.backends.triton import TritonBackend
from serving.backends.triton_settings import (
    TOKEN_FILE_SETTING,
    TOKEN_SETTING,
    Address,
    TritonSettings,
    token,
)
from serving.contracts import CONTRACTS
from serving.detectors import DetectorSet
from serving.errors import InferenceError, InsaneOutput, InvalidInput, ServerUnavailable
from tests.serving import triton
from tests.serving.triton import FACE, PLATE, asking, request, tensor

SECRET = "tkn-31415926"


@pytest.fixture(autouse=True)
def _no_token(monkeypatch):
    monkeypatch.delenv(TOKEN_SETTING, raising=False)
    monkeypatch.delenv(TOKEN_FILE_SETTING, raising=False)


# addresses


@pytest.mark.parametrize(
    ("url", "target", "secure", "loopback"),
    [
        ("grpc://127.0.0.1:8001", "127.0.0.1:8001", False, True),
        ("grpc://127.8.9.1:8001/", "127.8.9.1:8001", False, True),
        (" grpc://localhost:08001 ", "localhost:8001", False, True),
        ("grpc://LocalHost.:1", "LocalHost.:1", False, True),
        ("grpcs://[::1]:65535", "[::1]:65535", True, True),
        ("grpcs://triton.example.org:443", "triton.example.org:443", True, False),
        ("grpc://10.0.0.1:8001", "10.0.0.1:8001", False, False),
        ("grpc://0.0.0.0:8001", "0.0.0.0:8001", False, False),
        ("grpc://localhost.example.org:8001", "localhost.example.org:8001", False, False),
        ("grpc://127.0.0.1.example.org:8001", "127.0.0.1.example.org:8001", False, False),
        ("grpc://[::ffff:10.0.0.1]:8001", "[::ffff:10.0.0.1]:8001", False, False),
    ],
)
def test_addresses_are_read(url, target, secure, loopback):
    address = Address.parse(url)
    assert (address.target, address.secure, address.loopback) == (target, secure, loopback)


@pytest.mark.parametrize(
    "url",
    [
        *("", "127.0.0.1:8001", "http://127.0.0.1:8000", "grpc://127.0.0.1", "grpc://:8001"),
        *("grpc://127.0.0.1:0", "grpc://127.0.0.1:65536", "grpc://a:b@127.0.0.1:8001"),
        *("grpc://127.0.0.1:8001/v2", "grpc://127.0.0.1:8001?x", "grpc://a b:8001", "grpc://::1:1"),
        *("grpc://127.0.0.1:8001\ngrpc://127.0.0.1:8002", "GRPC://127.0.0.1:8001"),
    ],
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(InvalidInput, match="address of a Triton server") as caught:
        Address.parse(url)
    assert "grpc://host:port" in caught.value.fix


@given(
    host=st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=20),
    port=st.integers(1, 65_535),
    secure=st.booleans(),
)
def test_any_host_and_port_is_read_back(host, port, secure):
    url = f"grpc{'s' if secure else ''}://{host}:{port}"
    address = Address.parse(url)
    assert (address.url, address.target, address.secure) == (url, f"{host}:{port}", secure)
    assert Address.parse(address.url) == address


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_refused(text):
    try:
        address = Address.parse(text)
    except InvalidInput:
        return
    assert address.url.startswith(("grpc://", "grpcs://"))


def test_a_server_is_named_once():
    urls = ("grpc://127.0.0.1:8001", "grpc://127.0.0.1:8001/", "grpc://127.0.0.1:08001")
    assert len(TritonSettings(urls).addresses()) == 1


@pytest.mark.parametrize("url", ["grpc://10.0.0.1:8001", "grpc://triton:8001"])
def test_pictures_leave_this_machine_only_encrypted(url):
    with pytest.raises(InvalidInput, match="unencrypted"):
        TritonSettings((url,)).addresses()
    with pytest.raises(InvalidInput, match="unencrypted"):
        TritonBackend(TritonSettings(("grpc://127.0.0.1:1", url)))
    assert TritonSettings((url,), insecure=True).addresses()
    assert TritonSettings((url.replace("grpc:", "grpcs:"),)).addresses()


@pytest.mark.parametrize(
    "wrong",
    [
        {"urls": ()},
        {"timeout_s": 0},
        {"timeout_s": math.nan},
        {"timeout_s": math.inf},
        {"in_flight": 0},
        {"in_flight": -1},
        {"in_flight": 257},
        {"slot_bytes": 999_999},
        {"slot_bytes": 1_000_000_001},
        {"outage_s": -1.0},
        {"cert_file": "a.pem"},
        {"key_file": "a.pem"},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong):
    settings = dataclasses.replace(TritonSettings(("grpc://127.0.0.1:1",)), **wrong)
    with pytest.raises(InvalidInput):
        settings.addresses()


@pytest.mark.parametrize("name", ["ca_file", "cert_file", "key_file"])
def test_certificates_that_cannot_be_read_are_named(tmp_path, name):
    missing = tmp_path / "missing.pem"
    settings = TritonSettings(("grpcs://127.0.0.1:1",), **{name: str(missing)})
    with pytest.raises(InvalidInput, match=str(missing)) as caught:
        settings.pem(name)
    assert name in caught.value.where


def test_settings_travel_without_a_credential(monkeypatch):
    monkeypatch.setenv(TOKEN_SETTING, SECRET)
    settings = TritonSettings(("grpc://127.0.0.1:1",))
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301
    assert SECRET.encode() not in pickle.dumps(settings)


# token


def test_no_token_is_none():
    assert token() is None


def test_a_token_comes_from_the_environment_before_the_file(monkeypatch, tmp_path):
    path = tmp_path / "token"
    path.write_text(f"{SECRET}-file\n")
    monkeypatch.setenv(TOKEN_FILE_SETTING, str(path))
    assert token() == f"{SECRET}-file"
    monkeypatch.setenv(TOKEN_SETTING, f" {SECRET}\n")
    assert token() == SECRET


@pytest.mark.parametrize(
    "content", ["", "\n", f"{SECRET}\ntwo", f"{SECRET} two", f"{SECRET}é", f"{SECRET}\0", "\udcff"]
)
def test_what_cannot_be_a_token_is_refused_and_not_repeated(monkeypatch, tmp_path, content):
    path = tmp_path / "token"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    monkeypatch.setenv(TOKEN_FILE_SETTING, str(path))
    with pytest.raises(InvalidInput, match="no token") as caught:
        TritonBackend(TritonSettings(("grpc://127.0.0.1:1",)))
    assert SECRET not in str(caught.value)


def test_a_token_file_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv(TOKEN_FILE_SETTING, str(tmp_path / "nowhere"))
    with pytest.raises(InvalidInput, match="nowhere"):
        token()


class Guarded(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A server that asks for a token, or answers as told."""

    def __init__(self, status=None, spoil=None):
        self.status, self.spoil, self.asked = status, spoil, 0

    def _guard(self, context):
        self.asked += 1
        if self.status is not None:
            context.abort(self.status, "as told")
        if dict(context.invocation_metadata()).get("authorization") != f"Bearer {SECRET}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")

    def ServerLive(self, request, context):  # noqa: N802 - the service's name
        self._guard(context)
        return service_pb2.ServerLiveResponse(live=True)

    def SystemSharedMemoryStatus(self, request, context):  # noqa: N802
        self._guard(context)
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "no shared memory here")

    def ModelInfer(self, request, context):  # noqa: N802
        self._guard(context)
        answer = service_pb2.ModelInferResponse(model_name=request.model_name)
        for spec in CONTRACTS[request.model_name].outputs:
            shape = [1, *(dim for dim in spec.shape[1:])] if len(spec.shape) > 1 else [1, 1]
            kind = {"float32": "FP32", "int32": "INT32", "uint8": "UINT8"}[spec.dtype]
            answer.outputs.add(name=spec.name, datatype=kind, shape=shape)
            content = np.zeros(shape, spec.dtype).tobytes()
            answer.raw_output_contents.append(content)
        if self.spoil is not None:
            self.spoil(answer)
        return answer


@pytest.fixture
def guarded():
    """Starts such servers; their addresses."""
    started = []

    def start(servicer):
        server = grpc.server(futures.ThreadPoolExecutor(4))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        started.append(server)
        return f"grpc://127.0.0.1:{port}"

    yield start
    for server in started:
        server.stop(None).wait()


@pytest.mark.parametrize("given_token", [None, "tkn-wrong"])
def test_without_the_token_it_is_said_at_once(guarded, monkeypatch, caplog, given_token):
    caplog.set_level(logging.DEBUG)
    if given_token:
        monkeypatch.setenv(TOKEN_SETTING, given_token)
    servicer = Guarded()
    with asking(guarded(servicer), outage_s=3600.0) as backend:
        with pytest.raises(ServerUnavailable, match="who are you") as first:
            backend.replicas()
        with pytest.raises(ServerUnavailable, match="who are you") as second:
            backend.infer(FACE, {"image": tensor(1)})
    for caught in (first, second):
        assert TOKEN_SETTING in caught.value.fix
        assert "tkn-wrong" not in f"{caught.value}{caught.value.__cause__}{caplog.text}"
    assert servicer.asked <= 8


def test_the_token_is_sent_from_the_environment(guarded, monkeypatch):
    monkeypatch.setenv(TOKEN_SETTING, SECRET)
    with asking(guarded(Guarded())) as backend:
        assert len(backend.replicas()) == 1
        assert backend.infer(FACE, {"image": tensor(1)})["peak"].shape == (1,)


def test_the_token_is_sent_from_its_file(guarded, monkeypatch, tmp_path):
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    monkeypatch.setenv(TOKEN_FILE_SETTING, str(path))
    with asking(guarded(Guarded())) as backend:
        assert len(backend.replicas()) == 1
        assert backend.infer(PLATE, {"image": tensor(1)})["peak"].shape == (1,)


class Sharing(Guarded):
    """A server that agrees to everything, and notes which questions came without the token."""

    def __init__(self):
        super().__init__()
        self.without = set()

    def _guard(self, context):
        self.asked += 1
        if dict(context.invocation_metadata()).get("authorization") != f"Bearer {SECRET}":
            self.without.add(sys._getframe(1).f_code.co_name)

    def SystemSharedMemoryStatus(self, request, context):  # noqa: N802
        self._guard(context)
        return service_pb2.SystemSharedMemoryStatusResponse()

    def SystemSharedMemoryRegister(self, request, context):  # noqa: N802
        self._guard(context)
        return service_pb2.SystemSharedMemoryRegisterResponse()

    def SystemSharedMemoryUnregister(self, request, context):  # noqa: N802
        self._guard(context)
        return service_pb2.SystemSharedMemoryUnregisterResponse()

    def RepositoryIndex(self, request, context):  # noqa: N802
        self._guard(context)
        return service_pb2.RepositoryIndexResponse()

    def ModelConfig(self, request, context):  # noqa: N802
        self._guard(context)
        return service_pb2.ModelConfigResponse()


def test_no_question_goes_without_the_token(guarded, monkeypatch):
    servicer = Sharing()
    for known in (False, True):
        if known:
            monkeypatch.setenv(TOKEN_SETTING, SECRET)
        servicer.asked, servicer.without = 0, set()
        with asking(guarded(servicer)) as backend:
            (one,) = backend.endpoints
            backend.replicas()
            backend.infer(FACE, {"image": tensor(1)})
            assert one.memory is not None
            backend.ready_versions(one, FACE)
            one.ended = request(tensor(1))
            assert backend._is_ready(one)
        assert servicer.asked >= 8
        assert len(servicer.without) == (0 if known else 7)


def test_memory_is_offered_to_servers_on_this_machine_only(guarded):
    servicer = Sharing()
    with asking(guarded(servicer)) as backend:
        (one,) = backend.endpoints
        one.address = replace(one.address, loopback=False)
        backend.infer(FACE, {"image": tensor(1)})
        assert one.memory is None
    assert servicer.without == {"ModelInfer"}


@pytest.mark.parametrize(
    "status", ["UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE"]
)
def test_the_token_is_in_no_error_and_no_log(guarded, monkeypatch, caplog, status):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv(TOKEN_SETTING, SECRET)
    servicer = Guarded(grpc.StatusCode[status])
    with (
        asking(guarded(servicer), outage_s=1.0) as backend,
        pytest.raises((ServerUnavailable, InferenceError)) as caught,
    ):
        backend.infer(FACE, {"image": tensor(1)})
    assert SECRET not in f"{caught.value!r}{caught.value.__cause__!r}{backend!r}{caplog.text}"
    assert servicer.asked > 0


def test_a_service_that_is_no_triton_is_told_at_once(guarded):
    with (
        asking(guarded(Guarded(grpc.StatusCode.UNIMPLEMENTED)), outage_s=3600.0) as backend,
        pytest.raises(ServerUnavailable, match="gRPC port"),
    ):
        backend.replicas()
    assert not backend.endpoints.usable()[0].in_question


def test_one_of_two_servers_that_refuses_is_left_alone(guarded, monkeypatch):
    monkeypatch.setenv(TOKEN_SETTING, SECRET)
    refusing = Guarded(grpc.StatusCode.PERMISSION_DENIED)
    with asking(guarded(Guarded()), guarded(refusing), outage_s=30.0) as backend:
        answers = [backend.infer(FACE, {"image": tensor(n)}) for n in range(10)]
        assert len(backend.replicas()) == 1
    assert len(answers) == 10


# answers that no server should give


def no_content(answer):
    del answer.raw_output_contents[:]


def short_content(answer):
    answer.raw_output_contents[0] = answer.raw_output_contents[0][:-4]


def odd_content(answer):
    answer.raw_output_contents[0] = b"odd"


def unknown_type(answer):
    answer.outputs[0].datatype = "FP7"


def no_outputs(answer):
    del answer.outputs[:]


def negative_shape(answer):
    answer.outputs[0].shape[0] = -2


def huge_shape(answer):
    answer.outputs[0].shape[0] = 2**62


@pytest.mark.parametrize(
    "spoil",
    [
        *(no_content, short_content, odd_content, unknown_type),
        *(no_outputs, negative_shape, huge_shape),
    ],
)
def test_an_answer_that_cannot_be_read_is_insane_not_a_crash(guarded, monkeypatch, spoil):
    monkeypatch.setenv(TOKEN_SETTING, SECRET)
    with asking(guarded(Guarded(spoil=spoil))) as backend:
        detectors = DetectorSet(backend, {FACE: 1, PLATE: 1})
        with pytest.raises(InsaneOutput):
            detectors.detect(np.zeros((40, 40, 3), np.uint8))
        assert [one.in_flight for one in backend.endpoints] == [0]


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """Writes the files of a certificate authority: server, client, and what a stranger made."""
    folder = tmp_path_factory.mktemp("tls")
    own, stranger = trustme.CA(), trustme.CA()
    for name, ca, identity in (
        ("server", own, "127.0.0.1"),
        ("client", own, "client@example.org"),
        ("strange", stranger, "client@example.org"),
    ):
        certificate = ca.issue_cert(identity)
        certificate.private_key_pem.write_to_path(folder / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    own.cert_pem.write_to_path(folder / "ca.pem")
    stranger.cert_pem.write_to_path(folder / "stranger.pem")
    return folder


@pytest.fixture(scope="module")
def one_model(can_serve, repository, tmp_path_factory):
    return triton.copy_repository(repository, tmp_path_factory.mktemp("one"), [FACE])


def secured(authority, *more):
    return (
        "--grpc-use-ssl=1",
        f"--grpc-server-cert={authority / 'server.pem'}",
        f"--grpc-server-key={authority / 'server.key'}",
        *more,
    )


@pytest.fixture(scope="module")
def tls_server(one_model, authority, tmp_path_factory):
    """Asks for no certificate of the client; its address with grpcs."""
    options = secured(authority)
    with triton.running(one_model, tmp_path_factory.mktemp("tls"), options=options) as server:
        yield server.url.replace("grpc:", "grpcs:")


@pytest.fixture(scope="module")
def mutual_server(one_model, authority, tmp_path_factory):
    """Asks for a certificate of the client."""
    more = ("--grpc-use-ssl-mutual=1", f"--grpc-root-cert={authority / 'ca.pem'}")
    options = secured(authority, *more)
    with triton.running(one_model, tmp_path_factory.mktemp("mutual"), options=options) as server:
        yield server.url.replace("grpc:", "grpcs:")


def files(authority, **names):
    return {name: str(authority / file) for name, file in names.items()}


def test_a_server_whose_authority_is_trusted_answers(tls_server, authority, embedded):
    with asking(tls_server, **files(authority, ca_file="ca.pem")) as backend:
        answer = backend.infer(FACE, {"image": tensor(1)}, version=1)
        (one,) = backend.endpoints
        assert one.shares
    assert triton.same(answer, embedded.infer(FACE, {"image": tensor(1)}, version=1))


@pytest.mark.parametrize("ca", [None, "stranger.pem"])
def test_a_server_of_an_unknown_authority_is_refused_at_once(tls_server, authority, ca):
    more = {} if ca is None else files(authority, ca_file=ca)
    with asking(tls_server, outage_s=3600.0, **more) as backend:
        with pytest.raises(ServerUnavailable, match="CERTIFICATE_VERIFY_FAILED") as caught:
            backend.replicas()
        with pytest.raises(ServerUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            backend.infer(FACE, {"image": tensor(1)}, version=1)
    assert "STREETBLUR_TRITON__CA_FILE" in caught.value.fix


def test_a_server_under_another_name_is_refused_at_once(tls_server, authority):
    url = tls_server.replace("127.0.0.1", "localhost")
    with (
        asking(url, outage_s=3600.0, **files(authority, ca_file="ca.pem")) as backend,
        pytest.raises(ServerUnavailable, match="certificate") as caught,
    ):
        backend.replicas()
    assert url in str(caught.value)


def test_files_that_are_no_certificates_are_refused_at_once(tls_server, tmp_path):
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("garbage")
    with (
        asking(tls_server, outage_s=3600.0, ca_file=str(garbage)) as backend,
        pytest.raises(ServerUnavailable, match="PEM") as caught,
    ):
        backend.replicas()
    assert "ca_file" in caught.value.fix


def test_without_tls_a_tls_server_is_guessed(tls_server):
    with (
        asking(tls_server.replace("grpcs:", "grpc:"), outage_s=1.0) as backend,
        pytest.raises(ServerUnavailable) as caught,
    ):
        backend.replicas()
    assert "grpcs://" in caught.value.fix


def test_with_tls_a_plain_server_is_refused_at_once(triton_server, authority):
    with (
        asking(
            triton_server.url.replace("grpc:", "grpcs:"),
            outage_s=3600.0,
            **files(authority, ca_file="ca.pem"),
        ) as backend,
        pytest.raises(ServerUnavailable, match="no TLS") as caught,
    ):
        backend.replicas()
    assert "grpc://" in caught.value.fix


def test_a_client_with_its_certificate_is_let_in(mutual_server, authority, embedded):
    own = files(authority, ca_file="ca.pem", cert_file="client.pem", key_file="client.key")
    with asking(mutual_server, **own) as backend:
        answer = backend.infer(FACE, {"image": tensor(1)}, version=1)
    assert triton.same(answer, embedded.infer(FACE, {"image": tensor(1)}, version=1))


@pytest.mark.parametrize("name", [None, "strange"])
def test_a_client_without_the_right_certificate_is_told_what_may_be_wrong(
    mutual_server, authority, name
):
    own = {} if name is None else {"cert_file": f"{name}.pem", "key_file": f"{name}.key"}
    with (
        asking(mutual_server, outage_s=1.0, **files(authority, ca_file="ca.pem", **own)) as backend,
        pytest.raises(ServerUnavailable) as caught,
    ):
        backend.replicas()
    assert "cert_file" in caught.value.fix


def test_certificates_without_tls_are_refused():
    with pytest.raises(InvalidInput, match="no server is asked by TLS"):
        TritonSettings(("grpc://127.0.0.1:1",), ca_file="ca.pem").addresses()
    assert TritonSettings(("grpcs://127.0.0.1:1",), ca_file="ca.pem").addresses()
