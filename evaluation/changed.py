"""How much of a picture changed that had no reason to: pixels outside every labelled box.

Coding noise is no change. It has no mean over a few pixels (a coder keeps the level of an 8x8
block to a sixteenth of a quantiser step), whereas a blurred edge shifts the local level by tens.
So the difference is averaged over 3x3 pixels before it meets the threshold, and over 5x5 for
colour, whose subsampling moves coloured edges. Measured on 376
labelled pictures, coding again marks 0.001 % of the pixels at quality 90 and 0.005 % at quality 75
(0.09 % and 0.28 % of the worst picture). Much coarser coding is visible and counts: at quality 50,
1 % of the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.geometry import Box

Pixels = NDArray[np.uint8]
Map = NDArray[np.bool_]

GROWTH = 0.25

_LUMA_LEVELS = 6
_COLOUR_LEVELS = 20
_FILL = 9
# The smallest area that counts as a region: coding again leaves specks of a few pixels.
_LEAST_AREA = 64


@dataclass(frozen=True, slots=True)
class ChangedOutside:
    """Pixels that differ visibly outside the grown boxes, and how many pixels lie there."""

    changed: int
    outside: int

    @property
    def share(self) -> float:
        """Changed share, 0..1; 0 when the boxes cover the picture."""
        return self.changed / self.outside if self.outside else 0.0


def changed_map(source: Pixels, output: Pixels) -> Map:
    """Which pixels differ visibly, beyond coding noise.

    Gaps of less than 9 pixels between differing pixels are filled: blur leaves the middle of a
    texture's flat spots as they were, yet the spot as a whole has changed.

    Args:
        source: uint8 [H, W, 3] RGB.
        output: same shape, same orientation.

    Returns:
        bool [H, W].

    Raises:
        ValueError: the shapes differ.
    """
    if source.shape != output.shape:
        raise ValueError(f"source is {source.shape}, output is {output.shape}: sizes must agree")
    grey = cv2.subtract(
        cv2.cvtColor(output, cv2.COLOR_RGB2GRAY),
        cv2.cvtColor(source, cv2.COLOR_RGB2GRAY),
        dtype=cv2.CV_16S,
    )
    colour = cv2.subtract(output, source, dtype=cv2.CV_16S)
    differs = np.abs(cv2.blur(grey, (3, 3))) >= _LUMA_LEVELS
    differs |= (np.abs(cv2.blur(colour, (5, 5))) >= _COLOUR_LEVELS).any(axis=2)
    if not differs.any():
        return np.asarray(differs, dtype=np.bool_)
    kernel = np.ones((_FILL, _FILL), dtype=np.uint8)
    filled = cv2.morphologyEx(
        differs.astype(np.uint8), cv2.MORPH_CLOSE, kernel, borderType=cv2.BORDER_REPLICATE
    )
    return np.asarray(filled, dtype=np.bool_)


def outside_map(width: int, height: int, boxes: Iterable[Box], growth: float = GROWTH) -> Map:
    """Which pixels lie outside every box grown by ``growth`` of its size on each side.

    Returns:
        bool [height, width].
    """
    outside = np.ones((height, width), dtype=np.bool_)
    for box in boxes:
        margin_x, margin_y = growth * box.width, growth * box.height
        x1, y1 = math.floor(box.x1 - margin_x), math.floor(box.y1 - margin_y)
        x2, y2 = math.ceil(box.x2 + margin_x), math.ceil(box.y2 + margin_y)
        outside[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = False
    return outside


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """What differs between a picture and its output.

    Attributes:
        outside: what differs outside every box.
        changed: all pixels that differ.
        regions: the boxes of connected areas that differ.
        false_regions: how many of them touch no box.
    """

    outside: ChangedOutside
    changed: int
    regions: tuple[Box, ...]
    false_regions: int


def changes(source: Pixels, output: Pixels, boxes: Iterable[Box]) -> Changes:
    """All that differs visibly, and what of it lies outside ``boxes``.

    Args:
        source: uint8 [H, W, 3] RGB.
        output: same shape, same orientation.
        boxes: labelled and ignored ones, any class, in pixels; grown by 25 % of their size on each
            side here.

    Raises:
        ValueError: the shapes differ.
    """
    height, width = source.shape[:2]
    outside = outside_map(width, height, boxes)
    changed = changed_map(source, output)
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(changed.astype(np.uint8))
    touching = np.zeros(count, dtype=np.bool_)
    touching[np.unique(numbers[~outside])] = True
    areas = [int(n) for n in range(1, count) if stats[n, cv2.CC_STAT_AREA] >= _LEAST_AREA]
    regions = []
    for number in areas:
        x, y, w, h = (float(v) for v in stats[number, : cv2.CC_STAT_AREA])
        regions.append(Box(x, y, x + w, y + h))
    return Changes(
        ChangedOutside(int(np.count_nonzero(changed & outside)), int(np.count_nonzero(outside))),
        int(np.count_nonzero(changed)),
        tuple(regions),
        sum(1 for number in areas if not touching[number]),
    )


def changed_outside(source: Pixels, output: Pixels, boxes: Iterable[Box]) -> ChangedOutside:
    """Count what differs visibly outside ``boxes``, see :func:`changes`."""
    return changes(source, output, boxes).outside
