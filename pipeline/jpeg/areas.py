"""Parts of a JPEG as planes of samples: decoded, changed, and turned into coefficients again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.jpeg.dct import (
    BASIS,
    DECODED,
    Bytes,
    Ints,
    Longs,
    Shorts,
    Uses,
    block_averages,
    decode_blocks,
    encode_changed,
)
from pipeline.jpeg.frame import ZIGZAG, Frame
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

    def numbers(self, frame: Frame) -> Longs:
        """[rows, columns] numbers of its MCUs."""
        rows = np.arange(self.top, self.bottom)
        return np.asarray(rows[:, None] * frame.mcus_x + np.arange(self.left, self.right))


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


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """One component of an area.

    Attributes:
        component: number in the frame.
        left, top: place of the first sample in the component.
        before: [h, w] uint8, decoded where that is asked for, else 0.
        after: the same, to be changed in place.
    """

    component: int
    left: int
    top: int
    before: Bytes
    after: Bytes


class _Reader(Protocol):
    """What reads the coefficients of MCUs by their numbers (sorted), and every DC value."""

    def read(self, mcus: Longs, whole: NDArray[np.bool_] | None = None) -> Shorts: ...

    def dc_planes(self) -> list[Shorts]: ...


class CodedAreas:
    """The MCUs of some areas: their coefficients and, area by area, their samples.

    Args:
        areas: as :func:`apart` gives them.
        uses: for each area and component, what is asked of each block.
        reader: gives the coefficients.

    Attributes:
        mcus: numbers of all MCUs of the areas, sorted.
        coefficients: theirs, [n, blocks of an MCU, 64] int16 in zigzag order; only DC where no
            more is asked for.
        changed: [n, blocks of an MCU]: which of them :meth:`change` has changed.
    """

    def __init__(
        self,
        frame: Frame,
        areas: Sequence[McuArea],
        uses: Sequence[Sequence[Uses]],
        reader: _Reader,
    ) -> None:
        self._frame = frame
        self._areas = areas
        self._uses = uses
        self.mcus = mcus_of(frame, areas)
        self._grids = [block_numbers(frame, area, self.mcus) for area in areas]
        total = sum(one.horizontal * one.vertical for one in frame.components)
        whole: NDArray[np.bool_] = np.zeros((len(self.mcus), total), bool)
        for grids, own in zip(self._grids, uses, strict=True):
            for at, use in zip(grids, own, strict=True):
                whole.reshape(-1)[at[use == DECODED]] = True
        self.coefficients = reader.read(self.mcus, whole)
        self.changed: NDArray[np.bool_] = np.zeros(self.coefficients.shape[:2], bool)

    def change(self, paint: Callable[[int, list[Samples]], None]) -> None:
        """Have ``paint`` change each area's samples; blocks that differ are coded again.

        Args:
            paint: gets the area's place among the areas, and its samples.
        """
        flat = self.coefficients.reshape(-1, 64)
        changed = self.changed.reshape(-1)
        for number, (area, grids) in enumerate(zip(self._areas, self._grids, strict=True)):
            uses = self._uses[number]
            samples = decoded_area(self._frame, area, flat, grids, uses)
            paint(number, samples)
            for one, at, use in zip(samples, grids, uses, strict=True):
                steps = self._frame.components[one.component].steps
                encode_changed(one.before, one.after, flat, changed, at, use, ZIGZAG, steps, BASIS)


def picture_averages(frame: Frame, reader: _Reader) -> list[Ints]:
    """Each component's block averages, see :func:`pipeline.jpeg.dct.block_averages`."""
    planes = reader.dc_planes()
    steps = (int(one.steps[0]) for one in frame.components)
    return [block_averages(plane, step) for plane, step in zip(planes, steps, strict=True)]


def mcus_of(frame: Frame, areas: Iterable[McuArea]) -> Longs:
    """Numbers of all MCUs of ``areas``, sorted."""
    numbers = [area.numbers(frame).ravel() for area in areas]
    return np.sort(np.concatenate([np.zeros(0, np.int64), *numbers]))


def block_numbers(frame: Frame, area: McuArea, mcus: Longs) -> list[Longs]:
    """For each component [rows, columns]: which block of ``mcus``, in their order, lies there."""
    slots = np.searchsorted(mcus, area.numbers(frame))
    total = sum(one.horizontal * one.vertical for one in frame.components)
    grids: list[Longs] = []
    first = 0
    for one in frame.components:
        inner = first + np.arange(one.horizontal * one.vertical).reshape(one.vertical, -1)
        grid = slots[:, None, :, None] * total + inner[None, :, None, :]
        rows, columns = slots.shape
        grids.append(grid.reshape(rows * one.vertical, columns * one.horizontal))
        first += one.horizontal * one.vertical
    return grids


def decoded_area(
    frame: Frame,
    area: McuArea,
    coefficients: Shorts,
    grids: Sequence[Longs],
    uses: Sequence[Uses] | None = None,
) -> list[Samples]:
    """Each component's samples in ``area``.

    Args:
        coefficients: [blocks, 64] in zigzag order.
        grids: of :func:`block_numbers`.
        uses: which blocks are to be decoded; None for all.
    """
    out: list[Samples] = []
    for number, (one, at) in enumerate(zip(frame.components, grids, strict=True)):
        use = np.full(at.shape, DECODED, np.int8) if uses is None else uses[number]
        samples = np.zeros((8 * at.shape[0], 8 * at.shape[1]), np.uint8)
        decode_blocks(coefficients, at, use, ZIGZAG, one.steps, BASIS, samples)
        left, top = 8 * one.horizontal * area.left, 8 * one.vertical * area.top
        out.append(Samples(number, left, top, samples, samples.copy()))
    return out
