"""What a JPEG's headers say of its coded data: the grid of blocks, the scans and their tables.

Source: ITU-T T.81, annexes A and B.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.jpeg.huffman import HuffmanTable, huffman_table
from pipeline.jpeg.segments import (
    DHT,
    DRI,
    SOS,
    JpegStructure,
    Segment,
    quantisation_tables,
    quantisation_tables_change,
)
from pipeline.jpeg.unspliceable import Unspliceable

# Far above what cameras write (120 megapixels have 1.9 million luma blocks).
MAX_BLOCKS = 1 << 24
# T.81, B.2.3.
MAX_MCU_BLOCKS = 10
# natural order (row by row) of the 64 positions that a file lists in zigzag; T.81, figure A.6
ZIGZAG = np.array(
    sorted(
        range(64),
        key=lambda i: (i // 8 + i % 8, i // 8 if (i // 8 + i % 8) % 2 else i % 8),
    )
)


@dataclass(frozen=True, slots=True, eq=False)
class ComponentGrid:
    """One colour component's samples and blocks.

    Attributes:
        horizontal, vertical: its blocks in a minimum coded unit (MCU), or 1 where it is alone.
        step_x, step_y: pixels that a sample spans.
        width, height: its samples that belong to the picture.
        blocks_x, blocks_y: its blocks that hold those.
        steps: [64] quantisation steps, int32 in zigzag order.
    """

    horizontal: int
    vertical: int
    step_x: int
    step_y: int
    width: int
    height: int
    blocks_x: int
    blocks_y: int
    steps: NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """The picture's grid.

    Attributes:
        width, height: in pixels, as stored.
        mcu_width, mcu_height: pixels of an MCU.
        mcus_x, mcus_y: how many MCUs there are.
        components: in the frame's order.
    """

    width: int
    height: int
    mcu_width: int
    mcu_height: int
    mcus_x: int
    mcus_y: int
    components: tuple[ComponentGrid, ...]

    @property
    def mcus(self) -> int:
        """Number of MCUs in the picture."""
        return self.mcus_x * self.mcus_y


@dataclass(frozen=True, slots=True, eq=False)
class ScanHeader:
    """One scan.

    Attributes:
        components: numbers in the frame, in the scan's order.
        dc, ac: Huffman table of each of them; None where the scan needs or has none.
        dc_numbers, ac_numbers: under which the file knows those tables.
        first, last: coefficients coded, in zigzag order.
        high, low: successive approximation, 0 where there is none.
        restart_interval: MCUs between two restart markers; 0 for none.
        segment: where it lies in the file.
    """

    components: tuple[int, ...]
    dc: tuple[HuffmanTable | None, ...]
    ac: tuple[HuffmanTable | None, ...]
    dc_numbers: tuple[int, ...]
    ac_numbers: tuple[int, ...]
    first: int
    last: int
    high: int
    low: int
    restart_interval: int
    segment: Segment


def frame_of(data: bytes, structure: JpegStructure) -> Frame:
    """The grid of the JPEG ``data``.

    Raises:
        Unspliceable: ``sampling`` that no whole number of pixels fits, ``tables``.
        ImageRefused: ``corrupt``, a quantisation table is missing.
    """
    if quantisation_tables_change(structure):
        raise Unspliceable("tables", "quantisation tables follow the first scan")
    alone = len(structure.components) == 1
    factors = [(1, 1) if alone else (c.horizontal, c.vertical) for c in structure.components]
    if any(not (1 <= h <= 4 and 1 <= v <= 4) for h, v in factors):
        raise Unspliceable("sampling", "a sampling factor is not 1 to 4")
    most_x, most_y = max(h for h, _ in factors), max(v for _, v in factors)
    if any(most_x % h or most_y % v for h, v in factors):
        raise Unspliceable("sampling", "a sample spans no whole number of pixels")
    if any(_odd(most_x // h) or _odd(most_y // v) for h, v in factors):
        raise Unspliceable("sampling", "a sample spans three pixels")
    width, height = structure.width, structure.height
    mcus_x, mcus_y = -(-width // (8 * most_x)), -(-height // (8 * most_y))
    blocks = sum(h * v for h, v in factors)
    if blocks > MAX_MCU_BLOCKS:
        raise Unspliceable("sampling", "a unit has more blocks than it may")
    if mcus_x * mcus_y * blocks > MAX_BLOCKS:
        raise Unspliceable("size", "the picture has too many blocks")
    tables = quantisation_tables(data, structure)
    components = []
    for (h, v), steps in zip(factors, tables, strict=True):
        if 0 in steps:
            raise Unspliceable("tables", "a quantisation step is 0")
        samples_x, samples_y = -(-width * h // most_x), -(-height * v // most_y)
        components.append(
            ComponentGrid(
                *(h, v, most_x // h, most_y // v, samples_x, samples_y),
                blocks_x=-(-samples_x // 8),
                blocks_y=-(-samples_y // 8),
                steps=np.array(steps, np.int32),
            )
        )
    return Frame(width, height, 8 * most_x, 8 * most_y, mcus_x, mcus_y, tuple(components))


def _odd(step: int) -> bool:
    return step == 3


def scans_of(data: bytes, structure: JpegStructure) -> tuple[ScanHeader, ...]:
    """The scans of the JPEG ``data``, each with the tables in force where it begins.

    Raises:
        Unspliceable: ``tables`` or ``scan``, a header that makes no sense.
    """
    tables: dict[int, HuffmanTable] = {}
    interval = 0
    scans: list[ScanHeader] = []
    for segment in structure.segments:
        if segment.marker == DHT:
            tables.update(_tables(segment.payload(data)))
        elif segment.marker == DRI:
            payload = segment.payload(data)
            if len(payload) != 2:
                raise Unspliceable("scan", "a restart interval has the wrong length")
            interval = int.from_bytes(payload, "big")
        elif segment.marker == SOS:
            scans.append(_scan(data, structure, segment, tables, interval))
    return tuple(scans)


def _tables(payload: bytes) -> dict[int, HuffmanTable]:
    """Tables of a DHT segment by class and number (DC 0..3, AC 16..19)."""
    found: dict[int, HuffmanTable] = {}
    at = 0
    while at < len(payload):
        counts = payload[at + 1 : at + 17]
        symbols = payload[at + 17 : at + 17 + sum(counts)]
        if len(counts) != 16 or len(symbols) != sum(counts) or payload[at] & 0xEC:
            raise Unspliceable("tables", "a Huffman table is cut short")
        found[payload[at]] = huffman_table(counts, symbols)
        at += 17 + len(symbols)
    return found


def _scan(
    data: bytes,
    structure: JpegStructure,
    segment: Segment,
    tables: Mapping[int, HuffmanTable],
    interval: int,
) -> ScanHeader:
    payload = segment.payload(data)
    if not payload or len(payload) != 4 + 2 * payload[0] or not 1 <= payload[0] <= 4:
        raise Unspliceable("scan", "a scan header has the wrong length")
    numbers = [component.identifier for component in structure.components]
    named = [payload[1 + 2 * i] for i in range(payload[0])]
    if len(set(named)) != len(named) or any(numbers.count(one) != 1 for one in named):
        raise Unspliceable("scan", "a scan names components that there are not, or twice")
    selectors = [payload[2 + 2 * i] for i in range(payload[0])]
    first, last, approximation = payload[-3:]
    return ScanHeader(
        components=tuple(numbers.index(one) for one in named),
        dc=tuple(tables.get(one >> 4) for one in selectors),
        ac=tuple(tables.get(16 + (one & 15)) for one in selectors),
        dc_numbers=tuple(one >> 4 for one in selectors),
        ac_numbers=tuple(one & 15 for one in selectors),
        first=first,
        last=last,
        high=approximation >> 4,
        low=approximation & 15,
        restart_interval=interval,
        segment=segment,
    )
