"""Which group fares worst, and what can be told of why: scores, light, contrast, size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.fairness.crops import FaceCrop
from evaluation.fairness.real_sets import ThresholdCost
from evaluation.fairness.spread import Spread
from evaluation.fairness.trial import Trial
from evaluation.summary import Share, resamples
from serving.contracts import GRAPH_FLOOR

Floats = NDArray[np.float64]

# Thresholds below the policy's at which gaps and false blurs are told.
LOWER = (0.15, 0.1, 0.05)
_LEVEL = 0.05
# A gap that lower thresholds, light or size bring below this share of itself is told apart.
_MOSTLY_GONE = 0.5


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
    """

    name: str
    misses: Misses
    luminance: float
    contrast: float
    recall_at: Mapping[float, float]


@dataclass(frozen=True, slots=True)
class Cause:
    """The worst group of one dimension under one condition, beside the best.

    Attributes:
        dimension, condition, size: what was compared.
        spread: how far the groups lie apart.
        worst, best: the two groups.
        allowing_for_light: their gap after a straight line in log luminance and contrast was fitted
            to the people of both along with it (least squares).
        at_largest: the two groups' gap at the largest size.
        reading: what that says, in words.
        proposal: what to train with.
    """

    dimension: str
    condition: str
    size: int
    spread: Spread
    worst: GroupView
    best: GroupView
    allowing_for_light: float
    at_largest: float
    reading: str
    proposal: str


@dataclass(frozen=True, slots=True)
class Association:
    """Rank correlation over people of recall with something measured on their crops."""

    measure: str
    condition: str
    size: int
    rho: Share


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
        _view(trial, crops, name, who, condition, size, threshold) for name, who in members.items()
    )
    largest = int(trial.sizes.max())
    rates = trial.hits(condition, largest)
    at_largest = float(rates[members[spread.best]].mean() - rates[members[spread.worst]].mean())
    allowing = _allowing_for_light(trial.hits(condition, size), crops, members, spread)
    name = trial.conditions[condition].name
    return Cause(
        dimension,
        name,
        size,
        spread,
        worst,
        best,
        allowing,
        at_largest,
        _reading(spread, worst, best, allowing, at_largest, size, largest, costs),
        _proposal(trial, dimension, condition, size, spread),
    )


def associations(
    trial: Trial, crops: Sequence[FaceCrop], condition: int
) -> tuple[Association, ...]:
    """What goes along with people's recall at each size: luminance, contrast, ITA."""
    measures = {
        "luminance": np.array([crop.luminance for crop in crops]),
        "contrast within the face": np.array([crop.contrast for crop in crops]),
        "ITA": np.array([np.nan if crop.angle is None else crop.angle for crop in crops]),
    }
    name = trial.conditions[condition].name
    return tuple(
        Association(measure, name, size, _rank_correlation(trial.hits(condition, size), values))
        for size in sorted(set(trial.sizes.tolist()))
        for measure, values in measures.items()
    )


def _view(
    trial: Trial,
    crops: Sequence[FaceCrop],
    name: str,
    who: NDArray[np.bool_],
    condition: int,
    size: int,
    threshold: float,
) -> GroupView:
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
    )


def _allowing_for_light(
    rates: Floats,
    crops: Sequence[FaceCrop],
    members: Mapping[str, NDArray[np.bool_]],
    spread: Spread,
) -> float:
    either = members[spread.worst] | members[spread.best]
    light = np.array([[np.log(max(c.luminance, 1e-4)), c.contrast] for c in crops])[either]
    light = light - light.mean(axis=0)
    columns = np.column_stack([np.ones(len(light)), members[spread.best][either], light])
    fitted, *_ = np.linalg.lstsq(columns, rates[either], rcond=None)
    return float(fitted[1])


def _rank_correlation(rates: Floats, values: Floats) -> Share:
    """Spearman's rank correlation, ties averaged; its interval resamples people."""
    known = np.isfinite(values)
    ours, theirs = _ranks(rates[known]), _ranks(values[known])
    weights = np.vstack([np.ones(len(ours)), resamples(len(ours))])
    total = weights.sum(axis=1)
    x, y = ours - (weights @ ours / total)[:, None], theirs - (weights @ theirs / total)[:, None]
    both = (weights * x * y).sum(axis=1)
    alone = np.sqrt((weights * x * x).sum(axis=1) * (weights * y * y).sum(axis=1))
    rho = np.divide(both, alone, out=np.zeros_like(both), where=alone > 0)
    low, high = np.quantile(rho[1:], [0.025, 0.975])
    return Share(float(rho[0]), float(low), float(high))


