"""Pictures made for tests: every format and mode, and metadata that hides what it should not."""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pipeline.containers import png
from pipeline.containers.ifd import Entry, write_directories
from pipeline.containers.tiff import encode_tiff, parse_tiff
from pipeline.jpeg.exif import EMPTY
from pipeline.jpeg.metadata import CleanMetadata
from pipeline.policy import ClassPolicy, MetadataPolicy, PrivacyPolicy, Style
from pipeline.redaction import RedactionBox

Pixels = NDArray[Any]
DATA = Path(os.environ.get("STREETBLUR_DATA", "../shared/data"))


def textured(width: int, height: int, channels: int = 3, seed: int = 0, depth: int = 8) -> Pixels:
    """Smooth-edged random detail at the scale of a few pixels, strong in every place."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 1, (height, width, channels))
    soft = cv2.GaussianBlur(noise, (0, 0), 1.2).reshape(height, width, channels)
    full = 2**depth - 1
    levels = np.clip(full / 2 + soft / max(float(soft.std()), 1e-9) * full / 6, 0, full)
    pixels = levels.astype(np.uint8 if depth == 8 else np.uint16)
    return np.asarray(pixels[:, :, 0] if channels == 1 else pixels)


def policy(
    keep: tuple[str, ...] = ("gps", "time", "heading", "gpano", "camera", "icc"), **rest: Any
) -> PrivacyPolicy:
    """A policy with default styles."""
    metadata = MetadataPolicy.model_validate({"keep": keep})
    rules = ClassPolicy(threshold=0.5)
    return PrivacyPolicy(name="test", face=rules, plate=rules, metadata=metadata, **rest)


def box(x1: int, y1: int, x2: int, y2: int, **style: Any) -> RedactionBox:
    """A face box in a style with several cells, or with some of it changed."""
    return RedactionBox(x1, y1, x2, y2, Style(**{"strength": 0.4, "noise": 6, **style}), "face")


def saved(pixels: Pixels, file_format: str, mode: str | None = None, **options: Any) -> bytes:
    """``pixels`` written by Pillow, converted to ``mode`` first."""
    picture = Image.fromarray(pixels)
    if mode is not None:
        picture = picture.convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def deep_tiff(pixels: Pixels) -> bytes:
    """A 16-bit TIFF."""
    done, data = cv2.imencode(".tiff", pixels[:, :, ::-1] if pixels.ndim == 3 else pixels)
    assert done
    return bytes(data.tobytes())


def _tiff_with_alpha(pixels: Pixels) -> bytes:
    plain = parse_tiff(saved(pixels[:, :, :3], "TIFF"))
    return encode_tiff(pixels, plain, CleanMetadata(EMPTY, None, None, ()), 2)


def _yuv_jpeg(subsampling: str) -> Callable[[int, int], bytes]:
    def make(width: int, height: int) -> bytes:
        return bytes(simplejpeg.encode_jpeg(textured(width, height), 92, "RGB", subsampling))

    return make


# name -> maker of a file of the given width and height
KINDS: dict[str, Callable[[int, int], bytes]] = {
    "jpeg-420": _yuv_jpeg("420"),
    "jpeg-422": _yuv_jpeg("422"),
    "jpeg-444": _yuv_jpeg("444"),
    "jpeg-440": _yuv_jpeg("440"),
    "jpeg-411": _yuv_jpeg("411"),
    "jpeg-grey": lambda w, h: saved(textured(w, h, 1), "JPEG", quality=90),
    "jpeg-progressive": lambda w, h: saved(textured(w, h), "JPEG", progressive=True),
    "jpeg-restart": lambda w, h: saved(textured(w, h), "JPEG", restart_marker_rows=1),
    "jpeg-rgb": lambda w, h: saved(textured(w, h), "JPEG", keep_rgb=True, quality=90),
    "jpeg-cmyk": lambda w, h: saved(textured(w, h), "JPEG", "CMYK", quality=90),
    "jpeg-ycck": lambda w, h: simplejpeg.encode_jpeg(textured(w, h, 4), 90, "CMYK", "420"),
    "png-rgb": lambda w, h: saved(textured(w, h), "PNG"),
    "png-rgba": lambda w, h: saved(textured(w, h, 4), "PNG"),
    "png-grey": lambda w, h: saved(textured(w, h, 1), "PNG"),
    "png-grey-alpha": lambda w, h: png.encode_png(textured(w, h, 2)),
    "png-palette": lambda w, h: saved(textured(w, h), "PNG", "P"),
    "png-palette-alpha": lambda w, h: saved(textured(w, h), "PNG", "P", transparency=3),
    "png-1bit": lambda w, h: saved(textured(w, h, 1), "PNG", "1"),
    "png-16-grey": lambda w, h: png.encode_png(textured(w, h, 1, depth=16)),
    "png-16-grey-alpha": lambda w, h: png.encode_png(textured(w, h, 2, depth=16)),
    "png-16-rgb": lambda w, h: png.encode_png(textured(w, h, 3, depth=16)),
    "png-16-rgba": lambda w, h: png.encode_png(textured(w, h, 4, depth=16)),
    "png-key-colour": lambda w, h: saved(textured(w, h), "PNG", transparency=(7, 8, 9)),
    "webp-lossy": lambda w, h: saved(textured(w, h), "WEBP", quality=85),
    "webp-lossless": lambda w, h: saved(textured(w, h), "WEBP", lossless=True),
    "webp-alpha": lambda w, h: saved(textured(w, h, 4), "WEBP", lossless=True, exact=True),
    "webp-lossy-alpha": lambda w, h: saved(textured(w, h, 4), "WEBP", quality=85),
    "tiff-rgb": lambda w, h: saved(textured(w, h), "TIFF"),
    "tiff-lzw": lambda w, h: saved(textured(w, h), "TIFF", compression="tiff_lzw"),
    "tiff-jpeg": lambda w, h: saved(textured(w, h), "TIFF", compression="jpeg"),
    "tiff-deflate": lambda w, h: saved(textured(w, h), "TIFF", compression="tiff_adobe_deflate"),
    "tiff-grey": lambda w, h: saved(textured(w, h, 1), "TIFF"),
    "tiff-1bit": lambda w, h: saved(textured(w, h, 1), "TIFF", "1"),
    "tiff-palette": lambda w, h: saved(textured(w, h), "TIFF", "P"),
    "tiff-cmyk": lambda w, h: saved(textured(w, h), "TIFF", "CMYK"),
    "tiff-rgba": lambda w, h: _tiff_with_alpha(textured(w, h, 4)),
    "tiff-16-grey": lambda w, h: deep_tiff(textured(w, h, 1, depth=16)),
    "tiff-16-rgb": lambda w, h: deep_tiff(textured(w, h, 3, depth=16)),
}


@cache  # the profile tells the second of its making
def srgb_profile() -> bytes:
    """A valid RGB colour profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def thumbnail() -> bytes:
    """A little JPEG, as cameras put it into EXIF."""
    return bytes(simplejpeg.encode_jpeg(textured(160, 120, seed=9), 80, "RGB", "420"))


