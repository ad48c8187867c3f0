"""What a JPEG codes but no viewer shows: further frames, unused tables, scans that others replace.

Source: ITU-T T.81, annexes B and G.
"""

from __future__ import annotations

from collections.abc import Iterator, Set

import simplejpeg

from evaluation.embedded.jpeg_structure import DHT, DQT, FRAMES, SOS, Segment, Walk
from evaluation.embedded.search import Search

# Decoding is what takes time and memory.
_MAX_PIXELS = 120_000_000
_MAX_SCANNED_PIXELS = 3_000_000_000
# Huffman's coding and arithmetic; hierarchical frames (table B.1) among them.
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_LAST_COEFFICIENT = 63


def search_coding(search: Search, found: Walk) -> None:
    """Report what is coded and replaced by something else before anybody sees it."""
    frames = [s for s in found.segments if s.marker in FRAMES]
    for frame in frames[1:]:
        search.report("second frame", f"byte {frame.start}")
    if frames:
        _search_tables(search, found.segments, frames[0])
        _search_scans(search, found.segments, frames[0])


def _search_tables(search: Search, segments: list[Segment], frame: Segment) -> None:
    """Tables that others replace before a scan has used them, or that come too late for that.

    Decoders take a component's quantisation table where its first scan begins.
    """
    waiting: dict[tuple[int, int], bytes] = {}
    taken: dict[tuple[int, int], bytes] = {}
    begun: set[int] = set()
    for segment in segments:
        if segment.marker == SOS:
            for table in _used(segment.payload, frame.payload, begun):
                if table in waiting:
                    taken[table] = waiting.pop(table)
            begun |= {component for component, _ in _components(segment.payload)}
        for table, content in _tables(segment):
            # some encoders say the same twice
            if waiting.get(table, content) != content:
                search.report("unused table", f"{segment.place}, byte {segment.start}")
            waiting[table] = content
    for table, content in waiting.items():
        if table[0] == DQT and taken.get(table, content) != content:
            search.report("unused table", f"quantisation table {table[1]}, behind its scans")


def _tables(segment: Segment) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Marker, class and number of each table in a segment, and its content (B.2.4)."""
    payload, at = segment.payload, 0
    while segment.marker in (DQT, DHT) and at < len(payload):
        number = payload[at]
        if segment.marker == DQT:
            stop = at + 1 + 64 * (2 if number >> 4 else 1)
            number &= 15  # the precision is no part of the name
        else:
            stop = at + 17 + sum(payload[at + 1 : at + 17])
        yield (segment.marker, number), payload[at:stop]
        at = stop


def _components(scan: bytes) -> list[tuple[int, int]]:
    """Component and Huffman tables of each component in a scan header (B.2.3)."""
    count = scan[0] if scan else 0
    return list(zip(scan[1 : 1 + 2 * count : 2], scan[2 : 2 + 2 * count : 2], strict=False))


def _used(scan: bytes, frame: bytes, begun: Set[int]) -> Iterator[tuple[int, int]]:
    """The tables that a scan may use behind those of components ``begun`` (B.2.2 and B.2.3)."""
    quantisation = dict(zip(frame[6::3], frame[8::3], strict=False))
    for component, tables in _components(scan):
        if component not in begun:
            yield DQT, quantisation.get(component, 0)
        yield DHT, tables >> 4
        yield DHT, 0x10 | tables & 15


def _search_scans(search: Search, segments: list[Segment], frame: Segment) -> None:
    """Scans that code again what another scan has coded: the last one is what viewers show."""
    coded: set[tuple[int, int]] = set()
    for scan in (s for s in segments if s.marker == SOS):
        first, last = 0, _LAST_COEFFICIENT
        if frame.marker in _PROGRESSIVE:
            first, last, approximation = scan.payload.ljust(3, b"\0")[-3:]
            if approximation >> 4:
                continue  # refines what is there
        band = range(first, min(last, _LAST_COEFFICIENT) + 1)
        again = {(c, k) for c, _ in _components(scan.payload) for k in band}
        if again & coded:
            search.report("picture that another replaces", f"scan, byte {scan.start}")
        coded |= again


def search_surplus(search: Search, data: bytes, found: Walk) -> None:
    """Report entropy-coded data that is left when all pixels are decoded: libjpeg counts it.

    Args:
        data: the file from its start to its end marker.
    """
    frame = next((s.payload for s in found.segments if s.marker in FRAMES), b"")
    if len(frame) < 6 or not found.scans:
        search.damage.append("the JPEG has no picture in it")
        return
    pixels = int.from_bytes(frame[1:3], "big") * int.from_bytes(frame[3:5], "big")
    if pixels > _MAX_PIXELS or pixels * len(found.scans) > _MAX_SCANNED_PIXELS:
        search.damage.append("the JPEG's picture is too large to look through")
        return
    try:
        simplejpeg.decode_jpeg(data, "GRAY", fastdct=True, fastupsample=True)
    except ValueError as error:
        if "extraneous bytes" in str(error):
            search.report("data behind the picture", f"a scan ({error})")
        else:
            search.damage.append(f"the JPEG's picture cannot be decoded ({error})")
