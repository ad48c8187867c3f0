"""How much GPU memory a detector's tensors take by input shape: worked out from its graph.

    python -m evaluation.benchmarks.gpu_memory

Needs no GPU. Prints a Markdown table: megabytes of all tensors alive at once at the worst point of
the graph in its written order (what an executor that reuses memory needs), for float32 and for
halves; weights are in its heading. TensorRT fuses layers and needs less, its tactics' workspace
comes on top.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import onnx
import onnx.shape_inference

from serving.contracts import DETECTORS
from serving.graphs import set_dims
from serving.registry import find_repository, model_path, present_versions
from serving.tiling import TILE, plan_passes, plan_tiles

PICTURE = (2448, 2048)
"""Width and height of the 5-megapixel picture that the table is about."""

_BYTES = {onnx.TensorProto.UINT8: 1, onnx.TensorProto.BOOL: 1, onnx.TensorProto.INT64: 8}


def tile_shapes(width: int, height: int) -> dict[tuple[int, int], int]:
    """How often each tensor size (height, width) is asked for in one picture of this size."""
    shapes: dict[tuple[int, int], int] = {}
    for scale in plan_passes(width, height):
        for tile in plan_tiles(scale.width, scale.height):
            key = (tile.padded_height, tile.padded_width)
            shapes[key] = shapes.get(key, 0) + 1
    return shapes


def live_bytes(model: onnx.ModelProto, batch: int, height: int, width: int, float_size: int) -> int:
    """Most bytes of tensors alive at once for an input uint8 [batch, height, width, 3].

    Args:
        model: a detector.
        batch, height, width: of its input.
        float_size: bytes of a float, 4 or 2.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    set_dims(fixed, {"image": (batch, height, width, 3)})
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph
    sizes: dict[str, int] = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        item = _BYTES.get(tensor.elem_type, float_size)
        # Dimensions nobody could infer belong to small index tensors.
        sizes[value.name] = item * math.prod(d.dim_value or 1 for d in tensor.shape.dim)
    last = {name: index for index, node in enumerate(graph.node) for name in node.input}
    for output in graph.output:
        last[output.name] = len(graph.node)
    alive = {value.name for value in graph.input}
    most = 0
    for index, node in enumerate(graph.node):
        alive.update(name for name in node.output if name)
        most = max(most, sum(sizes.get(name, 0) for name in alive))
        alive = {name for name in alive if last.get(name, -1) > index}
    return most


def weight_bytes(model: onnx.ModelProto) -> int:
    """Bytes of the graph's weights as they are in the file."""
    return sum(len(item.raw_data) for item in model.graph.initializer)


def table(repository: Path, batches: tuple[int, ...]) -> str:
    """The Markdown table of all detectors for every tensor size of ``PICTURE`` and the largest."""
    sizes = [*tile_shapes(*PICTURE), (TILE, TILE)]
    lines = []
    for contract in DETECTORS:
        version = max(present_versions(repository, contract.name))
        model = onnx.load(model_path(repository, contract.name, version))
        megabytes = weight_bytes(model) / 1e6
        lines.append(f"| {contract.name} {version}, weights {megabytes:.1f} MB | float32 | half |")
        lines.append("|---|---|---|")
        for height, width in sizes:
            for batch in batches:
                full, half = (live_bytes(model, batch, height, width, n) / 1e6 for n in (4, 2))
                lines.append(f"| {batch} x {height} x {width} | {full:.0f} | {half:.0f} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8, 16])
    print(table(find_repository(), tuple(parser.parse_args().batches)))


if __name__ == "__main__":
    main()
