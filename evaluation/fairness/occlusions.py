"""Sunglasses, a mask, a cap: drawn on aligned crops at proportions that fit them all.

UTKFace's crops are aligned: pupils lie near (0.31, 0.31) and (0.69, 0.31) of their sides, the tip
of the nose near (0.5, 0.57), the mouth near 0.76 and the chin near 0.96 of the height. No landmark
is looked for, since that would work better for some faces than for others. Colours are the same
for every face, in linear light.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Occlusion = Literal["none", "sunglasses", "mask", "dark mask", "hat"]
OCCLUSIONS: tuple[Occlusion, ...] = ("none", "sunglasses", "mask", "dark mask", "hat")

_GLASS = (0.012, 0.011, 0.012)
_FRAME = (0.006, 0.006, 0.006)
# A surgical mask and a black one: how a mask stands out from skin depends on both.
_CLOTHS = {"mask": (0.36, 0.50, 0.58), "dark mask": (0.02, 0.02, 0.022)}
_CAP = (0.030, 0.035, 0.060)
# Below a brim less light falls on the face: this share remains.
_SHADE = 0.55
# Sub-pixels by which OpenCV's coordinates are shifted, as powers of two.
_SHIFT = 6


def occluded(canvas: Floats, alpha: Floats, side: int, margin: int, what: Occlusion) -> None:
    """Draw ``what`` into a face, in place.

    Args:
        canvas: float32 [h, w, 3], the crop in linear light with surroundings.
        alpha: float32 [h, w], how much of it will be seen, 0..1; a cap adds to it.
        side: the crop's side in pixels.
        margin: where the crop begins on the canvas, in pixels along both axes.
    """
    pen = _Pen(canvas, side, margin)
    if what == "sunglasses":
        for x, out in ((0.31, -1), (0.69, 1)):
            pen.paint(pen.ellipse(x, 0.325, 0.165, 0.125), _FRAME)
            pen.paint(pen.ellipse(x, 0.325, 0.148, 0.108), _GLASS)
            pen.paint(pen.ellipse(x - 0.05, 0.27, 0.05, 0.02), (0.06, 0.065, 0.07))
            temple = [(x + out * 0.14, 0.27), (x + out * 0.27, 0.25), (x + out * 0.27, 0.28)]
            pen.paint(pen.polygon([*temple, (x + out * 0.14, 0.31)]), _FRAME)
        pen.paint(pen.polygon([(0.44, 0.27), (0.56, 0.27), (0.56, 0.31), (0.44, 0.31)]), _FRAME)
    elif what in _CLOTHS:
        colour = _CLOTHS[what]
        outline = [(0.50, 0.44), (0.64, 0.49), (0.90, 0.53), (0.88, 0.78), (0.74, 0.97)]
        outline += [(0.50, 1.03), (0.26, 0.97), (0.12, 0.78), (0.10, 0.53), (0.36, 0.49)]
        cloth = pen.polygon(outline)
        pen.paint(cloth, colour, pen.rounded())
        for y in (0.60, 0.70, 0.80):
            fold = pen.polygon([(0.14, y), (0.5, y + 0.03), (0.86, y), (0.5, y + 0.05)])
            pen.paint(fold * cloth, tuple(0.72 * value for value in colour))
    elif what == "hat":
        pen.shade(0.12, 0.40, _SHADE)
        crown = pen.ellipse(0.49, 0.04, 0.50, 0.33) * (pen.ys < 0.10)
        brim = pen.ellipse(0.49, 0.085, 0.50, 0.085)
        both = np.asarray(np.maximum(crown, brim), np.float32)
        pen.paint(crown, _CAP, pen.rounded())
        pen.paint(brim, tuple(0.6 * value for value in _CAP))
        np.maximum(alpha, both, out=alpha)


class _Pen:
    """Shapes in shares of the crop's side."""

    def __init__(self, canvas: Floats, side: int, margin: int) -> None:
        self._canvas, self._side, self._margin = canvas, side, margin
        height, width = canvas.shape[:2]
        self.ys = ((np.arange(height, dtype=np.float32) + 0.5 - margin) / side)[:, None]
        self._xs = ((np.arange(width, dtype=np.float32) + 0.5 - margin) / side)[None, :]

    def polygon(self, corners: list[tuple[float, float]]) -> Floats:
        scaled = np.array(corners) * self._side + self._margin - 0.5
        points = np.rint(scaled * 2**_SHIFT).astype(np.int32)
        drawn = np.zeros(self._canvas.shape[:2], np.uint8)
        cv2.fillPoly(drawn, [points], 255, cv2.LINE_AA, _SHIFT)
        return np.asarray(drawn / 255, np.float32)

    def ellipse(self, x: float, y: float, across: float, down: float) -> Floats:
        away = np.hypot((self._xs - x) / across, (self.ys - y) / down)
        edge = 1.5 / self._side / min(across, down)
        return np.asarray(np.clip((1 - away) / edge + 0.5, 0, 1), np.float32)

    def rounded(self) -> Floats:
        """Light on something round: less towards the sides."""
        across = 1 - 0.45 * ((self._xs - 0.5) / 0.5) ** 2
        return np.asarray(np.clip(across, 0.3, 1) * np.ones_like(self.ys), np.float32)

    def paint(self, shape: Floats, colour: tuple[float, ...], light: Floats | None = None) -> None:
        cover = shape[:, :, None]
        paint = np.array(colour, np.float32) * (1 if light is None else light[:, :, None])
        self._canvas[:] = self._canvas * (1 - cover) + paint * cover

    def shade(self, full: float, none: float, share: float) -> None:
        """Less light above ``none``, least above ``full``."""
        falls = np.clip((self.ys - full) / (none - full), 0, 1)
        self._canvas *= (share + (1 - share) * falls)[:, :, None]
