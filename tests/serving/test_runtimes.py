"""ONNX Runtime and OpenVINO behind the local backend."""

import os
import subprocess
import sys

import cv2
import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from evaluation.annotations import data_root
from serving.backends.local import LocalBackend
from serving.backends.runtimes import choice, openvino
from serving.backends.runtimes.shapes import REMEMBERED, FrequentShapes
from serving.canary import run_canary
from serving.contracts import CONTRACTS, DETECTORS, FACE_DETECTOR, ModelContract, TensorSpec
from serving.detectors import DetectorSet
from serving.errors import InvalidInput, ModelCorrupt
from serving.geometry import pairwise_iou
from serving.registry import model_path
from tests.serving.conftest import VERSIONS

SCORE_TOLERANCE = 0.05
"""Of any one row, bfloat16 against float32; measured on all of dev: docs/benchmarks/runtimes.md."""

SAME_IOU = 0.5


@pytest.fixture(scope="module")
def bf16(repository):
    """OpenVINO in bfloat16, emulated if need be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "processor_has_bfloat16", lambda: True)
        opened = LocalBackend(repository, runtime="openvino")
    if opened.runtime != "openvino bf16":
        pytest.skip("OpenVINO can neither run nor emulate bfloat16 here")
    yield opened
    opened.close()


def tile(canary, height, width):
    rows, columns = np.arange(height) % canary.shape[0], np.arange(width) % canary.shape[1]
    return np.ascontiguousarray(canary[rows][:, columns])[None]


def same(one, other):
    return all(one[name].tobytes() == other[name].tobytes() for name in one) and one.keys() == (
        other.keys()
    )


@pytest.fixture
def session(repository, monkeypatch):
    """A face detector whose shapes earn their plans at the second picture of 64 x 64."""
    monkeypatch.setattr(openvino, "PLAN_PRICE", 2 * 64 * 64 * 3)
    path = model_path(repository, "face_detector", 1)
    return openvino.open_session(path, FACE_DETECTOR, 1, "bf16")


def test_the_canary_is_found_in_bfloat16(bf16):
    result = run_canary(DetectorSet(bf16, VERSIONS))
    assert min(result.iou.values()) > 0.95
    assert max(abs(shift) for shift in result.score_shift.values()) < SCORE_TOLERANCE


@pytest.mark.parametrize("model", [contract.name for contract in DETECTORS])
def test_float32_is_the_same_in_both(repository, float32, canary, model):
    path = model_path(repository, model, 1)
    session = openvino.open_session(path, CONTRACTS[model], 1, "f32")
    image = tile(canary, 416, 640)
    ours, theirs = float32.infer(model, {"image": image}), session.run({"image": image})
    assert ours["count"] == theirs["count"]
    np.testing.assert_allclose(theirs["boxes"], ours["boxes"], atol=0.05)
    np.testing.assert_allclose(theirs["boxes"][..., 4], ours["boxes"][..., 4], atol=1e-4)
    assert theirs["fingerprint"].tobytes() == ours["fingerprint"].tobytes()


SETS = {"face": ("facemask_kaggle", 40), "plate": ("openalpr_us", 20)}


@pytest.mark.parametrize("label", SETS)
def test_bfloat16_finds_what_float32_finds(bf16, float32, label):
    name, every = SETS[label]
    folder = data_root() / "dev" / name / "images"
    if not folder.is_dir():
        pytest.skip(f"no pictures: {folder} is absent (set STREETBLUR_DATA)")
    shifts = []
    for path in sorted(folder.glob("*.jpg"))[::every]:
        pixels = np.ascontiguousarray(cv2.imread(str(path))[:, :, ::-1])
        found = []
        for backend in (float32, bf16):
            candidates = DetectorSet(backend, VERSIONS).detect(pixels).candidates
            found.append([c for c in candidates if c.label == label])
        ours, theirs = (
            np.array([(*c.box.as_tuple(), c.score) for c in side], np.float32).reshape(-1, 5)
            for side in found
        )
        sure = ours[:, 4] >= 0.2
        overlap = pairwise_iou(ours[sure, :4], theirs[:, :4])
        assert (overlap.max(axis=1) >= SAME_IOU).all(), path.name
        shifts += list(np.abs(theirs[overlap.argmax(axis=1), 4] - ours[sure, 4]))
    assert len(shifts) >= 6
    assert np.mean(shifts) < 0.02
    assert np.quantile(shifts, 0.9) < SCORE_TOLERANCE


def test_a_batch_gives_what_its_pictures_give_alone(bf16, canary):
    batch = np.concatenate([tile(canary, 64, 96), tile(canary[50:], 64, 96)])
    together = bf16.infer("plate_detector", {"image": batch})
    singles = [bf16.infer("plate_detector", {"image": batch[i : i + 1]}) for i in range(2)]
    assert same(together, {name: np.concatenate([s[name] for s in singles]) for name in together})


def test_answers_are_the_callers_own(bf16, canary):
    image = tile(canary, 384, 384)
    first = bf16.infer("face_detector", {"image": image})
    kept = {name: value.copy() for name, value in first.items()}
    bf16.infer("face_detector", {"image": np.zeros_like(image)})
    assert same(first, kept)


def test_a_plan_for_one_shape_gives_the_same_bytes(session, canary):
    images = [tile(canary[i:], 384, 384) for i in (0, 20, 40)]
    session_without_plans = [session.run({"image": image}) for image in images[:1]]
    assert session.planned == ((1, 384, 384, 3),)
    again = [session.run({"image": image}) for image in images]
    assert same(session_without_plans[0], again[0])
    assert again[1]["count"] > 0
    assert not same(again[0], again[1])


def test_plans_and_remembered_shapes_stay_few_over_many_shapes(session):
    for number in range(1, 3 * openvino.PLANS):
        for _ in range(2):
            session.run({"image": np.zeros((1, 64, 32 * (number + 1), 3), np.uint8)})
        assert len(session.planned) <= openvino.PLANS
    assert len(session.planned) == openvino.PLANS
    frequent = FrequentShapes(price=10**9)
    for side in range(1, 20 * REMEMBERED):
        frequent.earned((1, side, side, 3))
    assert len(frequent) == REMEMBERED


def test_the_plan_used_longest_ago_goes_first(session):
    shapes = [(1, 64, 64 + 32 * i, 3) for i in range(openvino.PLANS + 1)]
    for shape in [*shapes[:-1], shapes[0], shapes[-1]]:
        for _ in range(2):
            session.run({"image": np.zeros(shape, np.uint8)})
    assert shapes[0] in session.planned
    assert shapes[1] not in session.planned


def test_a_plan_that_differs_is_not_used(session, monkeypatch, canary):
    ask, answers = session._ask, []

    def other_bits(request, inputs):
        outputs = ask(request, inputs)
        answers.append(request)
        if request is not session._any_shape:
            outputs["peak"] = outputs["peak"] + 1
        return outputs

    monkeypatch.setattr(session, "_ask", other_bits)
    image = tile(canary, 64, 128)
    for _ in range(3):
        assert session.run({"image": image})["peak"] <= 1
    assert session.planned == ()
    assert len(set(map(id, answers))) > 1, "a plan was made and compared"


def test_a_shape_earns_its_plan_by_the_work_done_at_it():
    frequent = FrequentShapes(price=3 * 100)
    assert [frequent.earned((10, 10)) for _ in range(6)] == [False, False, True] * 2
    assert frequent.earned((30, 10))


def toy(path):
    """Sums of the rows of [N, 4], and N fingerprints."""
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["features"], ["probability"], axes=[1], keepdims=0)],
        "toy",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["N"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return ModelContract(
        "toy",
        (TensorSpec("features", "float32", ("N", 4)),),
        (TensorSpec("probability", "float32", ("N",)),),
        max_batch=1024,
    )


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_other_models_run_in_float32_as_one_batch(tmp_path, runtime):
    contract = toy(tmp_path / "model.onnx")
    opened = choice.Choice(runtime, "bf16").open(tmp_path / "model.onnx", contract, 1)
    features = np.array([[1, 2, 3, 4.0001], [257.5, 0, 0, 0]], np.float32)
    for rows in (1, 2):
        answer = opened.run({"features": features[:rows]})["probability"]
        np.testing.assert_allclose(answer, features[:rows].mean(axis=1), rtol=1e-6)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_damaged_file_is_named(tmp_path, runtime):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(ModelCorrupt, match=r"model\.onnx"):
        choice.Choice(runtime, "f32").open(path, FACE_DETECTOR, 1)


def test_an_unknown_runtime_is_refused(repository):
    with pytest.raises(InvalidInput, match="'tensorrt' is not one of auto, onnxruntime, openvino"):
        LocalBackend(repository, runtime="tensorrt")


@pytest.fixture
def without_openvino(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    for name in ("openvino", "quiet_openvino"):
        monkeypatch.delitem(sys.modules, f"serving.backends.runtimes.{name}")


@pytest.fixture
def with_bfloat16(monkeypatch):
    monkeypatch.setattr(choice, "processor_has_bfloat16", lambda: True)


@pytest.mark.usefixtures("without_openvino")
def test_a_missing_openvino_says_what_to_install():
    with pytest.raises(InvalidInput, match=r"pip install 'openvino>="):
        choice.choose_runtime("openvino")


@pytest.mark.usefixtures("without_openvino", "with_bfloat16")
def test_auto_does_without_openvino():
    assert choice.runtime_in_force("auto") == "onnxruntime f32"


FLAGS = {
    "flags\t\t: fpu avx512_bf16 avx512f": ("openvino bf16", "openvino bf16"),
    "flags\t\t: fpu amx_bf16": ("openvino bf16", "openvino bf16"),
    "flags\t\t: fpu avx512f avx512vl": ("onnxruntime f32", "openvino f32"),
    "Features\t: fp asimd": ("onnxruntime f32", "openvino f32"),
}


@pytest.mark.parametrize("line", FLAGS)
def test_the_default_follows_the_processor(tmp_path, monkeypatch, line):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\nprocessor\t: 1\n{line}\n")
    monkeypatch.setattr(choice, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(openvino, "bfloat16_supported", lambda: True)
    choice.processor_has_bfloat16.cache_clear()
    found = tuple(choice.runtime_in_force(runtime) for runtime in ("auto", "openvino"))
    choice.processor_has_bfloat16.cache_clear()
    assert found == FLAGS[line]


def test_openvino_tells_nobody_and_leaves_nothing_at_home(tmp_path):
    """Its package reports each import to Google Analytics, and keeps an identifier in ~/intel."""
    program = (
        "import sys, socket; socket.socket.connect = lambda *_: sys.exit('connects')\n"
        "from serving.backends.runtimes.openvino import bfloat16_supported as ask; ask()\n"
        "sys.exit(sorted(n for n, m in sys.modules.items() if 'openvino_telemetry' in n and m))"
    )
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.pop("CI", None)
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.stderr.strip() == "[]"
    assert list(tmp_path.iterdir()) == []


def test_without_cpuinfo_the_default_is_float32(tmp_path, monkeypatch):
    monkeypatch.setattr(choice, "_CPU_INFO", tmp_path / "none")
    choice.processor_has_bfloat16.cache_clear()
    assert choice.runtime_in_force("auto") == "onnxruntime f32"
    choice.processor_has_bfloat16.cache_clear()


def test_onnxruntime_gives_the_bytes_of_the_plain_model(repository, float32, canary):
    """Which are those of a Triton server: the model as it lies there, in float32."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    path = model_path(repository, "face_detector", 1)
    plain = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    image = {"image": tile(canary, 96, 160)}
    names = [output.name for output in plain.get_outputs()]
    assert same(
        dict(zip(names, plain.run(names, image), strict=True)),
        float32.infer("face_detector", image),
    )


@pytest.mark.parametrize(("model", "last"), [("face_detector", 4), ("plate_detector", 9)])
def test_the_last_convolutions_give_float32(repository, model, last):
    """What ``bfloat16._keep_last_results`` is for; another OpenVINO may fuse differently."""
    path = model_path(repository, model, 1)
    session = openvino.open_session(path, CONTRACTS[model], 1, "bf16")
    graph = session._any_shape.get_compiled_model().get_runtime_model()
    told = [node.get_rt_info() for node in graph.get_ops()]
    kinds = [
        info["outputPrecisions"].astype(str)
        for info in told
        if info["layerType"].astype(str) == "Convolution"
    ]
    assert kinds.count("f32") == last
    assert set(kinds) == {"f32", "bf16"}
