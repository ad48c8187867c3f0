"""Tag directories (IFDs) as TIFF and EXIF use them: bounded reading, exact writing.

Values stay raw bytes in the file's own byte order, so rationals survive exactly.
Source: TIFF 6.0, section 2; CIPA DC-008 (Exif 2.32), section 4.6.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Order = Literal["<", ">"]

TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL = 1, 2, 3, 4, 5, 7, 10
MAX_ENTRIES = 4096


class MalformedTags(ValueError):
    """A tag directory contradicts itself; callers drop the block or refuse the file."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tag's value: TIFF type, number of values, raw bytes in the block's byte order."""

    kind: int
    count: int
    raw: bytes

    def integers(self, order: Order) -> tuple[int, ...]:
        """The values of a whole-number entry; empty for other types."""
        letter = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I"}.get(self.kind)
        return () if letter is None else struct.unpack(f"{order}{self.count}{letter}", self.raw)


Directory = dict[int, Entry]


def read_header(data: bytes) -> tuple[Order, int]:
    """Byte order and offset of the first directory.

    Raises:
        MalformedTags: not a classic TIFF header.
    """
    order: Order
    if data[:4] == b"II*\0":
        order = "<"
    elif data[:4] == b"MM\0*":
        order = ">"
    else:
        raise MalformedTags("no TIFF header")
    if len(data) < 8:
        raise MalformedTags("the header is cut short")
    return order, struct.unpack_from(f"{order}I", data, 4)[0]


def read_directory(
    data: bytes,
    order: Order,
    offset: int,
    max_value: int | None = None,
    *,
    linked: bool = False,
    lenient: bool = False,
) -> tuple[Directory, int]:
    """The directory at ``offset`` and the offset of the next one (0: none).

    Args:
        max_value: entries with longer values are left out unread.
        linked: whether the offset of the next directory must be there.
        lenient: whether what is damaged is left out and the rest read, as viewers do.

    Raises:
        MalformedTags: the directory lies outside ``data``; unless ``lenient``, any part of it.
    """
    if not 8 <= offset <= len(data) - 2:
        raise MalformedTags("a directory lies outside the data")
    count = struct.unpack_from(f"{order}H", data, offset)[0]
    there = min((len(data) - offset - 2) // 12, MAX_ENTRIES)
    if not lenient and count > there:
        raise MalformedTags("a directory is cut short or too long")
    end = offset + 2 + 12 * count
    last = offset + 2 + 12 * min(count, there)
    entries: Directory = {}
    for at in range(offset + 2, last, 12):
        tag, kind, number = struct.unpack_from(f"{order}HHI", data, at)
        if kind not in TYPE_BYTES:
            continue
        size = TYPE_BYTES[kind] * number
        if max_value is not None and size > max_value:
            continue
        start = at + 8 if size <= 4 else struct.unpack_from(f"{order}I", data, at + 8)[0]
        if start + size > len(data):
            if lenient:
                continue
            raise MalformedTags(f"the value of tag {tag:#06x} lies outside the data")
        entries.setdefault(tag, Entry(kind, number, data[start : start + size]))
    if linked and end + 4 > len(data):
        raise MalformedTags("the last directory is cut short")
    # EXIF writers often leave out the offset of the next directory at the very end
    following = struct.unpack_from(f"{order}I", data, end)[0] if end + 4 <= len(data) else 0
    return entries, following


def write_directories(
    order: Order, main: Mapping[int, Entry], children: Mapping[int, Mapping[int, Entry]]
) -> bytes:
    """A whole TIFF block: header, ``main``, then each child directory, without a next one.

    Args:
        children: by the tag in ``main`` that points to each, for instance 0x8769 (EXIF).
    """
    filled = {tag: child for tag, child in children.items() if child}
    pointers = {tag: Entry(LONG, 1, b"\0\0\0\0") for tag in filled}
    offset = 8 + _written_size({**main, **pointers})
    for tag, child in filled.items():
        pointers[tag] = Entry(LONG, 1, struct.pack(f"{order}I", offset))
        offset += _written_size(child)
    block = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    block += _written(order, {**main, **pointers}, len(block))
    for child in filled.values():
        block += _written(order, child, len(block))
    return block


def _written_size(entries: Mapping[int, Entry]) -> int:
    outside = sum(len(e.raw) + len(e.raw) % 2 for e in entries.values() if len(e.raw) > 4)
    return 2 + 12 * len(entries) + 4 + outside


def _written(order: Order, entries: Mapping[int, Entry], offset: int) -> bytes:
    table = struct.pack(f"{order}H", len(entries))
    values = b""
    behind = offset + 2 + 12 * len(entries) + 4
    for tag, entry in sorted(entries.items()):
        table += struct.pack(f"{order}HHI", tag, entry.kind, entry.count)
        if len(entry.raw) <= 4:
            table += entry.raw.ljust(4, b"\0")
        else:
            table += struct.pack(f"{order}I", behind + len(values))
            values += entry.raw + b"\0" * (len(entry.raw) % 2)
    return table + b"\0\0\0\0" + values
