"""Would a live model answer like this? If not, nothing may be published on its word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.contracts import FINGERPRINT, GRAPH_FLOOR, ModelContract
from serving.errors import InsaneOutput

LARGEST_COORDINATE = 1e6
"""Pixels: far beyond any tensor we send, far below where float32 loses whole pixels."""

CONSTANT_ROWS = 8
"""So many equal rows are no detections: no two anchors of a live net give the same box."""

_TOLERANCE = 1e-6
_FIX = "Run `streetblur models check`; nothing was published on this answer"


def check_tensors(
    contract: ModelContract,
    outputs: Mapping[str, NDArray[Any]],
    batch: int,
    fingerprint: str | None = None,
) -> None:
    """Compare one answer of any model with its contract.

    Args:
        contract: the model's.
        outputs: its answer.
        batch: how many inputs it was given.
        fingerprint: of the graph that should have answered, 16 hex digits; None takes any.

    Raises:
        InsaneOutput: missing or misshapen tensors, or another graph answered.
    """
    bound = {"N": batch}
    for spec in contract.outputs:
        if spec.name not in outputs:
            raise _insane(contract, spec.name, "it is missing")
        if reason := spec.mismatch(outputs[spec.name], bound):
            raise _insane(contract, spec.name, reason)
    for row in outputs[FINGERPRINT.name]:
        if fingerprint is not None and row.tobytes().hex() != fingerprint:
            what = f"another graph answered: {row.tobytes().hex()}, not {fingerprint}"
            raise _insane(contract, FINGERPRINT.name, what)


def check_outputs(
    contract: ModelContract,
    outputs: Mapping[str, NDArray[Any]],
    batch: int,
    fingerprint: str | None = None,
) -> None:
    """Judge one answer of a detector to ``batch`` pictures; arguments as in ``check_tensors``.

    Raises:
        InsaneOutput: as ``check_tensors``; or values that are not finite or out of range, a peak
            of 0, rows that are not sorted, or a count or peak that contradicts the rows.
    """
    check_tensors(contract, outputs, batch, fingerprint)
    tensors = (outputs[name] for name in ("boxes", "points", "count", "peak"))
    for boxes, points, count, peak in zip(*tensors, strict=True):
        if not 0 < peak <= 1:  # also refuses NaN
            raise _insane(contract, "peak", f"{peak} is not above 0 and at most 1")
        _check_rows(contract, boxes, int(count))
        _check_points(contract, points, int(count))
        best = float(boxes[0, 4]) if count else 0.0
        if (count and abs(best - peak) > _TOLERANCE) or (not count and peak >= GRAPH_FLOOR):
            raise _insane(contract, "peak", f"it is {peak}, but the best row has {best}")


def check_probabilities(
    contract: ModelContract,
    outputs: Mapping[str, NDArray[Any]],
    batch: int,
    fingerprint: str | None = None,
) -> None:
    """Judge one answer of the post-processor to ``batch`` candidates; see ``check_tensors``.

    Raises:
        InsaneOutput: as ``check_tensors``; or a probability that is no number within 0..1.
    """
    check_tensors(contract, outputs, batch, fingerprint)
    probability = outputs["probability"]
    if not ((probability >= 0) & (probability <= 1)).all():  # also refuses NaN
        raise _insane(contract, "probability", "it holds something else than numbers within 0..1")


def _check_rows(contract: ModelContract, boxes: NDArray[np.float32], count: int) -> None:
    if not np.isfinite(boxes).all():
        raise _insane(contract, "boxes", "they hold NaN or infinity")
    if not 0 <= count <= len(boxes):
        raise _insane(contract, "count", f"{count} is not within 0..{len(boxes)}")
    rows, rest = boxes[:count], boxes[count:]
    scores = rows[:, 4]
    if rest.any():
        raise _insane(contract, "count", f"rows after the first {count} are not empty")
    if ((scores < GRAPH_FLOOR - _TOLERANCE) | (scores > 1)).any():
        raise _insane(contract, "boxes", f"scores lie outside {GRAPH_FLOOR}..1")
    if (np.diff(scores) > 0).any():
        raise _insane(contract, "boxes", "scores do not fall")
    if (rows[:, 2:4] <= rows[:, :2]).any():
        raise _insane(contract, "boxes", "a box has no area")
    if (np.abs(rows[:, :4]) > LARGEST_COORDINATE).any():
        raise _insane(contract, "boxes", "a box lies beyond any picture")
    if count >= CONSTANT_ROWS and (rows == rows[0]).all():
        raise _insane(contract, "boxes", f"all {count} rows are the same")


def _check_points(contract: ModelContract, points: NDArray[np.float32], count: int) -> None:
    if not np.isfinite(points).all():
        raise _insane(contract, "points", "they hold NaN or infinity")
    if points[count:].any():
        raise _insane(contract, "points", f"rows after the first {count} are not empty")


def _insane(contract: ModelContract, tensor: str, what: str) -> InsaneOutput:
    error = InsaneOutput(what, where=f"{contract.name}, output {tensor}", fix=_FIX)
    error.model = contract.name
    return error
