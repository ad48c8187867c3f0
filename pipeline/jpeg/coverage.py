"""What redacting boxes asks of each block: only some have to be decoded.

Blocks entirely under a mask are replaced, whatever they hold, and a cell's average follows from the
DC values of its blocks; so samples are needed of blocks at a mask's border, and of small cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.jpeg.areas import McuArea, apart, mcu_area, mcus_of
from pipeline.jpeg.dct import COVERED, DECODED, Longs, Uses
from pipeline.jpeg.frame import ComponentGrid, Frame
from pipeline.orientation import IntBox
from pipeline.redaction import (
    FAR,
    RedactionBox,
    covered_area,
    needed_area,
    seen_area,
    touched_area,
)


def coded_area(frame: Frame, box: RedactionBox) -> IntBox | None:
    """The pixels whose blocks have to be read to redact ``box``; None when it lies outside.

    Of cells that are whole blocks the DC values tell all; of finer ones every sample counts.
    """
    fine = any(_is_fine(grid, box) for grid in frame.components)
    return (needed_area if fine else touched_area)(box, frame.width, frame.height)


def cell_mcus(frame: Frame, boxes: Iterable[RedactionBox]) -> Longs:
    """Numbers of the MCUs of which something has to be known: of the boxes' cells, and around."""
    step = max(max(one.step_x, one.step_y) for one in frame.components)
    needed = (
        area
        for box in boxes
        for area in (
            needed_area(box, frame.width, frame.height),
            seen_area(box, frame.width, frame.height, step),
        )
    )
    return mcus_of(frame, apart(mcu_area(frame, area) for area in needed if area is not None))


def block_uses(frame: Frame, area: McuArea, boxes: Sequence[RedactionBox]) -> list[Uses]:
    """For each component [rows, columns] of ``area``: ``ONLY_DC``, ``DECODED`` or ``COVERED``."""
    size = (frame.width, frame.height)
    touched = [_padded(one, size) for box in boxes if (one := touched_area(box, *size)) is not None]
    covered = [one for box in boxes if (one := covered_area(box, *size)) is not None]
    uses: list[Uses] = []
    for grid in frame.components:
        rows = grid.vertical * (area.bottom - area.top)
        columns = grid.horizontal * (area.right - area.left)
        own: NDArray[np.int8] = np.zeros((rows, columns), np.int8)
        for pixels in touched:
            own[_meeting(grid, area, pixels)] = DECODED
        for pixels in covered:
            own[_within(grid, area, pixels)] = COVERED
        for box in boxes:
            needed = needed_area(box, *size) if _is_fine(grid, box) else None
            if needed is not None:
                own[_meeting(grid, area, needed)] = DECODED
        uses.append(own)
    return uses


def blocks_to_judge(
    grid: ComponentGrid, area: McuArea, boxes: Sequence[RedactionBox], size: tuple[int, int]
) -> Uses:
    """[rows, columns] of ``area``: ``DECODED`` under ``boxes`` and in cells below a block."""
    rows = grid.vertical * (area.bottom - area.top)
    columns = grid.horizontal * (area.right - area.left)
    uses: Uses = np.zeros((rows, columns), np.int8)
    for box in boxes:
        pixels = needed_area(box, *size) if _is_fine(grid, box) else box.area
        if pixels is not None:
            uses[_meeting(grid, area, pixels)] = DECODED
    return uses


def _padded(pixels: IntBox, size: tuple[int, int]) -> IntBox:
    """``pixels`` with a coder's padding where they reach the picture's border."""
    x1, y1, x2, y2 = pixels
    return (x1, y1, x2 if x2 < size[0] else FAR, y2 if y2 < size[1] else FAR)


def _is_fine(grid: ComponentGrid, box: RedactionBox) -> bool:
    """Whether the cells of ``box`` are no whole blocks."""
    return bool(box.cell_px % (8 * grid.step_x) or box.cell_px % (8 * grid.step_y))


def _meeting(grid: ComponentGrid, area: McuArea, pixels: IntBox) -> tuple[slice, slice]:
    """Rows and columns of the area's blocks that have any of ``pixels``."""
    across, down = 8 * grid.step_x, 8 * grid.step_y
    left, top = grid.horizontal * area.left, grid.vertical * area.top
    x1, y1, x2, y2 = pixels
    return (
        slice(max(y1 // down - top, 0), max(-(-y2 // down) - top, 0)),
        slice(max(x1 // across - left, 0), max(-(-x2 // across) - left, 0)),
    )


def _within(grid: ComponentGrid, area: McuArea, pixels: IntBox) -> tuple[slice, slice]:
    """Rows and columns of the area's blocks that have nothing but ``pixels``."""
    across, down = 8 * grid.step_x, 8 * grid.step_y
    left, top = grid.horizontal * area.left, grid.vertical * area.top
    x1, y1, x2, y2 = pixels
    return (
        slice(max(-(-y1 // down) - top, 0), max(y2 // down - top, 0)),
        slice(max(-(-x1 // across) - left, 0), max(x2 // across - left, 0)),
    )
