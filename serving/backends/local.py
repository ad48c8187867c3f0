"""The embedded backend: ONNX Runtime in this process, from the same model repository."""

from __future__ import annotations

import threading
from pathlib import Path

import onnxruntime as ort

from serving.allocator import keep_freed_memory
from serving.backends.protocol import InferenceBackend, Outputs, Tensors
from serving.contracts import CONTRACTS, ModelContract
from serving.errors import InferenceError, InvalidInput, ModelCorrupt, ModelMissing
from serving.pypi import sha256_file
from serving.registry import find_repository, model_path, present_versions, read_record


class LocalBackend(InferenceBackend):
    """Opens each model once and runs it on the CPU.

    One thread a session by default: a worker actor owns one core, and a fixed thread count keeps
    results equal to the bit.

    From the first backend on, the process keeps memory it frees, see ``allocator``.

    Args:
        location: model repository, see ``registry.find_repository``.
        threads: ONNX Runtime's ``intra_op_num_threads``, at least 1.
    """

    def __init__(self, location: str | Path | None = None, *, threads: int = 1) -> None:
        if threads < 1:
            raise InvalidInput(f"threads is {threads}, must be at least 1", where="LocalBackend")
        keep_freed_memory()
        self.repository = find_repository(location)
        self._threads = threads
        self._sessions: dict[tuple[str, int], ort.InferenceSession] = {}
        self._lock = threading.Lock()
        self._closed = False

    def infer(
        self,
        model: str,
        inputs: Tensors,
        *,
        version: int | None = None,
        timeout_s: float | None = None,
    ) -> Outputs:
        """See ``InferenceBackend.infer``; a run in this process cannot be cut short, so
        ``timeout_s`` has no effect here."""
        contract = CONTRACTS.get(model)
        if contract is None:
            raise ModelMissing(
                "there is no such model", where=model, fix=f"Known are {', '.join(CONTRACTS)}"
            )
        check_inputs(contract, inputs)
        session = self._session(model, version)
        names = [spec.name for spec in contract.outputs]
        try:
            values = session.run(names, {name: inputs[name] for name in inputs})
        except Exception as error:
            raise InferenceError(
                f"ONNX Runtime could not run the model ({error})",
                where=model,
                fix="Run `streetblur models check`",
            ) from error
        return dict(zip(names, values, strict=True))

    def close(self) -> None:
        """Let all sessions go."""
        with self._lock:
            self._sessions.clear()
            self._closed = True

    def _session(self, model: str, version: int | None) -> ort.InferenceSession:
        with self._lock:
            if self._closed:
                raise InferenceError("the backend is closed", where=model)
            if version is None:
                version = max(present_versions(self.repository, model), default=1)
            key = (model, version)
            if key not in self._sessions:
                self._sessions[key] = self._open(model_path(self.repository, model, version))
            return self._sessions[key]

    def _open(self, path: Path) -> ort.InferenceSession:
        if sha256_file(path) != read_record(path.parent).sha256:
            raise ModelCorrupt(
                "the model differs from its record",
                where=str(path),
                fix="Delete the folder and run `streetblur models fetch`",
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Both caches are keyed by shape and never shrink: with the many shapes of street
        # photographs memory would grow without bound.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        try:
            return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelCorrupt(
                f"ONNX Runtime cannot open the model ({error})",
                where=str(path),
                fix="Delete the folder and run `streetblur models fetch`",
            ) from error


def check_inputs(contract: ModelContract, inputs: Tensors) -> None:
    """Compare ``inputs`` with ``contract``.

    Raises:
        InvalidInput: a tensor is missing, unknown, or of another dtype or shape.
    """
    wanted = {spec.name: spec for spec in contract.inputs}
    if wanted.keys() != inputs.keys():
        raise InvalidInput(
            f"tensors are {sorted(inputs)}, not {sorted(wanted)}", where=contract.name
        )
    bound: dict[str, int] = {}
    for name, spec in wanted.items():
        reason = spec.mismatch(inputs[name], bound)
        reason = reason or contract.misfit(inputs[name].shape)
        if reason is not None:
            raise InvalidInput(reason, where=f"{contract.name}, input {name}")
