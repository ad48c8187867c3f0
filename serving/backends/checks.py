"""Do the tensors of a request keep the model's contract?"""

from __future__ import annotations

from serving.backends.protocol import Tensors
from serving.contracts import ModelContract
from serving.errors import InvalidInput


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
