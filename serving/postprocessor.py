"""The false-positive filter: candidates -> the probability that each is a true object."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serving.errors import ModelMissing
from serving.geometry import Candidate


class PostProcessor(Protocol):
    """Judges candidates in the light of the picture; it never drops one, the policy does."""

    @property
    def version(self) -> int:
        """Recorded with every result."""
        ...

    def judge(
        self, pixels: NDArray[np.uint8], candidates: Sequence[Candidate]
    ) -> tuple[Candidate, ...]:
        """The same candidates in the same order, each with its ``probability`` 0..1.

        Args:
            pixels: uint8 [H, W, 3] RGB, upright.
            candidates: boxes in those pixels.
        """
        ...


class PassThrough:
    """Version 0: there is no trained filter, so every candidate has probability 1."""

    version = 0

    def judge(
        self, pixels: NDArray[np.uint8], candidates: Sequence[Candidate]
    ) -> tuple[Candidate, ...]:
        """See ``PostProcessor.judge``; ``pixels`` are not looked at."""
        return tuple(dataclasses.replace(item, probability=1.0) for item in candidates)


def load_postprocessor(version: int) -> PostProcessor:
    """The filter of that version.

    Raises:
        ModelMissing: there is no such version.
    """
    if version != 0:
        raise ModelMissing(
            "there is no such version of the false-positive filter",
            where=f"postprocessor {version}",
            fix="Name version 0 in the policy's `models.postprocessor`",
        )
    return PassThrough()
