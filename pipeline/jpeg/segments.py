"""The structure of a JPEG file: its segments, its frame, its scans, and what follows them.

Source: ITU-T T.81, annex B.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.errors import ImageRefused
from pipeline.jpeg.bitstream import scan_end

SOI, EOI, SOS, DNL, COM = 0xD8, 0xD9, 0xDA, 0xDC, 0xFE
DQT, DHT, DRI, DAC = 0xDB, 0xC4, 0xDD, 0xCC
APP0, APP1, APP2, APP11, APP14, APP15 = 0xE0, 0xE1, 0xE2, 0xEB, 0xEE, 0xEF
_PROGRESSIVE = {0xC2, 0xCA}
_ARITHMETIC = {0xC9, 0xCA}
_FRAMES = {0xC0, 0xC1, 0xC2} | _ARITHMETIC
# Horizontal and vertical, of the first component beside others of 1 x 1: 4:4:4, 4:2:2, 4:4:0,
# 4:2:0, 4:1:1 and 4:4:1.
_USUAL_SAMPLINGS = {(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (1, 4)}
_UNSUPPORTED_FRAMES = {
    0xC3: "lossless",
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xC7: "hierarchical",
    0xCB: "lossless",
    0xCD: "hierarchical",
    0xCE: "hierarchical",
    0xCF: "hierarchical",
}
# Everything else between SOI and EOI is either a frame, a scan or metadata.
_TABLES = {DQT, DHT, DRI, DAC}
# Far above what encoders write (a progressive file has about 10 scans).
MAX_SEGMENTS = 4096


@dataclass(frozen=True, slots=True)
class Segment:
    """One marker segment.

    Attributes:
        marker: second byte of the marker.
        start, stop: where the payload (without marker and length) lies in the file.
        scan_stop: for SOS, where the entropy-coded data ends; else equal to ``stop``.
    """

    marker: int
    start: int
    stop: int
    scan_stop: int

    @property
    def is_metadata(self) -> bool:
        """Whether the segment is not needed to decode the picture (APPn and comments)."""
        return APP0 <= self.marker <= APP15 or self.marker == COM

    def payload(self, data: bytes) -> bytes:
        """The payload's bytes."""
        return data[self.start : self.stop]

    def whole(self, data: bytes) -> bytes:
        """Marker, length, payload and, for SOS, the entropy-coded data."""
        return data[self.start - 4 : self.scan_stop]


@dataclass(frozen=True, slots=True)
class Component:
    """One colour component of the frame: sampling factors and its quantisation table's number."""

    identifier: int
    horizontal: int
    vertical: int
    table: int


@dataclass(frozen=True, slots=True)
class JpegStructure:
    """A JPEG taken apart.

    Attributes:
        segments: all segments between SOI and EOI, in file order.
        width, height: in pixels, as stored.
        precision: bits a sample.
        progressive: whether its scans complete one another.
        arithmetic: whether its coding is arithmetic, not Huffman's.
        components: of the frame.
        end: where the EOI marker ends; what lies behind is no part of the picture.
    """

    segments: tuple[Segment, ...]
    width: int
    height: int
    precision: int
    progressive: bool
    arithmetic: bool
    components: tuple[Component, ...]
    end: int

    @property
    def header(self) -> tuple[Segment, ...]:
        """The segments before the first scan: decoders take colours and profile from no others."""
        first = next(i for i, segment in enumerate(self.segments) if segment.marker == SOS)
        return self.segments[:first]

    @property
    def scans(self) -> int:
        """Number of scans."""
        return sum(segment.marker == SOS for segment in self.segments)


def parse_jpeg(data: bytes) -> JpegStructure:
    """Walk through ``data`` from SOI to EOI; nothing is decoded.

    Raises:
        ImageRefused: ``truncated``, ``corrupt``, ``unsupported_jpeg_<what>``.
    """
    if data[:2] != b"\xff\xd8":
        raise ImageRefused("corrupt", "the JPEG does not begin with a start marker")
    segments: list[Segment] = []
    frame: Segment | None = None
    at = 2
    while True:
        marker, at = _marker(data, at)
        if marker == EOI:
            break
        segment = _segment(data, marker, at)
        if marker in _FRAMES:
            if frame is not None:
                raise ImageRefused("unsupported_frames", "the JPEG holds several frames")
            frame = segment
        elif marker == SOS and frame is None:
            raise ImageRefused("corrupt", "the JPEG has a scan before its frame")
        segments.append(segment)
        if len(segments) > MAX_SEGMENTS:
            raise ImageRefused("corrupt", "the JPEG has too many segments")
        at = segment.scan_stop
    if frame is None or all(segment.marker != SOS for segment in segments):
        raise ImageRefused("corrupt", "the JPEG has no picture in it")
    return _with_frame(data, tuple(segments), frame, at)


