"""Shadows: another version of a model judges a share of the pictures, and decides nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.records import Decision, decision_row
from serving.detectors import DetectionResult
from serving.errors import NoAnswer, ServerUnavailable, ServingError
from serving.geometry import Candidate

MOST_FAILURES = 3
"""One after the other; then a shadow is given up."""


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

    def doubted(self, why: str) -> Shadow:
        """The same without what was found."""
        return Shadow(self.plan, self.message or why)

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

    A shadow that nobody answers, that fails its canary, or that fails over several pictures one
    after the other, is asked no more in this process: the job would wait for it again and again.

    Args:
        plan: which.
        build: makes the detectors; called when the first picture comes.
    """

    def __init__(self, plan: ShadowPlan, build: Callable[[], Any]) -> None:
        self.plan = plan
        self._build = build
        self._detector: Any = None
        self._broken = ""
        self._failures = 0
        self._judged = False

    def judge(self, pixels: NDArray[np.uint8]) -> Shadow:
        """The shadow of one picture, uint8 [H, W, 3] RGB, upright."""
        if self._broken:
            return Shadow(self.plan, self._broken)
        try:
            result = self._result(pixels)
        except Exception as error:  # noqa: BLE001 - whatever it is, others decide without it
            self._failures += 1
            silent = isinstance(error, ServerUnavailable | NoAnswer)
            if silent or self._failures >= MOST_FAILURES:
                self._give_up(error)
            return Shadow(self.plan, _told(error))
        self._failures, self._judged = 0, True
        return Shadow(self.plan, candidates=result.candidates)

    def doubt(self) -> str:
        """Why nothing counts that it made since this was last asked; empty if it does.

        It judges the canary, if it has judged any picture since.
        """
        if self._broken or not self._judged:
            return self._broken
        self._judged = False
        try:
            return "" if self._detector.check() else "the canary failed somewhere meanwhile"
        except Exception as error:  # noqa: BLE001 - as above
            self._give_up(error)
            return self._broken

    def _give_up(self, error: Exception) -> None:
        """Ask no more; connections and memory go."""
        self._broken = _told(error)
        detector, self._detector = self._detector, None
        if detector is not None:
            with suppress(Exception):
                detector.close()

    def _result(self, pixels: NDArray[np.uint8]) -> DetectionResult:
        if self._detector is None:
            self._detector = self._build()
            try:
                self._detector.check()
            except Exception as error:
                self._give_up(error)
                raise
        result: DetectionResult = self._detector.detect(pixels)
        return result


def _told(error: Exception) -> str:
    """What an outcome says of it; of what nobody foresaw, the kind as well."""
    text = str(error) if isinstance(error, ServingError) else f"{type(error).__name__}: {error}"
    return text[:300]
