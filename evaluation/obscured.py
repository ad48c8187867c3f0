"""Is what lies in a box obscured? Judged from the pixels of source and output alone.

A pixel is *obscured* when the output keeps less than 40 % of the gain, or of the correlation, of
the source's detail of 0.2-0.5 box heights around it, whatever its sign: a negative keeps all. A box
is obscured when at least 75 % of its pixels are.

Only grey levels are looked at, and lost contrast counts as lost detail: who fades a box to less
than 40 %, or moves its detail into colour alone, is credited, though people can still read it.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.geometry import Box

Pixels = NDArray[np.uint8]
Map = NDArray[np.bool_]
_Plane = NDArray[np.float32]

KEPT = 0.4
BOX_SHARE = 0.75

# A Gaussian halves the amplitude of wavelength w at sigma = sqrt(ln 2 / 2) / pi * w = 0.1874 w
# (its transfer function is exp(-2 pi^2 sigma^2 / w^2)), so the difference of the Gaussians for
# 0.2 and 0.5 box heights passes the detail in between.
_HALF_AMPLITUDE = math.sqrt(math.log(2) / 2) / math.pi
_FINE = _HALF_AMPLITUDE * 0.2
_COARSE = _HALF_AMPLITUDE * 0.5

# One wavelength of the coarsest detail: the smallest window in which unrelated content (noise, a
# mosaic) does not correlate by chance. Measured on 390 labelled boxes; 0.35 credits less noise.
_WINDOW = 0.5

# Detail below half a grey level is rounding, not detail (8-bit rounding alone has 0.29).
# It is added to every energy, so that two flat windows agree fully.
_ROUNDING = 0.5

# In-band RMS, in grey levels, below which a source window has no detail to lose, and the
# low-pass difference from which such a window counts as visibly changed. Coding at quality 75
# moves a low-passed flat area by less than 2 grey levels.
_FLAT = 1.0
_VISIBLE = 3.0

# Boxes are judged at this height at most: the band is defined in box heights, so nothing in it
# is lost, and the cost of a box no longer grows with its size.
_WORKING_HEIGHT = 64.0


def obscured_map(source: Pixels, output: Pixels, box_height: float) -> Map:
    """Which pixels of a box are obscured.

    Only what is handed in is looked at, so pass the box's pixels and nothing around them: the
    sharp edge between a redacted box and the scene would otherwise correlate with the source.

    A window without detail in the source (a blank margin of a plate) counts as obscured only
    when it changed visibly, by a shift of its level or by new detail.

    Args:
        source: uint8 [H, W] or [H, W, 3] RGB.
        output: same shape, same orientation.
        box_height: height of the whole box in pixels, also where the picture cuts it off.

    Returns:
        bool [H, W].

    Raises:
        ValueError: the shapes differ, or the box height is not positive.
    """
    if source.shape != output.shape:
        raise ValueError(f"source is {source.shape}, output is {output.shape}: sizes must agree")
    if not box_height > 0:
        raise ValueError(f"box_height is {box_height}: a positive number of pixels is needed")
    rows, columns = source.shape[:2]
    if rows == 0 or columns == 0:
        return np.zeros((rows, columns), dtype=np.bool_)
    before, after = _luma(source), _luma(output)
    scale = min(1.0, _WORKING_HEIGHT / box_height)
    if scale < 1:
        size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
        before = _plane(cv2.resize(before, size, interpolation=cv2.INTER_AREA))
        after = _plane(cv2.resize(after, size, interpolation=cv2.INTER_AREA))
    small = _judge(before, after, box_height * scale)
    if scale == 1:
        return small
    full = cv2.resize(small.astype(np.uint8), (columns, rows), interpolation=cv2.INTER_NEAREST)
    return np.asarray(full, dtype=np.bool_)


def obscured_share(source: Pixels, output: Pixels, box: Box) -> float:
    """Share of the box's pixels inside the picture that are obscured, 0..1.

    Args:
        source: the whole picture, uint8 [H, W] or [H, W, 3] RGB.
        output: same shape.
        box: in pixels of the picture; may reach over its border.

    Returns:
        The share; 0 for a box that lies wholly outside the picture.
    """
    height, width = source.shape[:2]
    x1, y1 = max(math.floor(box.x1), 0), max(math.floor(box.y1), 0)
    x2, y2 = min(math.ceil(box.x2), width), min(math.ceil(box.y2), height)
    if x2 <= x1 or y2 <= y1:
        return 0.0
    inside = np.s_[y1:y2, x1:x2]
    return float(obscured_map(source[inside], output[inside], box.height).mean())


def is_obscured(share: float) -> bool:
    """Whether a box with this share of obscured pixels counts as obscured."""
    return share >= BOX_SHARE


def _judge(before: _Plane, after: _Plane, box_height: float) -> Map:
    window = max(3, round(_WINDOW * box_height) | 1)

    def mean(plane: _Plane) -> _Plane:
        return _plane(cv2.blur(plane, (window, window), borderType=cv2.BORDER_REPLICATE))

    fine_before, detail_before = _bands(before, box_height)
    fine_after, detail_after = _bands(after, box_height)
    floor = np.float32(_ROUNDING**2)
    energy = mean(detail_before * detail_before)
    common = np.abs(mean(detail_before * detail_after)) + floor
    gain = common / (energy + floor)
    correlation = common / np.sqrt((energy + floor) * (mean(detail_after**2) + floor))
    lost = np.minimum(gain, correlation) < KEPT
    flat = energy < _FLAT**2
    changed = mean((fine_after - fine_before) ** 2) >= _VISIBLE**2
    return np.asarray(np.where(flat, changed, lost), dtype=np.bool_)


def _bands(plane: _Plane, box_height: float) -> tuple[_Plane, _Plane]:
    """The plane without detail finer than 0.2 box heights, and its 0.2-0.5 band."""
    fine = _gaussian(plane, _FINE * box_height)
    return fine, fine - _gaussian(plane, _COARSE * box_height)


def _gaussian(plane: _Plane, sigma: float) -> _Plane:
    return _plane(cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE))


def _luma(pixels: Pixels) -> _Plane:
    grey = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return _plane(grey)


def _plane(values: object) -> _Plane:
    return np.asarray(values, dtype=np.float32)
