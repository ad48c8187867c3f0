"""How a blur is bent to what lies around its box, for the output's check.

Shares no code with :mod:`pipeline.surroundings`: which squares are seen is found by masks, and the
weights are a matrix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.expected_curves import spline
from pipeline.orientation import IntBox
from pipeline.redaction import RedactionBox

if TYPE_CHECKING:
    from pipeline.expected import Channel

Floats = NDArray[np.float32]
Places = NDArray[Any]
Longs = NDArray[np.int64]
Mask = NDArray[np.bool_]

# A box's mean side and its longer one are at most so many squares, whose sides are at least so many
# samples.
MOST, LONGEST, LEAST = 16, 64, 8


@dataclass(frozen=True, slots=True)
class Squares:
    """The squares of the picture that hold a box and its soft edge, and those around them.

    Attributes:
        sides: pixels across and down.
        first, last: the first column and row, and those behind the last.
    """

    sides: tuple[int, int]
    first: tuple[int, int]
    last: tuple[int, int]

    @classmethod
    def around(cls, box: RedactionBox, channel: Channel, changed: IntBox) -> Squares:
        """Those of ``box``, which may change the pixels ``changed``."""
        width, height = box.x2 - box.x1, box.y2 - box.y1
        side = LEAST
        while MOST * side < math.sqrt(width * height) or LONGEST * side < max(width, height):
            side *= 2
        steps = [channel.redacted_step or one for one in (channel.step_x, channel.step_y)]
        across, down = (max(side, LEAST * step) for step in steps)
        return cls(
            (across, down),
            (changed[0] // across - 1, changed[1] // down - 1),
            (-(-changed[2] // across) + 1, -(-changed[3] // down) + 1),
        )

    def edges(self, axis: int) -> NDArray[np.int64]:
        """Where columns (0) or rows (1) begin, in pixels of the picture."""
        return np.arange(self.first[axis], self.last[axis]) * self.sides[axis]

    def middles(self, axis: int) -> Places:
        """Their middles."""
        return self.edges(axis) + self.sides[axis] / 2


@dataclass(frozen=True, slots=True, eq=False)
class Bending:
    """How what is seen around a box changes what a blur comes to in the squares.

    Attributes:
        seen: [rows, columns] which squares are whole and published as they were.
        pull: [others, seen] how much of what the blur misses in seen squares is put on the others.
    """

    seen: Mask
    pull: Floats

    @classmethod
    def of(cls, squares: Squares, changed: Longs, size: tuple[int, int]) -> Bending:
        """In a picture of ``size`` pixels, of which each box may change those of ``changed``."""
        return _bending(squares, _near(squares, changed), size)

    def levels(self, blurred: Floats, shown: Floats) -> Floats:
        """[rows, columns] what ``blurred`` comes to where [seen] levels are ``shown``."""
        out = blurred.copy()
        out[self.seen] = shown
        if len(shown):
            out[~self.seen] += self.pull @ (shown - blurred[self.seen])
        return out

    def left(self, parts: Floats) -> Floats:
        """[others, n] what is left in the others of ``parts`` [rows, columns, n] of a blur."""
        return np.asarray(parts[~self.seen] - self.pull @ parts[self.seen], np.float32)


@lru_cache(maxsize=64)
def _bending(squares: Squares, changed: tuple[IntBox, ...], size: tuple[int, int]) -> Bending:
    """See :meth:`Bending.of`: the same for all channels that are sampled alike."""
    seen = _unchanged(squares, changed, size)
    rows, columns = np.nonzero(seen)
    to_rows, to_columns = np.nonzero(~seen)
    away = (np.subtract.outer(to_rows, rows) * squares.sides[1]) ** 2
    away += (np.subtract.outer(to_columns, columns) * squares.sides[0]) ** 2
    near = np.asarray(away, np.float32) ** -2
    return Bending(seen, near / near.sum(axis=1, keepdims=True))


def _near(squares: Squares, changed: Longs) -> tuple[IntBox, ...]:
    """Those of ``changed`` that any of the squares meets."""
    x1, y1, x2, y2 = changed.T
    (left, right), (top, bottom) = (
        (squares.first[axis] * squares.sides[axis], squares.last[axis] * squares.sides[axis])
        for axis in (0, 1)
    )
    meeting = (x2 > left) & (x1 < right) & (y2 > top) & (y1 < bottom)
    return tuple(tuple(one) for one in changed[meeting].tolist())


def _unchanged(squares: Squares, changed: tuple[IntBox, ...], size: tuple[int, int]) -> Mask:
    """[rows, columns] which squares are whole and published as they were."""
    (x, y), (across, down) = (squares.edges(0), squares.edges(1)), squares.sides
    whole_x, whole_y = (x >= 0) & (x + across <= size[0]), (y >= 0) & (y + down <= size[1])
    seen = whole_y[:, None] & whole_x
    for left, top, right, bottom in changed:
        meets_x, meets_y = (x < right) & (x + across > left), (y < bottom) & (y + down > top)
        seen &= ~(meets_y[:, None] & meets_x)
    return seen


def averages(squares: Squares, channel: Channel, seen: Mask) -> Floats:
    """[seen] grey levels of the source in the squares that are ``seen``."""
    rows, columns = np.nonzero(seen)
    unit, plane, left, top = 1, channel.samples, channel.left, channel.top
    if channel.blocks is not None:
        unit, plane, left, top = 8, channel.blocks, 0, 0
    wide, high = (
        side // (unit * step)
        for side, step in zip(squares.sides, (channel.step_x, channel.step_y), strict=True)
    )
    x = (squares.first[0] + columns) * wide - left
    y = (squares.first[1] + rows) * high - top
    at_y, at_x = y[:, None] + np.arange(high), x[:, None] + np.arange(wide)
    return np.asarray(plane[at_y[:, :, None], at_x[:, None, :]].mean(axis=(1, 2)), np.float32)


def drawn(squares: Squares, levels: Floats, x: Places, y: Places) -> Floats:
    """[len(y), len(x)] the spline through ``levels`` at places in pixels of the picture."""
    down, across = (
        spline((places - squares.middles(axis)[0]) / squares.sides[axis], levels.shape[1 - axis])
        for axis, places in ((1, y), (0, x))
    )
    return np.clip(down @ levels @ across.T, np.float32(0), np.float32(255))
