"""The last look at a spliced JPEG: only blocks under a mask differ, and what is in them is gone.

Every output: its headers are the source's, its coefficients outside the masks are the source's, and
little detail is left inside. A share of them: decoded as a whole by a decoder that shares no code
with the splicing, and compared pixel by pixel outside the masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import OutputRejected
from pipeline.jpeg.areas import (
    McuArea,
    apart,
    block_numbers,
    decoded_area,
    mcu_area,
    mcus_of,
)
from pipeline.jpeg.entropy import Longs
from pipeline.jpeg.frame import ComponentGrid, Frame, scans_of
from pipeline.jpeg.rewrite import colour_coding
from pipeline.jpeg.segments import DHT, SOS, JpegStructure, parse_jpeg
from pipeline.jpeg.sequential import Rewritten, SequentialScan, rewritten_units
from pipeline.jpeg.splice import Spliced
from pipeline.jpeg.unspliceable import Unspliceable
from pipeline.jpeg.whole import WholePicture
from pipeline.orientation import IntBox
from pipeline.redaction import RedactionBox, touched_area
from pipeline.residual import keeps_detail

Pixels = NDArray[Any]
Mask = NDArray[np.bool_]


def check_spliced(
    source: bytes,
    output: bytes,
    spliced: Spliced,
    boxes: Sequence[RedactionBox],
    max_gain: float,
) -> None:
    """See that ``output`` differs from ``source`` in blocks under ``boxes`` alone, and enough.

    Args:
        spliced: how the output was made; nothing in it is taken on trust but the source's places.
        boxes: in stored pixels.
        max_gain: share of its strength that detail in a box may keep.

    Raises:
        OutputRejected: ``changed_outside``, ``undecodable``, ``not_obscured``.
    """
    before, after = parse_jpeg(source), parse_jpeg(output)
    frame = spliced.source.frame
    rewritten = spliced.spans is None
    if _headers(source, before, rewritten) != _headers(output, after, rewritten):
        raise OutputRejected("changed_outside", "the output's headers are not the source's")
    if colour_coding(source, before) != colour_coding(output, after):
        raise OutputRejected("changed_outside", "the output's colours are coded in another way")
    units = _units(output, after, spliced)
    differ = (units.before != units.after).any(axis=2)
    if (differ & ~_of_units(frame, units.mcus, allowed_blocks(frame, boxes))).any():
        raise OutputRejected("changed_outside", "coefficients outside the boxes have changed")
    _check_detail(spliced.source, units, boxes, max_gain)


def _headers(data: bytes, structure: JpegStructure, rewritten: bool) -> list[bytes]:
    """All but metadata and coded data (and tables that were made anew): what coefficients mean.

    Which colours they show is in metadata, see :func:`pipeline.jpeg.rewrite.colour_coding`.
    """
    return [
        data[segment.start - 4 : segment.stop]
        for segment in structure.segments
        if not segment.is_metadata and not (rewritten and segment.marker == DHT)
    ]


def _units(output: bytes, structure: JpegStructure, spliced: Spliced) -> Rewritten:
    """The units that may differ; all others are seen to be the source's.

    Raises:
        OutputRejected: ``changed_outside``, ``undecodable``.
    """
    source = spliced.source
    try:
        if isinstance(source, SequentialScan):
            (scan,) = (one for one in structure.segments if one.marker == SOS)
            raw = output[scan.stop : scan.scan_stop]
            return rewritten_units(source, raw, spliced.spans or ())
        whole = WholePicture(output, structure, source.frame, scans_of(output, structure))
    except Unspliceable as error:
        reason = "changed_outside" if error.reason == "differs" else "undecodable"
        raise OutputRejected(reason, f"the output is not as it was made: {error}") from error
    mcus = source.mcus_of_blocks((source.coefficients != whole.coefficients).any(axis=1))
    return Rewritten(mcus, source.read(mcus), whole.read(mcus))


def allowed_blocks(frame: Frame, boxes: Sequence[RedactionBox]) -> list[Mask]:
    """For each component [rows, columns]: which of its blocks lie under a mask."""
    masks = [
        np.zeros((one.vertical * frame.mcus_y, one.horizontal * frame.mcus_x), bool)
        for one in frame.components
    ]
    for area in _touched(frame, boxes):
        for one, mask in zip(frame.components, masks, strict=True):
            x1, y1, x2, y2 = _samples(one, area)
            # a coder's padding is redacted with what it repeats
            right = None if area[2] == frame.width else -(-x2 // 8)
            bottom = None if area[3] == frame.height else -(-y2 // 8)
            mask[y1 // 8 : bottom, x1 // 8 : right] = True
    return masks


def _touched(frame: Frame, boxes: Sequence[RedactionBox]) -> Iterator[IntBox]:
    for box in boxes:
        area = touched_area(box, frame.width, frame.height)
        if area is not None:
            yield area


def _samples(grid: ComponentGrid, area: IntBox) -> IntBox:
    """The samples of a component that have a pixel of ``area``."""
    x1, y1, x2, y2 = area
    return (
        x1 // grid.step_x,
        y1 // grid.step_y,
        min(-(-x2 // grid.step_x), grid.width),
        min(-(-y2 // grid.step_y), grid.height),
    )


def _of_units(frame: Frame, mcus: Longs, masks: Sequence[Mask]) -> Mask:
    """``masks`` as [n, blocks of an MCU] of the MCUs ``mcus``."""
    columns: list[Mask] = []
    rows, across = np.divmod(mcus, frame.mcus_x)
    for one, mask in zip(frame.components, masks, strict=True):
        for y in range(one.vertical):
            for x in range(one.horizontal):
                columns.append(mask[rows * one.vertical + y, across * one.horizontal + x])
    return np.stack(columns, axis=1)


def _check_detail(
    source: SequentialScan | WholePicture,
    units: Rewritten,
    boxes: Sequence[RedactionBox],
    max_gain: float,
) -> None:
    frame = source.frame
    areas = apart(mcu_area(frame, pixels) for pixels in _touched(frame, boxes))
    mcus = mcus_of(frame, areas)
    before = source.read(mcus)
    after = before.copy()
    known = np.isin(units.mcus, mcus)
    after[np.searchsorted(mcus, units.mcus[known])] = units.after[known]
    for area in areas:
        grids = block_numbers(frame, area, mcus)
        pair = [decoded_area(frame, area, one.reshape(-1, 64), grids) for one in (before, after)]
        for was, now in zip(*pair, strict=True):
            grid = frame.components[was.component]
            for box in boxes:
                place = _inside(frame, grid, area, box, (was.left, was.top))
                if place is not None and keeps_detail(
                    was.before[place],
                    now.before[place],
                    box.sigma_px / max(grid.step_x, grid.step_y),
                    box.style,
                    max_gain,
                    colour=was.component > 0,
                    borders=_borders(grid, box, boxes),
                ):
                    raise OutputRejected(
                        "not_obscured",
                        f"a {box.label} at {box.area} keeps its detail in the output",
                    )


def _borders(grid: ComponentGrid, box: RedactionBox, boxes: Sequence[RedactionBox]) -> list[IntBox]:
    """Other boxes that meet ``box``, in samples from its own corner."""
    left, top = max(box.x1, 0) // grid.step_x, max(box.y1, 0) // grid.step_y
    return [
        (
            one.x1 // grid.step_x - left,
            one.y1 // grid.step_y - top,
            -(-one.x2 // grid.step_x) - left,
            -(-one.y2 // grid.step_y) - top,
        )
        for one in boxes
        if one.area != box.area
        and one.x1 < box.x2
        and box.x1 < one.x2
        and one.y1 < box.y2
        and box.y1 < one.y2
    ]


def _inside(
    frame: Frame, grid: ComponentGrid, area: McuArea, box: RedactionBox, origin: tuple[int, int]
) -> tuple[slice, slice] | None:
    """Rows and columns of the area's samples that lie in ``box``; None where it lies elsewhere."""
    x1, y1 = max(box.x1, 0), max(box.y1, 0)
    x2, y2 = min(box.x2, frame.width), min(box.y2, frame.height)
    if x1 >= x2 or y1 >= y2:
        return None
    left, top, right, bottom = _samples(grid, (x1, y1, x2, y2))
    width = 8 * grid.horizontal * (area.right - area.left)
    height = 8 * grid.vertical * (area.bottom - area.top)
    left, right = left - origin[0], right - origin[0]
    top, bottom = top - origin[1], bottom - origin[1]
    if left < 0 or top < 0 or right > width or bottom > height:
        return None
    return slice(top, bottom), slice(left, right)


