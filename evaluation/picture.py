"""Pictures as a viewer sees them: upright, and whether two of them show the same scene."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.errors import StreetblurError

Pixels = NDArray[np.uint8]
Map = NDArray[np.bool_]

_TILE = 128
_TILES_A_SIDE = 5
_SAME = 0.5
_DETAIL_FLOOR = 0.25

# Where a face fills the picture, the margin around it may rightly lose all its detail with it.
# Then the coarse layout decides: grey means over 4x4 cells, which must differ by less than they
# vary themselves. Of 109 real pictures blurred whole (sigma a quarter of their size) 99 % pass, of
# all pairs of different ones 5 %.
_NEARLY_FILLED = 0.2
_LAYOUT = (4, 4)
_SAME_LAYOUT = 0.9


class PictureUnreadable(StreetblurError):
    """A picture is missing, damaged or of an unknown format."""


def read_upright(path: Path) -> Pixels:
    """Decode a picture and turn it as its EXIF orientation says.

    Returns:
        uint8 [H, W, 3] RGB.

    Raises:
        PictureUnreadable: missing, truncated, or not a picture.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            return np.asarray(upright.convert("RGB"), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PictureUnreadable(f"cannot be decoded ({error})", where=str(path)) from error


def same_scene(source: Pixels, output: Pixels, outside: Map) -> bool:
    """Whether ``output`` still shows ``source`` in place, judged outside the boxes.

    Another picture, or the same one moved, keeps no detail of any box in place either, and would
    be credited with obscuring all of them. So fine detail (wavelengths of about 5-11 pixels, on
    25 tiles at full resolution) must correlate by at least 0.5, and no better when the output is
    moved by one pixel. Coding at quality 75 leaves more than 0.9. Pictures without detail
    outside the boxes pass; those with less than a fifth of their area outside pass by their
    layout as well.

    Args:
        source: uint8 [H, W, 3] RGB.
        output: uint8 [H, W, 3] RGB.
        outside: bool [H, W], the pixels that should not have changed.
    """
    if source.shape != output.shape:
        return False
    scores = np.zeros((3, 3))
    before_energy = after_energy = 0.0
    for tile in _tiles(*source.shape[:2]):
        before = _fine_detail(source[tile])[1:-1, 1:-1] * outside[tile][1:-1, 1:-1]
        after = _fine_detail(output[tile])
        rows, columns = before.shape
        before_energy += float((before**2).sum())
        after_energy += float(((after[1:-1, 1:-1] * outside[tile][1:-1, 1:-1]) ** 2).sum())
        for dy in range(3):
            for dx in range(3):
                moved = after[dy : dy + rows, dx : dx + columns]
                scores[dy, dx] += float((before * moved).sum())
    looked_at = float(np.count_nonzero(outside)) * _sampled(source)
    if before_energy <= _DETAIL_FLOOR * max(1.0, looked_at):
        return True
    in_place = scores[1, 1] / np.sqrt(before_energy * max(after_energy, 1e-9))
    if in_place >= _SAME and scores[1, 1] >= scores.max():
        return True
    return bool(outside.mean() < _NEARLY_FILLED and _same_layout(source, output))


def _same_layout(source: Pixels, output: Pixels) -> bool:
    before, after = _cells(source), _cells(output)
    difference = np.sqrt(((before - after) ** 2).mean())
    return bool(difference <= _SAME_LAYOUT * before.std())


def _cells(pixels: Pixels) -> NDArray[np.float64]:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, _LAYOUT, interpolation=cv2.INTER_AREA), dtype=np.float64)


def _tiles(height: int, width: int) -> list[tuple[slice, slice]]:
    tile_h, tile_w = min(_TILE, height), min(_TILE, width)
    tops = sorted({round(t) for t in np.linspace(0, height - tile_h, _TILES_A_SIDE)})
    lefts = sorted({round(t) for t in np.linspace(0, width - tile_w, _TILES_A_SIDE)})
    return [np.s_[y : y + tile_h, x : x + tile_w] for y in tops for x in lefts]


def _sampled(picture: Pixels) -> float:
    """Share of the picture's pixels that the tiles look at (overlaps count twice)."""
    height, width = int(picture.shape[0]), int(picture.shape[1])
    looked = len(_tiles(height, width)) * min(_TILE, height) * min(_TILE, width)
    return looked / (height * width)


def _fine_detail(pixels: Pixels) -> NDArray[np.float32]:
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.float32)
    return np.asarray(
        cv2.GaussianBlur(grey, (0, 0), 1.0) - cv2.GaussianBlur(grey, (0, 0), 2.0),
        dtype=np.float32,
    )
