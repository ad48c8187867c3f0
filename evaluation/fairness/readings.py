"""A gap between two groups in words, and what to train with against it."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.fairness.group_view import LOWER, GroupView
from evaluation.fairness.real_sets import ThresholdCost
from evaluation.fairness.scenes import Condition
from evaluation.fairness.spread import Spread

_LEVEL = 0.05
# What brings a gap below this share of itself is told.
_MOSTLY_GONE = 0.5


def reading(
    spread: Spread,
    worst: GroupView,
    best: GroupView,
    light: float,
    others: float,
    at_largest: float,
    largest: int,
    costs: Sequence[ThresholdCost],
) -> str:
    """The gap in words; each sentence says no more than its figures."""
    said = [
        _of_chance(spread),
        _of_misses(worst, best),
        _of_thresholds(spread.spread.value, worst, best, costs),
        _of_light(spread.spread.value, worst, best, light, others),
        _of_sizes(worst, best, at_largest, largest),
    ]
    return " ".join(said)


def likely_cause(
    spread: Spread,
    worst: GroupView,
    best: GroupView,
    light: float,
    others: float,
    at_largest: float,
) -> str:
    """The same in a few words, for a table: the kind of miss that the worst group has more of,
    and what at least half of the gap goes along with.
    """
    if spread.p >= _LEVEL:
        return "none shown: chance alone gives such a gap"
    ours, theirs = worst.misses, best.misses
    more = {
        "scored below the threshold": ours.near - theirs.near,
        "covered too little": ours.partly - theirs.partly,
        "not found at all": ours.absent - theirs.absent,
    }
    gap = spread.spread.value
    beside = {
        "small size": at_largest,
        "light and contrast of the pictures": light,
        "the groups' other labels": others,
    }
    along = [name for name, left in beside.items() if left < _MOSTLY_GONE * gap]
    most = max(more, key=lambda name: more[name])
    if not along:
        return f"more faces {most}; neither size, light nor other labels account for half of it"
    return f"more faces {most}; goes along with {' and '.join(along)}"


def proposal(what: Condition, dimension: str, size: int, spread: Spread) -> str:
    """What to train with where ``spread`` was found."""
    least, most = max(8, size - 6), size + 8
    ways = [f"faces shrunk to {least}-{most} px by area averaging, without enlarging"]
    if what.light == "dark" or dimension == "skin tone":
        ways.append("light reduced to 0.2-1 in linear light, with sensor noise")
    if what.light == "backlit":
        ways.append("faces at 0.3-0.7 of the light around them, with flare")
    if what.occlusion != "none":
        masks = "masks of several cuts, light and dark,"
        drawn = {"mask": masks, "dark mask": masks, "hat": "caps and brims"}
        ways.append(f"{drawn.get(what.occlusion, what.occlusion)} drawn on half of the faces")
    if spread.p < _LEVEL:
        ways.append(f"faces like those labelled {spread.worst} drawn as often as any others")
    return "; ".join(ways)


def _of_chance(spread: Spread) -> str:
    if spread.p < _LEVEL:
        return f"Chance alone seldom gives such a gap (p = {spread.p:.4f})."
    return (
        f"No difference beyond chance is shown (p = {spread.p:.2f}; by lot groups lie "
        f"{100 * spread.by_chance:.1f} points apart); what follows describes, it explains nothing."
    )


def _of_misses(worst: GroupView, best: GroupView) -> str:
    ours, theirs = worst.misses, best.misses
    return (
        f"Of the faces labelled {worst.name}, {_percent(ours.near)} scored below the threshold, "
        f"{_percent(ours.partly)} were covered too little, {_percent(ours.absent)} were not found "
        f"at all; of those labelled {best.name} {_percent(theirs.near)}, "
        f"{_percent(theirs.partly)}, {_percent(theirs.absent)}."
    )


def _of_thresholds(
    gap: float, worst: GroupView, best: GroupView, costs: Sequence[ThresholdCost]
) -> str:
    narrowed = {value: best.recall_at[value] - worst.recall_at[value] for value in LOWER}
    steps = ", ".join(f"{100 * narrowed[value]:.1f} at {value:g}" for value in LOWER)
    closing = [value for value in LOWER if abs(narrowed[value]) < _MOSTLY_GONE * gap]
    if not closing:
        return f"No threshold halves the gap of {100 * gap:.1f} points ({steps})."
    return (
        f"A lower threshold narrows the gap of {100 * gap:.1f} points ({steps}); "
        f"{_cost(costs, closing[0])}."
    )


def _of_light(gap: float, worst: GroupView, best: GroupView, light: float, others: float) -> str:
    with_light = ", so much of it goes along with light" if light < _MOSTLY_GONE * gap else ""
    with_others = ", so much of it goes along with these" if others < _MOSTLY_GONE * gap else ""
    return (
        f"Median luminance {worst.luminance:.2f} against {best.luminance:.2f}, contrast within the "
        f"face {worst.contrast:.0f} against {best.contrast:.0f} grey levels; allowing for both the "
        f"gap is {100 * light:.1f} points{with_light}. Allowing for the other labels it is "
        f"{100 * others:.1f}{with_others}."
    )


def _of_sizes(worst: GroupView, best: GroupView, at_largest: float, largest: int) -> str:
    pairs = ", ".join(
        f"{worst.scores[size]:.2f} and {best.scores[size]:.2f} at {size} px"
        for size in worst.scores
    )
    return (
        f"Mean scores are {pairs}; at {largest} px the groups' recall lies "
        f"{100 * at_largest:.1f} points apart."
    )


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


def _percent(share: float) -> str:
    return f"{share:.1%}"
