"""WebP files that hide a picture, and their twins."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from PIL import Image

from tests.evaluation.embedded_parts import (
    CAMERA,
    SIZE,
    Case,
    carried,
    harmless,
    jumbf,
    profile,
    raw_thumbnail,
    tiff_block,
    xmp,
)
from tests.pipeline.pictures import saved, textured, thumbnail
from tests.pipeline.test_webp_surplus import EIGHT_PARTITIONS, with_partition


def webp(
    *more: tuple[bytes, bytes], coded: bytes | None = None, behind: bytes = b"", inside: bytes = b""
) -> bytes:
    """A WebP with further chunks, bytes behind the last one, and bytes behind its end."""
    picture = saved(textured(*SIZE), "WEBP", quality=85)[12:] if coded is None else coded
    sides = b"".join((side - 1).to_bytes(3, "little") for side in SIZE)
    flags = 8 * any(kind == b"EXIF" for kind, _ in more)
    head = riff_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + sides)
    body = b"WEBP" + head + picture + b"".join(riff_chunk(*part) for part in more) + inside
    return b"RIFF" + struct.pack("<I", len(body)) + body + behind


def lossless() -> bytes:
    """A WebP with nothing but a picture without loss."""
    return saved(textured(*SIZE), "WEBP", lossless=True)


def riff_chunk(kind: bytes, payload: bytes) -> bytes:
    """A RIFF chunk."""
    return kind + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) % 2)


def webp_with_surplus(kind: bytes, more: bytes, **options: Any) -> bytes:
    """A WebP with ``more`` behind what is coded in its chunk ``kind``."""
    pixels = textured(*SIZE)
    if kind == b"ALPH":
        mask = np.zeros(pixels.shape[:2], np.uint8)
        mask[10:-10, 10:-10] = 255
        pixels = np.dstack([pixels, mask])
    data = saved(pixels, "WEBP", **options)
    parts = [data[8:12]]
    at = 12
    while at < len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        name, payload = data[at : at + 4], data[at + 8 : at + 8 + size]
        parts.append(riff_chunk(name, payload + more * (name == kind)))
        at += 8 + size + size % 2
    body = b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def animated_webp(frames: int) -> bytes:
    """A WebP with an animation."""
    pictures = [Image.fromarray(textured(*SIZE, seed=i)) for i in range(frames)]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "WEBP", save_all=True, append_images=pictures[1:])
    return buffer.getvalue()


def _surplus_case(kind: bytes, more: bytes, **options: Any) -> Case:
    return Case(
        lambda: webp_with_surplus(kind, more, **options),
        lambda: webp_with_surplus(kind, b"", **options),
        "data behind the picture",
    )


def _partition_case(number: int) -> Case:
    return Case(
        lambda: with_partition(EIGHT_PARTITIONS, number, harmless(100)),
        lambda: EIGHT_PARTITIONS,
        "data behind the picture",
    )


WEBP_CASES: dict[str, Case] = {
    "webp-exif-thumbnail": Case(
        lambda: webp((b"EXIF", tiff_block(CAMERA, raw_thumbnail()))),
        lambda: webp((b"EXIF", tiff_block(CAMERA))),
        "EXIF thumbnail",
    ),
    "webp-xmp": Case(
        lambda: webp((b"XMP ", xmp('GDepth:Data="iVBO">'))),
        lambda: webp((b"XMP ", xmp('GDepth:Format="x">'))),
        "XMP GDepth:Data",
    ),
    "webp-unknown-chunk": carried(lambda h: webp((b"PREV", h))),
    "webp-c2pa": carried(lambda h: webp((b"C2PA", jumbf(b"c2pa.claim", h)))),
    "webp-icc-private-tag": carried(lambda h: webp((b"ICCP", profile(h)))),
    "webp-animation": Case(
        lambda: animated_webp(2), lambda: webp(), "animation frame", refused=True
    ),
    "webp-frame-beside-the-picture": Case(
        lambda: webp((b"ANMF", bytes(16) + saved(textured(*SIZE), "WEBP")[12:])),
        webp,
        "animation frame",
        refused=True,
    ),
    "webp-second-picture": Case(
        lambda: webp((b"VP8L", lossless()[20:])),
        webp,
        "second picture",
        refused=True,
    ),
    "webp-lossy-surplus": _surplus_case(b"VP8 ", harmless(100), quality=85),
    "webp-lossless-surplus": _surplus_case(b"VP8L", harmless(100), lossless=True),
    "webp-first-partition-surplus": _partition_case(0),
    "webp-inner-partition-surplus": _partition_case(4),
    "webp-alpha-surplus": _surplus_case(b"ALPH", harmless(100), quality=85),
    "webp-lossy-jpeg": Case(lambda: webp_with_surplus(b"VP8 ", thumbnail(), quality=85), webp),
    "webp-alpha-of-nothing": Case(
        lambda: webp((b"ALPH", b"\1" + harmless()), coded=lossless()[12:]),
        lambda: webp(coded=lossless()[12:]),
        "alpha plane that belongs to no picture",
    ),
    "webp-behind-the-end": Case(lambda: webp(behind=thumbnail()), webp),
    "webp-behind-the-last-chunk": Case(
        lambda: webp(inside=b"\1\2\3\4"), webp, "data behind the last chunk", refused=True
    ),
}
