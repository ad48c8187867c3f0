"""Thresholds by their costs: the fewest false blurs at which enough true objects are obscured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.operating_points import ClassCandidates, Operated, Point, Thresholds
from serving.contracts import GRAPH_FLOOR

GRID = (GRAPH_FLOOR, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Thresholds that are tried, from the lowest score on that the detectors give."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Thresholds chosen without one set, and what they give on it.

    Attributes:
        name: of the set.
        thresholds: chosen on all others.
        point: on the set itself.
    """

    name: str
    thresholds: Thresholds
    point: Point


@dataclass(frozen=True, slots=True)
class Tuned:
    """Thresholds of one class, and why.

    Attributes:
        thresholds: the chosen ones.
        met: whether both targets hold on the pictures they were chosen on.
        point: what they give there, on all sets together.
        sets: and on each.
        held_out: cross-validation by set; empty where there is only one.
        curve: one threshold for all heights: what each of the grid gives.
    """

    thresholds: Thresholds
    met: bool
    point: Point
    sets: Mapping[str, Point]
    held_out: tuple[HeldOut, ...]
    curve: Mapping[float, Point]


def tune(
    sets: Mapping[str, ClassCandidates],
    start: Thresholds,
    *,
    target: float,
    budget: float,
) -> Tuned:
    """Choose thresholds for the heights of ``start``.

    From the lowest thresholds on, that one is raised which saves most false blurs for the recall
    that it costs, as long as recall stays at ``target`` in every set, or, where no threshold gets
    there, at the best that one gives: a large set does not pay for a small one. Recall comes
    first: a budget that cannot be kept so is told, not kept.

    Args:
        sets: the class's candidates, by set.
        start: says from which heights on thresholds may differ.
        target: least recall of boxes of at least 12 px in each set that has any, 0..1.
        budget: largest mean share of points outside that may change, over all pictures, 0..1.
    """
    every = list(sets.values())
    thresholds = _chosen(every, start, target)
    found = {name: one.at(thresholds) for name, one in sets.items()}
    total = _together(list(found.values()))
    held_out = []
    for name in sets if len(sets) > 1 else ():
        others = [one for other, one in sets.items() if other != name]
        chosen = _chosen(others, start, target)
        held_out.append(HeldOut(name, chosen, sets[name].at(chosen).point()))
    return Tuned(
        thresholds,
        all(one.recall >= target for one in found.values() if one.boxes.any())
        and total.outside_mean <= budget,
        total.point(),
        {name: one.point() for name, one in found.items()},
        tuple(held_out),
        {value: _at(every, Thresholds((0,), (value,))).point() for value in GRID},
    )


def _chosen(sets: Sequence[ClassCandidates], start: Thresholds, target: float) -> Thresholds:
    now = Thresholds(start.starts, (GRID[0],) * len(start.starts))
    found = [one.at(now) for one in sets]
    least = [min(target, one.recall) for one in found]
    while True:
        steps = [
            (tried, [one.at(tried) for one in sets])
            for place, value in enumerate(now.values)
            for higher in GRID
            if higher > value
            for tried in (now.raised(place, higher),)
        ]
        allowed = [
            (tried, gives)
            for tried, gives in steps
            if _outside(gives) < _outside(found)
            and all(one.recall >= low for one, low in zip(gives, least, strict=True))
        ]
        if not allowed:
            return now
        now, found = max(allowed, key=lambda step: _worth(found, step[1]))


def _worth(before: Sequence[Operated], after: Sequence[Operated]) -> tuple[float, float]:
    """False blurs saved for the recall lost in all sets; more, where none is lost."""
    saved = _outside(before) - _outside(after)
    lost = sum(was.recall - now.recall for was, now in zip(before, after, strict=True))
    return (saved / lost if lost > 0 else float("inf"), saved)


def _outside(parts: Sequence[Operated]) -> float:
    return _together(parts).outside_mean


def _at(sets: Sequence[ClassCandidates], thresholds: Thresholds) -> Operated:
    return _together([one.at(thresholds) for one in sets])


def _together(parts: Sequence[Operated]) -> Operated:
    def joined(name: str) -> NDArray[np.float64]:
        return np.concatenate([getattr(part, name) for part in parts])

    return Operated(joined("hits"), joined("boxes"), joined("changed"), joined("outside"))
