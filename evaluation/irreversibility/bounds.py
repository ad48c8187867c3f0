"""How sure a difference is: bootstrap by person, for pictures of one are no new evidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
