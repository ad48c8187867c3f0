"""Pictures left in a file besides the one it shows: what a published file must not hold."""

from __future__ import annotations

import re
from collections.abc import Callable

from pipeline.containers import png, tiff, webp, webp_stream
from pipeline.embedded import find_pictures
from pipeline.errors import ImageRefused
from pipeline.images import ImageFormat, sniff_format
from pipeline.jpeg import segments
from pipeline.jpeg.replaced import replaced

_JPEG_START = re.compile(rb"\xff\xd8\xff")
# By chance there is one in 16 MB.
_MANY_STARTS = 100


def remaining_pictures(data: bytes) -> list[str]:
    """Embedded pictures and previews in a JPEG, PNG, WebP or TIFF, each named by its place.

    Raises:
        ImageRefused: the file itself cannot be read.
    """
    return _SCANNERS[sniff_format(data)](data)


def _named(place: str, block: bytes) -> list[str]:
    return [f"{kind} in {place}" for kind in find_pictures(block)]


def _scan_jpeg(data: bytes) -> list[str]:
    found = segments.parse_jpeg(data)
    left: list[str] = []
    for segment in found.segments:
        if not segment.is_metadata:
            continue
        content = segment.payload(data)
        place = f"segment {segment.marker:#04x}"
        left += _named(place, content)
        if content.startswith((b"MPF\0", b"JFXX\0")):
            left.append(f"preview index in {place}")
        if content.startswith(b"JFIF\0") and content[12:14] not in (b"\0\0", b""):
            left.append("thumbnail in JFIF")
        if content.startswith(b"Exif\0\0"):
            left += _scan_exif(content[6:])
    return left + replaced(data, found) + _scan_rest(data[found.end :])


def _scan_exif(block: bytes) -> list[str]:
    """A second directory is the thumbnail's."""
    following = tiff.next_directory(block)
    return ["thumbnail directory in EXIF"] if following else []


def _scan_rest(rest: bytes) -> list[str]:
    return [*_named("trailing data", rest), "trailing data"] if rest else []


def _scan_png(data: bytes) -> list[str]:
    found = png.parse_png(data)
    left: list[str] = []
    for kind, payload in found.chunks:
        if kind != b"IDAT":
            left += _named(
                f"chunk {kind.decode('latin-1')}", payload + png.inflated_text(kind, payload)
            )
        if kind == b"eXIf":
            left += _scan_exif(payload)
    return left + _scan_rest(data[found.end :])


def _scan_webp(data: bytes) -> list[str]:
    found = webp.parse_webp(data)
    left: list[str] = []
    for kind, payload in found.chunks:
        place = f"chunk {kind.decode('latin-1')}"
        if kind in (b"VP8 ", b"VP8L", b"ALPH"):
            left += [f"jpeg in {place}"] if _holds_jpeg(payload) else []
        else:
            left += _named(place, payload)
        if kind == b"EXIF":
            left += _scan_exif(payload.removeprefix(b"Exif\0\0"))
    left += [f"surplus in chunk {name}" for name in webp_stream.surplus(found)]
    return left + _scan_rest(data[found.end :])


def _holds_jpeg(coded: bytes) -> bool:
    """Whether a whole JPEG begins in ``coded``; now and then its signature is there by chance."""
    starts = [match.start() for match in _JPEG_START.finditer(coded)]
    return len(starts) > _MANY_STARTS or any(_is_jpeg(coded[start:]) for start in starts)


def _is_jpeg(data: bytes) -> bool:
    try:
        segments.parse_jpeg(data)
    except ImageRefused:
        return False
    return True


def _scan_tiff(data: bytes) -> list[str]:
    found = tiff.parse_tiff(data)
    left = ["further pages"] if found.previews else []
    return left + _named("tags", tiff.outside_picture(data, found))


_SCANNERS: dict[ImageFormat, Callable[[bytes], list[str]]] = {
    "jpeg": _scan_jpeg,
    "png": _scan_png,
    "webp": _scan_webp,
    "tiff": _scan_tiff,
}
