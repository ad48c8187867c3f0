"""Stands in for Triton's ONNX Runtime backend, which the server from PyPI lacks.

Runs inside the server, in its own environment: nothing of this project can be imported here. Like
the real backend it refuses a configuration that does not fit the graph, or a model that loads here
would fail in production. Requests are run one by one, so that an answer does not depend on what
else was asked at that moment.
"""

from __future__ import annotations

import json
import os
from typing import Any

import onnxruntime as ort
import triton_python_backend_utils as pb_utils

# Names in a model's configuration, and in ONNX Runtime.
_TYPES = {
    "TYPE_UINT8": "tensor(uint8)",
    "TYPE_INT32": "tensor(int32)",
    "TYPE_INT64": "tensor(int64)",
    "TYPE_FP16": "tensor(float16)",
    "TYPE_FP32": "tensor(float)",
}


class Misconfigured(Exception):
    """The configuration does not fit the graph."""


class TritonPythonModel:
    """One instance of one version of a model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the version's ``model.onnx`` and compare it with the configuration.

        Raises:
            Misconfigured: the real backend would refuse the model, too.
        """
        config = json.loads(args["model_config"])
        folder = os.path.join(args["model_repository"], args["model_version"])
        path = os.path.join(folder, config.get("default_model_filename") or "model.onnx")
        options = ort.SessionOptions()
        options.intra_op_num_threads = _number(config, "intra_op_thread_count", 1)
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # as the embedded backend: both caches are keyed by shape and never shrink
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        _compare_all(config, self._session)
        self._outputs = [entry["name"] for entry in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request by itself; one that fails does not take the others along."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        feed = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        wanted = [name for name in self._outputs if name in request.requested_output_names()]
        try:
            values = self._session.run(wanted, feed)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"ONNX Runtime: {error}"))
        tensors = [pb_utils.Tensor(*pair) for pair in zip(wanted, values, strict=True)]
        return pb_utils.InferenceResponse(output_tensors=tensors)


def _number(config: dict[str, Any], name: str, default: int) -> int:
    value = config.get("parameters", {}).get(name, {}).get("string_value")
    return default if value is None else int(value)


def _compare_all(config: dict[str, Any], session: Any) -> None:
    """Compare inputs and outputs; all inputs of the graph must be there, not all outputs."""
    batched = config["max_batch_size"] > 0
    inputs = {value.name: value for value in session.get_inputs()}
    outputs = {value.name: value for value in session.get_outputs()}
    if len(config["input"]) != len(inputs):
        raise Misconfigured(f"{len(config['input'])} inputs, but {len(inputs)} in the graph")
    for kind, values in (("input", inputs), ("output", outputs)):
        for entry in config[kind]:
            if entry["name"] not in values:
                raise Misconfigured(
                    f"{kind} {entry['name']} is not in the graph, which has {sorted(values)}"
                )
            _compare(entry, values[entry["name"]], batched, exact=kind == "output")


def _compare(entry: dict[str, Any], value: Any, batched: bool, *, exact: bool) -> None:
    """The rules of the real backend: types are equal; dimensions too, where -1 fits -1.

    For an input, -1 in the graph also fits a number.
    """
    name = entry["name"]
    if _TYPES.get(entry["data_type"]) != value.type:
        raise Misconfigured(f"{name} is {entry['data_type']}, but {value.type} in the graph")
    stated = entry["reshape"].get("shape", []) if "reshape" in entry else entry["dims"]
    dims = [int(n) for n in stated]
    graph = [n if isinstance(n, int) else -1 for n in value.shape]
    if batched:
        if not graph or graph[0] != -1:
            raise Misconfigured(f"{name} has no batch dimension in the graph: {value.shape}")
        graph = graph[1:]
    fits = len(dims) == len(graph) and all(
        one == other or (not exact and other == -1) for one, other in zip(dims, graph, strict=True)
    )
    if not fits:
        raise Misconfigured(f"{name} has dims {dims}, but {graph} in the graph")
