"""The structure of a JPEG file: its marker segments, its scans, and what is neither.

Source: ITU-T T.81, annex B.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

SOI, EOI, SOS, COM, DQT, DHT = 0xD8, 0xD9, 0xDA, 0xFE, 0xDB, 0xC4
APP0, APP1, APP11, APP15 = 0xE0, 0xE1, 0xEB, 0xEF
_TEM = 0x01
# Frame headers (table B.1), and that of JPEG-LS (ITU-T T.87).
FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
# What ends a scan: a marker that is neither stuffing nor fill nor RST.
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.S)
_MARKER = re.compile(rb"\xff[^\x00\xff]", re.S)
# What JUMBF segments begin with (ISO 19566-5, annex D), behind it the number of the box.
JUMBF = b"JP"
# Far above what cameras write.
_MAX_SEGMENTS = 100_000


@dataclass(frozen=True, slots=True)
class Segment:
    """A marker segment's marker, and its payload with the position of that in the file."""

    marker: int
    start: int
    payload: bytes

    @property
    def identifier(self) -> bytes:
        """What an APPn payload begins with: whose it is."""
        if self.marker == APP11 and self.payload.startswith(JUMBF):
            return JUMBF + self.payload[2:4]  # each box has a number of its own
        return self.payload[:64].partition(b"\0")[0] if self.marker != COM else b""

    @property
    def place(self) -> str:
        """Its name for people."""
        if not APP0 <= self.marker <= APP15:
            return "comment" if self.marker == COM else f"segment {self.marker:#04x}"
        name = re.sub(rb"[^ -~]", b"", self.identifier[:40]).decode("ascii")
        return f"APP{self.marker - APP0} ({name or 'unnamed'})"


@dataclass(slots=True)
class Walk:
    """A JPEG's segments and scans, from its start to its end marker.

    Attributes:
        gaps: bytes that no segment accounts for, with their position.
        second_start: where a second start marker stands before the end marker, or -1.
        end: behind the end marker, or -1 where there is none.
        damage: why the walk went no further than ``reached``; empty where it came to its end.
    """

    segments: list[Segment] = field(default_factory=list)
    scans: list[bytes] = field(default_factory=list)
    gaps: list[tuple[int, bytes]] = field(default_factory=list)
    second_start: int = -1
    end: int = -1
    damage: str = ""
    reached: int = 2


def walk(data: bytes) -> Walk:
    """Take a JPEG apart; nothing is decoded."""
    found = Walk()
    at = 2
    while len(found.segments) < _MAX_SEGMENTS:
        found.reached = at
        match = _MARKER.search(data, at)
        if match is None:
            found.damage = "the JPEG ends before its end marker"
            return found
        if data[at : match.start()].strip(b"\xff"):
            found.gaps.append((at, data[at : match.start()]))
        marker, at = data[match.start() + 1], match.end()
        if marker == EOI:
            found.end = at
            return found
        if marker == SOI:
            found.second_start = match.start()
            return found
        if marker == _TEM or 0xD0 <= marker <= 0xD7:
            continue
        stop = at + int.from_bytes(data[at : at + 2], "big")
        if stop < at + 2 or stop > len(data):
            found.damage = "the JPEG has a segment of impossible length"
            return found
        found.segments.append(Segment(marker, at + 2, data[at + 2 : stop]))
        at = stop
        if marker == SOS:
            ending = _END_OF_SCAN.search(data, at)
            at = ending.start() if ending else len(data)
            found.scans.append(data[stop:at])
    found.damage = "the JPEG has too many segments"
    return found
