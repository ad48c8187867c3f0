"""Colour data that would show people more than the detectors see in the raw samples is refused.

Profiles and gamma values stay in the output, so a steep one lifts what is nearly black in the file
to full contrast for every viewer. Judged in CIELAB, where equal steps look equally strong and no
colour of a wide gamut is clipped. Sources: ICC.1:2022; PNG, third edition, sections 11.3.2 and
11.3.3; ITU-T H.273, table 3.
"""

from __future__ import annotations

import io
import itertools
import re
import struct
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pipeline.containers import png
from pipeline.errors import ImageRefused
from pipeline.images import ImageInfo, raw_metadata
from pipeline.jpeg.icc import is_profile

# How far lightness (0..100) and colour (distance in CIELAB) may move within this many of 256
# levels. sRGB has 2.4 and 4.9, ProPhoto 3.1 and 11, linear light 13 and 26; a curve that reaches
# white at level 16 has 31 and 52.
WINDOW = 4
MAX_LIGHTNESS = 8.0
MAX_COLOUR = 16.0
# H.273 transfer characteristics of standard-range video and sRGB; PQ, HLG and linear are none.
SDR_TRANSFERS = frozenset({1, 4, 5, 6, 13, 14, 15})
# Profile space -> Pillow's mode, and the distance of the levels at which other channels are held.
_SPACES = {b"GRAY": ("L", 255), b"RGB ": ("RGB", 51), b"CMYK": ("CMYK", 85)}
# Picture mode without alpha -> spaces a profile may have. Viewers take an RGB profile for a grey
# picture or leave it; with any other mismatch nobody can tell what they do.
_FITTING = {"L": (b"GRAY", b"RGB "), "RGB": (b"RGB ",), "CMYK": (b"CMYK",)}
_ICC_CICP, _ICC_TABLES = b"cicp", re.compile(rb"[AD]2B\d")
_SRGB_GAMMA = struct.pack(">I", 45455)
_SRGB_PRIMARIES = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)


def refuse_steep_tones(data: bytes, info: ImageInfo) -> None:
    """Hold every piece of colour data in ``data`` that may stay in the output against the limits.

    All that are present are judged, for viewers differ in which they prefer. A profile that the
    output drops as malformed is not.

    Raises:
        ImageRefused: ``tone_curve``.
    """
    metadata = raw_metadata(data, info.format)
    if metadata.icc is not None and not _is_gentle_profile(metadata.icc, info.mode.rstrip("A")):
        raise _refused("the colour profile cannot be read or is steeper than any usual one")
    if info.format == "png":
        _refuse_steep_chunks(png.parse_png(data))


def _refused(what: str) -> ImageRefused:
    return ImageRefused(
        "tone_curve",
        f"{what}, so that people could see what the detectors do not",
        fix="Convert the picture to sRGB",
    )


@lru_cache(maxsize=32)
def _is_gentle_profile(icc: bytes, colours: str) -> bool:
    """Whether ``icc`` is dropped anyway or changes no tone of a picture of ``colours`` much."""
    if not is_profile(icc):
        return True
    if icc[16:20] not in _FITTING[colours] or not _has_sdr_transfer(icc):
        return False
    try:
        whole = _opened(icc)
        if not all(_is_gentle_rendering(whole, icc[16:20], intent) for intent in ImageCms.Intent):
            return False
        bare = _without_tables(icc)
        if bare == icc or not (shaper := _opened(bare)).profile.is_matrix_shaper:
            return True
        # not every viewer uses the tables of a profile that has curves, too
        return _is_gentle_rendering(shaper, icc[16:20], ImageCms.Intent.RELATIVE_COLORIMETRIC)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False


def _opened(icc: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(icc))


def _is_gentle_rendering(
    profile: ImageCms.ImageCmsProfile, space: bytes, intent: ImageCms.Intent
) -> bool:
    mode, step = _SPACES[space]
    ramps = _ramps(len(mode), step)
    # black point compensation is the steeper choice; NOOPTIMIZE keeps LittleCMS from smoothing
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOOPTIMIZE
    to_lab = ImageCms.buildTransform(profile, _lab(), mode, "LAB", intent, flags)
    rows = Image.frombytes(mode, (256, len(ramps)), ramps.tobytes())
    shown = ImageCms.applyTransform(rows, to_lab)
    if shown is None:
        return False
    coded = np.frombuffer(shown.tobytes(), np.uint8).reshape(len(ramps), 256, 3)
    lightness = coded[..., :1].astype(np.float32) * (100 / 255)
    return _is_gentle(np.concatenate([lightness, coded[..., 1:].view(np.int8)], axis=-1))


