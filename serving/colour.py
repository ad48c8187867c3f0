"""Colour and texture of crops: how much like skin, how much like a poster, how sharp."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.contracts import CROP
from serving.crops import Crops
from serving.errors import ServingError
from serving.geometry import FloatArray

TABLE_FILE = Path(__file__).resolve().parent / "face_colour.npy"

BINS = (36, 8, 4)
"""Hue (10 degrees each), saturation and value of the face-colour table."""

_SMALL = CROP // 2
_BOX_SMALL = slice(6, 26)
_AROUND_FROM, _AROUND_TO = 5, 27
_BOX = slice(11, 53)
"""Pixels of a crop, and of one of half the size, that lie wholly within the box, and the pixels
between which the box and the line around it lie."""

_ENTROPY_BINS = 32
_FLAT = 1.0
"""Grey levels squared: noise of a flat area, which is no texture."""

Row = NDArray[np.float64]


@lru_cache(maxsize=1)
def face_colour_table() -> FloatArray:
    """Probability 0..1 that a pixel of this colour shows a face, float32 [36, 8, 4].

    Index: hue / 10 degrees, saturation / 32, value / 64. Made by ``evaluation.face_colour``; in an
    area that is half face, half not.

    Raises:
        ServingError: the package is damaged.
    """
    try:
        table = np.load(TABLE_FILE, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ServingError(
            f"the face-colour table cannot be read ({error})",
            where=str(TABLE_FILE),
            fix="Install again",
        ) from error
    return np.asarray(table / np.float32(255), np.float32)


def small_hsv(crops: Crops) -> NDArray[np.uint8]:
    """``crops`` [n, 64, 64, 3] RGB at half the size as uint8 [n, 32, 32, 3]: H 0..179, S, V."""
    small = _halved(crops)
    hsv = cv2.cvtColor(small.reshape(-1, _SMALL, 3), cv2.COLOR_RGB2HSV)
    return np.asarray(hsv, np.uint8).reshape(small.shape)


def colour_bins(hsv: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Which of the table's cells each pixel of ``hsv`` uint8 [..., 3] belongs to, int [...]."""
    hue, saturation, value = (hsv[..., i].astype(np.intp) for i in range(3))
    return np.asarray((hue // 5 * BINS[1] + (saturation >> 5)) * BINS[2] + (value >> 6), np.intp)


def within_box(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Of ``values`` [n, 32, 32, ...] those within the box, [n, 400, ...]."""
    part = values[:, _BOX_SMALL, _BOX_SMALL]
    return part.reshape(len(values), -1, *values.shape[3:])


def colour_features(crops: Crops) -> dict[str, Row]:
    """Face colour, and what tells a printed or painted face from a real one.

    Args:
        crops: uint8 [n, 64, 64, 3] RGB, ``crops.colour_crops``.

    Returns:
        float64 [n] each; names and ranges as in ``serving/features.py``.
    """
    hsv = small_hsv(crops)
    outside = np.ones((_SMALL, _SMALL), np.bool_)
    outside[_AROUND_FROM:_AROUND_TO, _AROUND_FROM:_AROUND_TO] = False
    face = face_colour_table().reshape(-1)[colour_bins(hsv)]
    saturation = hsv[..., 1].astype(np.float32) / 255
    inside = np.asarray(within_box(saturation), np.float32)
    hue = np.asarray(within_box(hsv[..., 0]), np.float32) * np.float32(np.pi / 90)
    weight = inside.sum(axis=1)
    length = np.hypot((inside * np.cos(hue)).sum(axis=1), (inside * np.sin(hue)).sum(axis=1))
    return {
        "face_colour": _mean(np.asarray(within_box(face))),
        "face_colour_context": _mean(face[:, outside]),
        "saturation_mean": _mean(inside),
        "saturation_std": inside.std(axis=1, dtype=np.float64),
        "saturation_contrast": _mean(inside) - _mean(saturation[:, outside]),
        "hue_concentration": np.clip(length / np.maximum(weight, 1e-3), 0, 1),
        "colourfulness": _colourfulness(np.asarray(within_box(_halved(crops)), np.float32)),
    }


def texture_features(crops: Crops) -> dict[str, Row]:
    """Brightness, contrast, entropy and sharpness.

    Args:
        crops: uint8 [n, 64, 64, 1], ``crops.grey``.

    Returns:
        float64 [n] each; names and ranges as in ``serving/features.py``.
    """
    plane = crops[..., 0]
    part = np.ascontiguousarray(plane[:, _BOX, _BOX])
    rows = part.reshape(len(part), -1)
    values = rows.astype(np.float32) / 255
    around = np.ones(plane.shape[1:], np.bool_)
    around[_BOX.start - 1 : _BOX.stop + 1, _BOX.start - 1 : _BOX.stop + 1] = False
    variance = values.var(axis=1, dtype=np.float64) * 255**2
    grey = part.astype(np.float32)
    middle = grey[:, 1:-1, 1:-1]
    edges = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    laplacian = (edges - 4 * middle).reshape(len(part), -1).var(axis=1, dtype=np.float64)
    ratio = laplacian / (variance + _FLAT)
    return {
        "grey_mean": _mean(values),
        "grey_std": np.sqrt(variance) / 255,
        "grey_contrast": _mean(values) - plane[:, around].mean(axis=1, dtype=np.float64) / 255,
        "entropy": _entropy(rows),
        "sharpness": np.minimum(np.log1p(ratio) / np.log(65), 1),
    }


def _colourfulness(rgb: NDArray[np.float32]) -> Row:
    """Hasler and Suesstrunk, Measuring colourfulness in natural images, 2003, of [n, p, 3]."""
    red, green, blue = (rgb[..., i] for i in range(3))
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = np.hypot(
        red_green.std(axis=1, dtype=np.float64), yellow_blue.std(axis=1, dtype=np.float64)
    )
    return np.asarray((spread + 0.3 * np.hypot(_mean(red_green), _mean(yellow_blue))) / 255)


def _entropy(rows: NDArray[np.uint8]) -> Row:
    """Shannon entropy of the grey levels of each row, uint8 [n, p], as a share of the largest."""
    count, pixels = rows.shape
    place = np.arange(count)[:, None] * _ENTROPY_BINS + rows // (256 // _ENTROPY_BINS)
    counts = np.bincount(place.reshape(-1), minlength=count * _ENTROPY_BINS)
    share = counts.reshape(count, _ENTROPY_BINS) / pixels
    logs = np.log2(share, out=np.zeros_like(share), where=share > 0)
    entropy = np.abs((share * logs).sum(axis=1)) / np.log2(_ENTROPY_BINS)
    return np.asarray(np.minimum(entropy, 1))


def _halved(crops: Crops) -> Crops:
    """``crops`` uint8 [n, 64, 64, 3], each 2 x 2 pixels as their mean: uint8 [n, 32, 32, 3]."""
    # One tall picture: 64 is even, so no cell reaches into the next crop.
    tall = crops.reshape(-1, CROP, 3)
    small = cv2.resize(tall, (_SMALL, len(tall) // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8).reshape(len(crops), _SMALL, _SMALL, 3)


def _mean(values: NDArray[np.generic]) -> Row:
    return np.asarray(values.mean(axis=1, dtype=np.float64))
