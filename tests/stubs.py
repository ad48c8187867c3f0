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


class FatalDetector(CentreDetector):
    """Kills its process on any picture."""

    def detect(self, pixels: np.ndarray) -> DetectionResult:
        """Die."""
        os.kill(os.getpid(), signal.SIGKILL)
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


class AgeingDetector(CentreDetector):
    """Version 2 passes its canary twice, finds the centre until then, and then nothing."""

    def __init__(self, version: int, checks: int = 0):
        self.version = version
        self.checks = checks

    def check(self) -> bool:
        """The third time, version 2 is found out."""
        from serving.errors import CanaryFailed

        self.checks += 1
        if self.version == 2 and self.checks > 2:
            error = CanaryFailed("the known face is not found", where="canary, face_detector")
            error.model = "face_detector"
            raise error
        return True

    def detect(self, pixels: np.ndarray) -> DetectionResult:
        """The centre, or, by a model that has failed, no box."""
        if self.version == 2 and self.checks > 1:
            return BlindDetector().detect(pixels)
        if self.version == 1:
            return CornerDetector().detect(pixels)
        return super().detect(pixels)


class AbsentDetector(CentreDetector):
    """Its servers are not there at all."""

    def check(self) -> bool:
        """Nobody answers."""
        from serving.errors import ServerUnavailable

        raise ServerUnavailable("nobody answers", where="grpc://stub:1")


class UnavailableDetector(CentreDetector):
    """Its servers are gone after the first group."""

    def __init__(self) -> None:
        self.checks = 0

    def check(self) -> bool:
        """The third time, nobody answers."""
        from serving.errors import ServerUnavailable

        self.checks += 1
        if self.checks > 2:
            raise ServerUnavailable("nobody answers", where="grpc://stub:1")
        return True


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


def deadly_shadow(config):
    """Version 2, where it is a shadow, kills its process."""
    return FatalDetector() if config.only else CentreDetector()


def unlucky(config):
    return UnluckyDetector()


def broken(config):
    return BrokenDetector()


def ageing(config):
    """See AgeingDetector."""
    return AgeingDetector(config.versions["face_detector"])


def unavailable(config):
    """See UnavailableDetector."""
    return UnavailableDetector()


def versioned(config):
    """Versions 1 and 4 find the centre, 2 the corner, 3 fails its canary."""
    kinds = {1: CentreDetector, 2: CornerDetector, 3: BrokenDetector, 4: CentreDetector}
    return kinds[config.versions["face_detector"]]()


def absent(config):
    """See AbsentDetector."""
    return AbsentDetector()


def outdated(config):
    """Version 1 finds the corner; version 2 fails its canary from the start."""
    return AgeingDetector(config.versions["face_detector"], checks=2)