def ratio(*pairs: tuple[int, int]) -> Entry:
    """A RATIONAL entry, big-endian."""
    return Entry(5, len(pairs), b"".join(struct.pack(">II", *pair) for pair in pairs))


def text(value: str) -> Entry:
    """An ASCII entry."""
    raw = value.encode() + b"\0"
    return Entry(2, len(raw), raw)


# a latitude whose fractions are not in lowest terms: it must survive digit for digit
LATITUDE = ((48, 1), (8, 1), (2_999_999_70, 10_000_000))


def _camera_tags(orientation: int, hidden: bytes) -> tuple[dict[int, Entry], ...]:
    main = {
        0x010F: text("Canon"),
        0x0110: text("EOS R5"),
        0x0112: Entry(3, 1, struct.pack(">H", orientation)),
        0x0132: text("2026:03:01 12:00:00"),
        0x013B: text("Jane Photographer"),
        0x8298: text("(c) Jane"),
        0xC4A5: Entry(7, 200, b"PrintIM" + b"\0" * 193),
    }
    exif = {
        0x9003: text("2026:03:01 12:00:00"),
        0x9291: text("123"),
        0x829A: ratio((1, 250)),
        0x927C: Entry(7, len(hidden), hidden),
        0x9286: Entry(7, 16, b"ASCII\0\0\0comment!"),
        0xA431: text("SERIAL0042"),
    }
    gps = {
        0x01: text("N"),
        0x02: ratio(*LATITUDE),
        0x03: text("E"),
        0x04: ratio((11, 1), (34, 1), (5, 1)),
        0x07: ratio((11, 1), (0, 1), (0, 1)),
        0x10: text("T"),
        0x11: ratio((27_345, 100)),
        0x1C: Entry(7, 12, b"AREASECRET!!"),
        0x1D: text("2026:03:01"),
    }
    return main, exif, gps


