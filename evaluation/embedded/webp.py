"""Hidden pictures in WebP files. Sources: RFC 9649 (container, VP8L, ALPH); RFC 6386 (VP8)."""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator

from PIL import Image

from evaluation.embedded.jpeg import search_rest
from evaluation.embedded.search import Search

Chunk = tuple[bytes, bytes]
_CODED = (b"VP8 ", b"VP8L", b"ALPH")
_EXIF = b"Exif\0\0"
# Shorter than any picture, longer than what encoders leave unread at an end.
_CUT = 24
_MAX_CHUNKS = 100_000
_MAX_PIXELS = 120_000_000
_FRAME_TAG, _FRAME_HEADER = 3, 10


def search_webp(search: Search, data: bytes) -> None:
    """Look through a whole WebP file."""
    end = 8 + int.from_bytes(data[4:8], "little")
    chunks, stop = _chunks(data[:end], 12)
    if end > len(data) or len(chunks) == _MAX_CHUNKS:
        search.damage.append("the WebP is cut short or has too many chunks")
    search.block(data[stop:end], f"behind the last chunk at byte {stop}")
    if any(data[stop:end]):
        search.report("data behind the last chunk", f"byte {stop}")
    for kind, payload in chunks:
        place = f"chunk {_name(kind)}"
        if kind in _CODED:
            search.coded(payload, place)
        elif kind == b"EXIF":
            search.exif(payload.removeprefix(_EXIF), place)
        else:
            search.block(payload, place)
    if end <= len(data):
        search_rest(search, data[end:])
        _search_pictures(search, chunks)


def _chunks(data: bytes, at: int) -> tuple[list[Chunk], int]:
    """The whole chunks from ``at`` on, and where the last one ends."""
    chunks: list[Chunk] = []
    while at + 8 <= len(data) and len(chunks) < _MAX_CHUNKS:
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + length > len(data):
            break
        chunks.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
        at = min(at + 8 + length + length % 2, len(data))
    return chunks, at


def _name(kind: bytes) -> str:
    return re.sub(rb"[^ -~]", b"?", kind).decode("ascii").strip()


def _search_pictures(search: Search, chunks: list[Chunk]) -> None:
    """More pictures than one, and data behind the one."""
    frames = sum(kind == b"ANMF" for kind, _ in chunks)
    coded = [chunk for chunk in chunks if chunk[0] in _CODED]
    kinds = [kind for kind, _ in coded]
    shown = sum(kind != b"ALPH" for kind in kinds)
    for number in range(1 if shown else 2, frames + 1):
        search.report("animation frame", f"ANMF {number}")
    if shown > 1:
        search.report("second picture", f"chunks {', '.join(map(_name, kinds))}")
    elif kinds not in ([b"VP8L"], [b"VP8 "], [b"ALPH", b"VP8 "], []):
        search.report("alpha plane that belongs to no picture", "chunk ALPH")
    elif shown:
        _search_surplus(search, coded)
    elif not frames:
        search.damage.append("the WebP holds no picture")


def _search_surplus(search: Search, coded: list[Chunk]) -> None:
    """Data behind the end of the coded picture.

    Only the decoder knows where that is; it refuses a picture whose end is missing. So where a
    little may be missing, it was not the picture's end.
    """
    width, height = _size(*coded[-1])
    if width * height > _MAX_PIXELS:
        search.damage.append("the WebP's picture is too large to look through")
        return
    if not _decodes(coded, width, height):
        search.damage.append("the WebP's picture cannot be decoded")
        return
    for place, shorter in _shortened(coded, width, height):
        if _decodes(shorter, width, height):
            search.report("data behind the picture", place)


