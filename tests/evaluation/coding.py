"""Coding a picture again, as a tool's output would be."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def coded(pixels: Pixels, quality: int | None) -> Pixels:
    """``pixels`` after one generation of JPEG; unchanged (PNG) when ``quality`` is None."""
    if quality is None:
        return pixels
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=quality)
    with Image.open(content) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)
