"""What a redaction must come to, noise apart: computed from the source for the output's check.

None of the code that chooses cells, averages and paints is used, so that its mistakes are not made
twice: averages over the cells of each box, drawn by matrices of spline weights, bent to what lies
around, and laid over each other from the weakest box to the strongest. Shared with the redaction is
which box is stronger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.expected_curves import halving, spline, steps
from pipeline.expected_squares import Bending, Places, Squares, averages, drawn
from pipeline.orientation import IntBox
from pipeline.redaction import (
    CELL_NOISE,
    COLOUR_NOISE,
    FAR,
    HALF_NOISE,
    RedactionBox,
    strength_order,
)

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
        redacted_step: pixels that a sample of what was redacted spans, where the channel was made
            from that; 0 if it is the channel itself.
    """

    samples: Floats
    left: int
    top: int
    step_x: int
    step_y: int
    size: tuple[int, int]
    shared: bool
    blocks: Floats | None = None
    redacted_step: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """What boxes must come to in one channel.

    Attributes:
        levels: [h, w] float32; meaningless where ``owner`` is -1.
        owner: [h, w] int32: number of the box that a sample is covered by, the strongest; -1
            where there is none.
        mixed: [h, w] float32, how much of the sample soft edges of stronger boxes replace, 0..1.
        noise: for the number of each box that is blurred, the variance that the noise of its
            cells, and of the points between them, has at most in a square of the picture.
    """

    levels: Floats
    owner: NDArray[np.int32]
    mixed: Floats
    noise: dict[int, float]


def expected(
    channel: Channel,
    boxes: Sequence[RedactionBox],
    changed: Longs,
) -> Expected:
    """The channel with ``boxes`` redacted without noise.

    Args:
        changed: :func:`changed_pixels` of all boxes of the picture.
    """
    levels = channel.samples.copy()
    owner = np.full(levels.shape, -1, np.int32)
    mixed = np.zeros(levels.shape, np.float32)
    numbers = {box: number for number, box in enumerate(boxes)}
    noise: dict[int, float] = {}
    for box in sorted(set(boxes), key=strength_order):
        reach, area = soft_edge(box), _with_padding(box.area, channel.size)
        near = _samples_of(channel, area, reach)
        if near is None:
            continue
        x1, y1, x2, y2 = near
        share = _share_of_samples(channel, near, area, reach)
        under = levels[y1:y2, x1:x2]
        layer, loudest = _layer(channel, box, near, changed)
        if loudest is not None:
            noise[numbers[box]] = loudest
        under += share * (layer - under)
        covered = share == 1
        owner[y1:y2, x1:x2][covered] = numbers[box]
        replaced = mixed[y1:y2, x1:x2]
        replaced += share * (1 - replaced)
        replaced[covered] = 0
    return Expected(levels, owner, mixed, noise)


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


def _share_of_samples(channel: Channel, near: IntBox, area: IntBox, reach: int) -> Floats:
    """How much a box replaces of each of the samples ``near``.

    One that was made from several redacted ones may have some of them inside and some outside.
    """
    step_x, step_y = (channel.redacted_step or one for one in (channel.step_x, channel.step_y))
    wide, high = channel.step_x // step_x, channel.step_y // step_y
    x1, y1, x2, y2 = near
    away_x = _away(x1 * wide, x2 * wide, channel.left * wide, step_x, area[0], area[2])
    away_y = _away(y1 * high, y2 * high, channel.top * high, step_y, area[1], area[3])
    share = _share(away_x, away_y, reach)
    if wide == high == 1:
        return share
    parts = share.reshape(y2 - y1, high, x2 - x1, wide)
    return np.asarray(parts.mean(axis=(1, 3)), np.float32)


def _away(start: int, stop: int, offset: int, step: int, first: int, end: int) -> Floats:
    """How many pixels samples ``start``..``stop`` lie outside ``first``..``end``."""
    left = (np.arange(start, stop) + offset) * step
    return np.maximum(np.maximum(first - (left + step - 1), left - (end - 1)), 0).astype(np.float32)


