"""Taking a known blur off again: Wiener's filter and Richardson-Lucy (scikit-image)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from skimage.restoration import richardson_lucy, wiener

Floats = NDArray[np.float32]

_ITERATIONS = 30
_BALANCE = 0.02


def deconvolved(crops: Floats, sigma: float, method: str) -> Floats:
    """Crops [n, side, side, channels] with the Gaussian taken off that is known to have been used.

    Args:
        sigma: its standard deviation as a share of the side.
        method: ``wiener`` or ``richardson_lucy``.
    """
    side = crops.shape[1]
    kernel = _gaussian(sigma * side, side)
    undo: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
        "wiener": lambda plane: wiener(plane, kernel, _BALANCE, clip=True),
        "richardson_lucy": lambda plane: richardson_lucy(plane, kernel, _ITERATIONS),
    }
    made = np.empty(crops.shape, np.float32)
    margin = side // 2
    for number in range(len(crops)):
        for channel in range(crops.shape[3]):
            plane = crops[number, :, :, channel].astype(np.float64) / 255
            around = np.pad(plane, margin, mode="reflect")
            made[number, :, :, channel] = undo[method](around)[margin:-margin, margin:-margin] * 255
    return made


def _gaussian(sigma: float, side: int) -> NDArray[np.float64]:
    """A kernel that sums to 1, at most as wide as the picture."""
    reach = min(int(np.ceil(3 * sigma)), side // 2 - 1)
    x = np.arange(-reach, reach + 1)
    line = np.exp(-0.5 * (x / max(sigma, 1e-3)) ** 2)
    kernel = np.outer(line, line)
    return np.asarray(kernel / kernel.sum(), np.float64)
