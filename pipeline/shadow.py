"""Shadows: another version of a model judges a share of the pictures, and decides nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.records import Decision, decision_row
from serving.detectors import DetectionResult
from serving.errors import ServingError
from serving.geometry import Candidate


@dataclass(frozen=True, slots=True)
class ShadowPlan:
    """Which pictures another version judges as well.

    Attributes:
        model: name in the model repository.
        version: the other version.
        share: of the pictures, 0..1.
        fingerprint: of its graph; empty if not known.
    """

    model: str
    version: int
    share: float
    fingerprint: str = ""

    def wants(self, key: str) -> bool:
        """Whether the picture ``key`` is one of them: the same in each run, on each worker."""
        text = f"{self.model}\n{self.version}\n{key}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") < self.share * 2**64


@dataclass(frozen=True, slots=True)
class Shadow:
    """What the other version made of one picture.

    Attributes:
        plan: which version.
        message: why it made nothing of it; empty if it did.
        candidates: until the policy has been asked.
        decisions: what the policy would have made of them.
    """

    plan: ShadowPlan
    message: str = ""
    candidates: tuple[Candidate, ...] = ()
    decisions: tuple[Decision, ...] = ()

    def as_row(self) -> dict[str, Any]:
        """As a value of ``SHADOW_TYPE``."""
        return {
            "model": self.plan.model,
            "version": self.plan.version,
            "fingerprint": self.plan.fingerprint,
            "message": self.message,
            "detections": [decision_row(item) for item in self.decisions],
        }


class ShadowDetector:
    """Judges the pictures of one plan; whatever goes wrong concerns the shadow alone.

    Args:
        plan: which.
        build: makes the detectors; called when the first picture comes.
    """

    def __init__(self, plan: ShadowPlan, build: Callable[[], Any]) -> None:
        self.plan = plan
        self._build = build
        self._detector: Any = None
        self._broken = ""

    def judge(self, pixels: NDArray[np.uint8]) -> Shadow:
        """The shadow of one picture, uint8 [H, W, 3] RGB, upright."""
        try:
            result = self._result(pixels)
        except ServingError as error:
            return Shadow(self.plan, str(error)[:300])
        return Shadow(self.plan, candidates=result.candidates)

    def _result(self, pixels: NDArray[np.uint8]) -> DetectionResult:
        if self._broken:
            raise ServingError(self._broken)
        if self._detector is None:
            try:
                self._detector = self._build()
                self._detector.check()
            except ServingError as error:
                self._broken = str(error)
                raise
        result: DetectionResult = self._detector.detect(pixels)
        return result
