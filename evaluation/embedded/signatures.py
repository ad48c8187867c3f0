"""Pictures, films and archives that begin somewhere in a run of bytes.

Each signature is confirmed by the header behind it, so that chance does not look like a picture:
what is compared is at least 40 bits, so by chance there is one in a terabyte. Only a codestream of
JPEG XL has no more than two bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from evaluation.embedded.directories import TYPE_BYTES, Order
from evaluation.embedded.finding import TooMuch

Check = Callable[[bytes, int], bool]

# ITU-T T.81, table B.1, and JPEG-LS (T.87): frame headers, without DHT, JPG and DAC.
_FRAME = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf\xf7]\x00[\x0b\x0e\x11\x14]", re.S)
# Segments that may follow a frame: tables, scans, applications, JPEG-LS parameters, comments.
_MAY_FOLLOW = {0xC4, 0xCC, *range(0xDA, 0xE0), *range(0xE0, 0xF0), 0xF8, 0xFE}
_SOS = 0xDA
_PNG_DEPTHS = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
_BMP_BITS = {1, 2, 4, 8, 16, 24, 32}
# APPNOTE.TXT 4.4.5: methods in use.
_ZIP_METHODS = {0, 8, 9, 12, 14, 93, 94, 95, 96, 97, 98, 99}
_MAX_SIDE = 1 << 16
# By chance there are a few of one kind in a gigabyte.
_MOST_SIGNATURES = 4096
_TIFF_TYPES = {*TYPE_BYTES, 16, 17, 18}


def _number(data: bytes, at: int, size: int, order: Order = "big") -> int:
    return int.from_bytes(data[at : at + size], order)


def _sides(data: bytes, at: int, size: int, order: Order = "big") -> bool:
    """Whether two plausible lengths of ``size`` bytes each stand at ``at``."""
    return all(0 < _number(data, at + i * size, size, order) < _MAX_SIDE for i in (0, 1))


def _jpeg(data: bytes, at: int) -> bool:
    """A frame header that makes sense, and behind it marker segments as far as a scan."""
    channels = data[at + 9] if at + 9 < len(data) else 0
    end = at + 2 + _number(data, at + 2, 2)
    if _number(data, at + 2, 2) != 8 + 3 * channels or not 2 <= data[at + 4] <= 16:
        return False
    if _number(data, at + 7, 2) == 0 or end + 2 > len(data):
        return False
    for part in range(at + 10, end, 3):
        sampling, table = data[part + 1], data[part + 2]
        if not (1 <= sampling >> 4 <= 4 and 1 <= sampling & 15 <= 4 and table <= 3):
            return False
    for _ in range(64):
        if data[end : end + 1] != b"\xff" or data[end + 1] not in _MAY_FOLLOW:
            return False
        if data[end + 1] == _SOS:
            return True
        end += 2 + _number(data, end + 2, 2)
        if end + 2 > len(data):
            return True  # cut off behind at least one more segment
    return False


def _png(data: bytes, at: int) -> bool:
    header = data[at + 8 : at + 21]
    if len(header) < 13 or not all(0 < _number(header, i, 4) < 1 << 31 for i in (0, 4)):
        return False
    known = header[8] in _PNG_DEPTHS.get(header[9], set())
    return known and header[10] == header[11] == 0 and header[12] <= 1


def _gif(data: bytes, at: int) -> bool:
    """Screen size, and an image, an extension or the end behind the colour table (GIF89a, 18)."""
    if at + 13 >= len(data) or not _sides(data, at + 6, 2, "little"):
        return False
    flags = data[at + 10]
    behind = at + 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    return data[behind : behind + 1] in (b",", b"!", b";")


def _bitmap(data: bytes, at: int) -> bool:
    """A device-independent bitmap's header: size, planes, bits, compression (Windows GDI)."""
    if _number(data, at, 4, "little") == 12:
        sides, planes, bits = _sides(data, at + 4, 2, "little"), at + 8, at + 10
    else:
        width = _number(data, at + 4, 4, "little")
        height = int.from_bytes(data[at + 8 : at + 12], "little", signed=True)
        sides = 0 < width < _MAX_SIDE and 0 < abs(height) < _MAX_SIDE
        planes, bits = at + 12, at + 14
        if _number(data, at + 16, 4, "little") > 6:
            return False
    plausible = sides and _number(data, planes, 2, "little") == 1
    return plausible and _number(data, bits, 2, "little") in _BMP_BITS


def _bmp(data: bytes, at: int) -> bool:
    return _bitmap(data, at + 14)


def _tiff(data: bytes, at: int) -> bool:
    """A first directory of known types whose tags give width, length and where the data lies."""
    order: Order = "little" if data[at : at + 2] == b"II" else "big"
    big = data[at + 2 : at + 4] in (b"+\0", b"\0+")
    step, width = (20, 8) if big else (12, 4)
    offset = at + _number(data, at + (8 if big else 4), width, order)
    count = _number(data, offset, 8 if big else 2, order)
    first = offset + (8 if big else 2)
    if offset < at + 8 or not 3 <= count <= 256 or first + step * count > len(data):
        return False
    entries = range(first, first + step * count, step)
    if any(_number(data, i + 2, 2, order) not in _TIFF_TYPES for i in entries):
        return False
    tags = {_number(data, i, 2, order) for i in entries}
    classic = {0x0100, 0x0101} <= tags and bool(tags & {0x0111, 0x0144, 0x0201, 0x014A})
    # JPEG XR (T.832, annex A): width, height, offset of the coded picture
    return classic or {0xBC80, 0xBC81, 0xBCC0} <= tags