def _marker(data: bytes, at: int) -> tuple[int, int]:
    """The marker at ``at`` (fill bytes skipped) and where its parameters begin."""
    if at < len(data) and data[at] != 0xFF:
        raise ImageRefused("corrupt", f"the JPEG has no marker where one must be (byte {at})")
    while at < len(data) and data[at] == 0xFF:
        at += 1
    if at >= len(data):
        raise ImageRefused("truncated", "the JPEG ends before its end marker")
    marker = data[at]
    if marker in _UNSUPPORTED_FRAMES:
        kind = _UNSUPPORTED_FRAMES[marker]
        raise ImageRefused(f"unsupported_jpeg_{kind}", f"{kind} JPEGs are not supported")
    if marker == DNL:
        raise ImageRefused("unsupported_jpeg_height", "the JPEG states its height after the scan")
    known = marker in _FRAMES | _TABLES | {SOS, EOI, COM} or APP0 <= marker <= APP15
    if not known:
        raise ImageRefused("corrupt", f"the JPEG has an unexpected marker {marker:#04x}")
    return marker, at + 1


def _segment(data: bytes, marker: int, at: int) -> Segment:
    if at + 2 > len(data):
        raise ImageRefused("truncated", "the JPEG ends inside a segment")
    length = int.from_bytes(data[at : at + 2], "big")
    stop = at + length
    if length < 2:
        raise ImageRefused("corrupt", "the JPEG has a segment of impossible length")
    if stop > len(data):
        raise ImageRefused("truncated", "the JPEG ends inside a segment")
    scan_stop = stop
    if marker == SOS:
        scan_stop = _scan_stop(data, stop)
    return Segment(marker, at + 2, stop, scan_stop)


def _scan_stop(data: bytes, at: int) -> int:
    """Where the scan ends whose coded data begins at ``at``: at its next marker."""
    stop = int(scan_end(np.frombuffer(data, np.uint8), at))
    if stop < 0:
        raise ImageRefused("truncated", "the JPEG ends inside its picture data")
    return stop


def _with_frame(
    data: bytes, segments: tuple[Segment, ...], frame: Segment, end: int
) -> JpegStructure:
    content = frame.payload(data)
    if len(content) < 6 or len(content) != 6 + 3 * content[5]:
        raise ImageRefused("corrupt", "the JPEG's frame header has the wrong length")
    height, width = int.from_bytes(content[1:3], "big"), int.from_bytes(content[3:5], "big")
    if height == 0:
        raise ImageRefused("unsupported_jpeg_height", "the JPEG states its height after the scan")
    if width == 0:
        raise ImageRefused("corrupt", "the JPEG is 0 pixels wide")
    components = tuple(
        Component(content[i], content[i + 1] >> 4, content[i + 1] & 15, content[i + 2])
        for i in range(6, len(content), 3)
    )
    return JpegStructure(
        segments,
        width,
        height,
        precision=content[0],
        progressive=frame.marker in _PROGRESSIVE,
        arithmetic=frame.marker in _ARITHMETIC,
        components=components,
        end=end,
    )


def quantisation_tables(data: bytes, structure: JpegStructure) -> tuple[tuple[int, ...], ...]:
    """Each component's quantisation table, 64 numbers in zigzag order.

    It is the one in force where the component's first scan begins (libjpeg, jdinput.c).

    Raises:
        ImageRefused: ``corrupt``, a table is missing or cut short.
    """
    tables: dict[int, tuple[int, ...]] = {}
    latched: dict[int, tuple[int, ...]] = {}
    for segment in structure.segments:
        content = segment.payload(data)
        if segment.marker == DQT:
            tables.update(_defined_tables(content))
        elif segment.marker == SOS and content:
            named = content[1 : 1 + 2 * content[0] : 2]
            for component in structure.components:
                if component.identifier in named and component.table in tables:
                    latched.setdefault(component.identifier, tables[component.table])
    try:
        return tuple(
            latched.get(component.identifier) or tables[component.table]
            for component in structure.components
        )
    except KeyError as error:
        raise ImageRefused("corrupt", "the JPEG lacks a quantisation table") from error


def _defined_tables(content: bytes) -> dict[int, tuple[int, ...]]:
    """By number, the tables of a DQT segment, 64 numbers each in zigzag order.

    Raises:
        ImageRefused: ``corrupt``, a table is cut short.
    """
    tables: dict[int, tuple[int, ...]] = {}
    at = 0
    while at < len(content):
        size = 2 if content[at] >> 4 else 1
        raw = content[at + 1 : at + 1 + 64 * size]
        if len(raw) != 64 * size:
            raise ImageRefused("corrupt", "the JPEG has a quantisation table cut short")
        tables[content[at] & 15] = tuple(
            int.from_bytes(raw[i : i + size], "big") for i in range(0, len(raw), size)
        )
        at += 1 + 64 * size
    return tables


def quantisation_tables_change(structure: JpegStructure) -> bool:
    """Whether a quantisation table stands behind the first scan, where it may replace another."""
    markers = [segment.marker for segment in structure.segments]
    return DQT in markers[markers.index(SOS) :]


def unusual_sampling(structure: JpegStructure) -> bool:
    """Whether the sampling factors are possible ones (1 to 4), but not those of 4:4:4 to 4:4:1."""
    factors = [(one.horizontal, one.vertical) for one in structure.components]
    if any(not 1 <= factor <= 4 for pair in factors for factor in pair):
        return False
    # black has as many samples as brightness
    return factors[0] not in _USUAL_SAMPLINGS or any(one != (1, 1) for one in factors[1:3])
