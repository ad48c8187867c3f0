"""Redaction that knows the true boxes: what a perfect detector would give, to test the scorer.

It shares nothing with the product's redaction, so that neither can hide an error of the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.geometry import Box

Pixels = NDArray[np.uint8]
Mode = Literal["blur", "pixelate", "solid", "noise"]
Shape = Literal["box", "ellipse"]

_NOISE_LEVELS = 60.0
_DIRECT_SIGMA = 16.0


def redact(
    picture: Pixels,
    boxes: Iterable[Box],
    mode: Mode = "blur",
    *,
    sigma: float | None = None,
    shape: Shape = "box",
    seed: int = 0,
) -> Pixels:
    """A copy of ``picture`` in which exactly ``boxes`` are redacted, without dilation or feather.

    Args:
        picture: uint8 [H, W, 3] RGB.
        boxes: in pixels.
        mode: Gaussian ``blur``; ``pixelate`` with cells of two sigma; ``solid`` grey; ``noise``
            around grey.
        sigma: in pixels; a quarter of the geometric mean of the box's sides by default.
        shape: the whole ``box``, or the ``ellipse`` inside it, which leaves the corners.
        seed: of the noise.

    Returns:
        uint8 [H, W, 3].
    """
    output = picture.copy()
    height, width = picture.shape[:2]
    generator = np.random.default_rng(seed)
    for box in boxes:
        strength = 0.25 * math.sqrt(box.width * box.height) if sigma is None else sigma
        x1, y1 = max(math.floor(box.x1), 0), max(math.floor(box.y1), 0)
        x2, y2 = min(math.ceil(box.x2), width), min(math.ceil(box.y2), height)
        if x2 <= x1 or y2 <= y1:
            continue
        inside = np.s_[y1:y2, x1:x2]
        new = _replacement(output, (x1, y1, x2, y2), mode, strength, generator)
        if shape == "ellipse":
            mask = _ellipse(y2 - y1, x2 - x1)
            new = np.where(mask[..., None], new, output[inside])
        output[inside] = new
    return output


def _replacement(
    picture: Pixels,
    corners: tuple[int, int, int, int],
    mode: Mode,
    sigma: float,
    generator: np.random.Generator,
) -> Pixels:
    x1, y1, x2, y2 = corners
    rows, columns = y2 - y1, x2 - x1
    if mode == "solid":
        return np.full((rows, columns, 3), 128, dtype=np.uint8)
    if mode == "noise":
        noisy = generator.normal(128, _NOISE_LEVELS, (rows, columns, 3))
        return np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8)
    if mode == "pixelate":
        cell = max(1, round(2 * sigma))
        cells = (max(1, round(columns / cell)), max(1, round(rows / cell)))
        small = cv2.resize(picture[y1:y2, x1:x2], cells, interpolation=cv2.INTER_AREA)
        mosaic = cv2.resize(small, (columns, rows), interpolation=cv2.INTER_NEAREST)
        return np.asarray(mosaic, dtype=np.uint8)
    margin = math.ceil(4 * sigma)
    height, width = picture.shape[:2]
    left, top = max(x1 - margin, 0), max(y1 - margin, 0)
    around = picture[top : min(y2 + margin, height), left : min(x2 + margin, width)]
    soft = _gaussian(around.astype(np.float32), max(sigma, 0.1))
    part = soft[y1 - top : y2 - top, x1 - left : x2 - left]
    return np.asarray(np.clip(np.rint(part), 0, 255), dtype=np.uint8)


def _gaussian(pixels: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Blur; a large sigma on a smaller copy, for a kernel of thousands of taps takes minutes."""
    factor = max(1.0, sigma / _DIRECT_SIGMA)
    if factor == 1:
        return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), dtype=np.float32)
    rows, columns = pixels.shape[:2]
    size = (max(1, round(columns / factor)), max(1, round(rows / factor)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(small, (0, 0), _DIRECT_SIGMA)
    return np.asarray(cv2.resize(soft, (columns, rows)), dtype=np.float32)


def _ellipse(rows: int, columns: int) -> NDArray[np.bool_]:
    y = (np.arange(rows) + 0.5) / rows * 2 - 1
    x = (np.arange(columns) + 0.5) / columns * 2 - 1
    return np.asarray(x[None, :] ** 2 + y[:, None] ** 2 <= 1, dtype=np.bool_)
