"""An EXIF block as cameras write it: orientation, time, position and an embedded thumbnail.

Pillow writes no second image directory, where thumbnails live, so the TIFF structure is laid out
here (TIFF 6.0, section 2; Exif 2.32, 4.6).
"""

from __future__ import annotations

import struct

_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL = 1, 2, 3, 4, 5
_Entry = tuple[int, int, int, bytes]


def exif_block(
    orientation: int, latitude: float, longitude: float, heading: float, thumbnail: bytes
) -> bytes:
    """EXIF payload (``Exif\\0\\0`` and a little-endian TIFF) for a JPEG's APP1 segment.

    Args:
        orientation: EXIF orientation, 1..8.
        latitude: degrees, north positive.
        longitude: degrees, east positive.
        heading: degrees from true north, 0..360.
        thumbnail: a whole JPEG.
    """
    position = [
        (0, _BYTE, 4, b"\x02\x03\x00\x00"),
        (1, _ASCII, 2, b"N\x00" if latitude >= 0 else b"S\x00"),
        (2, _RATIONAL, 3, _degrees(abs(latitude))),
        (3, _ASCII, 2, b"E\x00" if longitude >= 0 else b"W\x00"),
        (4, _RATIONAL, 3, _degrees(abs(longitude))),
        (16, _ASCII, 2, b"T\x00"),
        (17, _RATIONAL, 1, struct.pack("<II", round(heading * 100), 100)),
    ]
    time = b"2026:06:01 12:00:00\x00"

    def main_entries(position_at: int) -> list[_Entry]:
        return [
            (0x010F, _ASCII, 16, b"streetblur demo\x00"),
            (0x0112, _SHORT, 1, struct.pack("<HH", orientation, 0)),
            (0x0132, _ASCII, len(time), time),
            (0x8825, _LONG, 1, struct.pack("<I", position_at)),
        ]

    def preview_entries(data_at: int) -> list[_Entry]:
        return [
            (0x0103, _SHORT, 1, struct.pack("<HH", 6, 0)),
            (0x0201, _LONG, 1, struct.pack("<I", data_at)),
            (0x0202, _LONG, 1, struct.pack("<I", len(thumbnail))),
        ]

    # A directory's length does not depend on the offsets in it: lay out with zeros first.
    position_at = 8 + len(_directory(main_entries(0), 8, 0))
    preview_at = position_at + len(_directory(position, position_at, 0))
    data_at = preview_at + len(_directory(preview_entries(0), preview_at, 0))
    return b"".join(
        (
            b"Exif\x00\x00II*\x00\x08\x00\x00\x00",
            _directory(main_entries(position_at), 8, preview_at),
            _directory(position, position_at, 0),
            _directory(preview_entries(data_at), preview_at, 0),
            thumbnail,
        )
    )


def _directory(entries: list[_Entry], at: int, following: int) -> bytes:
    """One image file directory at offset ``at``, its longer values behind it."""
    values_at = at + 2 + 12 * len(entries) + 4
    rows, values = b"", b""
    for tag, kind, count, value in entries:
        if len(value) <= 4:
            field = value.ljust(4, b"\x00")
        else:
            field = struct.pack("<I", values_at + len(values))
            values += value + b"\x00" * (len(value) % 2)
        rows += struct.pack("<HHI", tag, kind, count) + field
    return struct.pack("<H", len(entries)) + rows + struct.pack("<I", following) + values


def _degrees(value: float) -> bytes:
    whole = int(value)
    minutes = int((value - whole) * 60)
    seconds = round(((value - whole) * 60 - minutes) * 6000)
    return struct.pack("<IIIIII", whole, 1, minutes, 1, seconds, 100)
