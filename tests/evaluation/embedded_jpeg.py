"""JPEG files with all that may hide a picture."""

from __future__ import annotations

import base64
import binascii
import json
import struct

from tests.evaluation.embedded_parts import (
    SIZE,
    Tags,
    Values,
    long,
    octets,
    tiff_block,
    xmp,
)
from tests.pipeline.pictures import saved, segment, textured


def plain_jpeg() -> bytes:
    """A JPEG with nothing but its picture."""
    data = saved(textured(*SIZE), "JPEG", quality=90)
    return data[:2] + data[4 + int.from_bytes(data[4:6], "big") :]


def jpeg(*segments: bytes, behind: bytes = b"") -> bytes:
    """A JPEG with more segments and something behind it."""
    plain = plain_jpeg()
    return plain[:2] + b"".join(segments) + plain[2:] + behind


def exif_jpeg(*blocks: bytes) -> bytes:
    """A JPEG with EXIF blocks."""
    return jpeg(*[segment(0xE1, b"Exif\0\0" + block) for block in blocks])


def xmp_jpeg(body: str, declared: str = "") -> bytes:
    """A JPEG with an XMP packet."""
    return jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(body, declared)))


def extended_xmp(hidden: bytes) -> bytes:
    """A JPEG whose extended XMP is split, no part of it long enough to say what it is."""
    text = xmp(f'my:note="{base64.b64encode(hidden).decode()}">')
    parts = [
        segment(
            0xE1,
            b"http://ns.adobe.com/xmp/extension/\0"
            + b"0123456789ABCDEF" * 2
            + struct.pack(">II", len(text), start)
            + text[start : start + 30],
        )
        for start in range(0, len(text), 30)
    ]
    return jpeg(*reversed(parts))


def mpf_index(*entries: tuple[int, int]) -> bytes:
    """An MPF segment that lists pictures by size and offset (CIPA DC-007, 5.2.3)."""
    listed = b"".join(struct.pack(">IIIHH", 0, *entry, 0, 0) for entry in entries)
    tags: Tags = {
        0xB000: Values(7, 4, b"0100"),
        0xB001: long(len(entries)),
        0xB002: octets(listed),
    }
    return segment(0xE2, b"MPF\0" + tiff_block(tags))


def with_second_picture(hidden: bytes) -> bytes:
    """A JPEG with another one behind it, in an MPF index."""
    size = len(jpeg(mpf_index((0, 0), (0, 0))))
    return jpeg(mpf_index((size, 0), (len(hidden), size - 10)), behind=hidden)


def irb_jpeg(block: bytes) -> bytes:
    """A JPEG with Photoshop's image resources."""
    return jpeg(segment(0xED, b"Photoshop 3.0\0" + block))


def split_resources(block: bytes) -> bytes:
    """The same in segments of few bytes each, none of which says what it holds."""
    parts = [block[i : i + 30] for i in range(0, len(block), 30)]
    return jpeg(*[segment(0xED, b"Photoshop 3.0\0" + part) for part in parts])


def jumbf_jpeg(box: bytes, part: int = 60_000) -> bytes:
    """A JPEG with a box in APP11, split into parts."""
    head, body = box[:8], box[8:]
    return jpeg(
        *[
            segment(0xEB, b"JP" + struct.pack(">HI", 1, number) + head + body[i : i + part])
            for number, i in enumerate(range(0, len(body), part), start=1)
        ]
    )


def icc_jpeg(profile: bytes) -> bytes:
    """A JPEG with a colour profile in segments too short to show what is in it."""
    parts = [profile[i : i + 100] for i in range(0, len(profile), 100)]
    head = b"ICC_PROFILE\0"
    return jpeg(
        *[segment(0xE2, head + bytes([n, len(parts)]) + p) for n, p in enumerate(parts, start=1)]
    )


def comment(text: bytes) -> bytes:
    """A JPEG with a comment."""
    return jpeg(segment(0xFE, text))


def uuencoded(hidden: bytes) -> bytes:
    """As mail carried pictures before MIME."""
    lines = [binascii.b2a_uu(hidden[i : i + 45]) for i in range(0, len(hidden), 45)]
    return b"begin 644 a.jpg\n" + b"".join(lines) + b"`\nend\n"


def base64_lines(hidden: bytes) -> bytes:
    """JSON whose text is base64 with escaped line breaks and slashes."""
    text = json.dumps({"camera": "x", "preview": base64.encodebytes(hidden).decode()})
    return text.replace("/", "\\/").encode()


def quoted_lines(text: bytes) -> bytes:
    """``text`` as a program has it: short strings, one added to the other."""
    return b" +\n  ".join(b'"' + text[i : i + 30] + b'"' for i in range(0, len(text), 30))


def in_scan(hidden: bytes) -> bytes:
    """A JPEG with more behind the last coded block, within its scan."""
    plain = plain_jpeg()
    return plain[:-2] + hidden.replace(b"\xff", b"\xff\0") + plain[-2:]


def in_first_scan(hidden: bytes) -> bytes:
    """A progressive JPEG with more behind its first scan."""
    data = saved(textured(*SIZE), "JPEG", quality=90, progressive=True)
    at = data.index(b"\xff\xda") + 14
    while data[at] != 0xFF or data[at + 1] == 0:
        at += 1
    return data[:at] + hidden.replace(b"\xff", b"\xff\0") + data[at:]


def lower(data: bytes, rows: int) -> bytes:
    """A JPEG whose header says that it has fewer rows than it codes."""
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">H", rows) + data[at + 2 :]
