"""One opened model, whatever runs it."""

from __future__ import annotations

from typing import Protocol

from serving.backends.protocol import Outputs, Tensors


class Session(Protocol):
    """A model in memory; several threads may run it."""

    def run(self, inputs: Tensors) -> Outputs:
        """Answer ``inputs``, which keep the model's contract.

        The same tensors give the same answer, to the bit, whatever ran before.

        Returns:
            The contract's outputs by name; arrays of the caller's own.

        Raises:
            InferenceError: the model did not answer.
        """
        ...
