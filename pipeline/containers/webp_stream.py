"""Whether a WebP's coded picture fills its chunks, or something hides behind it.

A coded stream does not say where it ends, but its decoder refuses one that is too short. So each
stretch that has a length of its own is cut by a few bytes and decoded: where that still works, the
decoder never came to the end. Sources: RFC 6386 (VP8), RFC 9649 (VP8L, ALPH).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator

from PIL import Image

from pipeline.containers.webp import Chunk, WebpStructure, alpha_header, join_chunks

SLACK = 8
"""Bytes an encoder may leave unread at an end: libwebp up to 4, its padding included."""
_FRAME_HEADER = 10


def surplus(structure: WebpStructure) -> list[str]:
    """Names of the chunks whose data is not shown to be picture to its last few bytes.

    A picture that does not decode counts as surplus: nothing can be shown of it.
    """
    coded = [chunk for chunk in structure.chunks if chunk[0] in (b"ALPH", b"VP8 ", b"VP8L")]
    kinds = [kind for kind, _ in coded]
    shorter: dict[str, Iterator[list[Chunk]]]
    if kinds == [b"VP8L"]:
        shorter = {"VP8L": _cut_end(coded[0])}
    elif kinds == [b"VP8 "]:
        shorter = {"VP8": _cut_frame(coded[0][1])}
    elif kinds == [b"ALPH", b"VP8 "]:
        coded.insert(0, alpha_header(structure))
        shorter = {"ALPH": _cut_alpha(structure, coded), "VP8": _cut_frame(coded[2][1])}
    else:
        return [kind.decode("latin-1").strip() for kind in kinds]
    if not _decodes(coded):
        return list(shorter)
    return [name for name, files in shorter.items() if any(_decodes(file) for file in files)]


def _decodes(chunks: list[Chunk]) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(join_chunks(chunks)), formats=["WEBP"]) as picture:
                picture.load()
        except (OSError, ValueError, SyntaxError):
            return False
    return True


def _cut_end(chunk: Chunk) -> Iterator[list[Chunk]]:
    kind, payload = chunk
    if len(payload) > SLACK:
        yield [(kind, payload[:-SLACK])]


def _cut_alpha(structure: WebpStructure, coded: list[Chunk]) -> Iterator[list[Chunk]]:
    header, alpha, frame = coded
    if alpha[1][:1] and alpha[1][0] & 3 == 0:  # not compressed: a byte a pixel behind the first
        if len(alpha[1]) > 1 + structure.width * structure.height:
            yield coded
        return
    for shorter in _cut_end(alpha):
        yield [header, *shorter, frame]


def _cut_frame(frame: bytes) -> Iterator[list[Chunk]]:
    """A VP8 frame with one of its partitions shorter, for each partition long enough to hide in."""
    tag = int.from_bytes(frame[:3], "little")
    first = frame[_FRAME_HEADER : _FRAME_HEADER + (tag >> 5)]
    parts = _partitions(frame[_FRAME_HEADER + len(first) :], _partition_count(first))
    if parts is None:
        yield [(b"VP8 ", frame)]
        return
    parts.insert(0, first)
    for number, part in enumerate(parts):
        if len(part) > SLACK:
            kept = [*parts[:number], part[:-SLACK], *parts[number + 1 :]]
            yield [(b"VP8 ", _frame(tag, frame[3:_FRAME_HEADER], kept))]


def _partitions(rest: bytes, count: int) -> list[bytes] | None:
    """The partitions behind the first; None when they are longer than what there is."""
    at = 3 * (count - 1)
    parts = []
    for number in range(count - 1):
        size = int.from_bytes(rest[3 * number : 3 * number + 3], "little")
        parts.append(rest[at : at + size])
        at += size
    if at > len(rest):
        return None
    return [*parts, rest[at:]]


def _frame(tag: int, header: bytes, parts: list[bytes]) -> bytes:
    tag = tag & 31 | len(parts[0]) << 5
    sizes = b"".join(len(part).to_bytes(3, "little") for part in parts[1:-1])
    return tag.to_bytes(3, "little") + header + parts[0] + sizes + b"".join(parts[1:])


def _partition_count(first: bytes) -> int:
    """Partitions behind the first one, whose header says it (RFC 6386, sections 9.2 to 9.5)."""
    bits = _BoolDecoder(first)
    bits.read(2)  # colour space, clamping
    if bits.read(1):  # segments
        new_map, new_data = bits.read(1), bits.read(1)
        if new_data:
            bits.read(1)
            bits.skip_optional(4, 7 + 1)
            bits.skip_optional(4, 6 + 1)
        if new_map:
            bits.skip_optional(3, 8)
    bits.read(1 + 6 + 3)  # loop filter: kind, level, sharpness
    if bits.read(1) and bits.read(1):
        bits.skip_optional(8, 6 + 1)
    return 1 << bits.read(2)


class _BoolDecoder:
    """The arithmetic decoder of RFC 6386, section 7.3, for bits of even chance."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)
        self._range = 255
        self._shifted = 0
        self._value = next(self._data, 0) << 8 | next(self._data, 0)

    def read(self, bits: int) -> int:
        """An unsigned number of ``bits`` bits, the highest first."""
        number = 0
        for _ in range(bits):
            number = number << 1 | self._bit()
        return number

    def skip_optional(self, count: int, bits: int) -> None:
        """Pass over ``count`` fields of ``bits`` bits, each behind a bit that says it is there."""
        for _ in range(count):
            if self._bit():
                self.read(bits)

    def _bit(self) -> int:
        split = 1 + ((self._range - 1) * 128 >> 8)
        bit = int(self._value >= split << 8)
        if bit:
            self._range -= split
            self._value -= split << 8
        else:
            self._range = split
        while self._range < 128:
            self._range <<= 1
            self._value <<= 1
            self._shifted += 1
            if self._shifted == 8:
                self._shifted = 0
                self._value |= next(self._data, 0)
        return bit
