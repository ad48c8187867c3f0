"""Parts of a JPEG as planes of samples: decoded, changed, and turned into coefficients again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import compiled
from pipeline.jpeg.areas import McuArea, numbered
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


class AreaBlocks:
    """The blocks of some areas, one behind another: area by area, component by component.

    Compiled code goes through all of them in one call.

    Args:
        areas: as :func:`pipeline.jpeg.areas.apart` gives them.

    Attributes:
        mcus: numbers of all MCUs of the areas, sorted.
        at: [blocks] where each block's coefficients are among those of ``mcus``.
    """

    def __init__(self, frame: Frame, areas: Sequence[McuArea]) -> None:
        self.frame, self.areas = frame, areas
        self.mcus, places = numbered(frame, areas)
        rectangles = np.array(areas, np.int64).reshape(-1, 4)
        units = np.array([(one.horizontal, one.vertical) for one in frame.components], np.int64)
        self._grids: Longs = np.empty((len(areas) * len(units), 4), np.int64)
        self.at: Longs = np.empty(len(self.mcus) * int(units.prod(axis=1).sum()), np.int64)
        _number_blocks(rectangles, units, frame.mcus_x, places, self._grids, self.at)
        self._steps = np.stack([one.steps for one in frame.components])
        self._places = self._grids.tolist()

    def flat(self, uses: Sequence[Sequence[Uses]]) -> Uses:
        """[blocks] what is asked of each, from [rows, columns] for each area and component."""
        return np.concatenate([np.zeros(0, np.int8), *(one.ravel() for own in uses for one in own)])

    def blocks(self, values: NDArray[Any], area: int, component: int) -> NDArray[Any]:
        """[rows, columns, ...] of ``values`` [blocks, ...]."""
        first, rows, columns, _ = self._places[area * len(self._steps) + component]
        part = values[first : first + rows * columns]
        return part.reshape(rows, columns, *values.shape[1:])

    def samples(self, values: Bytes, area: int, component: int) -> Bytes:
        """[8 rows, 8 columns] of ``values``, as :meth:`decoded` gives them."""
        first, rows, columns, _ = self._places[area * len(self._steps) + component]
        return values[64 * first : 64 * (first + rows * columns)].reshape(8 * rows, 8 * columns)

    def corner(self, area: int, component: int) -> tuple[int, int]:
        """Left and top: place of an area's first sample in its component."""
        one = self.frame.components[component]
        return 8 * one.horizontal * self.areas[area].left, 8 * one.vertical * self.areas[area].top

    def decoded(self, coefficients: Shorts, uses: Uses) -> Bytes:
        """[64 x blocks] samples of the blocks that are ``DECODED``; 0 of others.

        Args:
            coefficients: [n, blocks of an MCU, 64] of ``mcus``, in zigzag order.
        """
        out = np.zeros(64 * len(self.at), np.uint8)
        flat = coefficients.reshape(-1, 64)
        decode_blocks(flat, self.at, uses, self._grids, ZIGZAG, self._steps, BASIS, out)
        return out

    def encode(
        self,
        before: Bytes,
        after: Bytes,
        uses: Uses,
        coefficients: Shorts,
        changed: NDArray[np.bool_],
    ) -> None:
        """See :func:`pipeline.jpeg.dct.encode_changed`."""
        encode_changed(
            before,
            after,
            coefficients.reshape(-1, 64),
            changed.reshape(-1),
            self.at,
            uses,
            self._grids,
            ZIGZAG,
            self._steps,
            BASIS,
        )


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
        areas: as :func:`pipeline.jpeg.areas.apart` gives them.
        uses: for each area and component [rows, columns], what is asked of each block.
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
        self._blocks = AreaBlocks(frame, areas)
        self._uses = self._blocks.flat(uses)
        self.mcus = self._blocks.mcus
        total = sum(one.horizontal * one.vertical for one in frame.components)
        whole: NDArray[np.bool_] = np.zeros((len(self.mcus), total), bool)
        whole.reshape(-1)[self._blocks.at[self._uses == DECODED]] = True
        self.coefficients = reader.read(self.mcus, whole)
        self.changed: NDArray[np.bool_] = np.zeros(self.coefficients.shape[:2], bool)

    def change(self, paint: Callable[[int, list[Samples]], None]) -> None:
        """Have ``paint`` change each area's samples; blocks that differ are coded again.

        Args:
            paint: gets the area's place among the areas, and its samples.
        """
        blocks = self._blocks
        before = blocks.decoded(self.coefficients, self._uses)
        after = before.copy()
        for area in range(len(blocks.areas)):
            samples = [
                Samples(
                    component,
                    *blocks.corner(area, component),
                    blocks.samples(before, area, component),
                    blocks.samples(after, area, component),
                )
                for component in range(len(blocks.frame.components))
            ]
            paint(area, samples)
        blocks.encode(before, after, self._uses, self.coefficients, self.changed)


def picture_averages(frame: Frame, reader: _Reader) -> list[Ints]:
    """Each component's block averages, see :func:`pipeline.jpeg.dct.block_averages`."""
    planes = reader.dc_planes()
    steps = (int(one.steps[0]) for one in frame.components)
    return [block_averages(plane, step) for plane, step in zip(planes, steps, strict=True)]


@compiled
def _number_blocks(
    areas: Longs, units: Longs, columns: int, places: Ints, grids: Longs, at: Longs
) -> None:
    """Say where the blocks of ``areas`` lie in flat arrays, and which of the numbered ones each is.

    Args:
        areas: [n, 4] left, top, right, bottom, in MCUs.
        units: [components, 2] blocks of an MCU, across and down.
        columns: MCUs in a row of the picture.
        places: see :func:`pipeline.jpeg.areas.numbered`.
        grids: to be written, see :func:`pipeline.jpeg.dct.decode_blocks`.
        at: to be written, see :class:`AreaBlocks`.
    """
    total = 0
    for component in range(len(units)):
        total += units[component, 0] * units[component, 1]
    grid, place = 0, 0
    for area in range(len(areas)):
        left, top, right, bottom = areas[area]
        inner = 0
        for component in range(len(units)):
            across, down = units[component]
            grids[grid, 0], grids[grid, 3] = place, component
            grids[grid, 1], grids[grid, 2] = (bottom - top) * down, (right - left) * across
            for row in range(top, bottom):
                for y in range(down):
                    for column in range(left, right):
                        first = places[row * columns + column] * total + inner + y * across
                        for x in range(across):
                            at[place] = first + x
                            place += 1
            inner += across * down
            grid += 1
