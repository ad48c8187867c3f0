"""Photographs as attackers handle them: with another decoder than the product's."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

QUALITY = 92


def decoded(data: bytes) -> Pixels:
    """uint8 [h, w, 3] RGB of any picture that OpenCV reads.

    Raises:
        ValueError: it reads none.
    """
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError("not a picture")
    return np.asarray(pixels[:, :, ::-1], np.uint8)


def coded(pixels: Pixels) -> bytes:
    """A JPEG of quality 92, 4:2:0."""
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    return cv2.imencode(".jpg", pixels[:, :, ::-1], options)[1].tobytes()
