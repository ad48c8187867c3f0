"""ONNX graph surgery: a detector as published becomes a graph that keeps our contract."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.compose
import onnx.helper
import onnx.numpy_helper
import onnx.parser
import onnx.utils
import onnx.version_converter

from serving.contracts import FINGERPRINT, FINGERPRINT_BYTES, ModelContract, TensorSpec

OPSET = 17
"""Has all operators the decoding needs, and stays readable for servers older than our client."""

IR_VERSION = 8

HEADER = f'<ir_version: {IR_VERSION}, opset_import: ["" : {OPSET}]>\n'

SELECT_BOXES = """
    zero = Constant<value_float = 0.0>()
    floor = Constant<value_float = {floor}>()
    k = Constant<value_ints = [{k}]>()
    one = Constant<value_ints = [1]>()
    batch = Shape<start = 0, end = 1>(ranked)
    fill_shape = Concat<axis = 0>(batch, k)
    fill = Expand(zero, fill_shape)
    padded = Concat<axis = 1>(ranked, fill)
    top, position = TopK<axis = 1, largest = 1, sorted = 1>(padded, k)
    cells = Shape<start = 1, end = 2>(ranked)
    last = Sub(cells, one)
    index = Min(position, last)
    minus_one = Constant<value_ints = [-1]>()
    pick = Unsqueeze(index, minus_one)
"""
"""Ranks ``ranked`` [N, P] and names the K best: ``top`` [N, K], ``index`` [N, K], ``pick``.
K zeros are appended first, because TopK refuses a K above P (small inputs have few cells)."""

FINISH_BOXES = """
    kept = GreaterOrEqual(top, floor)
    score = Unsqueeze(top, minus_one)
    rows = Concat<axis = 2>(x1, y1, x2, y2, score)
    kept_row = Unsqueeze(kept, minus_one)
    boxes = Where(kept_row, rows, zero)
    points = Where(kept_row, spots, zero)
    kept_int = Cast<to = 6>(kept)
    count = ReduceSum<keepdims = 0>(kept_int, one)
    peak = ReduceMax<axes = [1], keepdims = 0>(raw)
"""
"""Turns corners [N, K, 1], ``spots`` [N, K, 2P] and ``top`` into the contract's outputs; ``raw``
[N, P] are the scores before any suppression."""


def detach_weights(model: onnx.ModelProto) -> None:
    """Remove initialisers from the graph's inputs.

    A weight that is listed as an input may be overridden at run time, which forbids constant
    folding and the fusion of batch normalisation: 2.2 times slower for CenterFace.
    """
    weights = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)


def set_dims(model: onnx.ModelProto, dims: Mapping[str, Sequence[int | str]]) -> None:
    """Rewrite the shapes of the named inputs and outputs; a string makes a dynamic dimension."""
    for value in (*model.graph.input, *model.graph.output):
        if value.name not in dims:
            continue
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        for dim in dims[value.name]:
            entry = shape.dim.add()
            if isinstance(dim, int):
                entry.dim_value = dim
            else:
                entry.dim_param = dim


def keep_outputs(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Drop every other output and the nodes and weights that only fed those."""
    outputs = {item.name: item for item in model.graph.output}
    del model.graph.output[:]
    model.graph.output.extend(outputs[name] for name in names)
    needed = set(names)
    nodes = []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    weights = [item for item in model.graph.initializer if item.name in needed]
    del model.graph.initializer[:]
    model.graph.initializer.extend(weights)