def check_outside(
    frame: Frame, boxes: Sequence[RedactionBox], before: Pixels, after: Pixels
) -> None:
    """See that decoded pixels differ in blocks under ``boxes`` alone.

    Decoders draw subsampled colours smoothly: a changed block shows in one pixel more.

    Args:
        before, after: [h, w(, c)] as stored, from the same decoder.

    Raises:
        OutputRejected: ``changed_outside``.
    """
    differ = before != after
    if differ.ndim == 3:
        differ = differ.any(axis=2)
    for one, mask in zip(frame.components, allowed_blocks(frame, boxes), strict=True):
        spill = 1 if one.step_x > 1 or one.step_y > 1 else 0
        for top, bottom, left, right in _rectangles(mask):
            across, down = 8 * one.step_x, 8 * one.step_y
            differ[
                max(top * down - spill, 0) : bottom * down + spill,
                max(left * across - spill, 0) : right * across + spill,
            ] = False
    if differ.any():
        raise OutputRejected("changed_outside", "pixels outside the boxes have changed")


def _rectangles(mask: Mask) -> Iterator[tuple[int, int, int, int]]:
    """``mask`` as runs: (row, row + 1, first column, last + 1)."""
    for row in np.flatnonzero(mask.any(axis=1)):
        edges = np.flatnonzero(np.diff(mask[row].astype(np.int8), prepend=0, append=0))
        for left, right in edges.reshape(-1, 2):
            yield int(row), int(row) + 1, int(left), int(right)
