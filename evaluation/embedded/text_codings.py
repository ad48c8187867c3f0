"""What wraps a picture in text besides base64: uuencode, quoted-printable, base85.

Sources: POSIX.1-2017, uuencode; RFC 2045, 6.7; RFC 1924 and Adobe's ASCII85Encode filter.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

import numpy as np

from evaluation.embedded.layers import Layer

# Whole lines of 45 bytes, and one that is shorter.
_UUENCODED = re.compile(rb"(?:(?:^|(?<=\n))M[ -`]{60}\r?\n)++(?:[ -L][ -`]{0,60})?")
_LEAST_OCTETS = 8
_OCTET = re.compile(rb"=[0-9A-F]{2}")
# 26 bytes, the smallest GIF, are 33 characters.
_LEAST_DIGITS = 33
_RFC_1924 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_ADOBE = bytes(range(33, 118))
_POWERS = 85 ** np.arange(4, -1, -1, dtype=np.uint64)
# Two bytes are no signature where so much nonsense is decoded.
_BARE_JPEG_XL = b"\xff\x0a"


def decoded(text: bytes) -> Iterator[Layer]:
    """What ``text`` says where it may be coded in one of these ways."""
    for match in _UUENCODED.finditer(text):
        yield Layer("uuencode", match.start(), b"".join(map(_line, match.group().splitlines())))
    if len(_OCTET.findall(text)) >= _LEAST_OCTETS:
        yield Layer("quoted-printable", 0, binascii.a2b_qp(text))
    for alphabet, pattern in _BASE85:
        for match in pattern.finditer(text):
            digits = match.group().replace(b"z", b"!!!!!") if alphabet is _ADOBE else match.group()
            numbers = digits.translate(_DIGITS[alphabet], b"\r\n")
            for skipped in range(5):  # a word before the text shifts it
                data = _base85(numbers[skipped:])
                if not data.startswith(_BARE_JPEG_XL):
                    yield Layer("base85", match.start(), data)


def _line(line: bytes) -> bytes:
    try:
        return binascii.a2b_uu(line)
    except binascii.Error:
        return b""


def _base85(digits: bytes) -> bytes:
    """Groups of five ``digits`` (0 to 84) as four bytes each; zeros fill up the last group."""
    whole = digits + b"\0" * (-len(digits) % 5)
    groups = np.frombuffer(whole, np.uint8).reshape(-1, 5).astype(np.uint64)
    values = (groups * _POWERS).sum(axis=1) & np.uint64(0xFFFFFFFF)
    return bytes(values.astype(">u4").tobytes())


def _runs(characters: bytes) -> re.Pattern[bytes]:
    return re.compile(b"[%s\r\n]{%d,}+" % (re.escape(characters), _LEAST_DIGITS))


_DIGITS = {a: bytes.maketrans(a, bytes(range(85))) for a in (_RFC_1924, _ADOBE)}
_BASE85 = [(_RFC_1924, _runs(_RFC_1924)), (_ADOBE, _runs(_ADOBE + b"z"))]
