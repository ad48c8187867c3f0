"""Pictures hidden in metadata or behind the image: thumbnails, previews, motion photos.

They show the faces that the visible pixels no longer do.
"""

from __future__ import annotations

import re

# Signatures of what can show a face; a JPEG must also be followed by a plausible segment.
_SIGNATURES: dict[str, re.Pattern[bytes]] = {
    "png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "webp": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "gif": re.compile(rb"GIF8[79]a"),
    "video or heif": re.compile(rb"ftyp(?:mp4|isom|iso\d|qt  |heic|heix|mif1|avif|M4V|MSNV)"),
    "base64 jpeg": re.compile(rb"/9j/[0-9A-Za-z+/\s]{16}"),
    "base64 png": re.compile(rb"iVBORw0KGgo"),
}
_JPEG = re.compile(rb"\xff\xd8\xff[\xc0-\xc4\xdb\xdd\xe0-\xef\xfe]")


def find_pictures(block: bytes) -> list[str]:
    """Names of the pictures that begin somewhere in ``block``, for instance ``jpeg``."""
    found = [name for name, pattern in _SIGNATURES.items() if pattern.search(block)]
    if any(_plausible_jpeg(block, match.start()) for match in _JPEG.finditer(block)):
        found.append("jpeg")
    return found


def _plausible_jpeg(block: bytes, start: int) -> bool:
    """Whether the first segment's length leads to another marker, or beyond the block.

    Without this, one colour profile of a megabyte in 16 would look like a picture by chance.
    """
    length = int.from_bytes(block[start + 4 : start + 6], "big")
    after = start + 4 + length
    return length >= 2 and (after >= len(block) or block[after] == 0xFF)
