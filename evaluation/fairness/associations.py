"""What goes along with recall, person by person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.fairness.crops import FaceCrop
from evaluation.fairness.trial import Trial
from evaluation.summary import Share, resamples

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Association:
    """Rank correlation over people of recall with something measured on their crops."""

    measure: str
    condition: str
    size: int
    rho: Share


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
