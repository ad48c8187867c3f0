"""Bending what a box is replaced by to what is published around it, so that no edge shows.

A blurred box differs from its surroundings by its cells' averages and their noise: a slab. So the
picture is laid out in squares, and in those around the box, which are published as they were, it is
known by how much the blur misses them; that much, weighted by how near each of them is (Shepard,
A two-dimensional interpolation function for irregularly-spaced data, 1968), is put on the blur.
What results is made of the noisy cells and of what everybody can see: it tells nothing that these
do not. Float32 in a fixed order: the same bytes everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import compiled, either_way

Floats = NDArray[np.float32]
Samples = NDArray[Any]
Longs = NDArray[np.int64]

# Squares that a box's mean side has at most, and its longer one.
SQUARES, MOST_SQUARES = 16, 64
# Side of the smallest squares in samples: where colours are coded in blocks, averages of whole
# blocks are at hand.
LEAST_SQUARE = 8


@either_way
def square_px(least: int, step: int) -> int:
    """Side of the squares along one axis, in pixels.

    Args:
        least: what the box asks for, see :attr:`pipeline.redaction.RedactionBox.square_px`.
        step: pixels that a sample of the channel spans.
    """
    return max(least, LEAST_SQUARE * step)


@compiled
def bend(
    nodes: Floats,
    first_x: int,
    first_y: int,
    across: int,
    down: int,
    source: Samples,
    averages: NDArray[np.int32],
    place: Longs,
    changed: Longs,
) -> None:
    """Put on ``nodes`` what they miss around the box by, in place.

    Args:
        nodes: [rows, columns] grey levels at the middle of each square.
        first_x, first_y: column and row of the first square in the picture; may be negative.
        across, down: sides of a square in pixels.
        source, averages: see :class:`pipeline.redaction.Plane`.
        place: as for :func:`pipeline.cells.paint`.
        changed: [n, 4] (x1, y1, x2, y2) in pixels: all that redacting the picture may change.
    """
    rows, columns = nodes.shape
    at_y, at_x = np.empty(rows * columns, np.int64), np.empty(rows * columns, np.int64)
    missed = np.empty(rows * columns, np.float32)
    count = 0
    known = np.zeros((rows, columns), np.bool_)
    for row in range(rows):
        top = (first_y + row) * down
        for column in range(columns):
            left = (first_x + column) * across
            inside = left >= 0 and top >= 0
            inside = inside and left + across <= place[6] and top + down <= place[7]
            for i in range(len(changed)):
                inside = inside and not (
                    left < changed[i, 2]
                    and changed[i, 0] < left + across
                    and top < changed[i, 3]
                    and changed[i, 1] < top + down
                )
            if not inside:
                continue
            known[row, column] = True
            at_y[count], at_x[count] = row, column
            seen = _average(source, averages, place, left, top, across, down)
            missed[count] = seen - nodes[row, column]
            nodes[row, column] = seen
            count += 1
    if count == 0:
        return
    # nearness by how many squares lie between, in pixels where squares are not square
    nearness = np.empty((rows, columns), np.float32)
    for row in range(rows):
        for column in range(columns):
            away = np.float32(row * row * down * down + column * column * across * across)
            nearness[row, column] = np.float32(1) / max(away * away, np.float32(1))
    for row in range(rows):
        for column in range(columns):
            if known[row, column]:
                continue
            total, weights = np.float32(0), np.float32(0)
            for i in range(count):
                weight = nearness[abs(row - at_y[i]), abs(column - at_x[i])]
                total += weight * missed[i]
                weights += weight
            nodes[row, column] += total / weights


@compiled
def _average(
    source: Samples,
    averages: NDArray[np.int32],
    place: Longs,
    left: int,
    top: int,
    across: int,
    down: int,
) -> np.float32:
    """Of the square of pixels at (``left``, ``top``), in grey levels."""
    step_x, step_y = place[4], place[5]
    x, y, wide, high = left // step_x, top // step_y, across // step_x, down // step_y
    total = np.int64(0)
    if averages.shape[0] > 0:
        for row in range(y // 8, (y + high) // 8):
            for column in range(x // 8, (x + wide) // 8):
                total += averages[row, column]
        return np.float32(total / (16 * (wide // 8) * (high // 8)))
    x, y = x - place[0], y - place[1]
    for row in range(y, y + high):
        for column in range(x, x + wide):
            total += source[row, column]
    return np.float32(total / (wide * high))
