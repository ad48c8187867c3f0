"""The figures of docs/serving.md: memory of a graph's tensors, worked out from its shapes."""

import onnx.parser
import pytest

from evaluation.benchmarks.gpu_memory import live_bytes, tile_shapes

GRAPH = """
<ir_version: 8, opset_import: ["" : 17]>
g (uint8[N,H,W,3] image) => (float[N,H,W,3] out) {
    first = Cast<to = 1>(image)
    second = Relu(first)
    third = Relu(second)
    out = Add(third, first)
}
"""
"""At worst three float tensors are alive: ``third``, ``first`` and ``second`` or ``out``."""


@pytest.mark.parametrize(("float_size", "batch"), [(4, 1), (2, 1), (4, 5)])
def test_live_tensors_are_counted_and_dead_ones_are_not(float_size, batch):
    model = onnx.parser.parse_model(GRAPH)
    pixels = batch * 64 * 32 * 3
    assert live_bytes(model, batch, 64, 32, float_size) == 3 * pixels * float_size


def test_the_model_itself_stays_dynamic():
    model = onnx.parser.parse_model(GRAPH)
    before = model.SerializeToString()
    live_bytes(model, 1, 64, 32, 4)
    assert model.SerializeToString() == before


def test_a_picture_of_five_megapixels_asks_for_six_tensors():
    assert tile_shapes(2448, 2048) == {(1088, 1312): 4, (416, 480): 1, (1088, 1280): 1}
