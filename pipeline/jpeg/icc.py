"""Colour profiles: kept when they are what they claim to be. Source: ICC.1:2022, section 7."""

from __future__ import annotations

from pipeline.embedded import find_pictures

MAX_PROFILE_BYTES = 4 * 2**20
_HEADER_BYTES = 128
_SPACES = {b"RGB ", b"GRAY", b"CMYK"}
_CLASSES = {b"scnr", b"mntr", b"prtr", b"spac"}


def is_profile(profile: bytes) -> bool:
    """Whether ``profile`` has a valid header and tag table, fits its size and hides no picture."""
    if not _HEADER_BYTES + 4 <= len(profile) <= MAX_PROFILE_BYTES:
        return False
    if int.from_bytes(profile[:4], "big") != len(profile) or profile[36:40] != b"acsp":
        return False
    if profile[12:16] not in _CLASSES or profile[16:20] not in _SPACES:
        return False
    return _tags_fit(profile) and not find_pictures(profile)


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
