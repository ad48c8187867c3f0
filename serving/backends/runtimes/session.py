"""One opened model, whatever runs it."""

from __future__ import annotations

from typing import Protocol

from serving.backends.protocol import Outputs, Tensors
from serving.contracts import ModelContract
from serving.errors import InferenceError, RejectedInput

_MEMORY = ("allocate memory", "bad_alloc", "bad allocation")


class Session(Protocol):
    """A model in memory; several threads may run it."""

    def run(self, inputs: Tensors) -> Outputs:
        """Answer ``inputs``, which keep the model's contract.

        The same tensors give the same answer, to the bit, whatever ran before.

        Returns:
            The contract's outputs by name; arrays of the caller's own.

        Raises:
            RejectedInput: the model fails over one of them, which is named.
            InferenceError: there is too little memory.
        """
        ...


def row_of(inputs: Tensors, row: int) -> Tensors:
    """One input of a batch."""
    return {name: array[row : row + 1] for name, array in inputs.items()}


def failure(contract: ModelContract, runtime: str, error: Exception, row: int) -> InferenceError:
    """What it means that a runtime failed over one input, asked alone.

    Whether it is the model that is broken the canary tells, as with servers.
    """
    text = f"{runtime} could not run the model ({error})"
    if isinstance(error, MemoryError) or any(part in str(error) for part in _MEMORY):
        return InferenceError(text, where=contract.name, fix="Run fewer workers on this machine")
    rejected = RejectedInput(text, where=contract.name, fix="Look at the input")
    rejected.model, rejected.row = contract.name, row
    return rejected
