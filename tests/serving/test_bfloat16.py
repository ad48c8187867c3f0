"""Graphs prepared for bfloat16."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper

from serving.backends.runtimes.bfloat16 import balanced_bfloat16, prepare_bfloat16
from serving.contracts import DETECTORS
from serving.registry import model_path

FINITE = st.floats(-100, 100, width=32, allow_subnormal=False)


def is_bfloat16(values):
    return (np.ascontiguousarray(values).view(np.uint32) & 0xFFFF == 0).all()


@given(arrays.arrays(np.float32, (3, 9), elements=FINITE))
def test_rounding_keeps_the_sum_better_than_rounding_to_nearest(taps):
    rounded = balanced_bfloat16(taps)
    bits = taps.view(np.uint32).astype(np.uint64)
    nearest = ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    exact = taps.astype(np.float64).sum(axis=1)
    assert is_bfloat16(rounded)
    off = np.abs(rounded.astype(np.float64).sum(axis=1) - exact)
    assert (off <= np.abs(nearest.astype(np.float64).sum(axis=1) - exact) + 1e-12).all()


@given(arrays.arrays(np.float32, (2, 9), elements=FINITE))
def test_every_value_moves_by_less_than_one_step(taps):
    rounded = balanced_bfloat16(taps)
    assert (np.abs(rounded - taps) < np.maximum(np.abs(taps), 1e-30) * 2**-7).all()


def test_values_that_fit_stay():
    taps = np.array([[1.0, -2.5, 0.0, 0.15625]], np.float32)
    assert (balanced_bfloat16(taps) == taps).all()


def test_an_edge_filter_stays_blind_to_brightness():
    taps = np.array([[0.3003, -0.1001, -0.2002, 0.7005, -0.3503, -0.3502, 0.1, 0.2, -0.3]], "f")
    nearest = np.abs(balanced_bfloat16(taps).sum() - taps.sum(dtype=np.float64))
    assert nearest < 2**-12


@pytest.mark.parametrize("model", [contract.name for contract in DETECTORS])
def test_only_depthwise_weights_change(repository, model):
    before = onnx.load(model_path(repository, model, 1))
    after = prepare_bfloat16(before)
    onnx.checker.check_model(after)
    old = {item.name: item for item in before.graph.initializer}
    changed = {
        item.name
        for item in after.graph.initializer
        if item.name in old and item.SerializeToString() != old[item.name].SerializeToString()
    }
    weights = {n.input[1]: n for n in before.graph.node if n.op_type == "Conv"}
    assert changed
    assert all(tuple(old[name].dims[1:]) == (1, 3, 3) for name in changed)
    assert changed <= weights.keys()


def run(model, image):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": image})[0]


def test_the_limit_before_the_last_bias_changes_nothing():
    rng = np.random.default_rng(0)
    arrays_ = {
        "w1": rng.normal(size=(4, 3, 3, 3)).astype("f"),
        "w2": rng.normal(size=(2, 4, 1, 1)).astype("f"),
        "b2": rng.normal(size=2).astype("f"),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Conv", ["b", "w2", "b2"], ["c"]),
            helper.make_node("Exp", ["c"], ["y"]),
        ],
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "H", "W"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, "H", "W"])],
        [numpy_helper.from_array(value, name) for name, value in arrays_.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    prepared = prepare_bfloat16(model)
    assert [n.op_type for n in prepared.graph.node] == [
        "Conv",
        "Relu",
        "Conv",
        "Clip",
        "Reshape",
        "Add",
        "Exp",
    ]
    image = rng.normal(size=(1, 3, 8, 8)).astype("f")
    np.testing.assert_allclose(run(prepared, image), run(model, image), rtol=1e-5)
