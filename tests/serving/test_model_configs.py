"""Every configuration of every model keeps the contract, and so does every graph beside it."""

from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from evaluation.benchmarks.gpu_memory import PICTURE, tile_shapes
from serving.contracts import CONTRACTS, DETECTORS, MULTIPLE
from serving.graphs import breaches
from serving.registry import model_path, present_versions
from serving.tiling import TILE
from tests.serving.model_configs import (
    ACCELERATOR_KEYS,
    CPU_PARAMETERS,
    faults,
    files,
    parse,
    profile,
    tensorrt,
    warm_ups,
)

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
FILES = [(name, path) for name in CONTRACTS for path in files(REPOSITORY, name)]
NAMES = [f"{name}/{path.name}" for name, path in FILES]
DETECTOR_NAMES = [contract.name for contract in DETECTORS]
MERGED = [4, 8, 16]


def production(name):
    return parse((REPOSITORY / name / "config.pbtxt").read_text())


def cpu(name):
    return parse((REPOSITORY / name / "configs" / "cpu.pbtxt").read_text())


@pytest.mark.parametrize(("name", "path"), FILES, ids=NAMES)
def test_configuration_keeps_the_contract(name, path):
    assert faults(parse(path.read_text()), CONTRACTS[name]) == []


def test_every_folder_has_a_contract():
    assert {path.parent.name for path in REPOSITORY.glob("*/config.pbtxt")} == CONTRACTS.keys()


@pytest.mark.parametrize("name", CONTRACTS)
def test_gpu_and_cpu_take_and_give_the_same(name):
    one, other = production(name), cpu(name)
    assert list(one.input) == list(other.input)
    assert list(one.output) == list(other.output)


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_graph_keeps_the_contract(repository, name):
    versions = present_versions(repository, name)
    assert versions
    for version in versions:
        assert breaches(onnx.load(model_path(repository, name, version)), CONTRACTS[name]) == []


MUTATIONS = [
    ("name", lambda c: setattr(c, "name", "faces"), "name is faces"),
    ("backend", lambda c: setattr(c, "backend", "tensorrt"), "backend is tensorrt"),
    ("batch", lambda c: setattr(c, "max_batch_size", 8), "max_batch_size is 8, not 16"),
    ("versions", lambda c: c.version_policy.latest.SetInParent(), "not all versions are served"),
    ("lost input", lambda c: c.ClearField("input"), "input image is missing"),
    ("new output", lambda c: c.output.add(name="more"), "unknown output more"),
    ("twice", lambda c: c.output.add().CopyFrom(c.output[0]), "an output is there twice"),
    (
        "dtype",
        lambda c: setattr(c.input[0], "data_type", model_config_pb2.TYPE_FP32),
        "input image is no uint8",
    ),
    ("dims", lambda c: c.output[0].dims.append(1), "output boxes has dims [1024, 5, 1]"),
    ("planes", lambda c: c.input[0].dims.reverse(), "input image has dims [3, -1, -1]"),
    ("no reshape", lambda c: c.output[2].ClearField("reshape"), "output count has another reshape"),
    (
        "reshape",
        lambda c: c.output[0].reshape.shape.extend([5, 1024]),
        "output boxes has another reshape",
    ),
]


@pytest.mark.parametrize(
    ("change", "fault"), [m[1:] for m in MUTATIONS], ids=[m[0] for m in MUTATIONS]
)
def test_a_changed_configuration_is_caught(change, fault):
    config = production("face_detector")
    change(config)
    assert faults(config, CONTRACTS["face_detector"]) == [fault]


def test_a_misspelt_field_is_caught():
    with pytest.raises(text_format.ParseError, match="max_batch"):
        parse('name: "face_detector" max_batch: 16')


@pytest.mark.parametrize(("name", "path"), FILES, ids=NAMES)
def test_waiting_requests_are_bounded(name, path):
    policy = parse(path.read_text()).dynamic_batching.default_queue_policy
    assert policy.max_queue_size > 0
    assert policy.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT
    # The client gives up after 30 s by default; a request dropped before would look like a
    # server that died.
    assert policy.default_timeout_microseconds > 60e6
    assert not policy.allow_timeout_override


