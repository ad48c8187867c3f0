"""What every backend must do: embedded, Triton by gRPC, Triton through shared memory."""

from itertools import islice

import numpy as np
import pytest

from serving.backends.local import LocalBackend
from serving.backends.triton import TritonBackend
from serving.backends.triton_settings import TritonSettings
from serving.contracts import CONTRACTS, FINGERPRINT, MAX_BOXES
from serving.detectors import DetectorSet
from serving.errors import CanaryFailed, InferenceError, InvalidInput, ModelMissing, RejectedInput
from serving.registry import read_record
from tests.serving.conftest import VERSIONS
from tests.serving.triton import FACE, PLATE, POISON, found, poisoned, request, same, tensor

IN_FLIGHT = 4
OUTAGE_S = 3.0
"""So long a missing version is waited for."""


@pytest.fixture(params=["embedded", "grpc", "shared"])
def opening(request, served_repository):
    """Opens a backend."""
    if request.param == "embedded":
        return lambda: LocalBackend(served_repository, runtime="onnxruntime")
    server = request.getfixturevalue("triton_server")
    shared = request.param == "shared"
    settings = TritonSettings(
        (server.url,), in_flight=IN_FLIGHT, shared_memory=shared, outage_s=OUTAGE_S
    )
    return lambda: TritonBackend(settings)


@pytest.fixture
def backend(opening):
    opened = opening()
    yield opened
    opened.close()


@pytest.mark.parametrize("model", [FACE, PLATE])
@pytest.mark.parametrize("shape", [(1, 32, 32), (1, 1312, 1120), (3, 64, 96), (3, 32, 32)])
def test_answers_are_the_same_to_the_bit(backend, embedded, model, shape):
    pixels = tensor(1, shape)
    answer = backend.infer(model, {"image": pixels}, version=1)
    assert same(answer, embedded.infer(model, {"image": pixels}, version=1))


@pytest.mark.parametrize("model", [FACE, PLATE])
def test_a_picture_with_objects_is_answered_the_same(backend, embedded, canary, model):
    pixels = np.ascontiguousarray(canary[None, :384, :384])
    answer = backend.infer(model, {"image": pixels}, version=1)
    assert answer["count"][0] > 0
    assert same(answer, embedded.infer(model, {"image": pixels}, version=1))


def test_a_large_batch_is_answered_as_its_inputs_are(backend, embedded):
    pixels = tensor(2, (3, 768, 800))
    assert pixels.nbytes > TritonSettings().slot_bytes
    answer = backend.infer(FACE, {"image": pixels}, version=1)
    assert same(answer, embedded.infer(FACE, {"image": pixels}, version=1))


def test_pixels_that_do_not_lie_in_one_piece_are_answered_the_same(backend, embedded):
    pixels = tensor(3, (1, 128, 192))[:, ::2, ::2]
    answer = backend.infer(FACE, {"image": pixels}, version=1)
    assert same(answer, embedded.infer(FACE, {"image": pixels.copy()}, version=1))


def test_answers_have_the_shapes_of_the_contract(backend):
    answer = backend.infer(PLATE, {"image": tensor(4, (2, 32, 64))}, version=1)
    shapes = {name: value.shape for name, value in answer.items()}
    assert shapes == {
        "boxes": (2, MAX_BOXES, 5),
        "points": (2, MAX_BOXES, 8),
        "count": (2,),
        "peak": (2,),
        "fingerprint": (2, 8),
    }


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_named_version_answers(backend, served_repository, version):
    answer = backend.infer(FACE, {"image": tensor(5)}, version=version)
    record = read_record(served_repository / FACE / str(version))
    assert answer[FINGERPRINT.name].tobytes().hex() == record.fingerprint


def test_the_newest_version_answers_if_none_is_named(backend, served_repository):
    answer = backend.infer(FACE, {"image": tensor(5)})
    newest = read_record(served_repository / FACE / "3").fingerprint
    assert answer[FINGERPRINT.name].tobytes().hex() == newest


def test_many_are_answered_in_order(backend, embedded):
    sizes = [(1, 32 * (1 + number % 5), 96) for number in range(12)]
    asked = [request(tensor(n, size), (FACE, PLATE)[n % 2]) for n, size in enumerate(sizes)]
    answers = list(backend.infer_many(asked))
    expected = list(embedded.infer_many(asked))
    assert [same(*pair) for pair in zip(answers, expected, strict=True)] == [True] * 12


def test_requests_are_made_only_as_they_can_be_worked_on(backend):
    taken = []

    def made():
        for number in range(20):
            taken.append(number)
            yield request(tensor(number))

    for given, _ in enumerate(backend.infer_many(made())):
        assert len(taken) <= given + 1 + IN_FLIGHT
    assert len(taken) == 20


def test_nothing_is_made_before_it_is_asked_for(backend):
    answers = backend.infer_many(pytest.fail("made") for _ in range(1))
    answers.close()
    assert list(backend.infer_many([])) == []


def test_one_who_stops_taking_answers_leaves_nothing_under_way(backend, embedded):
    for _ in range(4):
        answers = backend.infer_many(request(tensor(n, (1, 320, 320))) for n in range(9))
        list(islice(answers, 2))
        answers.close()
    pixels = tensor(1)
    answer = backend.infer(FACE, {"image": pixels}, version=1)
    assert same(answer, embedded.infer(FACE, {"image": pixels}, version=1))
    assert sum(one.in_flight for one in getattr(backend, "endpoints", ())) == 0


def test_a_missing_version_is_named(backend):
    with pytest.raises(ModelMissing, match=r"face_detector.*7") as caught:
        backend.infer(FACE, {"image": tensor(1)}, version=7)
    assert caught.value.fix
    assert backend.infer(FACE, {"image": tensor(1)}, version=1)["count"].shape == (1,)


