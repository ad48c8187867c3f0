"""Rewrites a float32 graph so that running it in bfloat16 costs little accuracy.

bfloat16 keeps 8 of float32's 24 significant bits. Two things lose most by that, and both are
avoided at no cost in speed:

- The smoothing and edge filters of depthwise convolutions: rounded to nearest, their taps no
  longer add up to what they did, and the brightness of the picture leaks into the result. Here
  they are rounded so that their sum stays.
- The last convolutions, which say where a box lies and how large it is: a runtime stores their
  results in bfloat16, which moves a box by up to 0.4 % of what the net predicts. Here their results
  and all that is computed from them stay float32.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

_WEIGHTED = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})

_NO_LIMIT = 1e6
"""Far above any value of a last convolution (they are log sizes, offsets and logits)."""


def prepare_bfloat16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of ``model`` that computes the same in float32 up to rounding, and is better in
    bfloat16."""
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    _balance_depthwise(prepared.graph)
    _keep_last_results(prepared.graph)
    return prepared


def balanced_bfloat16(taps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round each row of ``taps`` float32 [n, t] to bfloat16 so that the row's sum stays.

    Every value goes to one of its two neighbours in bfloat16. All start at the nearer; then, as
    long as it brings the row's sum closer to the exact one, the value whose other neighbour
    brings it closest changes to that.

    Returns:
        float32 [n, t], values that bfloat16 holds exactly.
    """
    nearest, other = _neighbours(taps)
    chosen = nearest.astype(np.float64)
    step = other.astype(np.float64) - chosen
    rows = np.arange(len(taps))
    for _ in range(taps.shape[1]):
        error = (chosen - taps).sum(axis=1)
        after = np.abs(error[:, None] + step)
        best = after.argmin(axis=1)
        better = rows[after[rows, best] < np.abs(error)]
        if not len(better):
            break
        chosen[better, best[better]] += step[better, best[better]]
        step[better, best[better]] = 0.0
    return chosen.astype(np.float32)


def _neighbours(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The nearer and the farther of the two bfloat16 values around each value; equal if exact."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    # Cutting the lower half off rounds towards zero; one step of the upper half is away from it.
    inner = (bits & np.uint32(0xFFFF0000)).view(np.float32)
    outer = ((bits & np.uint32(0xFFFF0000)) + np.uint32(0x10000)).view(np.float32)
    outer = np.where(inner == values, inner, outer)
    to_inner = np.abs(values - inner) <= np.abs(outer - values)
    return np.where(to_inner, inner, outer), np.where(to_inner, outer, inner)


def _balance_depthwise(graph: onnx.GraphProto) -> None:
    weights = {item.name: item for item in graph.initializer}
    for node in graph.node:
        if node.op_type != "Conv" or node.input[1] not in weights:
            continue
        item = weights[node.input[1]]
        values = numpy_helper.to_array(item)
        if values.ndim != 4 or values.shape[1] != 1 or values[0].size == 1:
            continue
        rounded = balanced_bfloat16(values.reshape(len(values), -1)).reshape(values.shape)
        item.CopyFrom(numpy_helper.from_array(rounded, item.name))


def _keep_last_results(graph: onnx.GraphProto) -> None:
    """Put a limit that never applies between each last convolution and its bias.

    OpenVINO computes all that follows the last convolutions in float32, and fuses a limit that
    follows a convolution into it, whose result is then float32 too; a bias alone it does not.
    """
    limits = [
        numpy_helper.from_array(np.array(value, np.float32), f"bfloat16/limit{sign}")
        for value, sign in ((-_NO_LIMIT, "-"), (_NO_LIMIT, "+"))
    ]
    shapes = {item.name: tuple(item.dims) for item in graph.initializer}
    last = _last_convolutions(graph)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes.append(node)
        if node.output[0] not in last:
            continue
        result, bias = node.output[0], node.input[2] if len(node.input) > 2 else ""
        del node.input[2:]
        node.output[0] = f"bfloat16/{result}/sum"
        limited = f"bfloat16/{result}/limited" if bias else result
        nodes.append(
            helper.make_node("Clip", [node.output[0], *(v.name for v in limits)], [limited])
        )
        if bias:
            shape = numpy_helper.from_array(
                np.array([1, shapes[bias][0], 1, 1]), f"bfloat16/{result}/shape"
            )
            graph.initializer.append(shape)
            column = f"bfloat16/{result}/bias"
            nodes.append(helper.make_node("Reshape", [bias, shape.name], [column]))
            nodes.append(helper.make_node("Add", [limited, column], [result]))
    if last:
        graph.initializer.extend(limits)
    del graph.node[:]
    graph.node.extend(nodes)


def _last_convolutions(graph: onnx.GraphProto) -> set[str]:
    """Results of the convolutions on which no other weighted operator depends."""
    weighted_later: set[str] = set()
    last: set[str] = set()
    for node in reversed(graph.node):
        later = not weighted_later.isdisjoint(node.output)
        if node.op_type == "Conv" and not later:
            last.add(node.output[0])
        if later or node.op_type in _WEIGHTED:
            weighted_later.update(node.input)
    return last