@pytest.mark.parametrize("name", CONTRACTS)
def test_cpu_instances_keep_to_one_thread_and_no_memory(name):
    config = cpu(name)
    assert {group.kind for group in config.instance_group} == {
        model_config_pb2.ModelInstanceGroup.KIND_CPU
    }
    assert not config.HasField("optimization")
    values = {key: value.string_value for key, value in config.parameters.items()}
    assert values.keys() <= CPU_PARAMETERS
    assert values["intra_op_thread_count"] == "1"


@pytest.mark.parametrize("name", DETECTOR_NAMES)
def test_gpu_instances_use_tensorrt_with_known_parameters(name):
    config = production(name)
    assert {group.kind for group in config.instance_group} == {
        model_config_pb2.ModelInstanceGroup.KIND_GPU
    }
    parameters = tensorrt(config)
    assert parameters.keys() == ACCELERATOR_KEYS
    assert parameters["precision_mode"] == "FP16"
    assert parameters["trt_engine_cache_path"] == f"/var/cache/streetblur/{name}"
    assert list(config.dynamic_batching.preferred_batch_size) == MERGED


def optimised(repository, name, folder):
    """The graph as ONNX Runtime divides it among providers: after its basic optimisations."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folder / "basic.onnx")
    options.log_severity_level = 3
    path = model_path(repository, name, max(present_versions(repository, name)))
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return onnx.shape_inference.infer_shapes(onnx.load(options.optimized_model_filepath)).graph


def bytes_and_rest(graph):
    """Nodes that compute with uint8, which TensorRT does not, and the others."""
    values = (*graph.input, *graph.value_info, *graph.output)
    uint8 = {v.name for v in values if v.type.tensor_type.elem_type == onnx.TensorProto.UINT8} | {
        i.name for i in graph.initializer if i.data_type == onnx.TensorProto.UINT8
    }
    nodes = [
        node
        for node in graph.node
        if node.op_type != "Cast" and uint8.intersection([*node.input, *node.output])
    ]
    return nodes, [node for node in graph.node if node not in nodes]


@pytest.mark.parametrize("name", DETECTOR_NAMES)
def test_profile_names_what_enters_the_float_part(repository, name, tmp_path):
    outside, inside = bytes_and_rest(optimised(repository, name, tmp_path))
    made = {output for node in outside for output in node.output}
    entering = {tensor for node in inside for tensor in node.input if tensor in made}
    # The batch of the fingerprint goes into a single node between two that compute with uint8.
    assert profile(tensorrt(production(name))["trt_profile_min_shapes"]).keys() == (
        entering - {"fingerprint/batch"}
    )


@pytest.mark.parametrize("name", DETECTOR_NAMES)
def test_only_the_net_is_large_enough_for_an_engine(repository, name, tmp_path):
    _, inside = bytes_and_rest(optimised(repository, name, tmp_path))
    net = [n for n in inside if any(output.startswith("net-") for output in n.output)]
    least = int(tensorrt(production(name))["trt_min_subgraph_size"])
    assert len(inside) - len(net) < least <= len(net)


@pytest.mark.parametrize("name", DETECTOR_NAMES)
def test_profile_holds_every_tensor_that_tiling_makes(name):
    parameters = tensorrt(production(name))
    (height, width), _ = max(tile_shapes(*PICTURE).items(), key=lambda item: item[1])
    wanted = {
        "min": (1, MULTIPLE, MULTIPLE),
        "opt": (8, height, width),
        "max": (CONTRACTS[name].max_batch, TILE, TILE),
    }
    for which, (batch, high, wide) in wanted.items():
        for tensor, shape in profile(parameters[f"trt_profile_{which}_shapes"]).items():
            assert shape == ((high, wide) if tensor == "size" else (batch, 3, high, wide))


@pytest.mark.parametrize("name", DETECTOR_NAMES)
def test_warm_up_runs_what_tiling_makes_of_a_picture_and_the_extremes(name):
    config = production(name)
    expected = {
        (batch, height, width, 3)
        for height, width in tile_shapes(*PICTURE)
        for batch in (1, *MERGED)
    }
    expected |= {(1, MULTIPLE, MULTIPLE, 3), (CONTRACTS[name].max_batch, TILE, TILE, 3)}
    assert warm_ups(config, "image") == expected
    first = config.model_warmup[0]
    assert (first.batch_size, *first.inputs["image"].dims) == max(expected)


def test_a_second_profile_is_caught():
    with pytest.raises(AssertionError, match="profile 0"):
        profile("planar:1x3x32x32,planar:8x3x1088x1312")