def upgrade(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same net in opset 17 and without stale intermediate shapes."""
    upgraded = onnx.version_converter.convert_version(model, OPSET)
    upgraded.ir_version = IR_VERSION
    del upgraded.graph.value_info[:]
    return upgraded


def wrap(
    net: onnx.ModelProto,
    contract: ModelContract,
    before: str,
    after: str,
    *,
    feed: Sequence[tuple[str, str]],
    drain: Sequence[tuple[str, str]],
    pass_image: bool = False,
) -> onnx.ModelProto:
    """``before`` -> ``net`` -> ``after`` as one checked model that keeps ``contract``.

    The names of the net's nodes and tensors begin with a hash of it: ONNX Runtime finds a cached
    TensorRT engine by such names alone, and would run the weights of another version.

    Args:
        net: the published network, upgraded.
        contract: what the result must look like.
        before: graph in ONNX text form from ``image`` to the net's input.
        after: graph in ONNX text form from the net's outputs to the contract's outputs.
        feed: pairs (output of ``before``, input of ``net``).
        drain: pairs (output of ``net`` or of ``before``, input of ``after``).
        pass_image: whether ``after`` also reads an output of ``before``.
    """
    head = onnx.parser.parse_model(HEADER + before)
    tail = onnx.parser.parse_model(HEADER + after)
    name = f"net-{hashlib.sha256(net.SerializeToString(deterministic=True)).hexdigest()[:12]}"
    prefixed = onnx.compose.add_prefix(net, f"{name}/")
    into = [(source, f"{name}/{target}") for source, target in feed]
    kept = None
    if pass_image:
        kept = [f"{name}/{o.name}" for o in net.graph.output]
        kept += [o.name for o in head.graph.output if o.name not in {s for s, _ in feed}]
    model = onnx.compose.merge_models(head, prefixed, io_map=into, outputs=kept)
    known = {o.name for o in model.graph.output}
    pairs = [(f"{name}/{s}" if f"{name}/{s}" in known else s, t) for s, t in drain]
    model = onnx.compose.merge_models(model, tail, io_map=pairs)
    model.ir_version = IR_VERSION
    model.graph.name = contract.name
    model.producer_name = "streetblur"
    del model.graph.value_info[:]
    return stamp(model, contract)


def stamp(model: onnx.ModelProto, contract: ModelContract) -> onnx.ModelProto:
    """Give a graph its declared shapes and the output ``fingerprint``; the graph is checked.

    The fingerprint is a constant, the first bytes of the SHA-256 of the graph before it was added:
    whoever asks a server for an answer can tell from it which model gave it.

    Args:
        model: has all inputs and outputs of ``contract`` but the fingerprint.
        contract: what the result must look like.
    """
    specs = [spec for spec in (*contract.inputs, *contract.outputs) if spec != FINGERPRINT]
    dims = {spec.name: spec.shape for spec in specs}
    set_dims(model, dims)
    digest = hashlib.sha256(model.SerializeToString(deterministic=True)).digest()
    graph = model.graph
    value = onnx.numpy_helper.from_array(
        np.frombuffer(digest[:FINGERPRINT_BYTES], np.uint8)[None], "fingerprint/value"
    )
    length = onnx.numpy_helper.from_array(np.array([FINGERPRINT_BYTES]), "fingerprint/length")
    graph.initializer.extend([value, length])
    batch, shape = "fingerprint/batch", "fingerprint/shape"
    graph.node.extend(
        [
            onnx.helper.make_node("Shape", [contract.inputs[0].name], [batch], start=0, end=1),
            onnx.helper.make_node("Concat", [batch, length.name], [shape], axis=0),
            onnx.helper.make_node("Expand", [value.name, shape], [FINGERPRINT.name]),
        ]
    )
    graph.output.append(
        onnx.helper.make_tensor_value_info(
            FINGERPRINT.name, onnx.TensorProto.UINT8, FINGERPRINT.shape
        )
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def fingerprint_of(model: onnx.ModelProto) -> str | None:
    """The fingerprint that ``stamp`` put in, as 16 hex digits; None if there is none."""
    for item in model.graph.initializer:
        if item.name == "fingerprint/value":
            return bytes(onnx.numpy_helper.to_array(item).tobytes()).hex()
    return None


def breaches(model: onnx.ModelProto, contract: ModelContract) -> list[str]:
    """Where the graph's interface differs from ``contract``; an empty list means nowhere."""
    found: list[str] = []
    for kind, values, specs in (
        ("input", model.graph.input, contract.inputs),
        ("output", model.graph.output, contract.outputs),
    ):
        present = {value.name: _spec(value) for value in values}
        for spec in specs:
            if present.pop(spec.name, None) != spec:
                found.append(f"{kind} {spec.name} is not {spec.dtype} {list(spec.shape)}")
        found.extend(f"unexpected {kind} {name}" for name in present)
    return found


def _spec(value: Any) -> TensorSpec:
    tensor = value.type.tensor_type
    names: dict[int, Any] = {
        onnx.TensorProto.UINT8: "uint8",
        onnx.TensorProto.INT32: "int32",
        onnx.TensorProto.FLOAT: "float32",
    }
    shape = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param for d in tensor.shape.dim)
    return TensorSpec(value.name, names.get(tensor.elem_type, "other"), shape)
