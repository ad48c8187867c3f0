"""How light skin looks in a picture: the individual typology angle (ITA).

ITA = arctan((L* - 50) / b*) in degrees, on CIELAB values under D65 (Chardon, Cretois and Hourseau,
Skin colour typology and suntanning pathways, Int. J. Cosmetic Science 13, 1991); the six classes
are those of Del Bino and Bernerd (Variations in skin colour and the biological consequences of
ultraviolet radiation exposure, Br. J. Dermatology 169, 2013).

They were made for measurements under controlled light. A photograph's exposure and white balance
move the angle by tens of degrees, so classes from photographs say how skin *appears*, roughly.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from evaluation.fairness.light import linear

Pixels = NDArray[np.uint8]
Shares = tuple[float, float, float, float]

# ITA from which each class holds, lightest first.
CLASSES: tuple[tuple[float, str], ...] = (
    (55, "very light"),
    (41, "light"),
    (28, "intermediate"),
    (10, "tan"),
    (-30, "brown"),
    (-math.inf, "dark"),
)
NOT_COMPUTABLE = "no colour"

# Both cheeks and the forehead of an aligned crop, as shares of its sides: eyes lie at 0.3 of its
# height, the mouth at 0.75.
PATCHES: tuple[Shares, ...] = (
    (0.20, 0.48, 0.34, 0.62),
    (0.66, 0.48, 0.80, 0.62),
    (0.36, 0.08, 0.64, 0.17),
)
# Yellowness below which a picture is grey, or so blue that the angle means nothing.
_LEAST_YELLOW = 3.0

# Linear sRGB to XYZ over the D65 white (IEC 61966-2-1).
_XYZ = np.array(
    [
        [0.4124 / 0.95047, 0.3576 / 0.95047, 0.1805 / 0.95047],
        [0.2126, 0.7152, 0.0722],
        [0.0193 / 1.08883, 0.1192 / 1.08883, 0.9505 / 1.08883],
    ]
)


def lab(pixels: Pixels) -> NDArray[np.float64]:
    """CIELAB values (L* 0..100, a*, b*) of uint8 [..., 3] sRGB, under D65."""
    xyz = linear(pixels).astype(np.float64) @ _XYZ.T
    bent = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = bent[..., 0], bent[..., 1], bent[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def typology_angle(lightness: float, yellowness: float) -> float | None:
    """ITA in degrees of L* and b*; None for grey or bluish colours."""
    if yellowness < _LEAST_YELLOW:
        return None
    return math.degrees(math.atan((lightness - 50) / yellowness))


def crop_angle(crop: Pixels) -> float | None:
    """ITA of an aligned face crop uint8 [h, w, 3] RGB: the median of cheeks and forehead.

    None where fewer than two of the three have a colour.
    """
    height, width = crop.shape[:2]
    angles = []
    for x1, y1, x2, y2 in PATCHES:
        patch = crop[round(y1 * height) : round(y2 * height), round(x1 * width) : round(x2 * width)]
        lightness, _, yellowness = np.median(lab(patch).reshape(-1, 3), axis=0)
        angle = typology_angle(float(lightness), float(yellowness))
        if angle is not None:
            angles.append(angle)
    return float(np.median(angles)) if len(angles) >= 2 else None


def tone_class(angle: float | None) -> str:
    """Name of the class that an ITA lies in."""
    if angle is None:
        return NOT_COMPUTABLE
    return next(name for least, name in CLASSES if angle > least)
