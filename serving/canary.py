"""A picture with a known face and a known plate: readiness is no proof, this is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.detectors import DetectionResult
from serving.errors import (
    CanaryFailed,
    InferenceError,
    InsaneOutput,
    NoAnswer,
    ServingError,
    TooSlow,
)
from serving.geometry import LABELS, Candidate, Label, pairwise_iou

FOLDER = Path(__file__).resolve().parent / "canary"

MIN_IOU = 0.8
"""Leaves room for other runtimes and precisions; a shift by 20 px fails (tests)."""

SCORE_TOLERANCE = 0.1
"""Absolute; leaves room for other runtimes and precisions."""

MAX_STRAY = 6
"""More further candidates than this in a picture with two objects are no sane answer."""


MIN_KNOWN_PROBABILITY = 0.2
"""Of the known face and plate; the baseline filter gives 0.93 and 0.97, no filter gives 1."""


class Detects(Protocol):
    """What the canary needs of ``DetectorSet``."""

    def detect(self, pixels: NDArray[np.uint8]) -> DetectionResult:
        """See ``DetectorSet.detect``."""
        ...


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """Agreement with the known detections, by label: IoU 0..1, and score minus known score."""

    iou: dict[Label, float]
    score_shift: dict[Label, float]


@lru_cache(maxsize=1)
def canary_pixels() -> NDArray[np.uint8]:
    """The picture, uint8 [H, W, 3] RGB; do not write to it.

    Raises:
        ServingError: the package is damaged.
    """
    bgr = cv2.imread(str(FOLDER / "canary.jpg"), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ServingError(
            "the canary picture cannot be read", where=str(FOLDER), fix="Install again"
        )
    pixels = np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)
    pixels.setflags(write=False)
    return pixels


@lru_cache(maxsize=1)
def known_objects() -> dict[Label, tuple[NDArray[np.float32], float]]:
    """The known box, float32 [4] in pixels of the picture, and its score 0..1, by label."""
    content = json.loads((FOLDER / "canary.json").read_text("utf-8"))
    return {
        label: (np.asarray(content[label]["xyxy"], np.float32), float(content[label]["score"]))
        for label in LABELS
    }


def run_canary(
    detectors: Detects, least_probability: Mapping[Label, float] | None = None
) -> CanaryResult:
    """Detect on the canary and compare.

    Args:
        detectors: what looks.
        least_probability: 0..1, by label: what the rules demand of an object before they keep it;
            0 if absent. ``MIN_KNOWN_PROBABILITY`` is demanded in any case.

    Raises:
        CanaryFailed: a model does not answer, or as no live model does; or the face or the plate
            is missing, displaced, or scored differently, or the picture is full of others; or the
            filter finds one of them too improbable to keep, or all candidates equally probable.
        TooSlow: no answer in time: that tells nothing of the model.
    """
    try:
        result = detectors.detect(canary_pixels())
    except NoAnswer as error:
        raise unanswered(error) from error
    except (InsaneOutput, InferenceError) as error:
        raise failed(error.model, error.what) from error
    ious: dict[Label, float] = {}
    shifts: dict[Label, float] = {}
    for label in result.peaks:  # of the detectors that looked
        box, score = known_objects()[label]
        found = _of(result, label)
        boxes = np.array([c.box.as_tuple() for c in found], np.float32).reshape(-1, 4)
        overlap = pairwise_iou(box[None], boxes)[0]
        best = int(overlap.argmax()) if len(found) else -1
        iou = float(overlap[best]) if found else 0.0
        shift = found[best].score - score if found else -score
        if iou < MIN_IOU or abs(shift) > SCORE_TOLERANCE or len(found) > 1 + MAX_STRAY:
            raise failed(
                f"{label}_detector",
                f"the known {label} is found with IoU {iou:.2f} (at least {MIN_IOU}), score "
                f"{score + shift:.2f} (known {score:.2f}) among {len(found)} candidates",
            )
        ious[label], shifts[label] = iou, shift
        _check_kept(label, found[best], (least_probability or {}).get(label, 0.0))
    _check_filter_alive(result.candidates)
    return CanaryResult(ious, shifts)


def _check_kept(label: Label, known: Candidate, demanded: float) -> None:
    """Would the rules keep the known object? A dead filter loses all objects."""
    least = max(demanded, MIN_KNOWN_PROBABILITY)
    if not known.probability >= least:  # also refuses NaN
        raise failed(
            "postprocessor",
            f"the known {label} has probability {known.probability:.3g} (at least {least:g})",
        )


def _check_filter_alive(candidates: Sequence[Candidate]) -> None:
    """A filter that gives unlike candidates the very same probability does not look at them."""
    judged = [one.probability for one in candidates if one.features]  # version 0 sets none
    if len(judged) > 1 and len(set(judged)) == 1:
        what = f"all {len(judged)} candidates have the very same probability, {judged[0]:.3g}"
        raise failed("postprocessor", what)


def failed(model: str, what: str) -> CanaryFailed:
    """The error that says that ``model`` is not to be relied on, because of ``what``."""
    error = CanaryFailed(
        what,
        where=f"canary, {model}",
        fix="Run `streetblur models check`, or name another model version in the policy",
    )
    error.model = model
    return error


def unanswered(error: NoAnswer) -> TooSlow:
    """The error that says that a canary was not judged in time."""
    return TooSlow(
        f"the canary was not judged in time ({error.what})",
        where=error.where,
        fix="Give the server less to do, or raise triton.timeout_s",
    )


def recorded(detectors: Detects) -> dict[str, Any]:
    """The best detection of each label, in the form of ``canary.json``."""
    result = detectors.detect(canary_pixels())
    best = {label: max(_of(result, label), key=lambda c: c.score) for label in LABELS}
    return {
        label: {
            "xyxy": [round(value, 2) for value in item.box.as_tuple()],
            "score": round(item.score, 4),
        }
        for label, item in best.items()
    }


def _of(result: DetectionResult, label: Label) -> list[Candidate]:
    return [candidate for candidate in result.candidates if candidate.label == label]
