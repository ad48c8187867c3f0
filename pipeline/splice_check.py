"""The last look at a spliced JPEG: only blocks under a mask differ, and what is in them is gone.

Every output: its headers are the source's, its coefficients outside the masks are the source's, and
little of the detail inside is left, in brightness and colours. A share of them: decoded as a whole
by a decoder that shares no code with the splicing, and compared pixel by pixel outside the masks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import OutputRejected
from pipeline.expected import Channel, changed_pixels
from pipeline.jpeg.areas import apart, mcu_area
from pipeline.jpeg.bitstream import Longs
from pipeline.jpeg.coded_areas import AreaBlocks
from pipeline.jpeg.colours import shared_components
from pipeline.jpeg.coverage import blocks_to_judge, cell_mcus, coded_area
from pipeline.jpeg.dct import BASIS, DECODED, Floats, Ints, Shorts, Uses
from pipeline.jpeg.frame import ZIGZAG, ComponentGrid, Frame, scans_of
from pipeline.jpeg.rewrite import colour_coding
from pipeline.jpeg.rewritten import Rewritten, rewritten_units
from pipeline.jpeg.segments import DHT, SOS, JpegStructure, parse_jpeg
from pipeline.jpeg.sequential import SequentialScan, Span
from pipeline.jpeg.splice import Spliced
from pipeline.jpeg.unspliceable import Unspliceable
from pipeline.jpeg.whole import WholePicture
from pipeline.orientation import IntBox
from pipeline.redaction import RedactionBox, touched_area
from pipeline.residual import coding_of, most_kept

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
    known = _source(source, before, spliced, boxes)
    units = _units(output, after, known, spliced.spans)
    differ = (units.before != units.after).any(axis=2)
    if (differ & ~_of_units(frame, units.mcus, allowed_blocks(frame, boxes))).any():
        raise OutputRejected("changed_outside", "coefficients outside the boxes have changed")
    _check_detail(known, units, boxes, max_gain, shared_components(source, before))


def _headers(data: bytes, structure: JpegStructure, rewritten: bool) -> list[bytes]:
    """All but metadata and coded data (and tables that were made anew): what coefficients mean.

    Which colours they show is in metadata, see :func:`pipeline.jpeg.rewrite.colour_coding`.
    """
    return [
        data[segment.start - 4 : segment.stop]
        for segment in structure.segments
        if not segment.is_metadata and not (rewritten and segment.marker == DHT)
    ]


def _source(
    data: bytes, structure: JpegStructure, spliced: Spliced, boxes: Sequence[RedactionBox]
) -> SequentialScan | WholePicture:
    """The source's coded data, known wherever ``boxes`` lie: the writer may have left some out.

    Raises:
        OutputRejected: ``undecodable``, the source cannot be followed there.
    """
    found = spliced.source
    if isinstance(found, WholePicture) or found.whole or found.has(cell_mcus(found.frame, boxes)):
        return found
    (scan,) = scans_of(data, structure)
    try:
        return SequentialScan(data, found.frame, scan)
    except Unspliceable as error:
        why = f"the source cannot be followed under a box that was not written: {error}"
        raise OutputRejected("undecodable", why) from error


def _units(
    output: bytes,
    structure: JpegStructure,
    source: SequentialScan | WholePicture,
    spans: Sequence[Span] | None,
) -> Rewritten:
    """The units that may differ; all others are seen to be the source's.

    Raises:
        OutputRejected: ``changed_outside``, ``undecodable``.
    """
    try:
        if isinstance(source, SequentialScan):
            (scan,) = (one for one in structure.segments if one.marker == SOS)
            raw = output[scan.stop : scan.scan_stop]
            return rewritten_units(source, raw, spans or ())
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
    shared: Sequence[bool],
) -> None:
    frame = source.frame
    size = (frame.width, frame.height)
    changed = changed_pixels(boxes, size)
    coded_areas = {box: coded_area(frame, box) for box in boxes}
    reach = {box: mcu_area(frame, a) for box, a in coded_areas.items() if a is not None}
    areas = apart(reach.values())
    near = [[box for box in reach if area.meets(reach[box])] for area in areas]
    averages = [
        np.clip(dc * np.float32(grid.steps[0] / 8) + np.float32(128), 0, 255)
        for dc, grid in zip(source.dc_planes(), frame.components, strict=True)
    ]
    blocks = AreaBlocks(frame, areas)
    uses = blocks.flat(
        [
            [blocks_to_judge(grid, area, own, size) for grid in frame.components]
            for area, own in zip(areas, near, strict=True)
        ]
    )
    before = source.read(blocks.mcus)
    after = before.copy()
    known = np.isin(units.mcus, blocks.mcus)
    after[np.searchsorted(blocks.mcus, units.mcus[known])] = units.after[known]
    coded = after.reshape(-1, 64)[blocks.at]
    was = blocks.decoded(before, uses)
    for area, component in itertools.product(range(len(areas)), range(len(frame.components))):
        grid = frame.components[component]
        channel = Channel(
            blocks.samples(was, area, component).astype(np.float32),
            *blocks.corner(area, component),
            grid.step_x,
            grid.step_y,
            size,
            shared[component],
            averages[component],
        )
        own = blocks.blocks(coded, area, component), blocks.blocks(uses, area, component)
        left = partial(_left, own[0], grid.steps, own[1])
        kept = most_kept(channel, left, near[area], max_gain, coding_of(grid.steps), changed)
        if kept is not None and kept.excess > 1:
            raise OutputRejected("not_obscured", kept.what)


def _left(coded: Shorts, steps: Ints, uses: Uses, expected: Floats) -> Floats:
    """What a coded part of the output has besides what is expected.

    An AC coefficient of 0 tells nothing, be it that nothing was there or that it had no code.

    Args:
        coded: [rows, columns, 64] quantised coefficients in zigzag order.
        steps: [64] in zigzag order.
        uses: [rows, columns] which blocks are ``DECODED``; all others are given as 0.
        expected: [8 rows, 8 columns] samples.
    """
    rows, columns = uses.shape
    seen = uses == DECODED
    own = coded[seen]
    blocks = expected.reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3)[seen] - np.float32(128)
    aim = (BASIS @ blocks @ BASIS.T).reshape(-1, 64)[:, ZIGZAG]
    found = own * steps.astype(np.float32) - aim
    found[:, 1:] *= own[:, 1:] != 0
    natural = np.empty_like(found)
    natural[:, ZIGZAG] = found
    samples = np.zeros((rows, columns, 8, 8), np.float32)
    samples[seen] = BASIS.T @ natural.reshape(-1, 8, 8) @ BASIS
    return np.asarray(samples.transpose(0, 2, 1, 3).reshape(expected.shape))


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
