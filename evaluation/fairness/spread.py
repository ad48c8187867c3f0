"""Differences between groups of people: how large, how sure, and what could have been seen.

People are what is drawn: all pictures of one person stay together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.summary import Share, proportion, resamples

Floats = NDArray[np.float64]
Verdict = Literal["met", "missed", "open"]

# Groups of fewer people are shown, but no spread is taken over them.
LEAST_PEOPLE = 15
# The goal for the spread between groups.
GOAL = 0.05

_RESAMPLES = 4000
_SEED = 20261125
_LEVEL, _POWER = 0.05, 0.8


@dataclass(frozen=True, slots=True)
class GroupRecall:
    """One group's recall.

    Attributes:
        name: of the group.
        people: how many.
        recall: share of their faces that are obscured; its interval resamples people.
        counted: whether the group is large enough for the spread.
    """

    name: str
    people: int
    recall: Share
    counted: bool


@dataclass(frozen=True, slots=True)
class Spread:
    """How far groups lie apart.

    Attributes:
        groups: all of them.
        worst, best: names of the counted groups with the smallest and largest recall.
        spread: largest minus smallest recall, with the 95 % percentile interval over resampled
            people of each group. The largest of several noisy values is too large, so value and
            interval lie too high, the more so the smaller the groups.
        by_chance: the mean spread if people were assigned to groups by lot.
        p: share of such assignments with at least the spread found (permutation test).
        detectable: the smallest shortfall of the smallest counted group that would be found, see
            :func:`detectable`.
        verdict: on the goal: ``met`` or ``missed`` where the data say so, else ``open``.
    """

    groups: tuple[GroupRecall, ...]
    worst: str
    best: str
    spread: Share
    by_chance: float
    p: float
    detectable: float
    verdict: Verdict


def spread_of(
    rates: Floats, groups: Sequence[str], order: Sequence[str], *, least: int = LEAST_PEOPLE
) -> Spread | None:
    """Compare groups of people.

    Args:
        rates: [people] share of each one's faces that are obscured; all have as many faces.
        groups: [people] each one's group.
        order: names of the groups, as they shall be listed.
        least: people that a group must have for the spread.

    Returns:
        None where fewer than two groups are large enough.
    """
    names = np.array(groups)
    found = [_recall(rates[names == name], name, least) for name in order]
    counted = [one for one in found if one.counted]
    if len(counted) < 2:
        return None
    chosen = np.isin(names, [one.name for one in counted])
    rates, names = rates[chosen], names[chosen]
    belongs = np.stack([names == one.name for one in counted]).astype(np.float64)
    means = belongs @ rates / belongs.sum(axis=1)
    random = np.random.default_rng(_SEED)
    value = float(means.max() - means.min())
    lots = _range(random.permuted(np.tile(rates, (_RESAMPLES, 1)), axis=1), belongs)
    drawn = _resampled(rates, belongs, random)
    low, high = np.quantile(drawn, [0.025, 0.975])
    # a spread that is the same but for rounding is as large
    larger = int(np.count_nonzero(lots >= value - 1e-12))
    spread, p = Share(value, float(low), float(high)), (1 + larger) / (1 + _RESAMPLES)
    reach = _detectable_of(rates, [one.people for one in counted])
    return Spread(
        tuple(found),
        counted[int(means.argmin())].name,
        counted[int(means.argmax())].name,
        spread,
        float(lots.mean()),
        p,
        reach,
        _on_goal(spread, p, reach),
    )


def _on_goal(spread: Share, p: float, reach: float) -> Verdict:
    if spread.high < GOAL and reach < GOAL:
        return "met"
    # as far as the drawn spreads lie too high, the found one does: so the interval is turned about
    # it (the basic bootstrap interval) before it is said to begin above the goal
    return "missed" if 2 * spread.value - spread.high > GOAL and p < _LEVEL else "open"


def detectable(recall: float, people: int, others: int, factor: float, groups: int) -> float:
    """The smallest shortfall of a group against the others that a test finds four times in five.

    Of the two-sided z test of two means at a level of 5 %, divided by the number of groups
    (Bonferroni), with 80 % power: the shortfall d that solves
    ``d = (z(1 - 0.05 / 2k) + z(0.8)) * sqrt(f q(1 - q) / others + f (q - d)(1 - q + d) / people)``.

    Args:
        recall: q, of the others, 0..1.
        people: in the group.
        others: people outside it.
        factor: f, the variance of people's rates as a share of that of a yes or no for each person.
        groups: k.

    Returns:
        The shortfall; ``recall`` itself where none would be found.
    """
    normal = NormalDist()
    reach = normal.inv_cdf(1 - _LEVEL / 2 / groups) + normal.inv_cdf(_POWER)
    steps = np.arange(1, 10001) / 10000 * recall
    lower = recall - steps
    variance = recall * (1 - recall) / others + lower * (1 - lower) / people
    enough = steps >= reach * np.sqrt(factor * variance)
    return float(steps[int(np.argmax(enough))]) if enough.any() else recall


@dataclass(frozen=True, slots=True)
class Paired:
    """The same people at the same places under two conditions.

    Attributes:
        name: of the condition.
        base: of what it is compared with.
        size: height of the faces in pixels.
        recall: under the condition.
        difference: recall under the condition minus that under ``base``; interval resamples people.
        detectable: the smallest true difference that would be found in four of five trials.
    """

    name: str
    base: str
    size: int
    recall: Share
    difference: Share
    detectable: float


def paired(rates: Floats, base: Floats, *, name: str, base_name: str, size: int) -> Paired:
    """Compare [people] rates under a condition with those of the same people without it."""
    change = rates - base
    weights = resamples(len(change))
    drawn = weights @ change / weights.sum(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    normal = NormalDist()
    reach = normal.inv_cdf(1 - _LEVEL / 2) + normal.inv_cdf(_POWER)
    return Paired(
        name,
        base_name,
        size,
        recall_of(rates),
        Share(float(change.mean()), float(low), float(high)),
        float(reach * change.std(ddof=1) / np.sqrt(len(change))),
    )


def recall_of(rates: Floats) -> Share:
    """Mean of people's rates, its interval by resampling people."""
    # people's rates are means over many places: they tell more than a yes or no for each person
    return proportion(rates, np.ones(len(rates)), resamples(len(rates)), trials=math.inf)


def _recall(rates: Floats, name: str, least: int) -> GroupRecall:
    return GroupRecall(name, len(rates), recall_of(rates), len(rates) >= least)


def _range(rows: Floats, belongs: Floats) -> Floats:
    """Largest minus smallest group mean of each row [n, people]."""
    means = rows @ belongs.T / belongs.sum(axis=1)
    return np.asarray(means.max(axis=1) - means.min(axis=1), np.float64)


def _resampled(rates: Floats, belongs: Floats, random: np.random.Generator) -> Floats:
    """The spread with each group's people drawn again."""
    means = []
    for members in belongs:
        own = rates[members > 0]
        means.append(own[random.integers(0, len(own), (_RESAMPLES, len(own)))].mean(axis=1))
    groups = np.stack(means)
    return np.asarray(groups.max(axis=0) - groups.min(axis=0), np.float64)


def _detectable_of(rates: Floats, people: Sequence[int]) -> float:
    recall, smallest = float(rates.mean()), min(people)
    bernoulli = recall * (1 - recall)
    # where all or none are found nothing tells the factor: then as if a person were found or not
    factor = min(float(rates.var(ddof=1)) / bernoulli, 1.0) if bernoulli > 0 else 1.0
    return detectable(recall, smallest, sum(people) - smallest, factor, len(people))
