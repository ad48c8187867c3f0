"""What pictures hide in, in any format: TIFF structures, resources, boxes, profiles, packets."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tests.pipeline.pictures import saved, srgb_profile, textured, thumbnail
from tests.pipeline.test_jpeg_metadata import with_private_tag

SIZE = (97, 61)
SMALL = textured(16, 12, seed=9)
Carrier = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Case:
    """One way to hide a picture.

    Attributes:
        laden: makes the file.
        clean: makes its twin.
        finds: the kind that must be among the findings.
        refused: the pipeline takes neither the file nor what is in it.
    """

    laden: Callable[[], bytes]
    clean: Callable[[], bytes]
    finds: str = "JPEG"
    refused: bool = False


def harmless(size: int = 3000) -> bytes:
    """Bytes of no meaning."""
    return np.random.default_rng(5).bytes(size)


def carried(carrier: Carrier, finds: str = "JPEG", hidden: bytes | None = None) -> Case:
    """A case whose twin carries something harmless of the same length."""
    picture = thumbnail() if hidden is None else hidden
    return Case(lambda: carrier(picture), lambda: carrier(harmless(len(picture))), finds)


# Pictures of other kinds, as small as they may be.


def picture(file_format: str) -> bytes:
    """A little picture of a format that Pillow writes."""
    return saved(textured(24, 16, seed=3), file_format)


def box(kind: bytes, *content: bytes) -> bytes:
    """A box of ISO 14496-12."""
    body = b"".join(content)
    return struct.pack(">I", len(body) + 8) + kind + body


def film() -> bytes:
    """What a motion photo has behind its picture."""
    return box(b"ftyp", b"mp42", b"\0\0\0\0", b"isommp42") + box(b"mdat", harmless(500))


def zipped() -> bytes:
    """A ZIP archive with a JPEG."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", thumbnail())
    return buffer.getvalue()


def codestream() -> bytes:
    """The head of a JPEG 2000 codestream (ITU-T T.800, A.5.1)."""
    sizes = struct.pack(">HIIIIIIIIH", 0, 24, 16, 0, 0, 24, 16, 0, 0, 3) + b"\7\1\1" * 3
    return b"\xff\x4f\xff\x51" + struct.pack(">H", len(sizes) + 2) + sizes


def _film_without_type() -> bytes:
    return box(b"mdat", harmless(300)) + box(b"moov", box(b"mvhd", bytes(100)))


def _moving_gif() -> bytes:
    frames = [Image.fromarray(textured(24, 16, seed=i)) for i in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


# format -> the kind of finding it is, and a file, or the head of one
PICTURES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "jpeg": ("JPEG", thumbnail),
    "jpeg-progressive": ("JPEG", lambda: saved(textured(24, 16), "JPEG", progressive=True)),
    "jpeg-without-start": ("JPEG", lambda: thumbnail()[20:]),
    "png": ("PNG", lambda: picture("PNG")),
    "png-without-signature": ("PNG", lambda: picture("PNG")[8:]),
    "webp": ("WebP", lambda: picture("WEBP")),
    "gif": ("GIF", lambda: picture("GIF")),
    "gif-of-several-frames": ("GIF", _moving_gif),
    "bmp": ("BMP", lambda: picture("BMP")),
    "bitmap": ("bitmap", lambda: picture("DIB")),
    "tiff-little-endian": ("TIFF", lambda: picture("TIFF")),
    "tiff-big-endian": ("TIFF", lambda: tiff_block({**raw_thumbnail(), 0x0112: short(1)})),
    "heif": ("HEIF or film", lambda: box(b"ftyp", b"heic", bytes(4), b"mif1heic")),
    "avif": ("HEIF or film", lambda: box(b"ftyp", b"avif", bytes(4), b"avifmif1miaf")),
    "mp4": ("HEIF or film", film),
    "quicktime": ("film", _film_without_type),
    "avi": ("film", lambda: b"RIFF\0\x10\0\0AVI LIST" + harmless(300)),
    "matroska": ("film", lambda: b"\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska" + harmless(300)),
    "jp2": ("JPEG 2000", lambda: box(b"jP  ", b"\r\n\x87\n") + harmless(300)),
    "jpeg-2000-codestream": ("JPEG 2000", codestream),
    "jxl": ("JPEG XL", lambda: box(b"JXL ", b"\r\n\x87\n") + harmless(300)),
    "pdf": ("PDF", lambda: b"%PDF-1.7\n" + harmless(300)),
    "zip": ("ZIP", zipped),
    "xz": ("archive", lambda: b"\xfd7zXZ\0" + harmless(300)),
    "qoi": ("QOI", lambda: b"qoif" + struct.pack(">IIBB", 24, 16, 3, 0) + harmless(300)),
    "pnm": ("PNM", lambda: b"P6 24 16 255\n" + textured(24, 16).tobytes()),
    "photoshop": ("Photoshop file", lambda: b"8BPS\0\1" + bytes(6) + harmless(300)),
}


# TIFF structures, as EXIF blocks and TIFF files have them.


@dataclass(frozen=True)
class Below:
    """A pointer to another directory."""

    tags: Tags


@dataclass(frozen=True)
class Data:
    """A pointer to bytes."""

    content: bytes


@dataclass(frozen=True)
class Values:
    """A tag's values: TIFF type, how many, and their bytes."""

    kind: int
    count: int
    content: bytes