@cache
def _lab() -> Any:
    return ImageCms.createProfile("LAB")


@cache
def _ramps(channels: int, step: int) -> NDArray[np.uint8]:
    """All channels together, then each from 0 to 255 beside the others held: [n, 256, channels]."""
    levels = np.arange(256, dtype=np.uint8)
    rows = [np.repeat(levels[:, None], channels, axis=1)]
    held = itertools.product(range(0, 256, step), repeat=channels - 1)
    for others, at in itertools.product(held if channels > 1 else (), range(channels)):
        row = np.empty((256, channels), np.uint8)
        row[:] = (*others[:at], 0, *others[at:])
        row[:, at] = levels
        rows.append(row)
    return np.stack(rows)


def _is_gentle(lab: NDArray[Any]) -> bool:
    """Whether ramps [n, 256, 3] in CIELAB stay within the limits in every window."""
    windows = np.lib.stride_tricks.sliding_window_view(lab, WINDOW + 1, axis=1)
    spans = windows.max(axis=-1) - windows.min(axis=-1)
    lightness, colour = spans[..., 0].max(), np.linalg.norm(spans, axis=-1).max()
    return bool(lightness <= MAX_LIGHTNESS and colour <= MAX_COLOUR)


def _tags(icc: bytes) -> list[tuple[int, bytes]]:
    """Position and name of each entry of the tag table of a profile that :func:`is_profile`."""
    count = int.from_bytes(icc[128:132], "big")
    return [(at, icc[at : at + 4]) for at in range(132, 132 + 12 * count, 12)]


def _has_sdr_transfer(icc: bytes) -> bool:
    """Whether the tag that says how video is coded, if there is one, says standard range."""
    offsets = [int.from_bytes(icc[at + 4 : at + 8]) for at, name in _tags(icc) if name == _ICC_CICP]
    return all(SDR_TRANSFERS.intersection(icc[at + 9 : at + 10]) for at in offsets)


def _without_tables(icc: bytes) -> bytes:
    """``icc`` with its lookup tables under names that nobody reads."""
    out = bytearray(icc)
    for at, name in _tags(icc):
        if _ICC_TABLES.fullmatch(name):
            out[at : at + 4] = b"x" + name[1:]
    return bytes(out)


def _refuse_steep_chunks(found: png.PngStructure) -> None:
    gamma, chromaticities = found.first(b"gAMA"), found.first(b"cHRM")
    if not _is_gentle_gamma(gamma, chromaticities):
        raise _refused("gAMA or cHRM is steeper than any usual one")
    video = found.first(b"cICP")
    if video is not None and (len(video) != 4 or video[1] not in SDR_TRANSFERS):
        raise _refused("cICP is not that of standard-range colours")


@lru_cache(maxsize=256)
def _is_gentle_gamma(gamma: bytes | None, chromaticities: bytes | None) -> bool:
    """The same for the payloads of gAMA and cHRM; what is missing is taken to be as in sRGB."""
    if gamma is None and chromaticities is None:
        return True
    try:
        (exponent,) = struct.unpack(">I", _SRGB_GAMMA if gamma is None else gamma)
        points = struct.unpack(">8I", _SRGB_PRIMARIES if chromaticities is None else chromaticities)
        with np.errstate(all="ignore"):  # points that make no sense give no numbers: not gentle
            x, y = np.array(points, dtype=float).reshape(4, 2).T / 100_000
            xyz = np.stack([x / y, np.ones(4), (1 - x - y) / y])  # columns: white, then primaries
            to_xyz = xyz[:, 1:] * np.linalg.solve(xyz[:, 1:], xyz[:, 0])
            linear = (_ramps(3, 51) / 255.0) ** (100_000 / exponent)
            return _is_gentle(_xyz_to_lab(linear @ (to_xyz / xyz[:, :1]).T))
    except (struct.error, ZeroDivisionError, np.linalg.LinAlgError):
        return False


def _xyz_to_lab(relative: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIELAB of XYZ relative to white, [..., 3]. Source: CIE 15:2018, section 8.2.1."""
    edge = 6 / 29
    f = np.where(relative > edge**3, np.cbrt(relative), relative / (3 * edge**2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
