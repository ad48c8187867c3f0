"""TIFF files that hide a picture, and their twins."""

from __future__ import annotations

import zlib

from tests.evaluation.embedded_parts import (
    SIZE,
    SMALL,
    Below,
    Case,
    Data,
    Tag,
    Tags,
    carried,
    harmless,
    long,
    octets,
    photoshop_thumbnail,
    picture,
    profile,
    raw_thumbnail,
    resources,
    short,
    tiff_block,
    xmp,
)
from tests.pipeline.pictures import textured, thumbnail


def tiff(
    *more: Tags, pixels: bytes | None = None, tags: Tags | None = None, behind: bytes = b""
) -> bytes:
    """An uncompressed RGB picture, further directories, tags, and bytes at the end."""
    data = textured(*SIZE).tobytes() if pixels is None else pixels
    main: Tags = {
        0x0100: long(SIZE[0]),
        0x0101: long(SIZE[1]),
        0x0102: short(8, 8, 8),
        0x0103: short(1),
        0x0106: short(2),
        0x0111: Data(data),
        0x0115: short(3),
        0x0116: long(SIZE[1]),
        0x0117: long(len(data)),
    }
    return tiff_block({**main, **(tags or {})}, *more, behind=behind)


def in_strips(rows: int, more: int) -> bytes:
    """A TIFF of strips of 16 rows whose header says that it has ``rows``; there are ``more``."""
    line = SIZE[0] * 3
    pixels = textured(SIZE[0], rows + more).tobytes()
    sizes = [line * min(16, rows + more - top) for top in range(0, rows + more, 16)]
    # the offsets come before the pixels, so the place of these is found in a first pass
    starts = [0] * len(sizes)
    for _ in range(2):
        whole = tiff(
            tags={
                0x0111: long(*starts),
                0x0116: long(16),
                0x0117: long(*sizes),
            },
            behind=pixels,
        )
        first = len(whole) - len(pixels)
        starts = [first + sum(sizes[:i]) for i in range(len(sizes))]
    return whole


def tagged(number: int, value: Tag) -> bytes:
    """A TIFF with one more tag."""
    return tiff(tags={number: value})


def layers(kind: bytes) -> bytes:
    """Photoshop's private data with one block of a kind."""
    return b"Adobe Photoshop Document Data Block\0" + b"8BIM" + kind + b"\0\0\1\0" + harmless(256)


DEFLATED = zlib.compress(textured(*SIZE).tobytes())
SMALLER_PAGE: Tags = {0x00FE: long(1), **raw_thumbnail()}
TIFF_CASES: dict[str, Case] = {
    "tiff-second-page": Case(lambda: tiff(SMALLER_PAGE), tiff, "further picture"),
    "tiff-sub-directory": Case(
        lambda: tagged(0x014A, Below(SMALLER_PAGE)), tiff, "further picture"
    ),
    "tiff-jpeg-thumbnail": Case(
        lambda: tiff(tags={0x0201: Data(thumbnail()), 0x0202: long(len(thumbnail()))}),
        tiff,
        "thumbnail",
    ),
    "tiff-exif": carried(lambda h: tagged(0x8769, Below({0x927C: octets(h)}))),
    "tiff-xmp": Case(
        lambda: tagged(0x02BC, octets(xmp('GImage:Data="iVBO">'))),
        lambda: tagged(0x02BC, octets(xmp('GImage:Mime="x">'))),
        "XMP GImage:Data",
    ),
    "tiff-photoshop": Case(
        lambda: tagged(0x8649, octets(photoshop_thumbnail(0x040C, 0, SMALL.tobytes()))),
        lambda: tagged(0x8649, octets(resources((0x03ED, bytes(16))))),
        "Photoshop thumbnail",
    ),
    "tiff-layers": Case(
        lambda: tagged(0x935C, octets(layers(b"Layr"))),
        lambda: tagged(0x935C, octets(layers(b"Patt"))),
        "Photoshop layers",
    ),
    "tiff-icc-private-tag": carried(lambda h: tagged(0x8773, octets(profile(h)))),
    "tiff-private-tag": carried(lambda h: tagged(0xC634, octets(h)), "PNG", picture("PNG")),
    "tiff-private-tag-zlib": carried(lambda h: tagged(0xC634, octets(zlib.compress(h)))),
    "tiff-orphan-jpeg": Case(lambda: tiff(behind=thumbnail()), tiff),
    "tiff-orphan-pixels": Case(
        lambda: tiff(behind=SMALL.tobytes()),
        lambda: tiff(behind=bytes(300)),
        "data that no directory accounts for",
    ),
    "tiff-further-rows": Case(
        lambda: tiff(pixels=textured(SIZE[0], 90).tobytes()), tiff, "data behind the picture"
    ),
    "tiff-further-strips": Case(
        lambda: in_strips(SIZE[1], 16),
        lambda: in_strips(SIZE[1], 0),
        "data behind the picture",
        refused=True,
    ),
    "tiff-fuller-last-strip": Case(
        lambda: in_strips(SIZE[1], 2),
        lambda: in_strips(SIZE[1], 0),
        "data behind the picture",
    ),
    "tiff-behind-the-stream": Case(
        lambda: tiff(pixels=DEFLATED + harmless(200), tags={0x0103: short(8)}),
        lambda: tiff(pixels=DEFLATED, tags={0x0103: short(8)}),
        "data behind the picture",
    ),
}
