"""Models behind ONNX Runtime, in float32: what a Triton server computes too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

from serving.backends.protocol import Outputs, Tensors
from serving.backends.runtimes.session import failure, row_of
from serving.contracts import ModelContract
from serving.errors import ModelCorrupt


class OnnxRuntimeSession:
    """A model opened by ``open_session``; see ``Session``."""

    def __init__(self, session: ort.InferenceSession, contract: ModelContract) -> None:
        self._session = session
        self._contract = contract
        self._names = [spec.name for spec in contract.outputs]

    def run(self, inputs: Tensors) -> Outputs:
        """See ``Session.run``."""
        try:
            return self._ask(inputs)
        except Exception as error:
            number = len(next(iter(inputs.values())))
            if number == 1:
                raise failure(self._contract, "ONNX Runtime", error, 0) from error
        singles = []
        for row in range(number):
            try:
                singles.append(self._ask(row_of(inputs, row)))
            except Exception as error:
                raise failure(self._contract, "ONNX Runtime", error, row) from error
        return {name: np.concatenate([one[name] for one in singles]) for name in self._names}

    def _ask(self, inputs: Tensors) -> Outputs:
        values = self._session.run(self._names, dict(inputs))
        return dict(zip(self._names, values, strict=True))


def open_session(path: Path, contract: ModelContract, threads: int) -> OnnxRuntimeSession:
    """Open ``path`` (``model.onnx``) on ``threads`` threads.

    Raises:
        ModelCorrupt: it cannot be opened.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Both caches are keyed by shape and never shrink: with the many shapes of street
    # photographs memory would grow without bound.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelCorrupt(
            f"ONNX Runtime cannot open the model ({error})",
            where=str(path),
            fix="Delete the folder and run `streetblur models fetch`",
        ) from error
    return OnnxRuntimeSession(session, contract)
