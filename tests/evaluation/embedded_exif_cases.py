"""JPEG files whose EXIF hides a picture, and their twins."""

from __future__ import annotations

import base64
from collections.abc import Callable

from tests.evaluation.embedded_jpeg import exif_jpeg
from tests.evaluation.embedded_parts import (
    CAMERA,
    Below,
    Carrier,
    Case,
    carried,
    dangling,
    jpeg_thumbnail,
    long,
    octets,
    raw_thumbnail,
    short,
    tiff_block,
    with_tag,
)
from tests.pipeline.pictures import thumbnail


def exif_carrier(tag: int, wrap: Carrier = lambda hidden: hidden, *, exif: bool = True) -> Carrier:
    """Makes JPEGs that carry something in an EXIF tag."""
    return lambda hidden: exif_jpeg(tiff_block(with_tag(tag, octets(wrap(hidden)), exif=exif)))


def _exif_case(laden: Callable[[], bytes]) -> Case:
    return Case(lambda: exif_jpeg(laden()), lambda: exif_jpeg(tiff_block(CAMERA)), "EXIF thumbnail")


NIKON = b"Nikon\0\2\x10\0\0"
EXIF_CASES: dict[str, Case] = {
    "exif-thumbnail-jpeg": _exif_case(lambda: tiff_block(CAMERA, jpeg_thumbnail(thumbnail()))),
    "exif-thumbnail-raw": _exif_case(lambda: tiff_block(CAMERA, raw_thumbnail())),
    "exif-thumbnail-outside": _exif_case(
        lambda: tiff_block(CAMERA, {0x0201: long(50_000), 0x0202: long(9000)})
    ),
    "exif-next-directory-outside": _exif_case(dangling),
    "exif-third-directory": _exif_case(
        lambda: tiff_block(CAMERA, {0x0112: short(1)}, raw_thumbnail())
    ),
    "exif-sub-directory": _exif_case(
        lambda: tiff_block(with_tag(0x014A, Below(raw_thumbnail()), exif=False))
    ),
    "exif-thumbnail-in-main-directory": _exif_case(
        lambda: tiff_block({**CAMERA, **jpeg_thumbnail(thumbnail())})
    ),
    "exif-second-block": Case(
        lambda: exif_jpeg(tiff_block(CAMERA), tiff_block(CAMERA, raw_thumbnail())),
        lambda: exif_jpeg(tiff_block(CAMERA), tiff_block(CAMERA)),
        "EXIF thumbnail",
    ),
    "exif-orphan": carried(lambda hidden: exif_jpeg(tiff_block(CAMERA, behind=hidden))),
    "maker-note-canon": carried(exif_carrier(0x927C, lambda h: tiff_block({1: octets(h)})[8:])),
    "maker-note-nikon": carried(
        exif_carrier(0x927C, lambda h: NIKON + tiff_block({0x11: Below(jpeg_thumbnail(h))}))
    ),
    "maker-note-sony": carried(exif_carrier(0x927C, lambda h: b"SONY DSC \0\0\0" + h)),
    # its first byte is not that of a JPEG, as ExifTool documents
    "maker-note-minolta": carried(exif_carrier(0x927C, lambda h: b"MLT0" + b"\2" + h[1:])),
    "exif-comment-base64": carried(
        exif_carrier(0x9286, lambda h: b"ASCII\0\0\0" + base64.b64encode(h))
    ),
    "exif-comment-utf-16": carried(
        exif_carrier(
            0x9286, lambda h: b"UNICODE\0" + base64.b64encode(h).decode().encode("utf-16-be")
        )
    ),
    "exif-windows-comment": carried(
        exif_carrier(0x9C9C, lambda h: base64.b64encode(h).decode().encode("utf-16-le"), exif=False)
    ),
}
