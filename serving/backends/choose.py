"""Which backend runs the models: servers if any are named, else this process."""

from __future__ import annotations

from pathlib import Path

from serving.backends.protocol import InferenceBackend
from serving.backends.runtimes.choice import Runtime, runtime_in_force
from serving.backends.triton_settings import TritonSettings


def open_backend(
    triton: TritonSettings,
    *,
    repository: str | Path | None = None,
    threads: int = 1,
    runtime: Runtime = "auto",
    planned: str = "",
) -> InferenceBackend:
    """The Triton backend if ``triton`` names a server, else the embedded one.

    Args:
        triton: servers and how they are reached.
        repository: of the embedded backend, see ``registry.find_repository``.
        threads: of each model in the embedded backend.
        runtime: of the embedded backend.
        planned: what ``runs_on`` gave for the run: servers that compute otherwise are left out.

    Raises:
        ServingError: the settings cannot be, or the repository cannot be used.
    """
    if triton.urls:
        from serving.backends.triton import TritonBackend

        return TritonBackend(triton, planned)
    from serving.backends.local import LocalBackend

    return LocalBackend(repository, threads=threads, runtime=runtime)


def runs_on(triton: TritonSettings, runtime: Runtime) -> str:
    """What models run on, for the records: ``openvino bf16``, ``triton onnxruntime f32`` and so on.

    Raises:
        InvalidInput: the runtime is not installed.
        ServerUnavailable: servers are named, and none tells.
    """
    if not triton.urls:
        return runtime_in_force(runtime)
    from serving.backends.served import served_runtime

    return served_runtime(triton)
