"""How sure a figure is: by person, for pictures of one are no new evidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

_RESAMPLES = 4000
_SEED = 20261122


@dataclass(frozen=True, slots=True)
class Difference:
    """An attacker's rank-1 rate on treated faces against the same one on mean colours.

    Attributes:
        rate, base: shares of probes whose person comes first, 0..1.
        low, high: 95 % interval of ``rate - base``.
        probes: how many.
        people: how many persons are resampled.
    """

    rate: float
    base: float
    low: float
    high: float
    probes: int
    people: int

    @property
    def value(self) -> float:
        """``rate - base``."""
        return self.rate - self.base

    @property
    def detectable(self) -> float:
        """The smallest true difference whose interval would lie above 0 in four of five trials."""
        return (self.high - self.low) / (2 * 1.96) * (1.96 + 0.84)


def difference(
    hits: NDArray[np.bool_],
    base: NDArray[np.bool_],
    people: NDArray[np.int64],
    base_people: NDArray[np.int64],
) -> Difference:
    """Compare two runs of one attacker on probes of the same people.

    Args:
        hits, base: which probes were named rightly: [n], [m].
        people, base_people: whose they are.
    """
    names = np.unique(people)
    ours = np.array([hits[people == name].mean() for name in names])
    theirs = np.array([base[base_people == name].mean() for name in names])
    weights = np.array([(people == name).sum() for name in names], np.float64)
    random = np.random.default_rng(_SEED)
    drawn = random.integers(0, len(names), (_RESAMPLES, len(names)))
    each = (ours - theirs) * weights
    values = each[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
    low, high = np.quantile(values, (0.025, 0.975))
    return Difference(
        float(np.average(ours, weights=weights)),
        float(np.average(theirs, weights=weights)),
        float(low),
        float(high),
        len(hits),
        len(names),
    )


@dataclass(frozen=True, slots=True)
class Area:
    """Area under a ROC curve, with its 95 % interval."""

    value: float
    low: float
    high: float


def roc_area(
    same: NDArray[np.float32], other: NDArray[np.float32], people: NDArray[np.int64]
) -> Area:
    """How often a probe looks more like its own person than any probe looks like another one.

    Args:
        same: [n] likeness of each probe to its own person.
        other: [n, others] its likeness to the others.
        people: [n] whose the probes are.

    Source: Obuchowski, Nonparametric analysis of clustered ROC curve data, Biometrics 53(2), 1997:
    what each probe adds to either side, summed up by person.
    """
    of_same, of_other = np.sort(same), np.sort(other, axis=None)
    below = _share_below(of_other, same)
    above = 1 - _share_below(of_same, other.ravel()).reshape(other.shape)
    value = float(below.mean())
    each = (below - value) / len(same) + (above.mean(axis=1) - value) / len(same)
    sums = np.bincount(np.unique(people, return_inverse=True)[1], each)
    spread = float(np.sqrt(len(sums) / (len(sums) - 1) * np.square(sums).sum()))
    reach = float(t.ppf(0.975, len(sums) - 1)) * spread
    return Area(value, max(value - reach, 0.0), min(value + reach, 1.0))


def _share_below(ordered: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of ``ordered`` that lies below each of ``values``; of equal ones half."""
    ends = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return np.asarray(sum(ends) / (2 * len(ordered)))
