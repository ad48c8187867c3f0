"""Detect: thin; it calls serving."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ImageRefused
from pipeline.stages.envelope import Envelope
from serving.detectors import DetectionResult
from serving.errors import InferenceError, InsaneOutput


class Detector(Protocol):
    """What the stage needs of the detectors."""

    def detect(self, pixels: NDArray[np.uint8]) -> DetectionResult:
        """Candidates in ``pixels`` uint8 [H, W, 3] RGB, upright."""

    def check(self) -> None:
        """Judge the canary image; raises InsaneOutput when the models do not find what is on it."""


class Detect:
    """Runs both detectors and the filter on the pixels, then lets the pixels go.

    The canary is judged when the stage is built: a model that is broken from the start publishes
    nothing.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        detector.check()

    def __call__(self, envelope: Envelope) -> Envelope:
        """Adds ``candidates`` and ``peaks``.

        An answer that no live model gives is this image's fault only if the canary still passes.

        Raises:
            InferenceError: the models did not answer sanely for this image.
            ImageRefused: a model's answer was full: objects beyond it may have been lost.
            ServingError: the models are broken; that concerns the whole run.
        """
        if envelope.pixels is None:
            raise InferenceError("there are no pixels to judge", where=envelope.item.key)
        try:
            result = self._detector.detect(envelope.pixels)
        except InsaneOutput as error:
            self._detector.check()
            raise InferenceError(error.what, where=envelope.item.key) from error
        full = [flag for flag in result.flags if flag.endswith("_rows_full")]
        if full:
            raise ImageRefused(
                "detector_overflow",
                f"more objects than the model can report ({', '.join(full)})",
                where=envelope.item.key,
                fix="Cut the picture into parts",
            )
        return dataclasses.replace(
            envelope,
            pixels=None,
            candidates=result.candidates,
            peaks={str(label): float(peak) for label, peak in result.peaks.items()},
            notes=(*envelope.notes, *result.flags),
        )