def _with_second_directory(block: bytes, tags: int, second: dict[int, Entry]) -> bytes:
    """``block``, whose first directory has ``tags`` entries, with ``second`` chained behind it."""
    out = bytearray(block + b"\0" * (len(block) % 2))
    struct.pack_into(">I", out, 8 + 2 + 12 * tags, len(out))
    out += struct.pack(">H", len(second))
    for tag, entry in sorted(second.items()):
        out += struct.pack(">HHI", tag, entry.kind, entry.count) + entry.raw.ljust(4, b"\0")
    return bytes(out + b"\0\0\0\0")


def _long(value: int) -> Entry:
    return Entry(4, 1, struct.pack(">I", value))


def _short(value: int) -> Entry:
    return Entry(3, 1, struct.pack(">H", value))


def camera_exif(orientation: int = 1) -> bytes:
    """EXIF as a street camera writes it, with everything that must go, and a thumbnail."""
    hidden = thumbnail()
    main, exif, gps = _camera_tags(orientation, hidden)
    block = write_directories(">", main, {0x8769: exif, 0x8825: gps})
    size = len(_with_second_directory(block, len(main) + 2, {1: _long(0), 2: _long(0)}))
    second = {0x0201: _long(size), 0x0202: _long(len(hidden))}
    return _with_second_directory(block, len(main) + 2, second) + hidden


def exif_with_raw_thumbnail() -> bytes:
    """EXIF whose thumbnail is uncompressed, so that no signature of a picture gives it away."""
    block = write_directories(">", {0x0110: text("EOS R5")}, {})
    pixels = textured(16, 12, seed=9)
    second = {0x0100: _long(16), 0x0101: _long(12), 0x0103: _short(1), 0x0106: _short(2)}
    second |= {0x0115: _short(3), 0x0117: _long(pixels.nbytes)}
    size = len(_with_second_directory(block, 1, {**second, 0x0111: _long(0)}))
    return _with_second_directory(block, 1, {**second, 0x0111: _long(size)}) + pixels.tobytes()


XMP = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:GImage="http://ns.google.com/photos/1.0/image/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 GPano:ProjectionType="equirectangular" GPano:PoseHeadingDegrees="273.4" dc:creator="Jane"
 GImage:Data="/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQ" GPano:Unknown="x">
