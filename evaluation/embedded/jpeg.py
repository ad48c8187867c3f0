"""Hidden pictures in JPEG files.

Sources: ITU-T T.871, 10.1 to 10.5 (JFIF and its thumbnails); CIPA DC-007 (MPF); Adobe XMP
Specification, part 3, 1.1.3 (extended XMP); ICC.1:2022, B.4; ISO 19566-5, annex D (JUMBF in APP11);
ExifTool's documentation of APP segments (FLIR).
"""

from __future__ import annotations

from collections.abc import Iterator

from evaluation.embedded import directories
from evaluation.embedded.jpeg_coding import search_coding, search_surplus
from evaluation.embedded.jpeg_structure import APP0, APP1, APP11, APP15, COM, JUMBF, Segment, walk
from evaluation.embedded.search import Search

_EXIF, _JFIF, _JFXX, _MPF = b"Exif\0\0", b"JFIF\0", b"JFXX\0", b"MPF\0"
_ICC, _FLIR = b"ICC_PROFILE\0", b"FLIR\0"
_EXTENDED = b"http://ns.adobe.com/xmp/extension/\0"
_JFIF_BYTES = 14
_MP_ENTRIES, _MP_ENTRY_BYTES = 0xB002, 16


def search_jpeg(search: Search, data: bytes) -> None:
    """Look through a whole JPEG file."""
    found = walk(data)
    for segment in found.segments:
        _search_segment(search, segment, len(data))
    for place, joined in _joined(found.segments):
        search.block(joined, f"{place}, put together")
    for start, gap in found.gaps:
        search.report("data between segments", f"byte {start}")
        search.block(gap, f"between segments from byte {start}")
    search_coding(search, found)
    for number, scan in enumerate(found.scans, start=1):
        search.coded(scan.replace(b"\xff\0", b"\xff"), f"scan {number}")
    if found.second_start >= 0:
        search.report("second JPEG", f"byte {found.second_start}, before the end marker")
        search.block(data[found.second_start :], "behind a second start marker")
    elif found.end >= 0:
        search_rest(search, data[found.end :])
        search_surplus(search, data[: found.end], found)
    if found.damage:
        search.damage.append(found.damage)
        search.block(data[found.reached :], f"behind byte {found.reached}")


def search_rest(search: Search, rest: bytes) -> None:
    """Report whatever lies behind a file's end, and look through it."""
    if rest:
        search.report("data behind the end", f"the last {len(rest)} bytes")
        search.block(rest, "behind the end")


def _search_segment(search: Search, segment: Segment, size: int) -> None:
    payload, place = segment.payload, segment.place
    if payload.startswith(_EXIF) and segment.marker == APP1:
        search.exif(payload[len(_EXIF) :], place)
        return
    if segment.marker == APP0 and payload.startswith(_JFIF) and len(payload) > _JFIF_BYTES:
        # also where the thumbnail's sides were set to 0, but its pixels were left
        search.report("JFIF thumbnail", place)
    if segment.marker == APP0 and payload.startswith(_JFXX):
        search.report("JFXX thumbnail", place)
    if segment.marker == APP1 and payload.startswith(_FLIR):
        search.report("thermal picture", place)
    if payload.startswith(_MPF):
        _search_index(search, segment, size)
    search.block(payload, place)


def _search_index(search: Search, segment: Segment, size: int) -> None:
    """The pictures that an MPF index lists besides the file's own (CIPA DC-007, 5.2.3)."""
    block = segment.payload[len(_MPF) :]
    read = directories.read_directories(block)
    base = segment.start + len(_MPF)
    for directory in read.found if read is not None else ():
        tag = directory.tags.get(_MP_ENTRIES)
        if read is None or tag is None:
            continue
        entries = block[tag.start : tag.stop]
        for number in range(1, min(len(entries) // _MP_ENTRY_BYTES, 1000)):
            entry = entries[number * _MP_ENTRY_BYTES : (number + 1) * _MP_ENTRY_BYTES]
            length = int.from_bytes(entry[4:8], read.order)
            start = base + int.from_bytes(entry[8:12], read.order)
            if length == 0:
                continue
            outside = "" if start + length <= size else ", outside the file"
            search.report("MPF picture", f"picture {number + 1}, from byte {start}{outside}")


def _joined(segments: list[Segment]) -> Iterator[tuple[str, bytes]]:
    """What is split over several segments, put together."""
    groups: dict[tuple[int, bytes], list[Segment]] = {}
    for segment in segments:
        if APP0 <= segment.marker <= APP15 or segment.marker == COM:
            groups.setdefault((segment.marker, segment.identifier), []).append(segment)
    for group in groups.values():
        if len(group) > 1:
            parts = [_content(s, n) for n, s in enumerate(sorted(group, key=_position))]
            yield group[0].place, b"".join(parts)


def _position(segment: Segment) -> bytes:
    """What orders the segments of a group, by their own numbers; else they stay as they are."""
    payload = segment.payload
    if payload.startswith(_EXTENDED):
        return payload[35:67] + payload[71:75]  # GUID, offset
    if payload.startswith(_ICC):
        return payload[12:13]
    if segment.marker == APP11 and payload.startswith(JUMBF):
        return payload[4:8]
    return b""


def _content(segment: Segment, number: int) -> bytes:
    """A segment's payload without what each part of something split begins with."""
    payload = segment.payload
    if payload.startswith(_EXTENDED):
        return payload[75:]
    if payload.startswith(_ICC):
        return payload[14:]
    if segment.marker == APP11 and payload.startswith(JUMBF):
        return payload[8:] if number == 0 else payload[16:]  # the box's header is repeated
    if payload.startswith(_FLIR):
        return payload[8:]
    if payload.startswith(_EXIF):
        return payload[len(_EXIF) :]
    return payload[len(segment.identifier) + 1 :] if segment.identifier else payload
