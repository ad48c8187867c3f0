"""Colour profiles made for tests: matrices with any curve, grey ones, lookup tables."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]
Tags = dict[bytes, bytes]
LEVELS = np.linspace(0, 1, 1024)

# D50 columns of RGB -> XYZ. Sources: the profiles of that name; ROMM RGB of ISO 22028-2.
PRIMARIES = {
    "srgb": ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)),
    "adobe": ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)),
    "p3": ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)),
    "prophoto": ((0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249)),
    "bt2020": ((0.6735, 0.2790, -0.0019), (0.1657, 0.6754, 0.0300), (0.1251, 0.0456, 0.7969)),
}
CURVES: dict[str, Curve] = {
    "srgb": np.where(LEVELS <= 0.04045, LEVELS / 12.92, ((LEVELS + 0.055) / 1.055) ** 2.4),
    "bt709": np.where(LEVELS < 0.081, LEVELS / 4.5, ((LEVELS + 0.099) / 1.099) ** (1 / 0.45)),
    "lstar": np.where(LEVELS <= 0.08, LEVELS / 9.033, ((LEVELS + 0.16) / 1.16) ** 3),
    **{f"gamma {gamma}": LEVELS**gamma for gamma in (1.0, 1.8, 2.0, 2.2, 2.4)},
}


def lifted(white_at: int) -> Curve:
    """A curve that reaches white at level ``white_at`` of 255."""
    curve = np.ones(256)
    curve[: white_at + 1] = np.linspace(0, 1, white_at + 1) ** 2.2
    return curve


def rgb_profile(primaries: str, curve: Curve, **more: bytes) -> bytes:
    """A matrix profile; ``more`` are further tags by name."""
    columns = zip((b"rXYZ", b"gXYZ", b"bXYZ"), PRIMARIES[primaries], strict=True)
    tags = {name: _xyz(values) for name, values in columns}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), coded(curve))
    return _profile(b"RGB ", tags | {name.encode(): value for name, value in more.items()})


def grey_profile(curve: Curve) -> bytes:
    """A profile of one curve."""
    return _profile(b"GRAY", {b"kTRC": coded(curve)})


def cmyk_profile(curve: Curve) -> bytes:
    """A profile whose inks take light away along ``curve``."""

    def corner(*inks: int) -> tuple[float, float, float]:
        cyan, magenta, yellow, black = inks
        lightness = (100 - 25 * (cyan + magenta) - 10 * yellow) * (0.2 if black else 1)
        return lightness, 25.0 * (magenta - cyan), 30.0 * (yellow - cyan)

    return _profile(b"CMYK", {b"A2B0": table(4, curve, corner)}, pcs=b"Lab ", kind=b"prtr")


def table(channels: int, curve: Curve, corner: Callable[..., tuple[float, float, float]]) -> bytes:
    """A lut8Type: one curve for all channels, then the CIELAB colours of the cube's corners."""
    coded = np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, len(curve)), curve)
    nodes = b""
    for index in range(2**channels):
        lightness, a, b = corner(*(index >> bit & 1 for bit in reversed(range(channels))))
        nodes += bytes([round(lightness * 2.55), round(a) + 128, round(b) + 128])
    unity = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    inputs = np.rint(coded * 255).astype(np.uint8).tobytes() * channels
    return (
        b"mft1\0\0\0\0"
        + bytes([channels, 3, 2, 0])
        + unity
        + inputs
        + nodes
        + bytes(range(256)) * 3
    )


def rgb_table(curve: Curve) -> bytes:
    """A lookup table of an RGB profile that goes with ``pcs=Lab``, grey along the diagonal."""
    return table(
        3, curve, lambda r, g, b: (20 * r + 60 * g + 20 * b, 20.0 * (r - g), 20.0 * (g - b))
    )


def lab_profile(tables: bytes, curve: Curve | None = None) -> bytes:
    """An RGB profile of lookup tables, with curves beside them if given."""
    tags: Tags = {b"A2B0": tables}
    if curve is not None:
        columns = zip((b"rXYZ", b"gXYZ", b"bXYZ"), PRIMARIES["srgb"], strict=True)
        tags |= {name: _xyz(values) for name, values in columns}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), coded(curve))
    return _profile(b"RGB ", tags, pcs=b"Lab ")


def _xyz(values: Any) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)


def coded(curve: Curve) -> bytes:
    """A curveType."""
    entries = np.rint(curve * 65535).astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", len(entries)) + entries.tobytes()


def _profile(space: bytes, tags: Tags, pcs: bytes = b"XYZ ", kind: bytes = b"mntr") -> bytes:
    white = _xyz((0.9642, 1, 0.8249))
    text = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + b"\0" * 78
    tags = {b"desc": text, b"cprt": b"text\0\0\0\0x\0\0\0", b"wtpt": white, **tags}
    directory, body = b"", b""
    for name, value in tags.items():
        at = 132 + 12 * len(tags) + len(body)
        directory += name + struct.pack(">II", at, len(value))
        body += value + b"\0" * (-len(value) % 4)
    size = 132 + len(directory) + len(body)
    head = struct.pack(">I", size) + b"lcms\2\x40\0\0" + kind + space + pcs + b"\0" * 12
    head += b"acsp" + b"\0" * 28 + white[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + directory + body