def _share(away_x: Floats, away_y: Floats, reach: int) -> Floats:
    """How much of a sample a box replaces: 1 inside, smoothly less over the soft edge."""
    away = np.sqrt(away_x[None, :] ** 2 + away_y[:, None] ** 2) / np.float32(reach + 1)
    away = np.minimum(away, 1)
    return np.asarray(1 - away * away * (3 - 2 * away), np.float32)


def changed_pixels(boxes: Sequence[RedactionBox], size: tuple[int, int]) -> Longs:
    """[n, 4] (x1, y1, x2, y2): what each box may change in a picture of ``size`` pixels."""
    return np.array([_changed(box, size) for box in boxes], np.int64).reshape(-1, 4)


def _changed(box: RedactionBox, size: tuple[int, int]) -> IntBox:
    """All pixels of the picture that a box may change; empty for one that lies outside."""
    inside = [min(max(end, 0), length) for end, length in zip(box.area, 2 * size, strict=True)]
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        return (0, 0, 0, 0)
    reach = soft_edge(box)
    return (
        max(inside[0] - reach, 0),
        max(inside[1] - reach, 0),
        min(inside[2] + reach, size[0]),
        min(inside[3] + reach, size[1]),
    )


def _layer(
    channel: Channel, box: RedactionBox, near: IntBox, changed: Longs
) -> tuple[Floats, float | None]:
    """What one box puts over the samples ``near``, and how loud its noise is where it blurs."""
    x1, y1, x2, y2 = near
    if box.style.mode == "solid":
        return np.full((y2 - y1, x2 - x1), GREY, np.float32), None
    across = _Line(box, 0, channel, x1, x2)
    down = _Line(box, 1, channel, y1, y2)
    means = _means(channel, across, down)
    at_x, at_y = channel.left + np.arange(x1, x2), channel.top + np.arange(y1, y2)
    x, y = (at_x + 0.5) * channel.step_x, (at_y + 0.5) * channel.step_y
    if box.style.mode == "pixelate":
        return np.asarray(down.weights(y) @ means @ across.weights(x).T, np.float32), None
    squares = Squares.around(box, channel, _changed(box, channel.size))
    bending = Bending.of(squares, changed, channel.size)
    to_rows, to_columns = down.weights(squares.middles(1)), across.weights(squares.middles(0))
    shown = averages(squares, channel, bending.seen)
    levels = bending.levels(np.asarray(to_rows @ means @ to_columns.T, np.float32), shown)
    return drawn(squares, levels, x, y), _loudest(box, squares, bending, across, down)


def _loudest(
    box: RedactionBox, squares: Squares, bending: Bending, across: _Line, down: _Line
) -> float:
    """The largest variance that noise on a blur's points has in a square, once it is bent."""
    variance = np.zeros(1, np.float32)
    middles = squares.middles(1), squares.middles(0)
    points = [(across.cell_noise, down.weights(middles[0]), across.weights(middles[1]))]
    if across.finer:
        halves = down.halves(middles[0]), across.halves(middles[1])
        points.append((HALF_NOISE * box.style.noise, *halves))
    for level, rows, columns in points:
        parts = rows[:, None, :, None] * columns[None, :, None, :]
        left = bending.left(parts.reshape(len(rows), len(columns), -1))
        variance = variance + level**2 * np.square(left).sum(axis=1)
    return float(variance.max())


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
        self._side, self._first, self._points = side, first, last - first
        self._even = box.style.mode == "pixelate"
        #: standard deviation of the noise of a cell
        self.cell_noise = ((CELL_NOISE if channel.shared else 0) + COLOUR_NOISE) * box.style.noise
        #: whether there are control points half as far apart, with noise of their own
        self.finer = channel.shared and side // max(channel.step_x, channel.step_y) >= 4

    def weights(self, places: Places) -> Floats:
        """[n, cells] how the cells' averages are mixed at ``places``, in pixels of the picture."""
        at = places / self._side - self._first
        if self._even:
            return steps(at, self._points)
        if self.finer:
            # they come to the same curve but at the first and last
            finer = halving(self._points)
            return np.asarray(spline(2 * (at - 0.5), len(finer)) @ finer, np.float32)
        return spline(at - 0.5, self._points)

    def halves(self, places: Places) -> Floats:
        """[n, 2 cells - 1] the same for control points half as far apart."""
        at = places / self._side - self._first
        return spline(2 * (at - 0.5), 2 * self._points - 1)


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
