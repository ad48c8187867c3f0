"""Rectangles of a JPEG's minimum coded units (MCUs)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.compiled import compiled
from pipeline.jpeg.dct import Ints, Longs
from pipeline.jpeg.frame import Frame
from pipeline.orientation import IntBox


class McuArea(NamedTuple):
    """A rectangle of MCUs; ``right`` and ``bottom`` exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    def joined(self, other: McuArea) -> McuArea:
        """The smallest area that holds both."""
        return McuArea(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def meets(self, other: McuArea) -> bool:
        """Whether both share an MCU."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def mcu_area(frame: Frame, pixels: IntBox) -> McuArea:
    """The MCUs that hold ``pixels``, ``(x1, y1, x2, y2)``."""
    x1, y1, x2, y2 = pixels
    return McuArea(
        x1 // frame.mcu_width,
        y1 // frame.mcu_height,
        -(-x2 // frame.mcu_width),
        -(-y2 // frame.mcu_height),
    )


def apart(areas: Iterable[McuArea]) -> list[McuArea]:
    """Areas that share no MCU and hold all of ``areas``."""
    found: list[McuArea] = []
    for area in areas:
        while any(area.meets(other) for other in found):
            for other in [one for one in found if one.meets(area)]:
                found.remove(other)
                area = area.joined(other)
        found.append(area)
    return found


def numbered(frame: Frame, areas: Sequence[McuArea]) -> tuple[Longs, Ints]:
    """The MCUs of ``areas`` and [MCUs of the picture] each one's place among them, else -1."""
    places: Ints = np.full(frame.mcus, -1, np.int32)
    mcus: Longs = np.empty(frame.mcus, np.int64)
    rectangles = np.array(areas, np.int64).reshape(-1, 4)
    return mcus[: _number_units(rectangles, frame.mcus_x, mcus, places)], places


def mcus_of(frame: Frame, areas: Iterable[McuArea]) -> Longs:
    """Numbers of all MCUs of ``areas``, sorted."""
    return numbered(frame, list(areas))[0]


@compiled
def _number_units(areas: Longs, columns: int, mcus: Longs, places: Ints) -> int:
    """Write :func:`numbered`'s arrays: how many MCUs there are.

    Args:
        areas: [n, 4] left, top, right, bottom, in MCUs.
        columns: MCUs in a row of the picture.
    """
    for area in range(len(areas)):
        left, top, right, bottom = areas[area]
        for row in range(top, bottom):
            places[row * columns + left : row * columns + right] = 0
    count = 0
    for mcu in range(len(places)):
        if places[mcu] == 0:
            places[mcu] = count
            mcus[count] = mcu
            count += 1
    return count
