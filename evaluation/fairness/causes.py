"""Which group fares worst, and what can be told of why: scores, light, other labels, size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.fairness.crops import FaceCrop
from evaluation.fairness.group_view import GroupView, view_of
from evaluation.fairness.readings import likely_cause, proposal, reading
from evaluation.fairness.real_sets import ThresholdCost
from evaluation.fairness.spread import Spread
from evaluation.fairness.trial import Trial

Floats = NDArray[np.float64]

# Dimensions whose groups come from labels, not from the pixels.
_LABELLED = ("ethnicity", "gender", "age")


@dataclass(frozen=True, slots=True)
class Cause:
    """The worst group of one dimension under one condition, beside the best.

    Attributes:
        dimension, condition, size: what was compared.
        spread: how far the groups lie apart.
        worst, best: the two groups.
        allowing_for_light: their gap after a straight line in log luminance and contrast was fitted
            to the people of both along with it (least squares).
        allowing_for_others: likewise with their other labels: ethnicity, gender, age.
        at_largest: the two groups' gap at the largest size.
        likely: what that says, in a few words.
        reading: likewise, with its figures.
        proposal: what to train with.
    """

    dimension: str
    condition: str
    size: int
    spread: Spread
    worst: GroupView
    best: GroupView
    allowing_for_light: float
    allowing_for_others: float
    at_largest: float
    likely: str
    reading: str
    proposal: str


def cause_of(
    trial: Trial,
    crops: Sequence[FaceCrop],
    dimension: str,
    condition: int,
    size: int,
    spread: Spread,
    costs: Sequence[ThresholdCost],
    threshold: float,
) -> Cause:
    """Compare the worst group of ``spread`` with the best one.

    Args:
        trial: the verdicts.
        crops: the people, in the trial's order.
        dimension, condition, size: that ``spread`` is of.
        spread: of these.
        costs: what lower thresholds cost on photographs.
        threshold: the policy's for faces of this size.
    """
    members = {
        name: np.array([crop.groups[dimension] == name for crop in crops])
        for name in (spread.worst, spread.best)
    }
    worst, best = (
        view_of(trial, crops, name, who, condition, size, threshold)
        for name, who in members.items()
    )
    largest = int(trial.sizes.max())
    large = trial.hits(condition, largest)
    at_largest = float(large[members[spread.best]].mean() - large[members[spread.worst]].mean())
    rates = trial.hits(condition, size)
    lit = np.array([[np.log(max(crop.luminance, 1e-4)), crop.contrast] for crop in crops])
    light = _allowing_for(lit, rates, members, spread)
    others = _allowing_for(_other_labels(crops, dimension), rates, members, spread)
    name = trial.conditions[condition].name
    return Cause(
        dimension,
        name,
        size,
        spread,
        worst,
        best,
        light,
        others,
        at_largest,
        likely_cause(spread, worst, best, light, others, at_largest),
        reading(spread, worst, best, light, others, at_largest, largest, costs),
        proposal(trial.conditions[condition], dimension, size, spread),
    )


def _other_labels(crops: Sequence[FaceCrop], dimension: str) -> Floats:
    """[people, columns] of 0 and 1: the groups in the labelled dimensions but this one."""
    columns = [
        [float(crop.groups[other] == name) for crop in crops]
        for other in _LABELLED
        if other != dimension
        for name in sorted({crop.groups[other] for crop in crops})[1:]
    ]
    return np.array(columns).reshape(len(columns), len(crops)).T


def _allowing_for(
    measured: Floats, rates: Floats, members: Mapping[str, NDArray[np.bool_]], spread: Spread
) -> float:
    """The best group's lead over the worst in a least-squares fit that has ``measured`` as well."""
    either = members[spread.worst] | members[spread.best]
    beside = measured[either] - measured[either].mean(axis=0)
    columns = np.column_stack([np.ones(len(beside)), members[spread.best][either], beside])
    fitted, *_ = np.linalg.lstsq(columns, rates[either], rcond=None)
    return float(fitted[1])
