"""EXIF, rebuilt from the tags that may stay; everything else is left behind.

A keep-list, because the tags that can hide a picture or a person (thumbnails, previews, maker
notes, comments, serial numbers, owner names) cannot all be known. Source of tags and types: CIPA
DC-008 (Exif 2.32), section 4.6.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pipeline.containers.ifd import (
    ASCII,
    BYTE,
    LONG,
    RATIONAL,
    SHORT,
    SRATIONAL,
    UNDEFINED,
    Directory,
    Entry,
    MalformedTags,
    Order,
    read_directory,
    read_header,
    write_directories,
)
from pipeline.policy import MetadataItem

ORIENTATION, EXIF_POINTER, GPS_POINTER = 0x0112, 0x8769, 0x8825
# Longest value that is read: a model name or a lens name, never a picture.
MAX_VALUE_BYTES = 128

_NUMBERS = (SHORT, LONG)
_TEXT = (ASCII,)
_RATIO = (RATIONAL, SRATIONAL)
Keep = Mapping[int, tuple[MetadataItem, tuple[int, ...], int]]


def _tags(item: MetadataItem, kinds: tuple[int, ...], most: int, tags: Collection[int]) -> Keep:
    return dict.fromkeys(tags, (item, kinds, most))


# tag -> (policy item, allowed types, most values)
MAIN_TAGS: Keep = {
    **_tags("camera", _TEXT, 64, (0x010F, 0x0110)),  # Make, Model
    **_tags("camera", _RATIO, 1, (0x011A, 0x011B)),  # X/YResolution
    **_tags("camera", _NUMBERS, 1, (0x0128, 0x0213)),  # ResolutionUnit, YCbCrPositioning
    **_tags("time", _TEXT, 20, (0x0132,)),  # DateTime
}
EXIF_TAGS: Keep = {
    **_tags("time", _TEXT, 20, (0x9003, 0x9004, 0x9010, 0x9011, 0x9012, 0x9290, 0x9291, 0x9292)),
    **_tags("camera", (UNDEFINED,), 4, (0x9000, 0x9101, 0xA000, 0xA300, 0xA301)),
    **_tags("camera", _RATIO, 1, (0x829A, 0x829D, 0x9102, 0x9201, 0x9202, 0x9203, 0x9204)),
    **_tags("camera", _RATIO, 1, (0x9205, 0x9206, 0x920A, 0xA20E, 0xA20F, 0xA404)),
    **_tags("camera", _RATIO, 4, (0xA432,)),  # LensSpecification
    **_tags("camera", _NUMBERS, 2, (0x8822, 0x8827, 0x8830, 0x8831, 0x8832, 0x9207, 0x9208)),
    **_tags("camera", _NUMBERS, 1, (0x9209, 0xA002, 0xA003, 0xA210, 0xA217, 0xA401, 0xA402)),
    **_tags("camera", _NUMBERS, 1, (0xA403, 0xA405, 0xA406, 0xA407, 0xA408, 0xA409, 0xA40A)),
    **_tags("camera", _NUMBERS, 1, (0xA40C,)),
    **_tags("camera", _TEXT, 64, (0xA433, 0xA434)),  # LensMake, LensModel
    **_tags("icc", _NUMBERS, 1, (0xA001,)),  # ColorSpace: without it colours are read wrongly
}
GPS_TAGS: Keep = {
    **_tags("gps", _TEXT, 16, (0x01, 0x03, 0x09, 0x0A, 0x0C, 0x12, 0x13, 0x15, 0x17, 0x19)),
    **_tags("gps", _RATIO, 3, (0x02, 0x04, 0x14, 0x16)),  # latitudes and longitudes
    **_tags("gps", _RATIO, 1, (0x06, 0x0B, 0x0D, 0x18, 0x1A, 0x1F)),
    **_tags("gps", (BYTE,), 1, (0x05,)),  # AltitudeRef
    **_tags("gps", _NUMBERS, 1, (0x1E,)),  # Differential
    **_tags("heading", _TEXT, 2, (0x0E, 0x10)),  # TrackRef, ImgDirectionRef
    **_tags("heading", _RATIO, 1, (0x0F, 0x11)),  # Track, ImgDirection
    **_tags("time", _RATIO, 3, (0x07,)),  # TimeStamp
    **_tags("time", _TEXT, 11, (0x1D,)),  # DateStamp
}
_GPS_VERSION = 0x00


@dataclass(frozen=True, slots=True)
class Exif:
    """The parts of an EXIF block that are ever looked at; of a damaged one, what can be read."""

    order: Order
    main: Directory
    exif: Directory
    gps: Directory
    damaged: bool = False

    @property
    def orientation(self) -> int:
        """1..8; 1 where the tag is missing or makes no sense."""
        entry = self.main.get(ORIENTATION)
        values = entry.integers(self.order) if entry else ()
        return values[0] if values and 1 <= values[0] <= 8 else 1


EMPTY = Exif("<", {}, {}, {})


def read_exif(block: bytes) -> Exif:
    """Parse a TIFF-structured EXIF ``block`` (without the ``Exif\\0\\0`` prefix).

    Tags and sub-directories that contradict themselves are left out.

    Raises:
        MalformedTags: there is no main directory.
    """
    order, offset = read_header(block)
    main, damaged = _read(block, order, offset)
    children = [_child(block, order, main, pointer) for pointer in (EXIF_POINTER, GPS_POINTER)]
    damaged = damaged or any(part for _, part in children)
    return Exif(order, main, children[0][0], children[1][0], damaged)


def _read(block: bytes, order: Order, offset: int) -> tuple[Directory, bool]:
    """What can be read of a directory, and whether anything of it was damaged."""
    try:
        return read_directory(block, order, offset, MAX_VALUE_BYTES)[0], False
    except MalformedTags:
        # a lost orientation would show the picture turned, and hide its faces from the detectors
        return read_directory(block, order, offset, MAX_VALUE_BYTES, lenient=True)[0], True


def _child(block: bytes, order: Order, main: Directory, pointer: int) -> tuple[Directory, bool]:
    entry = main.get(pointer)
    if entry is None:
        return {}, False
    values = entry.integers(order)
    try:
        return _read(block, order, values[0]) if len(values) == 1 else ({}, True)
    except MalformedTags:
        return {}, True


def kept_exif(exif: Exif, keep: Collection[MetadataItem]) -> Exif:
    """Only what ``keep`` allows, and the orientation."""
    main = _filtered(exif.main, MAIN_TAGS, keep)
    if exif.orientation != 1:
        main[ORIENTATION] = Entry(SHORT, 1, struct.pack(f"{exif.order}H", exif.orientation))
    gps = _filtered(exif.gps, GPS_TAGS, keep)
    if gps:
        gps[_GPS_VERSION] = Entry(BYTE, 4, bytes([2, 3, 0, 0]))
    return Exif(exif.order, main, _filtered(exif.exif, EXIF_TAGS, keep), gps)


def _filtered(entries: Directory, rules: Keep, keep: Collection[MetadataItem]) -> Directory:
    return {
        tag: entry
        for tag, entry in entries.items()
        if tag in rules
        and rules[tag][0] in keep
        and entry.kind in rules[tag][1]
        and 1 <= entry.count <= rules[tag][2]
        and (entry.kind != ASCII or _is_text(entry.raw))
    }


def _is_text(raw: bytes) -> bool:
    return all(32 <= byte < 127 for byte in raw.rstrip(b"\0"))


def write_exif(exif: Exif) -> bytes | None:
    """The TIFF-structured block without prefix; None when nothing is to be said."""
    if not (exif.main or exif.exif or exif.gps):
        return None
    return write_directories(
        exif.order, exif.main, {EXIF_POINTER: exif.exif, GPS_POINTER: exif.gps}
    )
