"""All coefficients of a JPEG, from any number of Huffman-coded scans, and the same scans anew.

What progressive files and those of several scans take: every scan is read, and written again with
tables that fit it. Coefficients of untouched blocks are the source's, their bits are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.jpeg import bitstream, entropy, progressive, progressive_writing
from pipeline.jpeg.bitstream import RST0, Longs
from pipeline.jpeg.entropy import Shorts
from pipeline.jpeg.frame import Frame, ScanHeader
from pipeline.jpeg.huffman import MAX_DC_BITS, HuffmanTable, fitted_table
from pipeline.jpeg.segments import DHT, SOS, JpegStructure
from pipeline.jpeg.stretches import segment_bounds, segment_words, without_fill
from pipeline.jpeg.unspliceable import Unspliceable

# Where fewer bits of these coefficients are coded, a decoder smooths blocks by those around them: a
# change in one would show in others (libjpeg-turbo, jdcoefct.c).
GUESSED = 10
# Stretches between restart markers, of all scans. Each takes some 20 microseconds; a camera writes
# one for each row of MCUs at most.
_MOST_STRETCHES = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class _Order:
    """How a scan goes through the blocks.

    Attributes:
        blocks: numbers of the blocks, as coded.
        pattern: [blocks of an MCU, 3]: component in the scan, DC table, AC table; tables count
            from 0, two for each component.
        interval: MCUs between restart markers.
        mcus: number of MCUs.
    """

    blocks: Longs
    pattern: Longs
    interval: int
    mcus: int


class WholePicture:
    """The coefficients of a JPEG.

    Args:
        data, structure: the file.

    Attributes:
        coefficients: [blocks, 64] int16 in zigzag order, component by component, each in rows of
            all its blocks, those that fill up the last MCUs among them.

    Raises:
        Unspliceable: the data cannot be followed to its end, or its scans do not complete one
            another.
    """

    def __init__(
        self,
        data: bytes,
        structure: JpegStructure,
        frame: Frame,
        scans: Sequence[ScanHeader],
    ) -> None:
        self.frame = frame
        self.scans = scans
        self._data, self._structure = data, structure
        self._check_progression()
        intervals = [one.restart_interval or frame.mcus for one in scans]
        if sum(-(-frame.mcus // interval) for interval in intervals) > _MOST_STRETCHES:
            raise Unspliceable("restarts", "there are too many restart markers")
        counts = [one.horizontal * one.vertical * frame.mcus for one in frame.components]
        self._first = [sum(counts[:i]) for i in range(len(counts))]
        self.coefficients: Shorts = np.zeros((sum(counts), 64), np.int16)
        for scan in scans:
            self._read(scan)

    def _check_progression(self) -> None:
        """See that each scan takes up where the ones before it ended; T.81, annex G.1.1.1."""
        progressive_file = self._structure.progressive
        known = np.full((len(self.frame.components), 64), -1)
        for scan in self.scans:
            band = known[list(scan.components), scan.first : scan.last + 1]
            whole = (scan.first, scan.last, scan.high, scan.low) == (0, 63, 0, 0)
            apart = scan.last == 0 or (scan.first > 0 and len(scan.components) == 1)
            if not (whole if not progressive_file else apart and scan.first <= scan.last < 64):
                raise Unspliceable("scan", "a scan codes a part that it must not")
            if scan.low > 13 or (scan.high and scan.high != scan.low + 1):
                raise Unspliceable("scan", "a scan codes bits that it must not")
            if (band != (scan.high or -1)).any():
                raise Unspliceable("scan", "the scans do not follow one another")
            known[list(scan.components), scan.first : scan.last + 1] = scan.low
        if (known[:, 0] < 0).any():
            raise Unspliceable("scan", "a component is not coded")
        if progressive_file and known[:, 1:GUESSED].any():
            raise Unspliceable("scan", "decoders guess what the scans leave out")

    def _order(self, scan: ScanHeader) -> _Order:
        frame = self.frame
        tables = [(2 * place, 2 * place + 1) for place in range(len(scan.components))]
        if len(scan.components) == 1:
            one = frame.components[scan.components[0]]
            width = one.horizontal * frame.mcus_x
            rows = np.arange(one.blocks_y)[:, None] * width + np.arange(one.blocks_x)
            blocks = self._first[scan.components[0]] + rows.ravel()
            return _Order(
                blocks,
                np.array([(0, *tables[0])]),
                scan.restart_interval or len(blocks),
                len(blocks),
            )
        columns: list[NDArray[np.int64]] = []
        pattern: list[tuple[int, int, int]] = []
        mcu_y, mcu_x = np.divmod(np.arange(frame.mcus), frame.mcus_x)
        for place, number in enumerate(scan.components):
            one = frame.components[number]
            width = one.horizontal * frame.mcus_x
            for y in range(one.vertical):
                for x in range(one.horizontal):
                    at = (mcu_y * one.vertical + y) * width + mcu_x * one.horizontal + x
                    columns.append(self._first[number] + at)
                    pattern.append((place, *tables[place]))
        blocks = np.stack(columns, axis=1).ravel()
        return _Order(blocks, np.array(pattern), scan.restart_interval or frame.mcus, frame.mcus)

    def _read(self, scan: ScanHeader) -> None:
        order = self._order(scan)
        raw = without_fill(self._data[scan.segment.stop : scan.segment.scan_stop])
        bounds = segment_bounds(raw, order.interval, order.mcus)
        numbers = np.arange(len(bounds))
        words, segments = segment_words(raw, bounds, numbers, order.interval, order.mcus)
        fault = progressive.read_scan(
            words,
            segments,
            order.blocks,
            order.pattern,
            np.concatenate([_read_table(table) for pair in _needed(scan) for table in pair]),
            np.array([scan.first, scan.last, scan.high, scan.low]),
            self._structure.progressive,
            self.coefficients,
        )
        if fault != entropy.OK:
            raise Unspliceable("scan", entropy.FAULTS[fault])

    def _numbers(self, mcus: Longs) -> Longs:
        """[n, blocks of an MCU] numbers of the blocks of ``mcus``."""
        mcu_y, mcu_x = np.divmod(mcus, self.frame.mcus_x)
        columns: list[NDArray[np.int64]] = []
        for number, one in enumerate(self.frame.components):
            width = one.horizontal * self.frame.mcus_x
            for y in range(one.vertical):
                for x in range(one.horizontal):
                    at = (mcu_y * one.vertical + y) * width + mcu_x * one.horizontal + x
                    columns.append(self._first[number] + at)
        return np.stack(columns, axis=1)

    def mcus_of_blocks(self, blocks: NDArray[np.bool_]) -> Longs:
        """Numbers of the MCUs of which any of ``blocks`` (one for each of all) is true."""
        every = np.arange(self.frame.mcus)
        return np.flatnonzero(blocks[self._numbers(every)].any(axis=1))

    def dc_planes(self) -> list[Shorts]:
        """Each component's DC values [rows, columns]."""
        widths = [one.horizontal * self.frame.mcus_x for one in self.frame.components]
        parts = np.split(self.coefficients[:, 0], self._first[1:])
        return [part.reshape(-1, width) for part, width in zip(parts, widths, strict=True)]

    def read(self, mcus: Longs, whole: NDArray[np.bool_] | None = None) -> Shorts:
        """Coefficients [n, blocks of an MCU, 64] of ``mcus``, quantised, in zigzag order.

        Args:
            whole: which blocks are wanted with more than their DC value; all are at hand.
        """
        return np.asarray(self.coefficients[self._numbers(mcus)])

    def written(self, mcus: Longs, coefficients: Shorts, changed: NDArray[np.bool_]) -> list[bytes]:
        """The file's segments but metadata, with some blocks changed and tables that fit.

        Args:
            mcus: numbers of MCUs, sorted.
            coefficients: theirs, as :meth:`read` gives them.
            changed: [n, blocks of an MCU]: which of them are to be written.

        Raises:
            Unspliceable: ``codes``, a DC difference has no code in any table.
        """
        blocks = self.coefficients.copy()
        blocks[self._numbers(mcus)[changed]] = coefficients[changed]
        scans = iter(self.scans)
        parts: list[bytes] = []
        for segment in self._structure.segments:
            if segment.marker == SOS:
                parts += self._written_scan(next(scans), blocks)
            elif segment.marker != DHT and not segment.is_metadata:
                parts.append(segment.whole(self._data))
        return parts

    def _written_scan(self, scan: ScanHeader, blocks: Shorts) -> Iterator[bytes]:
        order = self._order(scan)
        band = np.array([scan.first, scan.last, scan.high, scan.low])
        counts = np.zeros((2 * len(scan.components), 256), np.int64)
        starts = range(0, order.mcus, order.interval)
        rows = [
            np.array([0, 0, start, min(order.interval, order.mcus - start)]) for start in starts
        ]
        unused = np.zeros((len(counts), 256), np.int32)
        for row in rows:
            progressive_writing.write_scan(
                row, order.blocks, order.pattern, band, self._structure.progressive, blocks, counts,
                unused, np.zeros(0, np.uint32),
            )  # fmt: skip
        if counts[::2, MAX_DC_BITS + 1 :].any():
            raise Unspliceable("codes", "a DC difference has more bits than any table may code")
        tables, payload = _fitted(scan, counts)
        if payload:
            yield b"\xff" + bytes([DHT]) + (len(payload) + 2).to_bytes(2, "big") + payload
        segment = scan.segment
        yield self._data[segment.start - 4 : segment.stop]
        for number, row in enumerate(rows):
            size = int(row[3]) * len(order.pattern) * progressive_writing.MAX_SCAN_BLOCK_BITS
            words = np.zeros(size // 32 + 4, np.uint32)
            bits = progressive_writing.write_scan(
                row, order.blocks, order.pattern, band, self._structure.progressive, blocks, counts,
                tables, words,
            )  # fmt: skip
            if number:
                yield bytes([0xFF, RST0 + (number - 1) % 8])
            yield bitstream.stuff(words, bits // 8).tobytes()


def _needed(scan: ScanHeader) -> list[tuple[HuffmanTable | None, HuffmanTable | None]]:
    """DC and AC table of each component; None where the scan has no use for one.

    Raises:
        Unspliceable: ``tables``, one is missing.
    """
    pairs: list[tuple[HuffmanTable | None, HuffmanTable | None]] = []
    for dc, ac in zip(scan.dc, scan.ac, strict=True):
        uses_dc, uses_ac = scan.first == 0 and scan.high == 0, scan.last > 0
        if (uses_dc and dc is None) or (uses_ac and ac is None):
            raise Unspliceable("tables", "a Huffman table is missing")
        pairs.append((dc if uses_dc else None, ac if uses_ac else None))
    return pairs


def _read_table(table: HuffmanTable | None) -> Shorts:
    empty = np.zeros((1, 1 << 16), np.int16)
    return empty if table is None else table.read[None, :]


def _fitted(scan: ScanHeader, counts: Longs) -> tuple[NDArray[np.int32], bytes]:
    """Codes [2 x components, 256] fitted to ``counts``, and the DHT payload that defines them.

    Components that share a table in the source share one again.
    """
    shared: dict[int, Longs] = {}
    places: dict[int, list[int]] = {}
    for place, (dc, ac) in enumerate(_needed(scan)):
        for row, table, name in (
            (2 * place, dc, scan.dc_numbers[place]),
            (2 * place + 1, ac, 16 + scan.ac_numbers[place]),
        ):
            if table is not None:
                shared[name] = shared.get(name, np.zeros(256, np.int64)) + counts[row]
                places.setdefault(name, []).append(row)
    codes = np.zeros((len(counts), 256), np.int32)
    payload = b""
    for name, total in shared.items():
        table = fitted_table(total)
        codes[places[name]] = table.write
        payload += bytes([name]) + table.payload
    return codes, payload
