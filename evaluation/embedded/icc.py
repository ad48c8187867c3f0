"""Bytes of colour profiles that no tag accounts for. Source: ICC.1:2022, section 7."""

from __future__ import annotations

from collections.abc import Iterator

_SIGNATURE, _SIGNATURE_AT = b"acsp", 36
_HEADER_BYTES, _ENTRY_BYTES = 128, 12
_MAX_TAGS = 256
_MAX_PROFILES = 16
# More than padding, less than the smallest uncompressed thumbnail.
_LEAST = 64


def unaccounted(block: bytes) -> Iterator[tuple[int, bytes]]:
    """Position and content of what lies between the tags of the profiles in ``block``."""
    at = block.find(_SIGNATURE)
    for _ in range(_MAX_PROFILES):
        if at < 0:
            return
        if at >= _SIGNATURE_AT:
            yield from _between_tags(block, at - _SIGNATURE_AT)
        at = block.find(_SIGNATURE, at + 1)


def _between_tags(block: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    profile = block[start : start + int.from_bytes(block[start : start + 4], "big")]
    count = int.from_bytes(profile[_HEADER_BYTES : _HEADER_BYTES + 4], "big")
    end = _HEADER_BYTES + 4 + _ENTRY_BYTES * count
    if not 1 <= count <= _MAX_TAGS or end > len(profile):
        return
    spans = [(len(profile), len(profile))]
    for at in range(_HEADER_BYTES + 4, end, _ENTRY_BYTES):
        offset, size = (int.from_bytes(profile[i : i + 4], "big") for i in (at + 4, at + 8))
        spans.append((min(offset, len(profile)), min(offset + size, len(profile))))
    for first, last in sorted(spans):
        gap = profile[end:first]
        if len(gap.strip(b"\0")) >= _LEAST:
            yield start + end, gap
        end = max(end, last)
