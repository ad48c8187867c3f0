"""A JPEG's one sequential scan as units that can be read and written in place.

Untouched units keep their bits: what is written differs from the source in the changed blocks and
in the DC differences of the unit behind them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.jpeg import bitstream, entropy, entropy_writing, two_lanes
from pipeline.jpeg.bitstream import Longs, Words
from pipeline.jpeg.entropy import Ints, Shorts
from pipeline.jpeg.frame import Frame, ScanHeader
from pipeline.jpeg.huffman import HuffmanTable
from pipeline.jpeg.stretches import (
    segment_bounds,
    segment_words,
    without_end,
    without_fill,
)
from pipeline.jpeg.unspliceable import Unspliceable

# An AC coefficient of this much is a ripple of 16 grey levels: not more may be left out.
FAINT = 64

Flags = NDArray[np.bool_]
# A part of a file, joined with the others only once.
Part = bytes | memoryview


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """A scan's Huffman tables and the layout of its MCU.

    Attributes:
        blocks: [n, 3], see :data:`pipeline.jpeg.entropy.BLOCK_FIELDS`.
        read, short, skip, write: the tables' arrays, stacked.
    """

    blocks: Longs
    read: Shorts
    short: Shorts
    skip: Shorts
    write: Ints

    @classmethod
    def of(cls, frame: Frame, scan: ScanHeader) -> Tables:
        """The tables of ``scan``, an interleaved sequential one.

        Raises:
            Unspliceable: ``tables``, one is missing.
        """
        used: list[HuffmanTable] = []
        rows: list[tuple[int, int, int]] = []
        for place, number in enumerate(scan.components):
            pair = (scan.dc[place], scan.ac[place])
            indices = []
            for table in pair:
                if table is None:
                    raise Unspliceable("tables", "a Huffman table is missing")
                if table not in used:
                    used.append(table)
                indices.append(used.index(table))
            component = frame.components[number]
            count = component.horizontal * component.vertical
            rows += [(number, indices[0], indices[1])] * count
        return cls(
            np.array(rows, np.int64),
            np.stack([table.read for table in used]),
            np.stack([table.short for table in used]),
            np.stack([table.skip for table in used]),
            np.stack([table.write for table in used]),
        )


class Span(NamedTuple):
    """Bits that were written anew.

    Attributes:
        segment: number of the stretch between restart markers.
        first, last: the first MCU and the one behind the last, the mended one among them.
        source, output: first and last bit in either segment.
    """

    segment: int
    first: int
    last: int
    source: tuple[int, int]
    output: tuple[int, int]


class SequentialScan:
    """The coded data of a JPEG with one sequential scan.

    Args:
        data: the file.
        needed: numbers of the MCUs that are to be read or written, sorted; segments between
            restart markers that hold none of them are left unread. None for all.
        low: whether to keep the first coefficients of every block, for a small picture.

    Attributes:
        levels: [MCUs, blocks of an MCU] int16: every block's DC value.
        low: [MCUs, blocks of an MCU, 5] int16 in zigzag order, if they were to be kept.

    Raises:
        Unspliceable: the data cannot be followed to its end.
    """

    def __init__(
        self,
        data: bytes,
        frame: Frame,
        scan: ScanHeader,
        needed: NDArray[np.int64] | None = None,
        *,
        low: bool = False,
    ) -> None:
        if (scan.first, scan.last, scan.high, scan.low) != (0, 63, 0, 0):
            raise Unspliceable("scan", "the scan codes a part of the coefficients")
        # places of blocks are the frame's, and so must be the scan's
        if scan.components != tuple(range(len(frame.components))):
            raise Unspliceable("scan", "the scan has other components than the frame")
        self.frame = frame
        self.tables = Tables.of(frame, scan)
        self.interval = scan.restart_interval or frame.mcus
        alone = frame.mcus <= self.interval
        raw = data[scan.segment.stop : scan.segment.scan_stop]
        self.raw = without_end(raw) if alone else without_fill(raw)
        self.bounds = segment_bounds(self.raw, self.interval, frame.mcus)
        every = np.arange(len(self.bounds))
        self.numbers = every if needed is None else np.unique(needed // self.interval)
        # where every 256th word of a lone stretch begins in the file: what lies before the first
        # changed unit is copied as it is
        self._marks: Longs = np.zeros(len(self.raw) // 1024 + 1 if alone else 0, np.int64)
        self.words, self.segments = segment_words(
            self.raw, self.bounds, self.numbers, self.interval, frame.mcus, self._marks
        )
        self.places = np.zeros(frame.mcus, np.int64)
        self.dc = np.zeros((frame.mcus, len(frame.components)), np.int32)
        self.ends = np.zeros(len(self.segments), np.int64)
        blocks = len(self.tables.blocks)
        self.levels: Shorts = np.zeros((frame.mcus, blocks), np.int16)
        self.low: Shorts = np.zeros(
            (frame.mcus, blocks, entropy.LOW) if low else (0, 0, 0), np.int16
        )
        start = np.zeros((len(self.segments), len(frame.components)), np.int64)
        self._follow(self.segments, start, self.ends)
        self._followed = np.repeat(np.isin(every, self.numbers), self.interval)[: frame.mcus]
        if (self.segments[:, 1] - self.ends >= 8).any():
            raise Unspliceable("scan", "data lies behind the last block")

    def _follow(self, segments: Longs, start: Longs, ends: Longs) -> None:
        tables = self.tables
        alone = len(segments) == 1 and segments[0, 3] >= two_lanes.LEAST_MCUS
        find = two_lanes.find_units_twice if alone and not self.low.size else entropy.find_units
        fault = find(
            self.words,
            segments,
            start,
            tables.blocks,
            tables.read,
            tables.short,
            tables.skip,
            self.places,
            self.dc,
            ends,
            self.levels,
            self.low,
        )
        raise_fault(fault)

    @property
    def whole(self) -> bool:
        """Whether all segments were followed."""
        return len(self.numbers) == len(self.bounds)

    def has(self, mcus: Longs) -> bool:
        """Whether all of ``mcus`` lie in segments that were followed."""
        return bool(self._followed[mcus].all())

    def dc_planes(self) -> list[Shorts]:
        """Each component's DC values [rows, columns], 0 where the scan was left unread."""
        frame = self.frame
        planes: list[Shorts] = []
        first = 0
        for one in frame.components:
            count = one.horizontal * one.vertical
            inner = self.levels[:, first : first + count].reshape(
                frame.mcus_y, frame.mcus_x, one.vertical, one.horizontal
            )
            plane = inner.transpose(0, 2, 1, 3)
            planes.append(plane.reshape(frame.mcus_y * one.vertical, -1))
            first += count
        return planes

    def read(self, mcus: Longs, whole: Flags | None = None) -> Shorts:
        """Coefficients [n, blocks of an MCU, 64] of ``mcus``, quantised, in zigzag order.

        Args:
            whole: [n, blocks of an MCU]: which blocks are wanted with more than their DC value.

        Raises:
            ValueError: of some the segment was left unread.
        """
        if not self.has(mcus):
            raise ValueError("MCUs are asked for whose segments were left unread")
        return read_mcus(self.words, mcus, self.places, self.dc, self.tables, whole)

    def written(
        self, mcus: Longs, coefficients: Shorts, changed: NDArray[np.bool_]
    ) -> tuple[list[Part], list[Span]]:
        """The coded data with some blocks changed, in parts, and what was written anew.

        Args:
            mcus: numbers of MCUs, sorted.
            coefficients: theirs, as :meth:`read` gives them.
            changed: [n, blocks of an MCU]: which of them are to be written.

        Raises:
            Unspliceable: ``codes``, the tables lack a code for something that would be seen.
        """
        slots = np.full(self.frame.mcus, -1, np.int32)
        slots[mcus] = np.arange(len(mcus))
        touched = mcus[changed.any(axis=1)]
        raw = memoryview(self.raw)
        parts: list[Part] = []
        spans: list[Span] = []
        done = 0
        for row, number in enumerate(self.numbers.tolist()):
            _, _, first, count = self.segments[row]
            own = touched[(touched >= first) & (touched < first + count)]
            if not len(own):
                continue
            new, found = self._write(row, _runs(own), slots, coefficients, changed)
            spans += found
            start, stop = self.bounds[number]
            parts += [raw[done:start], *new]
            done = stop
        return [*parts, raw[done:]], spans

    def _write(
        self,
        row: int,
        runs: Longs,
        slots: Ints,
        coefficients: Shorts,
        changed: NDArray[np.bool_],
    ) -> tuple[list[Part], list[Span]]:
        """The stuffed bytes of one segment, and what was written anew in it."""
        start, stop, first, count = self.segments[row].tolist()
        mark = int(self.places[runs[0, 0]] - start) // 8192 if len(self._marks) else 0
        kept = int(self._marks[mark]) if mark else 0
        begin = start + 8192 * mark
        rewritten = int(changed.sum()) * entropy_writing.MAX_BLOCK_BITS
        mended = len(runs) * len(self.tables.blocks) * 32
        out = np.zeros((stop - begin + rewritten + mended) // 32 + 4, np.uint32)
        spans = np.zeros((len(runs), 4), np.int64)
        tables = self.tables
        spare = np.array([FAINT // one.steps for one in self.frame.components], np.int32)
        bits = entropy_writing.write_segment(
            self.words,
            self.segments[row],
            begin,
            self.ends[row],
            runs,
            self.places,
            self.dc,
            tables.blocks,
            tables.read,
            tables.skip,
            tables.write,
            spare,
            slots,
            coefficients,
            changed,
            out,
            spans,
        )
        if bits < 0:
            reason = "codes" if bits == -entropy.NO_CODE else "scan"
            raise Unspliceable(reason, entropy.FAULTS[-bits])
        spans += [-start, -start, begin - start, begin - start]
        found = [
            Span(first // self.interval, begin, min(end + 1, first + count), (a, b), (c, d))
            for (begin, end), (a, b, c, d) in zip(runs.tolist(), spans.tolist(), strict=True)
        ]
        return [memoryview(self.raw)[:kept], bitstream.stuff(out, bits // 8)], found


def read_mcus(
    words: Words,
    mcus: Longs,
    places: Longs,
    dc: Ints,
    tables: Tables,
    whole: Flags | None = None,
) -> Shorts:
    """Coefficients [n, blocks of an MCU, 64] of ``mcus``, quantised, in zigzag order.

    Args:
        places, dc: see :func:`pipeline.jpeg.entropy.find_units`.
        whole: see :meth:`SequentialScan.read`.

    Raises:
        Unspliceable: ``scan``.
    """
    shape = (len(mcus), len(tables.blocks))
    out = np.empty((*shape, 64), np.int16)
    wanted = np.ones(shape, bool) if whole is None else whole
    fault = entropy.read_units(
        words, mcus, places, dc, tables.blocks, tables.read, tables.skip, wanted, out
    )
    raise_fault(fault)
    return out


def _runs(mcus: Longs) -> Longs:
    """[n, 2] first and last + 1 of each run of neighbours in ``mcus``, sorted."""
    breaks = np.flatnonzero(np.diff(mcus) > 1) + 1
    edges = [0, *breaks.tolist(), len(mcus)]
    return np.array([(mcus[a], mcus[b - 1] + 1) for a, b in pairwise(edges)], np.int64)


def raise_fault(fault: int) -> None:
    """Raise ``Unspliceable`` for a ``fault`` of :mod:`pipeline.jpeg.entropy`, but ``OK``."""
    if fault != entropy.OK:
        raise Unspliceable("scan", entropy.FAULTS[fault])