<GPano:FullPanoWidthPixels>8000</GPano:FullPanoWidthPixels>
<xmp:Thumbnails><rdf:Alt><rdf:li>secret</rdf:li></rdf:Alt></xmp:Thumbnails>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def segment(marker: int, payload: bytes) -> bytes:
    """A JPEG segment."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def laden_jpeg(pixels: Pixels, orientation: int = 1) -> bytes:
    """A JPEG with every kind of metadata, previews in many places and a motion photo behind."""
    plain = bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), 92, "RGB", "420"))
    hidden = thumbnail()
    jfif_end = 4 + int.from_bytes(plain[4:6], "big")
    jfif = segment(0xE0, b"JFIF\0\1\2\1\0\x60\0\x60\1\1" + b"\x10\x20\x30")
    profile = srgb_profile()
    parts = [
        jfif,
        segment(0xE0, b"JFXX\0\x10" + hidden),
        segment(0xE1, b"Exif\0\0" + camera_exif(orientation)),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP),
        segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + hidden),
        segment(0xE2, b"ICC_PROFILE\0\1\1" + profile),
        segment(0xE2, b"MPF\0" + b"MM\0*" + hidden),
        segment(0xEB, b"JP\0\0" + hidden),
        segment(0xED, b"Photoshop 3.0\0" + b"8BIM" + hidden),
        segment(0xFE, b"comment by Jane"),
    ]
    return plain[:2] + b"".join(parts) + plain[jfif_end:] + hidden + b"\0\0\0\x18ftypmp42"


def laden_png(pixels: Pixels, orientation: int = 1) -> bytes:
    """A PNG with metadata and previews."""
    found = png.parse_png(saved(pixels, "PNG"))
    extra = [
        (b"gAMA", struct.pack(">I", 45455)),
        (b"iCCP", b"x\0\0" + zlib.compress(srgb_profile())),
        (b"pHYs", struct.pack(">IIB", 3000, 3000, 1)),
        (b"eXIf", camera_exif(orientation)),
        (b"tEXt", b"Author\0Jane"),
        (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(thumbnail())),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        (b"prVW", thumbnail()),
    ]
    return png.join_chunks([found.chunks[0], *extra, *found.chunks[1:]]) + thumbnail()


def laden_webp(pixels: Pixels, orientation: int = 1) -> bytes:
    """A WebP with metadata and previews."""
    data = saved(
        pixels,
        "WEBP",
        lossless=True,
        icc_profile=srgb_profile(),
        xmp=XMP,
        exif=b"Exif\0\0" + camera_exif(orientation),
    )
    hidden = thumbnail()
    hidden += b"\0" * (len(hidden) % 2)
    data += b"PREV" + struct.pack("<I", len(hidden)) + hidden
    return b"RIFF" + struct.pack("<I", len(data) - 8) + data[8:] + hidden


def laden_tiff(pixels: Pixels, orientation: int = 1) -> bytes:
    """A TIFF with metadata and a smaller second page."""
    hidden = thumbnail()
    main, exif, gps = _camera_tags(orientation, hidden)
    height, width = pixels.shape[:2]
    profile = srgb_profile()
    main |= {
        0x0100: _long(width),
        0x0101: _long(height),
        0x0102: Entry(3, 3, struct.pack(">3H", 8, 8, 8)),
        0x0103: Entry(3, 1, struct.pack(">H", 1)),
        0x0106: Entry(3, 1, struct.pack(">H", 2)),
        0x0111: _long(0),
        0x0115: Entry(3, 1, struct.pack(">H", 3)),
        0x0116: _long(height),
        0x0117: _long(pixels.nbytes),
        0x02BC: Entry(1, len(XMP), XMP),
        0x8649: Entry(7, len(hidden) + 4, b"8BIM" + hidden),
        0x8773: Entry(7, len(profile), profile),
    }
    small = {0x00FE: _long(1), 0x0100: _long(1), 0x0101: _long(1), 0x0111: _long(8)}
    small |= {0x0106: Entry(3, 1, struct.pack(">H", 1)), 0x0117: _long(1)}

    def block() -> bytes:
        written = write_directories(">", main, {0x8769: exif, 0x8825: gps})
        return _with_second_directory(written, len(main) + 2, small)

    main[0x0111] = _long(len(block()))
    return block() + pixels.tobytes()


LADEN: dict[str, Callable[..., bytes]] = {
    "jpeg": laden_jpeg,
    "png": laden_png,
    "webp": laden_webp,
    "tiff": laden_tiff,
}


def faces(most: int) -> list[tuple[bytes, list[tuple[float, float, float, float]]]]:
    """Photographs with their face boxes from the development data; skips where it is absent."""
    folder = DATA / "dev" / "dlib_faces"
    if not folder.is_dir():
        pytest.skip(f"no development data under {DATA} (set STREETBLUR_DATA)")
    lines = (folder / "annotations.jsonl").read_text("utf-8").splitlines()[:most]
    rows = [json.loads(line) for line in lines]
    return [
        ((folder / row["image"]).read_bytes(), [tuple(b["xyxy"]) for b in row["boxes"]])
        for row in rows
    ]
