"""What was coded again still shows its source outside the boxes: exactly, or as far as coding can.

Formats that lose nothing are compared sample by sample. What JPEG and WebP lose depends on the
picture, so their bounds lie beyond the worst that they made of pictures meant to be hard: patches
of 8 pixels in random full colours, with the tables of quality 1, kept 21 dB and averages within 40
levels; white noise at quality 50 kept 16.7 dB. Another photograph has about 10 dB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.decode import Upright
from pipeline.errors import OutputRejected
from pipeline.redaction import RedactionBox, touched_area

Pixels = NDArray[Any]

# Coders work in units of up to 16 pixels: what changes in one may show all over it.
TILE = 16
MAX_TILE_CHANGE = 64
MIN_PSNR_DB = 15.0


def check_exact(before: Pixels, after: Pixels, boxes: Sequence[RedactionBox]) -> None:
    """See that no sample differs beyond what redacting ``boxes`` touches.

    Args:
        before, after: [h, w] or [h, w, c], upright, all channels and bits.
        boxes: in upright pixels.

    Raises:
        OutputRejected: ``changed_outside``.
    """
    if before.shape != after.shape or before.dtype != after.dtype:
        raise OutputRejected("changed_outside", "the output has other channels than the source")
    differ = before != after
    if differ.ndim == 3:
        differ = differ.any(axis=2)
    for x1, y1, x2, y2 in _touched(before, boxes):
        differ[y1:y2, x1:x2] = False
    if differ.any():
        raise OutputRejected("changed_outside", "pixels outside the boxes have changed")


def check_alike(before: Upright, after: Upright, boxes: Sequence[RedactionBox]) -> None:
    """See that lossy coding changed no more outside ``boxes`` than it may.

    Args:
        before, after: [h, w, 3], upright.
        boxes: in upright pixels.

    Raises:
        OutputRejected: ``changed_outside``.
    """
    height, width = before.shape[:2]
    inside = np.zeros((-(-height // TILE), -(-width // TILE)), bool)
    for x1, y1, x2, y2 in _touched(before, boxes):
        left, top = max(x1 // TILE - 1, 0), max(y1 // TILE - 1, 0)
        inside[top : y2 // TILE + 2, left : x2 // TILE + 2] = True
    squares, samples = 0, 0
    for row, hidden in enumerate(inside):
        rows = slice(row * TILE, (row + 1) * TILE)
        change = after[rows].astype(np.int16) - before[rows]
        change[:, np.repeat(hidden, TILE)[:width]] = 0
        squares += int(np.square(change, dtype=np.int32).sum(dtype=np.int64))
        samples += change.shape[0] * int((~np.repeat(hidden, TILE)[:width]).sum()) * 3
        whole = change[:, : width // TILE * TILE]
        sums = whole.reshape(change.shape[0], -1, TILE, 3).sum(axis=(0, 2), dtype=np.int32)
        if len(whole) == TILE and sums.size and np.abs(sums).max() > MAX_TILE_CHANGE * TILE**2:
            raise OutputRejected(
                "changed_outside",
                f"the picture has changed outside the boxes, near row {rows.start}",
            )
    if samples and squares > samples * 255**2 / 10 ** (MIN_PSNR_DB / 10):
        raise OutputRejected("changed_outside", "the picture outside the boxes is another one")


def _touched(pixels: Pixels, boxes: Sequence[RedactionBox]) -> list[tuple[int, int, int, int]]:
    height, width = pixels.shape[:2]
    areas = (touched_area(box, width, height) for box in boxes)
    return [area for area in areas if area is not None]
