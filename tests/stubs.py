"""Detectors for tests that are about the job, not about finding: boxes at known places."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from serving.detectors import DetectionResult
from serving.geometry import Box, Candidate


class CentreDetector:
    """One face in the middle of every picture."""

    def check(self) -> bool:
        """There is no canary."""
        return True

    def detect(self, pixels: np.ndarray) -> DetectionResult:
        """A box over the middle half of ``pixels``."""
        height, width = pixels.shape[:2]
        box = Box(width / 4, height / 4, width * 3 / 4, height * 3 / 4)
        candidate = Candidate("face", box, 0.9, 1.0, "stub")
        return DetectionResult((candidate,), {"face": 0.9, "plate": 0.01}, {}, ())


class BlindDetector(CentreDetector):
    """Finds nothing, like live models over an empty street."""

    def detect(self, pixels: np.ndarray) -> DetectionResult:
        """No box."""
        return DetectionResult((), {"face": 0.01, "plate": 0.01}, {}, ())


class CornerDetector(CentreDetector):
    """One face in the upper left corner, as other models might find it."""

    def detect(self, pixels: np.ndarray) -> DetectionResult:
        """A box over the first 10 by 10 pixels."""
        candidate = Candidate("face", Box(0, 0, 10, 10), 0.9, 1.0, "stub")
        return DetectionResult((candidate,), {"face": 0.9, "plate": 0.01}, {}, ())


class CountingDetector(CentreDetector):
    """Writes a line for each inference to the file named by STUB_COUNT."""

    def detect(self, pixels: np.ndarray) -> DetectionResult:
        """Count, then as the centre detector."""
        with Path(os.environ["STUB_COUNT"]).open("a") as file:
            file.write("x\n")
        return super().detect(pixels)


class DeadlyDetector(CentreDetector):
    """Kills its process on any picture 13 pixels wide, stalls on any 17 pixels wide."""

    def detect(self, pixels: np.ndarray) -> DetectionResult:
        """Die, stall, or as the centre detector."""
        if pixels.shape[1] == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        if pixels.shape[1] == 17:
            time.sleep(3600)
        return super().detect(pixels)


class UnluckyDetector(CentreDetector):
    """Kills its process at the first picture, and at no other while the file STUB_DIED stands."""

    def detect(self, pixels: np.ndarray) -> DetectionResult:
        """Die once, then as the centre detector."""
        died = Path(os.environ["STUB_DIED"])
        if not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().detect(pixels)


class BrokenDetector(CentreDetector):
    """Fails its canary."""

    def check(self) -> bool:
        """Never passes."""
        from serving.errors import InsaneOutput

        raise InsaneOutput("the canary was not found", where="stub")


def centre(config):
    return CentreDetector()


def blind(config):
    return BlindDetector()


def corner(config):
    """See CornerDetector."""
    return CornerDetector()


def counting(config):
    return CountingDetector()


def deadly(config):
    return DeadlyDetector()


def unlucky(config):
    return UnluckyDetector()


def broken(config):
    return BrokenDetector()
