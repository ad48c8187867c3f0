"""A small picture of each candidate with its surroundings: what the post-processor looks at."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.contracts import CROP
from serving.geometry import FloatArray

CONTEXT = 0.25
"""A crop shows so much of the box's own width and height on each side besides: 1.5 by 1.5 boxes,
of which the middle two thirds are the box."""

_LONGEST = 8192
"""Longest side of a region that is sampled, in pixels of its level (OpenCV ends at 32767)."""

_MARGIN = 2
"""Pixels around a region that sampling between pixels can reach."""

Crops = NDArray[np.uint8]


def colour_crops(pixels: NDArray[np.uint8], boxes: FloatArray) -> Crops:
    """The surroundings of ``boxes`` at one size; a box's own shape is not kept.

    Resampled by area: the picture is halved until the region has 64 to 128 pixels a side
    (geometric mean), then sampled between pixels, where at most four are averaged. So a region of
    the whole picture costs as much as a small one. Beyond the picture its edge is repeated.

    Args:
        pixels: uint8 [H, W, 3] RGB.
        boxes: float32 [n, 4] x1, y1, x2, y2 in pixels, of any size above 0.

    Returns:
        uint8 [n, 64, 64, 3] RGB.
    """
    crops = np.empty((len(boxes), CROP, CROP, 3), np.uint8)
    if len(boxes) == 0:
        return crops
    low, high = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    grown = CONTEXT * (high - low)
    low, size = low - grown, (high - low) + 2 * grown
    mean_side = np.sqrt(size.prod(axis=1)) / CROP
    halvings = np.log2(np.maximum(mean_side, size.max(axis=1) / _LONGEST))
    levels = np.maximum(np.floor(halvings), 0).astype(int)
    scaled = pixels
    for level in range(int(levels.max()) + 1):
        if level:
            height, width = scaled.shape[:2]
            half = (max(1, (width + 1) // 2), max(1, (height + 1) // 2))
            scaled = np.asarray(cv2.resize(scaled, half, interpolation=cv2.INTER_AREA), np.uint8)
        back = np.array(scaled.shape[1::-1]) / np.array(pixels.shape[1::-1])
        for index in np.flatnonzero(levels == level):
            crops[index] = _sample(scaled, low[index] * back, size[index] * back)
    return crops


def grey(crops: Crops) -> Crops:
    """``crops`` uint8 [n, 64, 64, 3] RGB as luma (ITU-R BT.601), uint8 [n, 64, 64, 1]."""
    if len(crops) == 0:
        return np.empty((0, CROP, CROP, 1), np.uint8)
    luma = cv2.cvtColor(crops.reshape(-1, CROP, 3), cv2.COLOR_RGB2GRAY)
    return np.asarray(luma, np.uint8).reshape(-1, CROP, CROP, 1)


def _sample(
    pixels: NDArray[np.uint8], low: NDArray[np.float64], size: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """The region from ``low`` x, y on of ``size`` pixels, uint8 [64, 64, 3]."""
    ends = np.array(pixels.shape[1::-1])
    first = np.clip(np.floor(low) - _MARGIN, 0, ends - 1).astype(int)
    last = np.clip(np.ceil(low + size) + _MARGIN, first + 1, ends).astype(int)
    part = pixels[first[1] : last[1], first[0] : last[0]]
    step = size / CROP
    # Centres of output pixels fall on centres of what they stand for, hence the halves.
    x, y = low - first + step / 2 - 0.5
    matrix = np.array([[step[0], 0, x], [0, step[1], y]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    sampled = cv2.warpAffine(part, matrix, (CROP, CROP), flags=how, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sampled, np.uint8)
