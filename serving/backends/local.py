"""The embedded backend: models in this process, from the same model repository as a server's."""

from __future__ import annotations

import threading
from pathlib import Path

from serving.allocator import keep_freed_memory
from serving.backends.checks import check_inputs
from serving.backends.protocol import InferenceBackend, Outputs, Tensors
from serving.backends.runtimes.choice import Runtime, choose_runtime
from serving.backends.runtimes.session import Session
from serving.contracts import CONTRACTS
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
        threads: threads of each model, at least 1.
        runtime: what runs the models, see ``runtimes.choice.choose_runtime``.

    Attributes:
        repository: folder of the model repository.
        runtime: runtime and precision in force, like ``openvino bf16``.

    Raises:
        InvalidInput: no threads, or there is no such runtime, or it is not installed.
    """

    def __init__(
        self, location: str | Path | None = None, *, threads: int = 1, runtime: Runtime = "auto"
    ) -> None:
        if threads < 1:
            raise InvalidInput(f"threads is {threads}, must be at least 1", where="LocalBackend")
        keep_freed_memory()
        self.repository = find_repository(location)
        self._choice = choose_runtime(runtime)
        self.runtime = str(self._choice)
        self._threads = threads
        self._sessions: dict[tuple[str, int], Session] = {}
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
        return self._session(model, version).run(inputs)

    def close(self) -> None:
        """Let all sessions go."""
        with self._lock:
            self._sessions.clear()
            self._closed = True

    def _session(self, model: str, version: int | None) -> Session:
        with self._lock:
            if self._closed:
                raise InferenceError("the backend is closed", where=model)
            if version is None:
                version = max(present_versions(self.repository, model), default=1)
            key = (model, version)
            if key not in self._sessions:
                path = model_path(self.repository, model, version)
                if sha256_file(path) != read_record(path.parent).sha256:
                    raise ModelCorrupt(
                        "the model differs from its record",
                        where=str(path),
                        fix="Delete the folder and run `streetblur models fetch`",
                    )
                self._sessions[key] = self._choice.open(path, CONTRACTS[model], self._threads)
            return self._sessions[key]
