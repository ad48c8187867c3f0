"""Hidden pictures in TIFF files. Sources: TIFF 6.0; Adobe TIFF Technical Notes 1 and 2."""

from __future__ import annotations

import zlib
from itertools import pairwise

from evaluation.embedded.directories import (
    COMPRESSION,
    JPEG_OFFSET,
    LENGTH,
    TILE_OFFSETS,
    WIDTH,
    Directories,
    Directory,
    read_directories,
)
from evaluation.embedded.finding import TooMuch
from evaluation.embedded.jpeg_structure import APP0, walk
from evaluation.embedded.search import Search

_BITS, _CHANNELS, _ROWS, _PLANAR = 0x0102, 0x0115, 0x0116, 0x011C
_TILE_WIDTH, _TILE_LENGTH, _SUBSAMPLING = 0x0142, 0x0143, 0x0212
_RAW, _OLD_JPEG, _JPEG, _DEFLATE = 1, 6, 7, (8, 32946)
_Y_CB_CR = 6
_SEPARATE = 2
_PHOTOMETRIC = 0x0106
# Less than the smallest uncompressed thumbnail; padding is all zeros.
_LEAST_ORPHAN = 64
_MAX_SPANS = 1_000_000


def search_tiff(search: Search, data: bytes) -> None:
    """Look through a whole TIFF file."""
    read = read_directories(data)
    if read is None or not read.found:
        search.damage.append("the TIFF has no directory that can be read")
        search.block(data, "the file", own=True)
        return
    first = read.found[0]
    for directory in read.found[1:]:
        if read.has_picture(directory) or WIDTH in directory.tags:
            search.report("further picture", directory.name)
    for name in read.dangling:
        search.report("further picture", f"{name} (outside the file)")
    compression = _one(read, first, COMPRESSION, _RAW)
    if JPEG_OFFSET in first.tags and compression != _OLD_JPEG:
        search.report("thumbnail", "IFD0, JPEGInterchangeFormat")
    _search_values(search, read)
    _search_picture(search, read, first, compression)
    _search_orphans(search, read)


def _one(read: Directories, directory: Directory, tag: int, default: int) -> int:
    values = read.integers(directory.tags.get(tag))
    return values[0] if values else default


def _search_values(search: Search, read: Directories) -> None:
    """The tags' values, whatever they claim to be."""
    for directory in read.found:
        search.coded(read.block[directory.start : directory.stop], f"table of {directory.name}")
        for tag in directory.tags.values():
            search.block(
                read.block[tag.start : tag.stop], f"tag {tag.number:#06x} of {directory.name}"
            )


def _search_picture(search: Search, read: Directories, first: Directory, compression: int) -> None:
    """The first picture's strips or tiles: nothing in them but the picture."""
    pieces = list(read.pieces(first))
    if not pieces or any(stop > len(read.block) for _, stop in pieces):
        search.damage.append("the TIFF's picture data lies outside the file")
    depth = _bits_a_pixel(read, first)
    for number, (start, stop) in enumerate(pieces):
        piece, place = read.block[start:stop], f"strip or tile {number + 1}"
        pixels = _pixels(read, first, number)
        if pixels == (0, 0) and piece:
            search.report("data behind the picture", f"{place}, which no row needs")
        if compression in (_OLD_JPEG, _JPEG):
            _search_stream(search, piece, place)
            continue
        search.coded(piece, place)
        if depth is None:
            continue
        expected = (pixels[0] * depth + 7) // 8 * pixels[1]
        size = len(piece) if compression == _RAW else 0
        surplus = b""
        if compression in _DEFLATE:
            size, surplus = _inflated_size(piece, expected)
        if size > expected or len(surplus) >= _LEAST_ORPHAN:
            search.report("data behind the picture", place)
            search.block(surplus, f"behind the picture in {place}")


def _search_stream(search: Search, piece: bytes, place: str) -> None:
    """A JPEG stream of one strip or tile: no segments of applications, nothing behind it."""
    found = walk(piece)
    for segment in found.segments:
        if segment.marker >= APP0:
            search.block(segment.payload, f"{place}, {segment.place}")
    for scan in found.scans:
        search.coded(scan.replace(b"\xff\0", b"\xff"), place)
    rest = piece[max(found.end, found.second_start) :]
    # one byte makes the length even
    if found.gaps or found.second_start >= 0 or (found.end >= 0 and any(rest)):
        search.report("data behind the picture", place)
        for block in (rest, *(gap for _, gap in found.gaps)):
            search.block(block, f"behind the picture in {place}")


def _bits_a_pixel(read: Directories, page: Directory) -> int | None:
    """Bits of a pixel in one strip or tile; None where colours have fewer pixels."""
    if _one(read, page, _PHOTOMETRIC, 1) == _Y_CB_CR or _SUBSAMPLING in page.tags:
        return None
    bits = read.integers(page.tags.get(_BITS)) or [1]
    if _one(read, page, _PLANAR, 1) == _SEPARATE:
        return max(bits)
    return bits[0] * _one(read, page, _CHANNELS, 1) if len(bits) == 1 else sum(bits)


def _pixels(read: Directories, page: Directory, number: int) -> tuple[int, int]:
    """Columns and rows of the strip or tile of that number, from 0; none behind the last."""
    width, length = _one(read, page, WIDTH, 0), _one(read, page, LENGTH, 0)
    planes = _one(read, page, _CHANNELS, 1) if _one(read, page, _PLANAR, 1) == _SEPARATE else 1
    if TILE_OFFSETS in page.tags:
        across, down = (max(_one(read, page, t, 0), 1) for t in (_TILE_WIDTH, _TILE_LENGTH))
        count = -(-width // across) * -(-length // down)
        return (across, down) if number < count * planes else (0, 0)
    rows = max(min(_one(read, page, _ROWS, length), length), 1)
    count = -(-length // rows)
    if number >= count * planes:
        return 0, 0
    return width, min(rows, length - number % count * rows)


def _inflated_size(piece: bytes, expected: int) -> tuple[int, bytes]:
    """Size of an inflated strip, as far as it matters, and what lies behind its stream."""
    inflater = zlib.decompressobj()
    size, pending = 0, piece
    try:
        while pending and not inflater.eof and size <= expected:
            size += len(inflater.decompress(pending, 1 << 24))
            pending = inflater.unconsumed_tail
    except zlib.error:
        return size, b""
    return size, inflater.unused_data


def _search_orphans(search: Search, read: Directories) -> None:
    """Bytes that no directory, value or strip accounts for."""
    spans = [(0, 8), *((d.start, d.stop) for d in read.found)]
    for directory in read.found:
        spans += [(tag.start, tag.stop) for tag in directory.tags.values()]
        spans += read.pieces(directory)
        if len(spans) > _MAX_SPANS:
            raise TooMuch
    for (_, before), (start, _) in pairwise(_merged(spans, len(read.block))):
        orphan = read.block[before:start]
        if len(orphan.strip(b"\0")) >= _LEAST_ORPHAN:
            search.report("data that no directory accounts for", f"byte {before}")
        search.block(orphan, f"behind byte {before}")


def _merged(spans: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """``spans`` in order, overlaps put together, with an empty one at the end of the file."""
    merged = [(0, 0)]
    for start, stop in sorted(spans):
        if start > merged[-1][1]:
            merged.append((start, stop))
        else:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
    within = [(min(a, size), min(b, size)) for a, b in merged]
    return [*within, (size, size)]
