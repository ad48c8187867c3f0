"""One group of people under one condition: how its faces are missed, and in what light they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.fairness.crops import FaceCrop
from evaluation.fairness.trial import Trial
from serving.contracts import GRAPH_FLOOR

# Thresholds below the policy's at which gaps and false blurs are told.
LOWER = (0.15, 0.1, 0.05)


@dataclass(frozen=True, slots=True)
class Misses:
    """A group's faces that are not obscured, as shares of all its faces, 0..1.

    Attributes:
        near: a lower threshold, down to the 0.05 below which nothing leaves the model, would do.
        partly: something over the threshold lies on it, but too little of the face is covered.
        absent: neither.
    """

    near: float
    partly: float
    absent: float

    @property
    def all(self) -> float:
        """Their sum."""
        return self.near + self.partly + self.absent


@dataclass(frozen=True, slots=True)
class GroupView:
    """What is known of a group's faces.

    Attributes:
        name: of the group.
        misses: in the scenes compared.
        luminance: mean of the crops' median linear luminance, 0..1.
        contrast: mean contrast within the faces, in grey levels.
        recall_at: recall by threshold.
        scores: by size, the mean threshold at which its faces would just be obscured (0 where they
            never are): tells groups apart even where all are found.
    """

    name: str
    misses: Misses
    luminance: float
    contrast: float
    recall_at: Mapping[float, float]
    scores: Mapping[int, float]


def view_of(
    trial: Trial,
    crops: Sequence[FaceCrop],
    name: str,
    who: NDArray[np.bool_],
    condition: int,
    size: int,
    threshold: float,
) -> GroupView:
    """The people ``who`` (bool [people]) under a condition, with faces of ``size`` pixels.

    ``threshold`` is the policy's for faces of this size.
    """
    obscured, critical, touched = (
        trial.at(values, condition, size)[:, who]
        for values in (trial.obscured, trial.critical, trial.touched)
    )
    missed = ~obscured
    partly = missed & (touched >= threshold)
    near = missed & ~partly & (critical >= GRAPH_FLOOR)
    own = [crop for crop, member in zip(crops, who, strict=True) if member]
    return GroupView(
        name,
        Misses(float(near.mean()), float(partly.mean()), float((missed & ~partly & ~near).mean())),
        float(np.mean([crop.luminance for crop in own])),
        float(np.mean([crop.contrast for crop in own])),
        {value: float((critical >= value).mean()) for value in LOWER},
        {
            one: float(trial.at(trial.critical, condition, one)[:, who].mean())
            for one in sorted(set(trial.sizes.tolist()))
        },
    )
