"""WebP files chunk by chunk. Sources: RFC 9649; C2PA 2.2, annex A."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.errors import ImageRefused
from pipeline.jpeg.metadata import CleanMetadata, RawMetadata

Chunk = tuple[bytes, bytes]
_ICC_FLAG, _ALPHA_FLAG, _EXIF_FLAG, _XMP_FLAG = 32, 16, 8, 4


@dataclass(frozen=True, slots=True)
class WebpStructure:
    """A WebP taken apart.

    Attributes:
        chunks: type and payload of every chunk, in order.
        width, height: in pixels.
        alpha: whether there is an alpha channel.
        lossless: whether the picture is coded without loss (VP8L).
        end: where the RIFF form ends.
    """

    chunks: tuple[Chunk, ...]
    width: int
    height: int
    alpha: bool
    lossless: bool
    end: int

    def first(self, kind: bytes) -> bytes | None:
        """Payload of the first chunk of ``kind``, or None."""
        return next((payload for name, payload in self.chunks if name == kind), None)


def parse_webp(data: bytes) -> WebpStructure:
    """Walk through all chunks; nothing is decoded.

    Raises:
        ImageRefused: ``truncated``, ``corrupt``, ``unsupported_animation``.
    """
    if len(data) < 20:
        raise ImageRefused("truncated", "the WebP ends inside its header")
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    if end > len(data):
        raise ImageRefused("truncated", "the WebP is shorter than it says")
    chunks: list[Chunk] = []
    at = 12
    while at + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, at)
        if at + 8 + length > end:
            raise ImageRefused("truncated", "the WebP ends inside a chunk")
        chunks.append((kind, data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    kinds = [kind for kind, _ in chunks]
    if b"ANIM" in kinds or b"ANMF" in kinds:
        raise ImageRefused("unsupported_animation", "animated WebPs are not supported")
    if kinds.count(b"VP8 ") + kinds.count(b"VP8L") != 1:
        raise ImageRefused("corrupt", "the WebP does not hold exactly one picture")
    return _with_size(tuple(chunks), end)


def _with_size(chunks: tuple[Chunk, ...], end: int) -> WebpStructure:
    kind, coded = next(chunk for chunk in chunks if chunk[0] in (b"VP8 ", b"VP8L"))
    if len(coded) < (5 if kind == b"VP8L" else 10):
        raise ImageRefused("truncated", "the WebP's picture data ends inside its header")
    if kind == b"VP8L":
        if coded[0] != 0x2F:
            raise ImageRefused("corrupt", "the WebP's picture data has a wrong signature")
        bits = int.from_bytes(coded[1:5], "little")
        width, height, alpha = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    else:
        if coded[0] & 1 or coded[3:6] != b"\x9d\x01\x2a":
            raise ImageRefused("corrupt", "the WebP's picture data has a wrong signature")
        width, height = (v & 0x3FFF for v in struct.unpack_from("<HH", coded, 6))
        alpha = any(name == b"ALPH" for name, _ in chunks)
    extended = next((payload for name, payload in chunks if name == b"VP8X"), None)
    if extended is not None:
        if len(extended) < 10:
            raise ImageRefused("corrupt", "the WebP's extended header is too short")
        canvas = [int.from_bytes(extended[i : i + 3], "little") + 1 for i in (4, 7)]
        if canvas != [width, height]:
            raise ImageRefused("corrupt", "the WebP's headers disagree about its size")
    if not width or not height:
        raise ImageRefused("corrupt", "the WebP is 0 pixels wide or high")
    return WebpStructure(chunks, width, height, alpha, kind == b"VP8L", end)


def read_metadata(structure: WebpStructure) -> RawMetadata:
    """EXIF, XMP and colour profile of a WebP, and whether it has a C2PA manifest."""
    exif = structure.first(b"EXIF")
    return RawMetadata(
        None if exif is None else exif.removeprefix(b"Exif\0\0"),
        structure.first(b"XMP "),
        structure.first(b"ICCP"),
        structure.first(b"C2PA") is not None,
    )


def assemble(coded: WebpStructure, metadata: CleanMetadata) -> bytes:
    """The coded picture of ``coded``, bit for bit, with clean metadata and nothing else."""
    exif = metadata.exif_block
    flags = _ALPHA_FLAG if coded.alpha else 0
    flags |= _ICC_FLAG if metadata.icc is not None else 0
    flags |= _EXIF_FLAG if exif is not None else 0
    flags |= _XMP_FLAG if metadata.xmp is not None else 0
    chunks: list[tuple[bytes, bytes | None]] = [
        _extended_header(coded, flags),
        (b"ICCP", metadata.icc),
        *((kind, payload) for kind, payload in coded.chunks if kind in (b"ALPH", b"VP8 ", b"VP8L")),
        (b"EXIF", exif),
        (b"XMP ", metadata.xmp),
    ]
    return join_chunks((kind, payload) for kind, payload in chunks if payload is not None)


def alpha_header(structure: WebpStructure) -> Chunk:
    """The extended header of a file that holds the picture and its alpha alone."""
    return _extended_header(structure, _ALPHA_FLAG)


def _extended_header(structure: WebpStructure, flags: int) -> Chunk:
    size = (value - 1 for value in (structure.width, structure.height))
    return b"VP8X", bytes([flags, 0, 0, 0]) + b"".join(v.to_bytes(3, "little") for v in size)


def join_chunks(chunks: Iterable[Chunk]) -> bytes:
    """A WebP file of ``chunks`` (type, payload)."""
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) % 2)
        for kind, payload in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body
