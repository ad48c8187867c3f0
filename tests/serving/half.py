"""What 16-bit floats do to a graph, worked out on the CPU: values are rounded as a GPU stores them.

TensorRT in FP16 mode multiplies halves and adds up in 32 bits, then stores halves. Here every
chosen float tensor and weight is rounded to half and back, and the arithmetic between is float32.
"""

from collections.abc import Callable

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime as ort


def in_half(model: onnx.ModelProto, chosen: Callable[[str], bool]) -> onnx.ModelProto:
    """A copy of ``model`` where the float outputs of nodes whose output name is ``chosen`` and the
    float weights of those nodes pass through half precision."""
    inferred = onnx.shape_inference.infer_shapes(model)
    floats = {
        value.name
        for value in (*inferred.graph.value_info, *inferred.graph.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    halved = onnx.ModelProto()
    halved.CopyFrom(model)
    outputs = {value.name for value in halved.graph.output}
    nodes, weights = [], set()
    for node in halved.graph.node:
        nodes.append(node)
        if not any(chosen(name) for name in node.output):
            continue
        weights.update(node.input)
        for index, name in enumerate(node.output):
            if name not in floats or node.op_type == "Constant":
                continue
            # A graph output keeps its name behind the two casts, inner tensors get theirs before.
            node.output[index] = f"{name}/full"
            half = onnx.helper.make_node(
                "Cast", [f"{name}/full"], [f"{name}/half"], to=onnx.TensorProto.FLOAT16
            )
            back = onnx.helper.make_node(
                "Cast", [f"{name}/half"], [name], to=onnx.TensorProto.FLOAT
            )
            nodes.extend([half, back])
    del halved.graph.node[:]
    halved.graph.node.extend(nodes)
    for item in halved.graph.initializer:
        if item.name in weights and item.data_type == onnx.TensorProto.FLOAT:
            array = onnx.numpy_helper.to_array(item).astype(np.float16).astype(np.float32)
            item.CopyFrom(onnx.numpy_helper.from_array(array, item.name))
    assert outputs == {value.name for value in halved.graph.output}
    return halved


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    """Runs ``model`` as written: no optimisation may take the casts away."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
