"""What a redaction must come to, noise apart: computed from the source for the output's check.

None of the code that chooses cells, averages and paints is used, so that its mistakes are not made
twice: averages over the cells of each box, drawn by matrices of spline weights, laid over each
other from the weakest box to the strongest. Shared with the redaction is which box is stronger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import compiled
from pipeline.orientation import IntBox
from pipeline.redaction import FAR, RedactionBox, strength_order

Floats = NDArray[np.float32]
Longs = NDArray[np.int64]
GREY = 128.0


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """One channel of a source, or of a part of it, 0..255.

    Attributes:
        samples: [h, w]; those that no box covers need not be known.
        left, top: the first sample's place in the channel.
        step_x, step_y: pixels that a sample spans.
        size: (width, height) of the picture in pixels.
        shared: whether it gets the noise that all channels share.
        blocks: [rows, columns] averages of the blocks of 8 x 8 samples of the whole channel, for
            cells that are whole blocks; None for none.
    """

    samples: Floats
    left: int
    top: int
    step_x: int
    step_y: int
    size: tuple[int, int]
    shared: bool
    blocks: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """What boxes must come to in one channel.

    Attributes:
        levels: [h, w] float32; meaningless where ``owner`` is -1.
        owner: [h, w] int32: number of the box that a sample is covered by, the strongest; -1
            where there is none.
        mixed: [h, w] float32, how much of the sample soft edges of stronger boxes replace, 0..1.
    """

    levels: Floats
    owner: NDArray[np.int32]
    mixed: Floats


def expected(channel: Channel, boxes: Sequence[RedactionBox]) -> Expected:
    """The channel with ``boxes`` redacted without noise."""
    levels = channel.samples.copy()
    owner = np.full(levels.shape, -1, np.int32)
    mixed = np.zeros(levels.shape, np.float32)
    numbers = {box: number for number, box in enumerate(boxes)}
    for box in sorted(set(boxes), key=strength_order):
        reach, area = soft_edge(box), _with_padding(box.area, channel.size)
        near = _samples_of(channel, area, reach)
        if near is None:
            continue
        x1, y1, x2, y2 = near
        away_x = _away(x1, x2, channel.left, channel.step_x, area[0], area[2])
        away_y = _away(y1, y2, channel.top, channel.step_y, area[1], area[3])
        share = _share(away_x, away_y, reach)
        under = levels[y1:y2, x1:x2]
        under += share * (_layer(channel, box, near) - under)
        covered = share == 1
        owner[y1:y2, x1:x2][covered] = numbers[box]
        replaced = mixed[y1:y2, x1:x2]
        replaced += share * (1 - replaced)
        replaced[covered] = 0
    return Expected(levels, owner, mixed)


def cell_side(box: RedactionBox) -> int:
    """Pixels of a cell's side: the power of two from ``strength`` of the mean side on, 4 at least.

    Worked out anew: it is what security rests on most.
    """
    least = box.style.strength * math.sqrt(max(box.x2 - box.x1, 0) * max(box.y2 - box.y1, 0))
    side = 4
    while side < least:
        side *= 2
    return side


def soft_edge(box: RedactionBox) -> int:
    """Pixels of the soft edge outside the box."""
    return round(box.style.feather * max(min(box.x2 - box.x1, box.y2 - box.y1), 0))


def _with_padding(area: IntBox, size: tuple[int, int]) -> IntBox:
    """``area``, without end where it reaches the picture's: a coder's padding goes on with it."""
    right, bottom = (
        FAR if end >= length else end for end, length in zip(area[2:], size, strict=True)
    )
    return (area[0], area[1], right, bottom)


def _samples_of(channel: Channel, area: IntBox, reach: int) -> IntBox | None:
    """The samples of the channel that a box of ``area`` may change; None for none.

    None, too, where the box itself lies outside: then it changes nothing.
    """
    height, width = channel.samples.shape
    if area[0] >= area[2] or area[1] >= area[3]:
        return None
    if area[0] >= channel.size[0] or area[1] >= channel.size[1] or area[2] <= 0 or area[3] <= 0:
        return None
    found = (
        max((area[0] - reach) // channel.step_x - channel.left, 0),
        max((area[1] - reach) // channel.step_y - channel.top, 0),
        min(-(-(area[2] + reach) // channel.step_x) - channel.left, width),
        min(-(-(area[3] + reach) // channel.step_y) - channel.top, height),
    )
    return found if found[0] < found[2] and found[1] < found[3] else None


def _away(start: int, stop: int, offset: int, step: int, first: int, end: int) -> Floats:
    """How many pixels samples ``start``..``stop`` lie outside ``first``..``end``."""
    left = (np.arange(start, stop) + offset) * step
    return np.maximum(np.maximum(first - (left + step - 1), left - (end - 1)), 0).astype(np.float32)


def _share(away_x: Floats, away_y: Floats, reach: int) -> Floats:
    """How much of a sample a box replaces: 1 inside, smoothly less over the soft edge."""
    away = np.sqrt(away_x[None, :] ** 2 + away_y[:, None] ** 2) / np.float32(reach + 1)
    away = np.minimum(away, 1)
    return np.asarray(1 - away * away * (3 - 2 * away), np.float32)


def _layer(channel: Channel, box: RedactionBox, near: IntBox) -> Floats:
    """What one box puts over the samples ``near``."""
    x1, y1, x2, y2 = near
    if box.style.mode == "solid":
        return np.full((y2 - y1, x2 - x1), GREY, np.float32)
    across = _Line(box, 0, channel, x1, x2)
    down = _Line(box, 1, channel, y1, y2)
    means = _means(channel, across, down)
    return np.asarray(down.weights @ means @ across.weights.T, np.float32)


class _Line:
    """The cells of one box along one side of the picture, and how they make its samples.

    Args:
        axis: 0 for columns, 1 for rows.
        start, stop: samples of the channel's part.
    """

    def __init__(
        self, box: RedactionBox, axis: int, channel: Channel, start: int, stop: int
    ) -> None:
        step = (channel.step_x, channel.step_y)[axis]
        offset = (channel.left, channel.top)[axis]
        length, side = channel.size[axis], cell_side(box)
        # less than half a cell at the end belongs to its neighbour
        count = max((length + side // 2) // side, 1)
        first = min((start + offset) * step // side, count - 1)
        last = min(-(-((stop + offset) * step) // side), count)
        starts = np.arange(first, last + 1) * side
        if last == count:
            starts[-1] = length
        #: edges of the cells in samples, of the channel and of its part
        self.edges: Longs = -(-starts // step)
        self.own_edges: Longs = self.edges - offset
        self.whole_blocks = side % (8 * step) == 0
        at = (np.arange(start, stop) + offset + 0.5) * step / side - first
        points = last - first
        if box.style.mode == "pixelate":
            self.weights = _steps(at, points)
        elif channel.shared and side // max(channel.step_x, channel.step_y) >= 4:
            # control points half as far apart come to the same curve but at the first and last
            finer = _halving(points)
            self.weights = np.asarray(_spline(2 * (at - 0.5), len(finer)) @ finer, np.float32)
        else:
            self.weights = _spline(at - 0.5, points)


@compiled
def _spline(place: NDArray[np.float64], points: int) -> Floats:
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
def _steps(place: NDArray[np.float64], points: int) -> Floats:
    """Weights [n, points] where each cell goes from a whole number to the next, and is even."""
    out = np.zeros((len(place), points), np.float32)
    for i in range(len(place)):
        out[i, min(max(math.floor(place[i]), 0), points - 1)] = 1
    return out


@lru_cache(maxsize=256)
def _halving(points: int) -> Floats:
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


def _means(channel: Channel, across: _Line, down: _Line) -> Floats:
    """Averages [rows, columns] of the cells."""
    if channel.blocks is not None and across.whole_blocks and down.whole_blocks:
        x, y = across.edges, down.edges
        # what lies beyond the last edge is a coder's padding and counts for nothing
        wide = _overlap(x[0], x[-1])
        high = _overlap(y[0], y[-1])
        part = channel.blocks[y[0] // 8 : y[0] // 8 + len(high), x[0] // 8 : x[0] // 8 + len(wide)]
        part = part * high[:, None] * wide
        rows, columns = (y[:-1] - y[0]) // 8, (x[:-1] - x[0]) // 8
    else:
        x, y = across.own_edges, down.own_edges
        part = channel.samples[y[0] : y[-1], x[0] : x[-1]]
        rows, columns = y[:-1] - y[0], x[:-1] - x[0]
    sums = np.add.reduceat(np.add.reduceat(part, columns, 1, np.float64), rows, 0, np.float64)
    return np.asarray(sums / np.outer(np.diff(y), np.diff(x)), np.float32)


def _overlap(start: int, stop: int) -> Longs:
    """How many samples of ``start``..``stop`` each block of 8 holds; ``start`` is a block's."""
    blocks = np.arange(start, stop, 8)
    return np.minimum(blocks + 8, stop) - blocks
