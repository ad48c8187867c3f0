"""The eight EXIF orientations: turning pixels and boxes between stored and upright.

Source of the eight cases: CIPA DC-008 (Exif 2.32), tag 0x0112.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

IntBox = tuple[int, int, int, int]

# stored -> upright: transpose first, then mirror left-right, then mirror top-bottom
_STEPS: dict[int, tuple[bool, bool, bool]] = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def upright_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """``(width, height)`` as displayed, of a picture stored as ``width`` x ``height`` pixels."""
    return (height, width) if _STEPS[orientation][0] else (width, height)


def to_upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The stored ``pixels`` [h, w(, c)] as displayed; a view wherever possible."""
    transpose, mirror_x, mirror_y = _STEPS[orientation]
    turned = np.swapaxes(pixels, 0, 1) if transpose else pixels
    return turned[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1]


def to_stored(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Inverse of :func:`to_upright`."""
    transpose, mirror_x, mirror_y = _STEPS[orientation]
    turned = pixels[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1]
    return np.swapaxes(turned, 0, 1) if transpose else turned


def box_to_stored(box: IntBox, orientation: int, upright: tuple[int, int]) -> IntBox:
    """Where an upright ``(x1, y1, x2, y2)`` lies in the stored pixels.

    Args:
        box: pixels of the upright picture, ``x2``/``y2`` exclusive.
        orientation: 1..8.
        upright: ``(width, height)`` of the upright picture.
    """
    transpose, mirror_x, mirror_y = _STEPS[orientation]
    x1, y1, x2, y2 = box
    width, height = upright
    if mirror_x:
        x1, x2 = width - x2, width - x1
    if mirror_y:
        y1, y2 = height - y2, height - y1
    return (y1, x1, y2, x2) if transpose else (x1, y1, x2, y2)
