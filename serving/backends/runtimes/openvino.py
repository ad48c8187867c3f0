"""Models behind OpenVINO: bfloat16 for the detectors where the processor has it."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from serving.backends.protocol import Outputs, Tensors
from serving.backends.runtimes.bfloat16 import prepare_bfloat16
from serving.backends.runtimes.quiet_openvino import openvino as ov
from serving.backends.runtimes.session import failure, row_of
from serving.backends.runtimes.shapes import FrequentShapes, Shape
from serving.contracts import DetectorContract, ModelContract
from serving.errors import ModelCorrupt

Precision = Literal["bf16", "f32"]

PLANS = 3
"""Plans for one shape only that a model may have at a time. The views of one camera's pictures
have three shapes: native tiles and two low-resolution passes."""

PLAN_PRICE = 200_000_000
"""Elements of the input that must have been seen at a shape before it gets a plan of its own: 47
tiles of 1312 x 1088. A plan costs about 0.25 s and saves some 4 ms for each million pixels."""

KEPT_PRIMITIVES = 1024
"""Kernels that the plan for all shapes keeps, about ten shapes' worth. OpenVINO's own limit, 5000,
lets a process grow by hundreds of megabytes over pictures of many shapes."""

log = logging.getLogger(__name__)


class OpenVinoSession:
    """A model opened by ``open_session``; see ``Session``.

    Pictures of a batch are run one by one: a fixed batch dimension lets OpenVINO fuse more, and an
    answer does not depend on who shares the batch. One plan serves all shapes. A shape that keeps
    coming gets one of its own, 5 to 15 % faster, if on its first picture it gives the very same
    bytes.

    Args:
        model: the graph; of a detector, with a batch dimension of 1.
        contract: what it keeps.
        config: OpenVINO's properties.
    """

    def __init__(self, model: ov.Model, contract: ModelContract, config: dict[str, Any]) -> None:
        self._model = model
        self._contract = contract
        self._config = config
        self._one_by_one = isinstance(contract, DetectorContract)
        self._frequent = FrequentShapes(PLAN_PRICE)
        self._plans: OrderedDict[Shape, ov.InferRequest] = OrderedDict()
        self._lock = threading.Lock()
        self._any_shape = _compile(model, config)

    @property
    def planned(self) -> tuple[Shape, ...]:
        """Shapes that have a plan of their own, at most ``PLANS``; the latest used is last."""
        return tuple(self._plans)

    def run(self, inputs: Tensors) -> Outputs:
        """See ``Session.run``."""
        with self._lock:
            number = len(inputs[self._contract.inputs[0].name])
            if not self._one_by_one:
                try:
                    return self._ask(self._any_shape, inputs)
                except Exception as error:
                    if number == 1:
                        raise failure(self._contract, "OpenVINO", error, 0) from error
            singles = []
            for row in range(number):
                try:
                    singles.append(self._single(row_of(inputs, row)))
                except Exception as error:
                    raise failure(self._contract, "OpenVINO", error, row) from error
        if len(singles) == 1:
            return singles[0]
        return {name: np.concatenate([one[name] for one in singles]) for name in singles[0]}

    def _single(self, inputs: Tensors) -> Outputs:
        if not self._one_by_one:
            return self._ask(self._any_shape, inputs)
        shape = inputs[self._contract.inputs[0].name].shape
        plan = self._plans.get(shape)
        if plan is not None:
            self._plans.move_to_end(shape)
            return self._ask(plan, inputs)
        outputs = self._ask(self._any_shape, inputs)
        if self._frequent.earned(shape):
            self._plan(shape, inputs, outputs)
        return outputs

    def _plan(self, shape: Shape, inputs: Tensors, expected: Outputs) -> None:
        model = self._model.clone()
        try:
            model.reshape(list(shape))
            plan = _compile(model, self._config)
            outputs = self._ask(plan, inputs)
        except RuntimeError as error:
            log.warning("%s: OpenVINO has no plan for %s: %s", self._contract.name, shape, error)
            return
        if any(outputs[name].tobytes() != expected[name].tobytes() for name in expected):
            log.warning(
                "%s: OpenVINO's plan for %s differs from its plan for all shapes; not used",
                self._contract.name,
                shape,
            )
            return
        if len(self._plans) == PLANS:
            self._plans.popitem(last=False)
        self._plans[shape] = plan

    def _ask(self, request: ov.InferRequest, inputs: Tensors) -> Outputs:
        tensors = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        request.infer(tensors, share_inputs=True)
        # The request's own tensors are overwritten by its next run.
        return {
            spec.name: np.array(request.get_tensor(spec.name).data)
            for spec in self._contract.outputs
        }


def open_session(
    path: Path, contract: ModelContract, threads: int, precision: Precision
) -> OpenVinoSession:
    """Open ``path`` (``model.onnx``) on ``threads`` threads.

    Args:
        precision: of the detectors' convolutions; what follows them, and every other model, is
            always float32.

    Raises:
        ModelCorrupt: it cannot be opened.
    """
    detects = isinstance(contract, DetectorContract)
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": threads,
        # Actors of one machine would all be pinned to its first cores.
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": precision if detects else "f32",
        "CPU_RUNTIME_CACHE_CAPACITY": KEPT_PRIMITIVES,
    }
    try:
        graph = onnx.load(path)
        if detects and precision == "bf16":
            graph = prepare_bfloat16(graph)
        model = _core().read_model(graph.SerializeToString())
        if detects:
            model.reshape({spec.name: _one_of(spec.shape) for spec in contract.inputs})
        return OpenVinoSession(model, contract, config)
    except Exception as error:
        raise ModelCorrupt(
            f"OpenVINO cannot open the model ({error})",
            where=str(path),
            fix="Delete the folder and run `streetblur models fetch`",
        ) from error


def bfloat16_supported() -> bool:
    """Whether OpenVINO can compute in bfloat16 here; it may also emulate it, slowly."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _one_of(shape: tuple[int | str, ...]) -> ov.PartialShape:
    return ov.PartialShape([1, *(d if isinstance(d, int) else -1 for d in shape[1:])])


def _compile(model: ov.Model, config: dict[str, Any]) -> ov.InferRequest:
    return _core().compile_model(model, "CPU", config).create_infer_request()


@lru_cache(maxsize=1)
def _core() -> ov.Core:
    return ov.Core()
