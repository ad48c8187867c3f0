"""What a JPEG codes and then replaces by something else: no viewer shows it, yet it is there.

The brightness of a whole picture can stand in a scan whose component a later scan codes again, and
64 bytes of anything in a quantisation table that another takes the place of or that comes too late:
decoders keep the one that was in force when a component's first scan began, and whoever defines
another behind a scan may mean no picture by it. So do settings of arithmetic coding where nothing
is coded so, and restart markers in a row behind the last block. Source: ITU-T T.81, annexes B, G.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.jpeg.bitstream import ONES
from pipeline.jpeg.segments import DAC, DHT, DQT, SOS, JpegStructure, Segment
from pipeline.jpeg.stretches import without_end

_COEFFICIENTS = 64


def replaced(data: bytes, structure: JpegStructure) -> list[str]:
    """Names of the parts of ``structure`` that others replace before anything shows them."""
    left: list[str] = []
    unused: dict[tuple[int, int], bytes] = {}
    known: dict[tuple[int, int], bytes] = {}
    coded: set[tuple[int, int]] = set()
    for segment in structure.segments:
        content = segment.payload(data)
        if segment.marker == DAC and not structure.arithmetic:
            left.append("unused settings")
        elif segment.marker == SOS:
            # a single one is an encoder's habit
            behind = _markers_behind(data[segment.stop : segment.scan_stop])
            left += ["markers behind the last block"] if behind > 1 else []
            again = set(_coded(content, structure.progressive))
            left += ["replaced scan"] if again & coded else []
            coded |= again
            for table in _used(content, structure):
                unused.pop(table, None)
        elif segment.marker in (DQT, DHT):
            for table, values in _tables(segment, content):
                # some encoders write the same table twice
                left += ["replaced table"] if unused.get(table, values) != values else []
                unused[table] = values
                late = coded and segment.marker == DQT and known.get(table, values) != values
                left += ["late table"] if late else []
                known[table] = values
    return left


def _markers_behind(raw: bytes) -> int:
    """How many restart markers stand at the end of a scan's data, whatever fills the room."""
    return len(raw[len(without_end(raw)) :].replace(bytes([ONES]), b""))


def _components(header: bytes) -> list[tuple[int, int]]:
    """Component and numbers of its Huffman tables, of each component in a scan header."""
    count = header[0] if header else 0
    return list(zip(header[1 : 1 + 2 * count : 2], header[2 : 2 + 2 * count : 2], strict=False))


def _coded(header: bytes, progressive: bool) -> Iterator[tuple[int, int]]:
    """Component and coefficient of all that a scan codes anew; refinements add to what is there."""
    first, last, bits = header[-3:] if progressive and len(header) >= 3 else (0, 63, 0)
    if bits >> 4 == 0:
        for component, _ in _components(header):
            for coefficient in range(first, min(last + 1, _COEFFICIENTS)):
                yield component, coefficient


def _used(header: bytes, structure: JpegStructure) -> Iterator[tuple[int, int]]:
    quantisation = {c.identifier: c.table for c in structure.components}
    for component, tables in _components(header):
        yield DQT, quantisation.get(component, 0)
        yield DHT, tables >> 4
        yield DHT, 0x10 | tables & 15


def _tables(segment: Segment, content: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Marker, class and number of each table in a segment, and its values."""
    at = 0
    while at < len(content):
        head = content[at]
        if segment.marker == DQT:
            size, number = 65 if head < 16 else 129, head & 15
        else:
            size, number = 17 + sum(content[at + 1 : at + 17]), head
        yield (segment.marker, number), content[at : at + size]
        at += size
