"""Colour profiles: kept when they are what they claim to be. Source: ICC.1:2022, section 7."""

from __future__ import annotations

import struct

from pipeline.embedded import find_pictures

MAX_PROFILE_BYTES = 4 * 2**20
_HEADER_BYTES = 128
_SPACES = {b"RGB ", b"GRAY", b"CMYK"}
_CLASSES = {b"scnr", b"mntr", b"prtr", b"spac"}
# What shows the colours of a picture (ICC.1:2022, section 9.2; bkpt: ICC.1:2001-04, 6.4.7): tables
# and curves, which pipeline.tone judges by what they do; numbers about device and viewing, of which
# the largest has 44 bytes; names. No private tags, nor those that hold whatever one likes.
_CURVES = "A2B0 A2B1 A2B2 D2B0 D2B1 D2B2 D2B3 rTRC gTRC bTRC kTRC"
_NUMBERS = "rXYZ gXYZ bXYZ wtpt bkpt chad chrm cicp lumi meas tech view rig0 rig2"
_NAMES = "desc cprt dmnd dmdd vued"
# Tables into the profile's space are for printing, which is what CMYK is for.
_PRINTING = "B2A0 B2A1 B2A2"
_MOST_BYTES = {
    **dict.fromkeys(_CURVES.split(), MAX_PROFILE_BYTES),
    **dict.fromkeys(_NUMBERS.split(), 64),
    **dict.fromkeys(_NAMES.split(), 256),
}
_PROFILE_ID = slice(84, 100)


def is_profile(profile: bytes) -> bool:
    """Whether ``profile`` has a valid header and tag table, fits its size and hides no picture."""
    if not _HEADER_BYTES + 4 <= len(profile) <= MAX_PROFILE_BYTES:
        return False
    if int.from_bytes(profile[:4], "big") != len(profile) or profile[36:40] != b"acsp":
        return False
    if profile[12:16] not in _CLASSES or profile[16:20] not in _SPACES:
        return False
    return _tags_fit(profile) and not find_pictures(profile)


def kept_profile(profile: bytes) -> bytes | None:
    """``profile`` without private tags and without what no tag accounts for; None if it is none.

    A profile that has nothing of that stays as it is, byte for byte.
    """
    if not is_profile(profile):
        return None
    entries = _entries(profile)
    most = dict(_MOST_BYTES)
    if profile[16:20] == b"CMYK":
        most |= dict.fromkeys(_PRINTING.split(), MAX_PROFILE_BYTES)
    # the first tag of a name counts
    firsts = {entry[0]: entry for entry in reversed(entries)}
    kept = [e for e in entries if e[2] <= most.get(e[0], -1) and firsts[e[0]] is e]
    if kept == entries and not _has_gaps(profile, entries):
        return profile
    return _rebuilt(profile, kept) if kept else None


def _entries(profile: bytes) -> list[tuple[str, int, int]]:
    """Name, offset and size of each tag."""
    count = int.from_bytes(profile[128:132], "big")
    table = profile[132 : 132 + 12 * count]
    return [
        (name.decode("latin-1"), offset, size)
        for name, offset, size in struct.iter_unpack(">4sII", table)
    ]


def _has_gaps(profile: bytes, entries: list[tuple[str, int, int]]) -> bool:
    """Whether anything but padding lies outside header, table and tags."""
    position = _HEADER_BYTES + 4 + 12 * len(entries)
    spans = sorted((offset, offset + size) for _, offset, size in entries)
    for start, stop in [*spans, (len(profile), len(profile))]:
        if any(profile[position:start]):
            return True
        position = max(position, stop)
    return False


def _rebuilt(profile: bytes, entries: list[tuple[str, int, int]]) -> bytes | None:
    """A profile of ``profile``'s header and ``entries``; None where that would be too large."""
    places: dict[tuple[int, int], int] = {}
    end = _HEADER_BYTES + 4 + 12 * len(entries)
    table = struct.pack(">I", len(entries))
    for name, offset, size in entries:
        if (offset, size) not in places:  # tags may share their data
            places[offset, size] = end
            end += size + -size % 4
        table += struct.pack(">4sII", name.encode("latin-1"), places[offset, size], size)
    if end > MAX_PROFILE_BYTES:
        return None
    header = bytearray(profile[:_HEADER_BYTES])
    header[:4] = struct.pack(">I", end)
    header[_PROFILE_ID] = bytes(16)  # a sum over the profile as it was; 0: none is given
    tags = (
        profile[offset : offset + size].ljust(size + -size % 4, b"\0") for offset, size in places
    )
    return b"".join([header, table, *tags])


def _tags_fit(profile: bytes) -> bool:
    count = int.from_bytes(profile[128:132], "big")
    if not 1 <= count <= 100 or 132 + 12 * count > len(profile):
        return False
    for at in range(132, 132 + 12 * count, 12):
        offset = int.from_bytes(profile[at + 4 : at + 8], "big")
        size = int.from_bytes(profile[at + 8 : at + 12], "big")
        if offset < 132 + 12 * count or offset + size > len(profile):
            return False
    return True
