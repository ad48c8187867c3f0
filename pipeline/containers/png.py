"""PNG files chunk by chunk.

Sources: W3C PNG specification, third edition (2025); C2PA 2.2, annex A.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ImageRefused
from pipeline.jpeg.icc import MAX_PROFILE_BYTES
from pipeline.jpeg.metadata import CleanMetadata, RawMetadata
from pipeline.policy import MetadataItem

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
# Small chunks of fixed meaning, with the longest payload each can have.
_COLOUR_CHUNKS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4, b"pHYs": 9, b"sBIT": 4}
_PIXEL_CHUNKS = {b"PLTE": 768, b"tRNS": 256, b"bKGD": 6}
_XMP_KEYWORD = b"XML:com.adobe.xmp\0"
_MAX_CHUNKS = 100_000


@dataclass(frozen=True, slots=True)
class PngStructure:
    """A PNG taken apart.

    Attributes:
        chunks: type and payload of every chunk, in order.
        width, height: in pixels.
        depth: bits a sample (1, 2, 4, 8, 16).
        colour: colour type (0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGBA).
        interlaced: whether Adam7 is used.
        end: where the IEND chunk ends.
    """

    chunks: tuple[tuple[bytes, bytes], ...]
    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool
    end: int

    def first(self, kind: bytes) -> bytes | None:
        """Payload of the first chunk of ``kind``, or None."""
        return next((payload for name, payload in self.chunks if name == kind), None)


def parse_png(data: bytes) -> PngStructure:
    """Walk through all chunks and check their sums; nothing is inflated.

    Raises:
        ImageRefused: ``truncated``, ``corrupt``, ``unsupported_animation``.
    """
    chunks: list[tuple[bytes, bytes]] = []
    at = len(SIGNATURE)
    while not chunks or chunks[-1][0] != b"IEND":
        if at + 12 > len(data):
            raise ImageRefused("truncated", "the PNG ends before its end chunk")
        length, kind = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            raise ImageRefused("truncated", "the PNG ends inside a chunk")
        payload = data[at + 8 : at + 8 + length]
        if (
            zlib.crc32(payload, zlib.crc32(kind))
            != struct.unpack_from(">I", data, at + 8 + length)[0]
        ):
            raise ImageRefused("corrupt", "a chunk of the PNG has a wrong checksum")
        chunks.append((kind, payload))
        if len(chunks) > _MAX_CHUNKS:
            raise ImageRefused("corrupt", "the PNG has too many chunks")
        at += 12 + length
    return _checked(tuple(chunks), at)


def _checked(chunks: tuple[tuple[bytes, bytes], ...], end: int) -> PngStructure:
    kinds = [kind for kind, _ in chunks]
    if kinds[0] != b"IHDR" or len(chunks[0][1]) != 13 or kinds.count(b"IHDR") != 1:
        raise ImageRefused("corrupt", "the PNG does not begin with its header")
    if b"acTL" in kinds or b"fdAT" in kinds:
        raise ImageRefused("unsupported_animation", "animated PNGs are not supported")
    if any(not kind[0] & 32 and kind not in (b"IHDR", b"PLTE", b"IDAT", b"IEND") for kind in kinds):
        raise ImageRefused("corrupt", "the PNG has an unknown critical chunk")
    first, count = (kinds.index(b"IDAT") if b"IDAT" in kinds else 0), kinds.count(b"IDAT")
    if count == 0 or any(kind != b"IDAT" for kind in kinds[first : first + count]):
        raise ImageRefused("corrupt", "the PNG's picture data is missing or interrupted")
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(
        ">IIBBBBB", chunks[0][1]
    )
    valid = depth in _DEPTHS.get(colour, ()) and compression == filtering == 0 and interlace <= 1
    if not (valid and 0 < width < 2**31 and 0 < height < 2**31):
        raise ImageRefused("corrupt", "the PNG's header makes no sense")
    return PngStructure(chunks, width, height, depth, colour, interlace == 1, end)


def check_stream(structure: PngStructure) -> None:
    """Inflate the picture data and see that it holds the picture and nothing else.

    Raises:
        ImageRefused: ``truncated``, ``corrupt``.
    """
    expected = _raw_bytes(structure)
    inflater = zlib.decompressobj()
    size = 0
    try:
        for kind, payload in structure.chunks:
            pending = payload if kind == b"IDAT" else b""
            while pending and size <= expected:
                size += len(inflater.decompress(pending, 1 << 20))
                pending = inflater.unconsumed_tail
    except zlib.error as error:
        raise ImageRefused("corrupt", f"the PNG's picture data is damaged ({error})") from error
    if size < expected or (not inflater.eof and size == expected):
        raise ImageRefused("truncated", "the PNG's picture data ends early")
    if size > expected or inflater.unused_data:
        raise ImageRefused("corrupt", "the PNG hides data behind its picture")


def _raw_bytes(structure: PngStructure) -> int:
    """Size of the inflated picture data: a filter byte and the packed samples for each row."""
    bits = CHANNELS[structure.colour] * structure.depth
    passes = [(0, 0, 1, 1)]
    if structure.interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4)]
        passes += [(1, 0, 2, 2), (0, 1, 1, 2)]
    total = 0
    for x, y, dx, dy in passes:
        columns = max(0, -(-(structure.width - x) // dx))
        rows = max(0, -(-(structure.height - y) // dy))
        total += rows * (1 + (columns * bits + 7) // 8) if columns else 0
    return total


def read_metadata(structure: PngStructure) -> RawMetadata:
    """EXIF, XMP and colour profile of a PNG, and whether it has a C2PA manifest."""
    exif = structure.first(b"eXIf")
    if exif is not None:
        exif = exif.removeprefix(b"Exif\0\0")
    xmp = next(
        (p for k, p in structure.chunks if k == b"iTXt" and p.startswith(_XMP_KEYWORD)), None
    )
    profile = structure.first(b"iCCP")
    return RawMetadata(
        exif,
        None if xmp is None else _international_text(xmp[len(_XMP_KEYWORD) :]),
        None if profile is None else _inflated(profile.partition(b"\0")[2][1:]),
        structure.first(b"caBX") is not None,
    )


def _international_text(content: bytes) -> bytes:
    """The text of an iTXt chunk behind its keyword; compressed text is inflated, bounded."""
    text = content[2:].partition(b"\0")[2].partition(b"\0")[2]
    return _inflated(text) if content[:1] == b"\1" else text


def inflated_text(kind: bytes, payload: bytes) -> bytes:
    """What a compressed zTXt, iTXt or iCCP chunk says; empty for other chunks."""
    _, _, content = payload.partition(b"\0")
    if kind in (b"zTXt", b"iCCP"):
        return _inflated(content[1:])
    return _international_text(content) if kind == b"iTXt" else b""


def _inflated(content: bytes) -> bytes:
    """At most ``MAX_PROFILE_BYTES`` + 1 inflated bytes; empty where they are damaged."""
    try:
        return zlib.decompressobj().decompress(content, MAX_PROFILE_BYTES + 1)
    except zlib.error:
        return b""


def assemble(
    coded: PngStructure,
    source: PngStructure,
    metadata: CleanMetadata,
    keep: Collection[MetadataItem],
    transparency: bytes | None,
) -> bytes:
    """The coded picture of ``coded`` with the source's colour chunks and clean metadata.

    Args:
        transparency: payload of the tRNS chunk, if any.
    """
    before: list[tuple[bytes, bytes]] = []
    for kind, most in _COLOUR_CHUNKS.items():
        payload = source.first(kind)
        if payload is not None and len(payload) <= most and (kind != b"sBIT" or coded is source):
            before.append((kind, payload))
    if metadata.icc is not None:
        before.append((b"iCCP", b"icc\0\0" + zlib.compress(metadata.icc)))
    for kind in (b"PLTE", b"tRNS", b"bKGD"):
        payload = transparency if kind == b"tRNS" else coded.first(kind)
        if payload is not None and len(payload) <= _PIXEL_CHUNKS[kind]:
            before.append((kind, payload))
    exif = metadata.exif_block
    if exif is not None:
        before.append((b"eXIf", exif))
    if metadata.xmp is not None:
        before.append((b"iTXt", _XMP_KEYWORD + b"\0\0\0\0" + metadata.xmp))
    time = source.first(b"tIME")
    if "time" in keep and time is not None and len(time) == 7:
        before.append((b"tIME", time))
    pixels = [chunk for chunk in coded.chunks if chunk[0] == b"IDAT"]
    return join_chunks([coded.chunks[0], *before, *pixels, (b"IEND", b"")])


def join_chunks(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A PNG file of ``chunks`` (type, payload)."""
    parts = [SIGNATURE]
    for kind, payload in chunks:
        crc = zlib.crc32(payload, zlib.crc32(kind))
        parts += [struct.pack(">I", len(payload)), kind, payload, struct.pack(">I", crc)]
    return b"".join(parts)


def encode_png(pixels: NDArray[Any]) -> bytes:
    """A PNG of ``pixels`` [h, w] or [h, w, 1..4], uint8 or uint16, rows filtered by ``Up``."""
    planes = pixels[:, :, None] if pixels.ndim == 2 else pixels
    height, width, channels = planes.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    depth = 8 * planes.dtype.itemsize
    rows = np.ascontiguousarray(planes.astype(planes.dtype.newbyteorder(">"))).view(np.uint8)
    rows = rows.reshape(height, -1)
    filtered = np.full((height, rows.shape[1] + 1), 2, dtype=np.uint8)
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(filtered.tobytes(), 6)
    return join_chunks([(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")])


def key_colour(source: PngStructure) -> bytes | None:
    """The transparent colour of a grey or RGB picture, 16 bits a sample as decoded; or None."""
    payload = source.first(b"tRNS")
    if payload is None or source.colour not in (0, 2) or source.depth >= 8:
        return payload if source.colour in (0, 2) else None
    grey = int.from_bytes(payload, "big") & ((1 << source.depth) - 1)
    return (grey * 255 // ((1 << source.depth) - 1)).to_bytes(2, "big")
