"""What wraps a picture in a run of bytes: text codings (base64, hexadecimal) and deflate.

Sources: RFC 4648 (base64, base64url, base16), RFC 1950 (zlib), RFC 1952 (gzip).
"""

from __future__ import annotations

import binascii
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

# The shortest text worth decoding: the smallest GIF has 26 bytes, 36 characters of base64.
_LEAST_TEXT = 36
_TEXT = re.compile(rb"[\t\r\n\x20-\x7e]{%d,}+" % _LEAST_TEXT)
# Text of 16 or 32 bits a character, big-endian text from its first character on.
_WIDE_TEXT = re.compile(rb"(?:[\t\r\n\x20-\x7e]\0{1,3}){%d,}+" % _LEAST_TEXT)
_BASE64 = re.compile(rb"[A-Za-z0-9+/_\-\s]{%d,}+" % _LEAST_TEXT)
_HEXADECIMAL = re.compile(rb"(?:[0-9A-Fa-f]{2}[\s:,\-]{0,8}){%d,}+" % (_LEAST_TEXT // 2))
_SPACE = b"\t\n\x0b\x0c\r "
_URL_ALPHABET = bytes.maketrans(b"-_", b"+/")
# How JSON, XML, URLs and C write characters, line breaks and bytes.
_ESCAPE = re.compile(
    rb"\\{1,4}u00([0-7][0-9A-Fa-f])|%([0-7][0-9A-Fa-f])|&#x0{0,6}([0-7]?[0-9A-Fa-f]);"
    rb"|&#0{0,6}(\d{1,3});|(?:\\{1,4}|0)x([0-9A-Fa-f]{2})|\\{1,4}([nrt])|\\{1,4}(/)"
)
_QUOTED_LINES = re.compile(rb'"\s{0,9}[,+.]?\s{0,9}\\?\s{0,9}"')
# RFC 1950, 2.2: method 8, a window of at most 32 KiB, no dictionary, a check that is right.
_HEADERS = [
    (cmf, flags)
    for cmf in range(0x08, 0x80, 0x10)
    for flags in range(256)
    if (cmf << 8 | flags) % 31 == 0 and not flags & 0x20
]
_DEFLATED = re.compile(  # looks ahead, for headers may overlap
    b"(?=" + b"|".join(re.escape(bytes(pair)) for pair in _HEADERS) + rb"|\x1f\x8b\x08[\0-\x1f])"
)
_ZLIB, _GZIP, _RAW = 15, 31, -15
_STEP = 1 << 14
_LEAST_INFLATED = 24


@dataclass(frozen=True, slots=True)
class Layer:
    """Something unwrapped: how it was wrapped, where that began, and what it is."""

    name: str
    start: int
    data: bytes


def texts_in(block: bytes) -> Iterator[tuple[int, bytes]]:
    """Position and characters of every run of text, as bytes of ASCII."""
    for match in _TEXT.finditer(block):
        yield match.start(), match.group()
    for match in _WIDE_TEXT.finditer(block):
        yield match.start(), match.group().replace(b"\0", b"")


def decoded(text: bytes) -> Iterator[Layer]:
    """What ``text`` says where it may be base64 or hexadecimal; most of it will be nonsense."""
    plain = _ESCAPE.sub(_character, text)
    if b'"' in plain:
        plain = _QUOTED_LINES.sub(b"", plain)
    for match in _BASE64.finditer(plain):
        digits = match.group().translate(_URL_ALPHABET, _SPACE)
        for skipped in range(4):  # a word before the text shifts it
            whole = len(digits) - (len(digits) - skipped) % 4
            yield Layer("base64", match.start(), binascii.a2b_base64(digits[skipped:whole]))
    for match in _HEXADECIMAL.finditer(plain):
        digits = match.group().translate(None, _SPACE + b":,-")
        for skipped in range(2):
            whole = len(digits) - (len(digits) - skipped) % 2
            yield Layer("hexadecimal", match.start(), binascii.a2b_hex(digits[skipped:whole]))


def _character(match: re.Match[bytes]) -> bytes:
    unicode, url, xml, decimal, octet, control, slash = match.groups()
    if octet is not None:
        return bytes(octet) + b","  # keeps bytes apart, as the hexadecimal of one run
    if control is not None:
        return b"\n"
    if slash is not None:
        return b"/"
    if decimal is not None:
        return bytes([min(int(decimal), 127)])
    return bytes([int(unicode or url or xml, 16)])


def inflated(block: bytes, most: int) -> Iterator[Layer]:
    """What can be inflated from anywhere in ``block``, each at most ``most`` bytes.

    Streams that are damaged or cut off give what comes before that.
    """
    view = memoryview(block)
    end = 0
    for match in _DEFLATED.finditer(block):
        at = match.start()
        if at < end:
            continue  # within a stream that was sound
        gzip = block[at] == 0x1F
        data, used, sound = inflate(view[at:], _GZIP if gzip else _ZLIB, most)
        if sound:
            end = at + used
        if len(data) >= _LEAST_INFLATED:
            yield Layer("gzip" if gzip else "zlib", at, data)
    data, _, _ = inflate(view, _RAW, most)
    if len(data) >= _LEAST_INFLATED:
        yield Layer("deflate", 0, data)


def inflate(data: memoryview, window: int, most: int) -> tuple[bytes, int, bool]:
    """Inflate the stream at the beginning of ``data``, at most ``most`` bytes of it.

    Returns:
        the bytes, how many bytes of ``data`` they took, and whether the stream came to its end.
    """
    inflater = zlib.decompressobj(window)
    parts: list[bytes] = []
    size = at = 0
    pending: bytes | memoryview = b""
    try:
        while not inflater.eof and size < most and (pending or at < len(data)):
            if not pending:
                pending = data[at : at + _STEP]
                at += len(pending)
            parts.append(inflater.decompress(pending, min(1 << 16, most - size)))
            size += len(parts[-1])
            pending = inflater.unconsumed_tail
    except zlib.error:
        pass
    return b"".join(parts), at - len(pending) - len(inflater.unused_data), inflater.eof