def _box(data: bytes, at: int) -> bool:
    """An ISO 14496-12 file type box: its size fits and its brands are names."""
    size = _number(data, at, 4)
    if not 16 <= size <= 1024 or size % 4:
        return False
    return all(byte == 0 or 32 <= byte < 127 for byte in data[at + 16 : at + size])


def _j2k(data: bytes, at: int) -> bool:
    """ITU-T T.800, A.5.1: the SIZ segment's length follows from its number of components."""
    length, channels = _number(data, at + 4, 2), _number(data, at + 40, 2)
    return channels > 0 and length == 38 + 3 * channels


def _zip(data: bytes, at: int) -> bool:
    if _number(data, at + 8, 2, "little") not in _ZIP_METHODS:
        return False
    length = _number(data, at + 26, 2, "little")
    return 0 < length <= 1024 and all(byte >= 32 for byte in data[at + 30 : at + 30 + length])


def _qoi(data: bytes, at: int) -> bool:
    return _sides(data, at + 4, 4) and data[at + 12 : at + 13] in (b"\3", b"\4")


def _photoshop(data: bytes, at: int) -> bool:
    """Photoshop file formats, image resources: a padded Pascal name and a size that fits."""
    name = data[at + 6 : at + 7]
    size_at = at + 6 + (len(name) and (name[0] + 2) // 2 * 2)
    return size_at + 4 <= len(data) and _number(data, size_at, 4) > 0


def _any(data: bytes, at: int) -> bool:
    return True


_TABLE: tuple[tuple[str, re.Pattern[bytes], Check], ...] = (
    ("JPEG", _FRAME, _jpeg),
    ("PNG", re.compile(rb"\x00\x00\x00\rIHDR"), _png),
    ("WebP", re.compile(rb"RIFF.{4}WEBPVP8[ LX]", re.S), _any),
    ("GIF", re.compile(rb"GIF8[79]a"), _gif),
    ("BMP", re.compile(rb"BM.{4}\x00{4}.{3}\x00[\x0c\x28\x34\x38\x40\x6c\x7c]\x00{3}", re.S), _bmp),
    (
        "bitmap",
        re.compile(
            rb"\x28\x00{3}.{8}\x01\x00[\x01\x02\x04\x08\x10\x18\x20]\x00[\x00-\x06]\x00{3}", re.S
        ),
        _bitmap,
    ),
    (
        "TIFF",
        re.compile(
            rb"II(?:\*\x00|\+\x00\x08\x00|U\x00|RO|RS|\xbc\x01)|MM(?:\x00\*|\x00\+\x00\x08|OR)"
        ),
        _tiff,
    ),
    ("HEIF or film", re.compile(rb"\x00\x00[\x00-\x04].ftyp[ -~]{4}", re.S), _box),
    ("film", re.compile(rb"moov\x00\x00\x00[\x6c\x78]mvhd"), _any),
    ("film", re.compile(rb"RIFF.{4}AVI LIST", re.S), _any),
    ("film", re.compile(rb"\x1a\x45\xdf\xa3.{1,60}?(?:webm|matroska)", re.S), _any),
    ("JPEG 2000", re.compile(rb"\x00\x00\x00\x0cjP  \r\n\x87\n"), _any),
    ("JPEG 2000", re.compile(rb"\xff\x4f\xff\x51"), _j2k),
    ("JPEG XL", re.compile(rb"\x00\x00\x00\x0cJXL \r\n\x87\n"), _any),
    ("PDF", re.compile(rb"%PDF-[12]\.\d"), _any),
    ("ZIP", re.compile(rb"PK\x03\x04[\x0a-\x3f]\x00"), _zip),
    ("archive", re.compile(rb"7z\xbc\xaf\x27\x1c|\xfd7zXZ\x00|BZh[1-9]1AY&SY|Rar!\x1a\x07"), _any),
    ("QOI", re.compile(rb"qoif"), _qoi),
    (
        "PNM",
        re.compile(rb"P[56]\s{1,2}\d{2,5}\s{1,2}\d{2,5}\s{1,2}(?:255|1023|4095|65535)\s"),
        _any,
    ),
    ("Photoshop file", re.compile(rb"8BPS\x00[\x01\x02]\x00{6}"), _any),
    ("Photoshop thumbnail", re.compile(rb"8BIM\x04[\x09\x0c]"), _photoshop),
    (
        "Photoshop layers",
        re.compile(rb"(?:8BIM|8B64|MIB8|46B8)(?:Layr|Lr16|Lr32|ryaL|61rL|23rL)"),
        _any,
    ),
    ("C2PA thumbnail", re.compile(rb"jumd.{17}c2pa\.thumbnail[!-~]{0,64}\x00", re.S), _any),
)
# ISO/IEC 18181-1: a codestream without a container begins with no more than this.
_BARE_JPEG_XL = b"\xff\x0a"
_LEAST_JPEG_XL = 64


def pictures_in(block: bytes) -> Iterator[tuple[str, int]]:
    """Kind and position of every picture that begins in ``block``.

    Raises:
        TooMuch: it holds more signatures than can be confirmed.
    """
    for kind, pattern, check in _TABLE:
        for number, match in enumerate(pattern.finditer(block)):
            if number == _MOST_SIGNATURES:
                raise TooMuch
            if check(block, match.start()):
                yield kind, match.start()


def begins_as_jpeg_xl(block: bytes) -> bool:
    """Whether ``block`` may be a bare JPEG XL codestream: two bytes say so, so only a beginning."""
    return block.startswith(_BARE_JPEG_XL) and len(block) >= _LEAST_JPEG_XL
