"""Curves through averages as matrices of weights, for the output's check.

Worked out by other formulas than the redaction's, see :mod:`pipeline.expected`.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import compiled

Floats = NDArray[np.float32]


@compiled
def spline(place: NDArray[Any], points: int) -> Floats:
    """Weights [n, points] of a cubic B-spline's control points at ``place``, 0 being the first.

    Beyond the ends the nearest point counts.
    """
    out = np.zeros((len(place), points), np.float32)
    for i in range(len(place)):
        nearest = math.floor(place[i])
        # how far away each of the four points is that the curve depends on there
        for point in range(nearest - 1, nearest + 3):
            away = abs(place[i] - point)
            weight = (2 - away) ** 3 / 6 if away > 1 else (4 - 6 * away**2 + 3 * away**3) / 6
            out[i, min(max(point, 0), points - 1)] += weight
    return out


@compiled
def steps(place: NDArray[Any], points: int) -> Floats:
    """Weights [n, points] where each cell goes from a whole number to the next, and is even."""
    out = np.zeros((len(place), points), np.float32)
    for i in range(len(place)):
        out[i, min(max(math.floor(place[i]), 0), points - 1)] = 1
    return out


@lru_cache(maxsize=256)
def halving(points: int) -> Floats:
    """[2 points - 1, points]: control points half as far apart, the nearest beyond the ends."""
    out = np.zeros((2 * points - 1, points), np.float32)
    for fine in range(2 * points - 1):
        place, between = divmod(fine, 2)
        for point, eighths in ((place - 1, 1), (place, 6), (place + 1, 1)):
            if not between:
                out[fine, min(max(point, 0), points - 1)] += eighths / 8
        if between:
            out[fine, place : place + 2] = 0.5
    return out
