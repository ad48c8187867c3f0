"""A picture of a quarter of the size from the first coefficients of each block.

Nearly what averaging over 4 x 4 pixels gives, without the transform of the other 60 coefficients.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import Number, compiled
from pipeline.jpeg.bitstream import Longs
from pipeline.jpeg.entropy import Shorts
from pipeline.jpeg.sequential import SequentialScan
from pipeline.jpeg.unspliceable import Unspliceable

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

# What a cosine of frequency 0 and 1 is worth, averaged over four samples of a block (T.81, A.3.3).
_FLAT = math.sqrt(1 / 8)
_SLOPE = sum(math.cos((2 * x + 1) * math.pi / 16) for x in range(4)) / 8
# zigzag 0, 1, 2 and 4: the average, the slopes across and down, and both together
_WORTH = np.array([_FLAT * _FLAT, _FLAT * _SLOPE, _FLAT * _SLOPE, 0, _SLOPE * _SLOPE], np.float32)


@compiled
def quarter_plane(low: Shorts, slots: Longs, weights: Floats, out: Bytes) -> None:
    """Two samples by two for each block.

    Args:
        low: [blocks, 5] first coefficients, quantised, in zigzag order.
        slots: [rows, columns] which block lies where.
        weights: [5] what a step of each is worth.
        out: [2 rows, 2 columns], filled.
    """
    for row in range(slots.shape[0]):
        for column in range(slots.shape[1]):
            block = low[slots[row, column]]
            flat = block[0] * weights[0] + np.float32(128.5)
            across, down = block[1] * weights[1], block[2] * weights[2]
            both = block[4] * weights[4]
            for y in range(2):
                for x in range(2):
                    level = flat
                    level += across if x == 0 else -across
                    level += down if y == 0 else -down
                    level += both if x == y else -both
                    at: Number = np.int64(np.floor(level))
                    out[2 * row + y, 2 * column + x] = min(max(at, 0), 255)


def quarter_picture(scanned: SequentialScan) -> NDArray[Any]:
    """The picture at a quarter of its size, rounded up: [h, w, 3] uint8 RGB as stored.

    Args:
        scanned: of :func:`pipeline.jpeg.splice.scan_jpeg`.

    Raises:
        Unspliceable: ``colours``, it has neither one nor three components (YCbCr).
    """
    frame = scanned.frame
    if len(frame.components) not in (1, 3):
        raise Unspliceable("colours", "a small picture is made of grey or YCbCr alone")
    width, height = -(-frame.width // 4), -(-frame.height // 4)
    total = len(scanned.tables.blocks)
    slots = np.arange(frame.mcus).reshape(frame.mcus_y, frame.mcus_x)
    flat = scanned.low.reshape(-1, scanned.low.shape[2])
    planes: list[Bytes] = []
    first = 0
    for one in frame.components:
        count = one.horizontal * one.vertical
        inner = first + np.arange(count).reshape(one.vertical, one.horizontal)
        grid = slots[:, None, :, None] * total + inner[None, :, None, :]
        grid = grid.reshape(frame.mcus_y * one.vertical, frame.mcus_x * one.horizontal)
        plane = np.empty((2 * grid.shape[0], 2 * grid.shape[1]), np.uint8)
        quarter_plane(flat, grid, _WORTH * one.steps[: len(_WORTH)].astype(np.float32), plane)
        if one.step_x > 1 or one.step_y > 1:
            size = (plane.shape[1] * one.step_x, plane.shape[0] * one.step_y)
            plane = np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR))
        planes.append(plane[:height, :width])
        first += count
    if len(planes) == 1:
        return np.repeat(planes[0][:, :, None], 3, axis=2)
    luma, blue, red = planes
    return np.asarray(cv2.cvtColor(cv2.merge([luma, red, blue]), cv2.COLOR_YCrCb2RGB))