def _ranks(values: Floats) -> Floats:
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[where], np.float64)


def _reading(
    spread: Spread,
    worst: GroupView,
    best: GroupView,
    allowing: float,
    at_largest: float,
    size: int,
    largest: int,
    costs: Sequence[ThresholdCost],
) -> str:
    gap = spread.spread.value
    said = []
    if spread.p >= _LEVEL:
        said.append(
            f"No difference beyond chance is shown (p = {spread.p:.2f}; by lot groups lie "
            f"{100 * spread.by_chance:.1f} points apart); what follows describes, "
            "it explains nothing"
        )
    else:
        said.append(f"Chance alone gives such a gap seldom (p = {spread.p:.4f})")
    misses = worst.misses
    said.append(
        f"of the faces of {worst.name}, {_percent(misses.near)} scored below the threshold, "
        f"{_percent(misses.partly)} were covered too little, {_percent(misses.absent)} were not "
        f"found at all; of {best.name} {_percent(best.misses.near)}, "
        f"{_percent(best.misses.partly)}, {_percent(best.misses.absent)}"
    )
    narrowed = {value: best.recall_at[value] - worst.recall_at[value] for value in LOWER}
    steps = ", ".join(f"{100 * narrowed[value]:.1f} at {value:g}" for value in LOWER)
    closing = [value for value in LOWER if abs(narrowed[value]) < _MOSTLY_GONE * gap]
    if closing:
        said.append(
            f"a lower threshold narrows the gap of {100 * gap:.1f} points ({steps}); "
            f"{_cost(costs, closing[0])}"
        )
    else:
        said.append(f"no threshold narrows the gap of {100 * gap:.1f} points much ({steps})")
    said.append(
        f"median luminance {worst.luminance:.2f} against {best.luminance:.2f}, contrast within the "
        f"face {worst.contrast:.0f} against {best.contrast:.0f} grey levels; allowing for both "
        f"the gap is {100 * allowing:.1f} points"
        + (", so much of it goes along with light" if abs(allowing) < _MOSTLY_GONE * gap else "")
    )
    if size < largest:
        said.append(
            f"at {largest} px the same groups lie {100 * at_largest:.1f} points apart"
            + (
                ", which points to what few pixels leave of a face rather than to faces that the "
                "model never saw"
                if abs(at_largest) < _MOSTLY_GONE * gap and spread.p < _LEVEL
                else ""
            )
        )
    return "; ".join(said) + "."


def _cost(costs: Sequence[ThresholdCost], threshold: float) -> str:
    own = {one.set_name: one.point for one in costs if one.threshold is None}
    there = {one.set_name: one.point for one in costs if one.threshold == threshold}
    told = [
        f"{_percent(there[name].outside.value)} instead of {_percent(point.outside.value)} of the "
        f"pixels outside on {name}"
        for name, point in own.items()
    ]
    where = " and ".join(told) if told else "a number of false blurs that was not measured"
    return f"at {threshold:g} it would change {where}"


def _proposal(trial: Trial, dimension: str, condition: int, size: int, spread: Spread) -> str:
    what = trial.conditions[condition]
    least, most = max(8, size - 6), size + 8
    ways = [f"faces shrunk to {least}-{most} px by area averaging, without enlarging"]
    if what.light == "dark" or dimension == "skin tone":
        ways.append("light reduced to 0.2-1 in linear light, with sensor noise")
    if what.light == "backlit":
        ways.append("faces at 0.3-0.7 of the light around them, with flare")
    if what.occlusion != "none":
        drawn = {"mask": "masks of several cuts and colours", "hat": "caps and brims"}
        ways.append(f"{drawn.get(what.occlusion, what.occlusion)} drawn on half of the faces")
    if spread.p < _LEVEL:
        ways.append(f"faces of {spread.worst} drawn as often as those of {spread.best}")
    return "; ".join(ways)


def _percent(share: float) -> str:
    return f"{share:.1%}"
