"""TIFF files: what is read from their directories, and a plain writer.

Sources: TIFF 6.0; C2PA 2.2, annex A.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.containers.ifd import (
    BYTE,
    LONG,
    SHORT,
    UNDEFINED,
    Directory,
    Entry,
    MalformedTags,
    Order,
    read_directory,
    read_header,
    write_directories,
)
from pipeline.errors import ImageRefused
from pipeline.jpeg.exif import EXIF_POINTER, GPS_POINTER
from pipeline.jpeg.metadata import CleanMetadata, RawMetadata

_MAX_PAGES = 16
_COMPRESSIONS = {1, 5, 7, 8, 32773, 32946}
_DNG_VERSION, _SUB_DIRECTORIES = 0xC612, 0x014A
_XMP, _ICC, _C2PA = 0x02BC, 0x8773, 0xCD41


@dataclass(frozen=True, slots=True)
class TiffStructure:
    """A TIFF's first page, taken apart.

    Attributes:
        order: byte order.
        page: the first directory.
        width, height: in pixels, as stored.
        depth: bits a sample.
        channels: samples a pixel.
        photometric: 0 white is zero, 1 black is zero, 2 RGB, 3 palette, 5 CMYK, 6 YCbCr.
        compressed: whether the source was compressed in any way.
        previews: whether there are further, smaller pages.
    """

    order: Order
    page: Directory
    width: int
    height: int
    depth: int
    channels: int
    photometric: int
    compressed: bool
    previews: bool


def parse_tiff(data: bytes) -> TiffStructure:
    """Read the directories; nothing is decoded.

    Raises:
        ImageRefused: ``truncated``, ``corrupt``, ``unsupported_frames``, ``unsupported_raw``,
            ``unsupported_tiff_*``.
    """
    try:
        order, offset = read_header(data)
        pages: list[Directory] = []
        seen: set[int] = set()
        while offset:
            if offset in seen or len(pages) >= _MAX_PAGES:
                raise ImageRefused("corrupt", "the TIFF's directories run in a circle")
            seen.add(offset)
            page, offset = read_directory(data, order, offset, linked=True)
            pages.append(page)
    except (MalformedTags, struct.error) as error:
        raise ImageRefused("truncated", f"the TIFF cannot be read ({error})") from error
    if not pages:
        raise ImageRefused("corrupt", "the TIFF holds no picture")
    first = pages[0]
    if _DNG_VERSION in first or _number(first, order, 0x00FE, 0) & 1:
        raise ImageRefused("unsupported_raw", "raw camera files are not supported")
    if any(not _number(page, order, 0x00FE, 0) & 1 for page in pages[1:]):
        raise ImageRefused("unsupported_frames", "the TIFF holds several pictures")
    return _checked(data, order, first, len(pages) > 1 or _SUB_DIRECTORIES in first)


def _checked(data: bytes, order: Order, page: Directory, previews: bool) -> TiffStructure:
    width, height = _number(page, order, 0x0100, 0), _number(page, order, 0x0101, 0)
    depths = page[0x0102].integers(order) if 0x0102 in page else (1,)
    channels = _number(page, order, 0x0115, 1)
    photometric = _number(page, order, 0x0106, -1)
    compression = _number(page, order, 0x0103, 1)
    formats = page[0x0153].integers(order) if 0x0153 in page else (1,)
    if width < 1 or height < 1 or not depths or not 1 <= channels <= 4:
        raise ImageRefused("corrupt", "the TIFF's size or number of channels makes no sense")
    if compression not in _COMPRESSIONS:
        raise ImageRefused("unsupported_tiff_compression", f"TIFF compression {compression}")
    depth = depths[0]
    if len(set(depths)) != 1 or depth not in (1, 8, 16) or set(formats) != {1}:
        raise ImageRefused("unsupported_tiff_depth", f"TIFF samples of {depths} bits")
    allowed = {1: (0, 1, 3), 8: (0, 1, 2, 3, 5, 6), 16: (1, 2)}[depth]
    planar = _number(page, order, 0x011C, 1)
    if photometric not in allowed or (depth == 16 and (channels == 2 or planar != 1)):
        raise ImageRefused("unsupported_tiff_colour", f"TIFF colour {photometric}, {depth} bits")
    _check_extents(data, order, page)
    return TiffStructure(
        order, page, width, height, depth, channels, photometric, compression != 1, previews
    )


def _check_extents(data: bytes, order: Order, page: Directory) -> None:
    for offsets_tag, counts_tag in ((0x0111, 0x0117), (0x0144, 0x0145)):
        if offsets_tag in page:
            offsets = page[offsets_tag].integers(order)
            counts = page[counts_tag].integers(order) if counts_tag in page else ()
            break
    else:
        raise ImageRefused("corrupt", "the TIFF does not say where its picture data lies")
    if len(offsets) != len(counts) or not offsets:
        raise ImageRefused("corrupt", "the TIFF's strips are not described")
    if any(offset + count > len(data) for offset, count in zip(offsets, counts, strict=True)):
        raise ImageRefused("truncated", "the TIFF ends inside its picture data")


def _number(page: Directory, order: Order, tag: int, default: int) -> int:
    values = page[tag].integers(order) if tag in page else ()
    return values[0] if values else default


def read_metadata(data: bytes, structure: TiffStructure) -> RawMetadata:
    """The file itself is its EXIF block; XMP and profile are tags."""
    xmp, icc = structure.page.get(_XMP), structure.page.get(_ICC)
    c2pa = _C2PA in structure.page
    return RawMetadata(data, xmp.raw if xmp else None, icc.raw if icc else None, c2pa)


def encode_tiff(
    pixels: NDArray[Any], source: TiffStructure, metadata: CleanMetadata, photometric: int
) -> bytes:
    """A TIFF of one strip, deflated where the source was compressed, with clean metadata.

    Args:
        pixels: [h, w] or [h, w, c], uint8 or uint16.
        photometric: 1 grey, 2 RGB, 5 CMYK.
    """
    order = metadata.exif.order
    planes = pixels[:, :, None] if pixels.ndim == 2 else pixels
    height, width, channels = planes.shape
    raw = np.ascontiguousarray(planes.astype(planes.dtype.newbyteorder(order))).tobytes()
    if source.compressed:
        raw = zlib.compress(raw, 6)
    colours = {1: 1, 2: 3, 5: 4}[photometric]

    def short(*values: int) -> Entry:
        return Entry(SHORT, len(values), struct.pack(f"{order}{len(values)}H", *values))

    def long(value: int) -> Entry:
        return Entry(LONG, 1, struct.pack(f"{order}I", value))

    main: Directory = {
        **metadata.exif.main,
        0x0100: long(width),
        0x0101: long(height),
        0x0102: short(*[8 * planes.dtype.itemsize] * channels),
        0x0103: short(8 if source.compressed else 1),
        0x0106: short(photometric),
        0x0111: long(0),
        0x0115: short(channels),
        0x0116: long(height),
        0x0117: long(len(raw)),
    }
    if channels > colours:
        # 2: alpha that has not been multiplied into the colours
        main[0x0152] = source.page.get(0x0152, short(2)) if source.order == order else short(2)
    if metadata.xmp is not None:
        main[_XMP] = Entry(BYTE, len(metadata.xmp), metadata.xmp)
    if metadata.icc is not None:
        main[_ICC] = Entry(UNDEFINED, len(metadata.icc), metadata.icc)
    children = {EXIF_POINTER: metadata.exif.exif, GPS_POINTER: metadata.exif.gps}
    main[0x0111] = long(len(write_directories(order, main, children)))
    return write_directories(order, main, children) + raw


def outside_picture(data: bytes, structure: TiffStructure) -> bytes:
    """Every byte of the file that no strip or tile of the first page uses."""
    spans: list[tuple[int, int]] = []
    for offsets_tag, counts_tag in ((0x0111, 0x0117), (0x0144, 0x0145)):
        if offsets_tag in structure.page and counts_tag in structure.page:
            offsets = structure.page[offsets_tag].integers(structure.order)
            counts = structure.page[counts_tag].integers(structure.order)
            spans += [(at, at + size) for at, size in zip(offsets, counts, strict=True)]
    parts: list[bytes] = []
    position = 0
    for start, stop in sorted(spans):
        parts.append(data[position : max(start, position)])
        position = max(position, stop)
    return b"\0".join([*parts, data[position:]])


def next_directory(block: bytes) -> int:
    """Offset of the directory behind the first one in a TIFF-structured block; 0 for none."""
    try:
        order, offset = read_header(block)
        return read_directory(block, order, offset, 0, lenient=True)[1]
    except MalformedTags:
        return 0