def _size(kind: bytes, payload: bytes) -> tuple[int, int]:
    """Width and height by the coded picture's own header (RFC 9649, 3.4; RFC 6386, 9.1)."""
    if kind == b"VP8L":
        bits = int.from_bytes(payload[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return tuple(int.from_bytes(payload[i : i + 2], "little") & 0x3FFF for i in (6, 8))  # type: ignore[return-value]


def _shortened(coded: list[Chunk], width: int, height: int) -> Iterator[tuple[str, list[Chunk]]]:
    """Each part that says how long it is by itself, named, and the picture without its end."""
    *alpha, (kind, payload) = coded
    for name, plane in alpha:
        if plane[:1] and plane[0] & 3 == 0:  # raw: its size is known
            if len(plane) > 1 + width * height:
                yield "chunk ALPH", coded
        elif len(plane) > _CUT:
            yield "chunk ALPH", [(name, plane[:-_CUT]), (kind, payload)]
    if kind == b"VP8L":
        if len(payload) > _CUT:
            yield "chunk VP8L", [(kind, payload[:-_CUT])]
        return
    parts = _partitions(payload)
    for number, part in enumerate(parts):
        if len(part) > _CUT:
            kept = [*parts[:number], part[:-_CUT], *parts[number + 1 :]]
            yield f"chunk VP8, partition {number}", [*alpha, (kind, _frame(payload, kept))]


def _decodes(coded: list[Chunk], width: int, height: int) -> bool:
    chunks = list(coded)
    if len(chunks) > 1:
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        chunks.insert(0, (b"VP8X", b"\x10\0\0\0" + sides))  # 0x10: there is alpha
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) % 2)
        for kind, payload in chunks
    )
    file = b"RIFF" + struct.pack("<I", len(body)) + body
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(file), formats=["WEBP"]) as picture:
                picture.load()
        except (OSError, ValueError, SyntaxError):
            return False
    return True


def _partitions(frame: bytes) -> list[bytes]:
    """The first partition and those with the coefficients (RFC 6386, 9.5)."""
    first_size = int.from_bytes(frame[:_FRAME_TAG], "little") >> 5
    first = frame[_FRAME_HEADER : _FRAME_HEADER + first_size]
    count = _partition_count(first)
    sizes_at = _FRAME_HEADER + first_size
    at = sizes_at + 3 * (count - 1)
    parts = [first]
    for number in range(count - 1):
        size = int.from_bytes(frame[sizes_at + 3 * number : sizes_at + 3 * number + 3], "little")
        parts.append(frame[at : at + size])
        at += size
    return [*parts, frame[at:]]


def _frame(frame: bytes, parts: list[bytes]) -> bytes:
    """``frame`` with other partitions."""
    tag = int.from_bytes(frame[:_FRAME_TAG], "little") & 31 | len(parts[0]) << 5
    sizes = b"".join(len(part).to_bytes(3, "little") for part in parts[1:-1])
    header = tag.to_bytes(3, "little") + frame[_FRAME_TAG:_FRAME_HEADER]
    return header + parts[0] + sizes + b"".join(parts[1:])


def _partition_count(first: bytes) -> int:
    """How many partitions of coefficients there are, from the frame header (RFC 6386, 19.2)."""
    read = _BooleanReader(first)
    read.literal(2)  # colour space, clamping
    if read.literal(1):  # segmentation
        update_map, update_data = read.literal(1), read.literal(1)
        if update_data:
            read.literal(1)
            for bits in (7, 7, 7, 7, 6, 6, 6, 6):  # quantiser and filter strength, with sign
                read.literal(bits + 1 if read.literal(1) else 0)
        for _ in range(3 * update_map):
            read.literal(8 if read.literal(1) else 0)
    read.literal(1 + 6 + 3)  # filter type, level, sharpness
    if read.literal(1) and read.literal(1):
        for _ in range(8):
            read.literal(7 if read.literal(1) else 0)
    return 1 << read.literal(2)


class _BooleanReader:
    """Bits of even chance from VP8's arithmetic code (RFC 6386, 7.3)."""

    def __init__(self, data: bytes) -> None:
        # bits that are missing at the end count as zeros
        self._rest = int.from_bytes(data[:512].ljust(512, b"\0"), "big")
        self._left = 8 * 512 - 8
        self._range = 255

    def literal(self, bits: int) -> int:
        """A number of ``bits`` bits, the highest first."""
        value = 0
        for _ in range(bits):
            split = 1 + (self._range - 1) * 128 // 256
            bit = self._rest >= split << self._left
            if bit:
                self._rest -= split << self._left
            self._range = self._range - split if bit else split
            while self._range < 128:
                self._range *= 2
                self._left -= 1
            value = value << 1 | bit
        return value