Tag = Below | Data | Values
Tags = dict[int, Tag]


def long(*values: int) -> Values:
    """LONG values."""
    return Values(4, len(values), struct.pack(f">{len(values)}I", *values))


def short(*values: int) -> Values:
    """SHORT values."""
    return Values(3, len(values), struct.pack(f">{len(values)}H", *values))


def octets(content: bytes) -> Values:
    """UNDEFINED bytes."""
    return Values(7, len(content), content)


def tiff_block(*chain: Tags, behind: bytes = b"") -> bytes:
    """A TIFF structure of the directories in ``chain``, with ``behind`` at its end."""
    out = bytearray(b"MM\0*" + struct.pack(">I", 8))
    for number, tags in enumerate(chain):
        pointer = _append(out, tags)
        if number < len(chain) - 1:
            struct.pack_into(">I", out, pointer, len(out))
    return bytes(out + behind)


def _append(out: bytearray, tags: Tags) -> int:
    """Write a directory and what it points to; where its pointer to the next one lies."""
    start = len(out)
    pointer = start + 2 + 12 * len(tags)
    out += struct.pack(">H", len(tags)) + bytes(12 * len(tags) + 4)
    for at, (tag, value) in zip(range(start + 2, pointer, 12), sorted(tags.items()), strict=True):
        if isinstance(value, Values):
            struct.pack_into(">HHI", out, at, tag, value.kind, value.count)
            if len(value.content) <= 4:
                out[at + 8 : at + 8 + len(value.content)] = value.content
                continue
        else:
            struct.pack_into(">HHI", out, at, tag, 4, 1)
        struct.pack_into(">I", out, at + 8, len(out))
        if isinstance(value, Below):
            _append(out, value.tags)
        else:
            out += value.content + b"\0" * (len(value.content) % 2)
    return pointer


CAMERA: Tags = {
    0x010F: Values(2, 6, b"Canon\0"),
    0x0112: short(1),
    0x8769: Below({0x9003: Values(2, 20, b"2026:03:01 12:00:00\0"), 0x829A: Data(bytes(8))}),
}


def jpeg_thumbnail(hidden: bytes) -> Tags:
    """A directory for a compressed thumbnail (Exif 2.32, 4.5.8)."""
    return {0x0103: short(6), 0x0201: Data(hidden), 0x0202: long(len(hidden))}


def raw_thumbnail() -> Tags:
    """A directory for an uncompressed thumbnail."""
    sides: Tags = {0x0100: long(16), 0x0101: long(12), 0x0102: short(8, 8, 8), 0x0103: short(1)}
    place: Tags = {0x0111: Data(SMALL.tobytes()), 0x0117: long(SMALL.nbytes)}
    return {**sides, 0x0106: short(2), 0x0115: short(3), 0x0116: long(12), **place}


def with_tag(tag: int, value: Tag, *, exif: bool = True) -> Tags:
    """A camera's directory with one more tag, in its Exif or main directory."""
    if not exif:
        return {**CAMERA, tag: value}
    below = CAMERA[0x8769]
    assert isinstance(below, Below)
    return {**CAMERA, 0x8769: Below({**below.tags, tag: value})}


def dangling() -> bytes:
    """A directory that says that the next one lies far behind the end."""
    block = bytearray(tiff_block(CAMERA))
    struct.pack_into(">I", block, 8 + 2 + 12 * len(CAMERA), 60_000)
    return bytes(block)


# Blocks of metadata.


def xmp(body: str, declared: str = "") -> bytes:
    """An XMP packet of one description with ``body`` as attributes and elements."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {declared} dc:creator="J. Doe" {body}'
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def resources(*listed: tuple[int, bytes]) -> bytes:
    """Photoshop's image resources."""
    parts = [
        b"8BIM" + struct.pack(">H", number) + b"\0\0" + struct.pack(">I", len(content)) + content
        for number, content in listed
    ]
    return b"".join(part + b"\0" * (len(part) % 2) for part in parts)


def photoshop_thumbnail(number: int, kind: int, pixels: bytes) -> bytes:
    """A thumbnail resource: 28 bytes of header, then a JPEG (kind 1) or pixels (kind 0)."""
    header = struct.pack(">6I2H", kind, 16, 12, 48, 576, len(pixels), 24, 1)
    return resources((0x03ED, bytes(16)), (number, header + pixels))


def jumbf(label: bytes, content: bytes) -> bytes:
    """A JUMBF superbox with an embedded file (ISO 19566-5)."""
    kind = b"\x40\xcb\x0c\x32\xbb\x8a\x48\x9d\xa7\x0b\x2a\xd6\xf4\x7f\x43\x69"
    described = box(b"jumd", kind, b"\3", label + b"\0")
    return box(b"jumb", described, box(b"bfdb", b"\0image/jpeg\0"), box(b"bidb", content))


def profile(hidden: bytes, tag: bytes = b"prVT") -> bytes:
    """A colour profile with one more tag, by default a private one."""
    return with_private_tag(srgb_profile(), b"data\0\0\0\0\0\0\0\1" + hidden, tag)


def unaccounted_profile(hidden: bytes) -> bytes:
    """A colour profile with something behind its tags."""
    whole = srgb_profile() + hidden
    return struct.pack(">I", len(whole)) + whole[4:]
