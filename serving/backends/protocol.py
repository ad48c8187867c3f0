"""The only door to a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[Any]]


@runtime_checkable
class InferenceBackend(Protocol):
    """Runs models by name; implementations must give the same answers for the same tensors."""

    def infer(
        self,
        model: str,
        inputs: Tensors,
        *,
        version: int | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Run ``model`` on ``inputs`` (names, dtypes and shapes as in ``serving.contracts``).

        Args:
            model: name in the model repository.
            inputs: tensors by name.
            version: the newest present version by default.
            timeout_s: give up after this many seconds; None waits as long as the backend does.

        Raises:
            InvalidInput: the tensors break the contract.
            ModelMissing, ModelCorrupt: the model cannot be opened.
            InferenceError: the model did not answer.
        """
        ...

    def close(self) -> None:
        """Let models and connections go; the backend cannot be used afterwards."""
        ...
