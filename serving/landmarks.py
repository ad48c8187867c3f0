"""How plausible a candidate's landmarks or corners are with respect to its box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serving.geometry import Candidate, FloatArray, Label

POINTS: dict[Label, int] = {"face": 5, "plate": 4}
"""Landmarks (eyes, nose, corners of the mouth) or corners of each class."""

_SLACK = 0.1
"""Points so far outside the box, as a share of its side, count half."""

_CLEAR = 0.2
"""Points so far apart, as a share of the box's side, are clearly in order."""

_FULL_COVERAGE = 0.5
"""A quadrangle that covers this share of its box is plausible: a plate of aspect 4.6 turned by 15
degrees covers half of its upright box."""

Row = NDArray[np.float64]


def landmark_scores(
    candidates: Sequence[Candidate], boxes: FloatArray
) -> tuple[Row, NDArray[np.bool_]]:
    """Plausibility 0..1 of each candidate's points, and whether it has any.

    Args:
        candidates: those with five finite points (faces) or four (plates) are judged.
        boxes: theirs, float32 [n, 4].

    Returns:
        float64 [n], 0 where not known; bool [n].
    """
    scores, known = np.zeros(len(candidates)), np.zeros(len(candidates), np.bool_)
    for label, count in POINTS.items():
        own = [
            index
            for index, item in enumerate(candidates)
            if item.label == label and len(item.points) == 2 * count
        ]
        points = np.array([candidates[i].points for i in own], np.float64).reshape(-1, count, 2)
        finite = np.isfinite(points).all(axis=(1, 2))
        rows, points = np.array(own, int)[finite], points[finite]
        low = boxes[rows, None, :2].astype(np.float64)
        size = boxes[rows, None, 2:].astype(np.float64) - low
        # Points far outside are as good as three boxes away; beyond that numbers would overflow.
        places = np.clip((points - low) / np.maximum(size, 1e-9), -3, 4)
        judged = _faces(places) if label == "face" else _plates(places)
        scores[rows], known[rows] = judged * _inside(places), True
    return np.clip(scores, 0, 1), known


def _inside(places: Row) -> Row:
    """Mean over the points of 1 within the box, 1/2 at ``_SLACK`` outside, falling to 0; [n]."""
    beyond = np.maximum(np.maximum(-places, places - 1), 0).max(axis=2)
    return np.asarray((1 / (1 + (beyond / _SLACK) ** 2)).mean(axis=1))


def _faces(places: Row) -> Row:
    """Order and symmetry of ``places`` [n, 5, 2] in box sizes: right way up, eyes level."""
    x, y = places[..., 0], places[..., 1]
    eyes, mouth = y[:, :2].mean(axis=1), y[:, 3:].mean(axis=1)
    order = [
        _above(x[:, 1] - x[:, 0]),
        _above(x[:, 4] - x[:, 3]),
        _above(y[:, 2] - eyes),
        _above(mouth - y[:, 2]),
    ]
    centres = np.stack([x[:, :2].mean(axis=1), x[:, 2], x[:, 3:].mean(axis=1)])
    spread = centres.max(axis=0) - centres.min(axis=0)
    tilt = np.abs(y[:, 0] - y[:, 1]) + np.abs(y[:, 3] - y[:, 4])
    symmetry = 1 / (1 + (2 * spread) ** 2 + (2 * tilt) ** 2)
    return np.asarray(np.mean(order, axis=0) * (1 + symmetry) / 2)


def _plates(places: Row) -> Row:
    """Convexity and coverage of the quadrangles ``places`` [n, 4, 2] in box sizes, any turn."""
    edges = np.roll(places, -1, axis=1) - places
    following = np.roll(edges, -1, axis=1)
    turns = edges[..., 0] * following[..., 1] - edges[..., 1] * following[..., 0]
    convex = np.abs(np.sign(turns).sum(axis=1)) == places.shape[1]
    after = np.roll(places, -1, axis=1)
    area = np.abs((places[..., 0] * after[..., 1] - after[..., 0] * places[..., 1]).sum(axis=1)) / 2
    return np.asarray(convex * np.minimum(area / _FULL_COVERAGE, 1))


def _above(difference: Row) -> Row:
    """0 for -``_CLEAR`` and below, 1/2 for none, 1 for ``_CLEAR`` and above; [n]."""
    return np.clip(0.5 + difference / (2 * _CLEAR), 0, 1)
