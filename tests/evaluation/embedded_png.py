"""PNG files that hide a picture, and their twins."""

from __future__ import annotations

import base64
import struct
import zlib

from tests.evaluation.embedded_parts import (
    CAMERA,
    SIZE,
    SMALL,
    Case,
    carried,
    harmless,
    jumbf,
    photoshop_thumbnail,
    picture,
    profile,
    raw_thumbnail,
    resources,
    tiff_block,
    xmp,
)
from tests.pipeline.pictures import textured, thumbnail


def chunk(kind: bytes, payload: bytes) -> bytes:
    """A PNG chunk."""
    crc = zlib.crc32(payload, zlib.crc32(kind))
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", crc)


def png_header(width: int = SIZE[0], height: int = SIZE[1]) -> bytes:
    """Signature and header of an RGB picture."""
    return b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    )


def png_rows(rows: int = SIZE[1]) -> bytes:
    """Unfiltered rows of the test picture."""
    pixels = textured(SIZE[0], rows)
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def png(
    *before: bytes,
    coded: bytes | None = None,
    middle: bytes = b"",
    after: bytes = b"",
    behind: bytes = b"",
) -> bytes:
    """A PNG with chunks before, between and behind its picture data."""
    data = zlib.compress(png_rows()) if coded is None else coded
    cut = len(data) // 2
    idat = chunk(b"IDAT", data[:cut]) + middle + chunk(b"IDAT", data[cut:])
    return png_header() + b"".join(before) + idat + after + chunk(b"IEND", b"") + behind


def raw_profile(name: bytes, content: bytes) -> bytes:
    """ImageMagick's text for a profile: its name, its length, lines of 72 hexadecimal digits."""
    digits = content.hex().encode()
    lines = b"\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
    return b"\n" + name + b"\n" + str(len(content)).rjust(8).encode() + b"\n" + lines + b"\n"


def animated(frames: int) -> bytes:
    """A PNG whose animation has its picture and further frames."""
    control = struct.pack(">IIIIHHBB", *SIZE, 0, 0, 1, 10, 0, 0)
    more = b"".join(
        chunk(b"fcTL", struct.pack(">I", 2 * i + 1) + control)
        + chunk(b"fdAT", struct.pack(">I", 2 * i + 2) + zlib.compress(png_rows()))
        for i in range(frames)
    )
    start = chunk(b"acTL", struct.pack(">II", frames + 1, 0)) + chunk(b"fcTL", bytes(4) + control)
    return png(start, after=more)


PNG_CASES: dict[str, Case] = {
    "png-exif-thumbnail": Case(
        lambda: png(chunk(b"eXIf", tiff_block(CAMERA, raw_thumbnail()))),
        lambda: png(chunk(b"eXIf", tiff_block(CAMERA))),
        "EXIF thumbnail",
    ),
    "png-raw-profile-text": carried(
        lambda h: png(chunk(b"tEXt", b"Raw profile type APP1\0" + raw_profile(b"APP1", h)))
    ),
    "png-raw-profile-exif": Case(
        lambda: _raw_exif_png(tiff_block(CAMERA, raw_thumbnail())),
        lambda: _raw_exif_png(tiff_block(CAMERA)),
        "EXIF thumbnail",
    ),
    "png-raw-profile-8bim": Case(
        lambda: _raw_8bim_png(photoshop_thumbnail(0x040C, 0, SMALL.tobytes())),
        lambda: _raw_8bim_png(resources((0x03ED, bytes(16)))),
        "Photoshop thumbnail",
    ),
    "png-text-base64": carried(lambda h: png(chunk(b"tEXt", b"Comment\0" + base64.b64encode(h)))),
    "png-text-deflated": carried(lambda h: png(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(h)))),
    "png-text-international": carried(
        lambda h: png(chunk(b"iTXt", b"K\0\1\0\0\0" + zlib.compress(base64.encodebytes(h))))
    ),
    "png-xmp": Case(
        lambda: png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp('GImage:Data="iVBO">'))),
        lambda: png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp('GImage:Mime="x">'))),
        "XMP GImage:Data",
    ),
    "png-private-chunk": carried(lambda h: png(chunk(b"prVw", h)), "WebP", picture("WEBP")),
    "png-private-chunk-zlib": carried(lambda h: png(chunk(b"prVw", b"1234" + zlib.compress(h)))),
    "png-private-chunk-deflate": carried(
        lambda h: png(chunk(b"prVw", zlib.compress(h, wbits=-15)))
    ),
    "png-icc-private-tag": carried(
        lambda h: png(chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile(h))))
    ),
    "png-icc-private-tag-zlib": carried(
        lambda h: png(chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile(zlib.compress(h)))))
    ),
    "png-c2pa": carried(lambda h: png(chunk(b"caBX", jumbf(b"c2pa.claim", h)))),
    "png-animation": Case(lambda: animated(2), png, "animation frame", refused=True),
    "png-chunk-between-data": Case(
        lambda: png(middle=chunk(b"tEXt", b"a\0b")), png, "picture data apart", refused=True
    ),
    "png-further-rows": Case(
        lambda: png(coded=zlib.compress(png_rows(90))), png, "data behind the picture", refused=True
    ),
    "png-behind-the-stream": Case(
        lambda: png(coded=zlib.compress(png_rows()) + harmless(90)),
        png,
        "data behind the picture",
        refused=True,
    ),
    "png-behind-the-end": Case(lambda: png(behind=thumbnail()), png),
    "png-chunk-behind-the-end": Case(
        lambda: png(behind=chunk(b"prVw", b"x")), png, "data behind the end"
    ),
}


def _raw_exif_png(block: bytes) -> bytes:
    text = raw_profile(b"exif", b"Exif\0\0" + block)
    return png(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)))


def _raw_8bim_png(block: bytes) -> bytes:
    text = raw_profile(b"8bim", block)
    return png(chunk(b"zTXt", b"Raw profile type 8bim\0\0" + zlib.compress(text)))
