"""Rectangles on a canvas that do not overlap: free space as maximal rectangles.

After Jylänki, "A thousand ways to pack the bin" (2010), MAXRECTS with best short side fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Rect:
    """Whole pixels, origin top left, ``x2``/``y2`` exclusive."""

    x1: int
    y1: int
    x2: int
    y2: int

    @property
    def width(self) -> int:
        """Columns."""
        return self.x2 - self.x1

    @property
    def height(self) -> int:
        """Rows."""
        return self.y2 - self.y1

    def meets(self, other: Rect) -> bool:
        """Whether both have a pixel in common."""
        return (
            self.x1 < other.x2 and other.x1 < self.x2 and self.y1 < other.y2 and other.y1 < self.y2
        )

    def holds(self, other: Rect) -> bool:
        """Whether ``other`` lies within this one."""
        return (
            self.x1 <= other.x1
            and self.y1 <= other.y1
            and self.x2 >= other.x2
            and self.y2 >= other.y2
        )


def place(free: Iterable[Rect], width: int, height: int) -> Rect | None:
    """Where ``width`` x ``height`` pixels fit best, at the top left of a free rectangle.

    Returns:
        The place that leaves the least of its free rectangle's shorter side; None for no such.
    """
    fitting = [one for one in free if one.width >= width and one.height >= height]
    if not fitting:
        return None

    def left_over(one: Rect) -> tuple[int, int, Rect]:
        over = sorted((one.width - width, one.height - height))
        return over[0], over[1], one

    best = min(fitting, key=left_over)
    return Rect(best.x1, best.y1, best.x1 + width, best.y1 + height)


def without(free: Sequence[Rect], taken: Rect) -> tuple[Rect, ...]:
    """The largest rectangles that are left of ``free``, which may overlap one another."""
    pieces: set[Rect] = set()
    for one in free:
        if not one.meets(taken):
            pieces.add(one)
            continue
        sides = (
            Rect(one.x1, one.y1, taken.x1, one.y2),
            Rect(taken.x2, one.y1, one.x2, one.y2),
            Rect(one.x1, one.y1, one.x2, taken.y1),
            Rect(one.x1, taken.y2, one.x2, one.y2),
        )
        pieces.update(side for side in sides if side.width > 0 and side.height > 0)
    return tuple(
        sorted(
            one for one in pieces if not any(other != one and other.holds(one) for other in pieces)
        )
    )
