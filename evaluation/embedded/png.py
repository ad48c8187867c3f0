"""Hidden pictures in PNG files. Source: W3C PNG specification, third edition (2025)."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

from evaluation.embedded.jpeg import search_rest
from evaluation.embedded.search import Search

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Adam7: first column and row, distance of columns and rows of each pass (section 8.1).
_PASSES = [
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
]
_MAX_CHUNKS = 500_000
_EXIF = b"Exif\0\0"
_STEP = 1 << 20


def search_png(search: Search, data: bytes) -> None:
    """Look through a whole PNG file."""
    kinds: list[bytes] = []
    header = b""
    coded: list[bytes] = []
    end = len(SIGNATURE)
    for kind, payload, stop in _chunks(data):
        end = stop
        if kind == b"IDAT":
            if coded and kinds[-1] != b"IDAT":
                search.report("picture data apart", f"IDAT before byte {stop}")
            coded.append(payload)
        else:
            _search_chunk(search, kind, payload)
        header = payload if not kinds else header
        kinds.append(kind)
        if kind == b"IEND":
            break
    if not kinds or kinds[0] != b"IHDR" or kinds[-1] != b"IEND":
        search.damage.append("the PNG is cut short or damaged")
        search.block(data[end:], f"behind byte {end}")
        return
    _search_frames(search, kinds)
    _search_stream(search, header, b"".join(coded))
    search_rest(search, data[end:])


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """Type, payload and end of every whole chunk."""
    at = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        stop = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if stop > len(data):
            return
        yield data[at + 4 : at + 8], data[at + 8 : stop - 4], stop
        at = stop


def _search_chunk(search: Search, kind: bytes, payload: bytes) -> None:
    place = f"chunk {re.sub(rb'[^ -~]', b'?', kind).decode('ascii')}"
    if kind == b"eXIf":
        search.exif(payload.removeprefix(_EXIF), place)
    elif kind == b"fdAT":
        search.coded(payload, place)
    else:
        if kind in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            keyword = payload[:80].partition(b"\0")[0]
            place += f" ({re.sub(rb'[^ -~]', b'?', keyword).decode('ascii')})"
        search.block(payload, place)


def _search_frames(search: Search, kinds: list[bytes]) -> None:
    """Frames of an animation that are other pictures than the one in IDAT (section 4.9)."""
    first = kinds.index(b"IDAT") if b"IDAT" in kinds else len(kinds)
    frames = [i for i, kind in enumerate(kinds) if kind == b"fcTL"]
    for number, position in enumerate(frames, start=1):
        if position > first:
            search.report("animation frame", f"frame {number} (fdAT)")
    if b"fdAT" in kinds and not any(position > first for position in frames):
        search.report("animation frame", "fdAT without frame control")


def _search_stream(search: Search, header: bytes, coded: bytes) -> None:
    """Inflate the picture data and see that it is the picture and nothing else."""
    expected = _raw_bytes(header)
    if expected is None:
        search.damage.append("the PNG's header makes no sense")
        return
    inflater = zlib.decompressobj()
    size, pending = 0, b""
    tail = b""
    try:
        for at in range(0, len(coded), _STEP):
            pending = coded[at : at + _STEP]
            while pending and not inflater.eof:
                part = inflater.decompress(pending, _STEP)
                pending = inflater.unconsumed_tail
                tail += part[max(expected - size, 0) :]
                size += len(part)
                if len(tail) > _STEP:
                    search.report("data behind the picture", "further rows in IDAT")
                    return
            if inflater.eof:
                tail += inflater.unused_data + coded[at + _STEP :]
                break
    except zlib.error as error:
        search.damage.append(f"the PNG's picture data cannot be inflated ({error})")
        return
    if tail:
        search.report("data behind the picture", f"{len(tail)} bytes in IDAT")
        search.block(tail, "behind the picture in IDAT")
    if size < expected:
        search.damage.append("the PNG's picture data ends early")


def _raw_bytes(header: bytes) -> int | None:
    """Size of the inflated picture data; None for a header that makes no sense."""
    if len(header) != 13 or header[9] not in _CHANNELS or header[12] > 1:
        return None
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    bits = _CHANNELS[header[9]] * header[8]
    total = 0
    for x, y, dx, dy in _PASSES if header[12] else [(0, 0, 1, 1)]:
        columns, rows = (width - x + dx - 1) // dx, (height - y + dy - 1) // dy
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total
