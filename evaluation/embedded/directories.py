"""Tag directories (IFDs) of TIFF files and EXIF blocks, read as far as they go.

Sources: TIFF 6.0, section 2; CIPA DC-008 (Exif 2.32), sections 4.5 and 4.6; Adobe TIFF Technical
Note 1 (SubIFDs).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Order = Literal["big", "little"]

# Bytes of one value by type: TIFF 6.0, section 2, and 13 (IFD) of Technical Note 1.
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
WIDTH, LENGTH, COMPRESSION = 0x0100, 0x0101, 0x0103
STRIP_OFFSETS, STRIP_COUNTS = 0x0111, 0x0117
TILE_OFFSETS, TILE_COUNTS = 0x0144, 0x0145
JPEG_OFFSET, JPEG_LENGTH = 0x0201, 0x0202
SUB_DIRECTORIES = 0x014A
_POINTERS = {0x8769: "Exif", 0x8825: "GPS", 0xA005: "Interoperability", SUB_DIRECTORIES: "SubIFD"}
_DATA_TAGS = {STRIP_OFFSETS: STRIP_COUNTS, TILE_OFFSETS: TILE_COUNTS, JPEG_OFFSET: JPEG_LENGTH}
# Far above what writers make: cameras have up to about 10 directories of up to about 100 tags.
_MAX_DIRECTORIES = 64
_MAX_TAGS = 1024
# A strip for every row of the tallest picture; of thumbnails, one is enough to know of.
_MAX_VALUES = 1 << 16
FEW_VALUES = 64
_LETTERS = {1: "B", 3: "H", 4: "I", 13: "I"}


@dataclass(frozen=True, slots=True)
class Tag:
    """One entry: its type, its number of values, and where those lie in the block."""

    number: int
    kind: int
    count: int
    start: int

    @property
    def stop(self) -> int:
        """Where the values end."""
        return self.start + self.count * TYPE_BYTES[self.kind]


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory.

    Attributes:
        name: ``IFD0``, ``IFD1``, ``Exif``, ``SubIFD`` ...
        start, stop: where its table lies, with the pointer to the next directory.
        tags: entries of known types, by number; the first of each counts.
    """

    name: str
    start: int
    stop: int
    tags: dict[int, Tag]


@dataclass(frozen=True, slots=True)
class Directories:
    """All directories of a TIFF-structured block.

    Attributes:
        block: the bytes.
        order: their byte order.
        found: the directories.
        dangling: names of directories that are pointed at but lie outside the block.
        most_values: entries with more values are not read.
    """

    block: bytes
    order: Order
    found: tuple[Directory, ...]
    dangling: tuple[str, ...]
    most_values: int = _MAX_VALUES

    def integers(self, tag: Tag | None) -> list[int]:
        """The values of a whole-number entry; none for other types or outside the block."""
        if tag is None or tag.kind not in _LETTERS or tag.count > self.most_values:
            return []
        if tag.stop > len(self.block):
            return []
        order = "<" if self.order == "little" else ">"
        return list(
            struct.unpack_from(f"{order}{tag.count}{_LETTERS[tag.kind]}", self.block, tag.start)
        )

    def pieces(self, directory: Directory) -> Iterator[tuple[int, int]]:
        """Start and stop of the strips, tiles or JPEG streams of a directory's picture."""
        for offsets, lengths in _DATA_TAGS.items():
            starts = self.integers(directory.tags.get(offsets))
            sizes = self.integers(directory.tags.get(lengths))
            for number, start in enumerate(starts):
                # a picture without a length goes on to the end, as far as a reader can tell
                size = sizes[number] if number < len(sizes) else max(len(self.block) - start, 1)
                yield start, start + size

    def has_picture(self, directory: Directory) -> bool:
        """Whether the directory points to picture data, wherever that lies."""
        if any(stop > start for start, stop in self.pieces(directory)):
            return True
        # offsets that cannot be read still point somewhere
        return any(
            tag in directory.tags and not self.integers(directory.tags[tag]) for tag in _DATA_TAGS
        )


def read_directories(block: bytes, most_values: int = _MAX_VALUES) -> Directories | None:
    """Every directory that can be reached in ``block``; None where it has no TIFF header.

    Args:
        most_values: entries with more values are not read.
    """
    order: Order
    if block[:4] == b"II*\0":
        order = "little"
    elif block[:4] == b"MM\0*":
        order = "big"
    else:
        return None
    found: list[Directory] = []
    dangling: list[str] = []
    seen: set[int] = set()
    waiting = [("IFD0", int.from_bytes(block[4:8], order))]
    while waiting and len(found) < _MAX_DIRECTORIES:
        name, offset = waiting.pop(0)
        if offset in seen:
            continue
        seen.add(offset)
        count = int.from_bytes(block[offset : offset + 2], order)
        if not 8 <= offset <= len(block) - 2:
            dangling.append(name)
            continue
        directory = _read(block, order, name, offset, count)
        found.append(directory)
        waiting += _pointers(block, order, directory)
    return Directories(block, order, tuple(found), tuple(dangling), most_values)


def _read(block: bytes, order: Order, name: str, offset: int, count: int) -> Directory:
    tags: dict[int, Tag] = {}
    end = offset + 2 + 12 * count
    there = min(end, len(block) - 11, offset + 2 + 12 * _MAX_TAGS)
    for at in range(offset + 2, there, 12):
        number, kind = (int.from_bytes(block[i : i + 2], order) for i in (at, at + 2))
        values = int.from_bytes(block[at + 4 : at + 8], order)
        if kind not in TYPE_BYTES:
            continue
        inside = values * TYPE_BYTES[kind] <= 4
        start = at + 8 if inside else int.from_bytes(block[at + 8 : at + 12], order)
        tags.setdefault(number, Tag(number, kind, values, start))
    return Directory(name, offset, min(end + 4, len(block)), tags)


def _pointers(block: bytes, order: Order, directory: Directory) -> list[tuple[str, int]]:
    """Name and offset of the directories that ``directory`` points to."""
    there: list[tuple[str, int]] = []
    if directory.name.startswith("IFD"):
        # only the main chain goes on: behind other directories writers leave out the pointer
        following = block[directory.stop - 4 : directory.stop]
        complete = directory.stop == directory.start + 6 + 12 * _count(block, order, directory)
        if complete and any(following):
            number = int(directory.name[3:]) + 1
            there.append((f"IFD{number}", int.from_bytes(following, order)))
    lone = Directories(block, order, (directory,), (), _MAX_DIRECTORIES)
    for tag, name in _POINTERS.items():
        there += [(name, offset) for offset in lone.integers(directory.tags.get(tag))]
    return there


def _count(block: bytes, order: Order, directory: Directory) -> int:
    return int.from_bytes(block[directory.start : directory.start + 2], order)


def thumbnails(directories: Directories) -> Iterator[str]:
    """Names of the directories of an EXIF block that hold, or point to, a picture."""
    for directory in directories.found:
        if directories.has_picture(directory):
            outside = any(
                stop > len(directories.block) for _, stop in directories.pieces(directory)
            )
            yield directory.name + (" (its data lies outside)" if outside else "")
    for name in directories.dangling:
        if name.startswith(("IFD", "SubIFD")) and name != "IFD0":
            yield f"{name} (outside the block)"