@pytest.mark.parametrize("row", [None, 0, 2])
def test_poison_is_rejected_and_the_others_are_answered(backend, embedded, row):
    pixels = poisoned(1) if row is None else poisoned(1, (3, 64, 96), row=row)
    with pytest.raises(RejectedInput, match=FACE) as caught:
        backend.infer(FACE, {"image": pixels}, version=3)
    assert (caught.value.row, caught.value.model) == (row or 0, FACE)
    sound = tensor(1)
    answer = backend.infer(FACE, {"image": sound}, version=3)
    assert same(answer, embedded.infer(FACE, {"image": sound}, version=3))


@pytest.mark.parametrize("row", [None, 0, 2])
def test_openvino_rejects_poison_as_the_others_do(served_repository, monkeypatch, row):
    """OpenVINO does not fail over this graph, so it is made to."""
    openvino = pytest.importorskip("serving.backends.runtimes.openvino")
    ask = openvino.OpenVinoSession._ask

    def fails(session, plan, inputs):
        if (inputs["image"][:, 0, 0, :2] == POISON).all(1).any():
            raise RuntimeError("out of range")
        return ask(session, plan, inputs)

    monkeypatch.setattr(openvino.OpenVinoSession, "_ask", fails)
    backend = LocalBackend(served_repository, runtime="openvino")
    pixels = poisoned(1) if row is None else poisoned(1, (3, 64, 96), row=row)
    with pytest.raises(RejectedInput, match=FACE) as caught:
        backend.infer(FACE, {"image": pixels}, version=3)
    assert (caught.value.row, caught.value.model) == (row or 0, FACE)
    assert backend.infer(FACE, {"image": tensor(1)}, version=3)["peak"].shape == (1,)
    backend.close()


def test_an_unknown_model_is_named(backend):
    with pytest.raises(ModelMissing, match="number_detector"):
        backend.infer("number_detector", {"image": tensor(1)})
    assert set(CONTRACTS) == {FACE, PLATE, "postprocessor"}


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"picture": tensor(1)},
        {"image": tensor(1), "more": tensor(1)},
        {"image": tensor(1).astype(np.float32)},
        {"image": tensor(1)[0]},
        {"image": tensor(1)[..., :2]},
        {"image": tensor(1)[:, :33]},
        {"image": tensor(1)[:, :0]},
        {"image": tensor(1)[:0]},
    ],
)
def test_wrong_tensors_are_refused(backend, inputs):
    with pytest.raises(InvalidInput, match=FACE):
        backend.infer(FACE, inputs, version=1)


def test_one_wrong_request_among_many_is_refused(backend):
    asked = [request(tensor(1)), request(tensor(1)[:, :33]), request(tensor(1))]
    with pytest.raises(InvalidInput, match=FACE):
        list(backend.infer_many(asked))


def test_what_the_caller_raises_reaches_the_caller(backend):
    def made():
        yield request(tensor(1))
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        list(backend.infer_many(made()))


def test_a_closed_backend_refuses(opening):
    backend = opening()
    backend.infer(FACE, {"image": tensor(1)}, version=1)
    backend.close()
    backend.close()
    with pytest.raises(InferenceError, match="closed"):
        backend.infer(FACE, {"image": tensor(1)}, version=1)
    with pytest.raises(InferenceError, match="closed"):
        list(backend.infer_many([request(tensor(1))]))


def test_detections_are_the_same_on_the_canary(backend, embedded, canary):
    result = found(DetectorSet(backend, VERSIONS), canary)
    assert result == found(DetectorSet(embedded, VERSIONS), canary)
    assert {candidate.label for candidate in result.candidates} == {"face", "plate"}


def test_detections_are_the_same_on_a_picture_of_many_tiles(backend, embedded, canary):
    picture = np.full((1500, 1700, 3), 90, np.uint8)
    height, width = canary.shape[:2]
    picture[1000 : 1000 + height, 900 : 900 + width] = canary
    result = found(DetectorSet(backend, VERSIONS), picture)
    assert result == found(DetectorSet(embedded, VERSIONS), picture)
    assert len({candidate.source for candidate in result.candidates}) > 1


def test_the_canary_passes_again_and_again(backend, served_repository):
    prints = {m: read_record(served_repository / m / "1").fingerprint for m in (FACE, PLATE)}
    detectors = DetectorSet(backend, VERSIONS, fingerprints=prints)
    assert detectors.check()
    detectors.detect(np.zeros((40, 40, 3), np.uint8))
    assert detectors.check()


def test_replicas_are_known_again_by_their_names(backend):
    first = [replica.name for replica in backend.replicas()]
    backend.infer(FACE, {"image": tensor(1)}, version=1)
    again = backend.replicas()
    assert first == [replica.name for replica in again]
    assert all(replica.name or replica is backend for replica in again)


def test_each_shape_of_a_picture_is_verified_once(backend):
    detectors = DetectorSet(backend, VERSIONS)
    for _ in range(2):
        detectors.detect(np.zeros((400, 850, 3), np.uint8))
        (replica,) = backend.replicas()
        detectors.detect(np.zeros((400, 850, 3), np.uint8))
        assert detectors.check()
        due = detectors._verified.due(replica.name, [(416, 864), (256, 480)])
        assert len(due) == 1


def test_another_graph_than_the_named_fails_the_canary(backend):
    detectors = DetectorSet(backend, VERSIONS, fingerprints={FACE: "0" * 16})
    with pytest.raises(CanaryFailed, match="another graph answered"):
        detectors.check()
