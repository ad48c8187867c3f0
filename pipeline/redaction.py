"""Making boxes unrecognisable: masks, feather, blur with keyed noise, pixelate, solid.

A box is redacted at full strength everywhere, corners included (an ellipse inside it would leave
21 % sharp); the soft edge lies outside it (inside it would let half the signal through). Detail is
first destroyed by averaging over cells that are snapped to the box, then noised, and only then
smoothed: what an attacker can win back by deconvolution is the noisy cells, never the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.layers import Cells, Ints, Smooth
from pipeline.noise import ROWS_A_STRIP, NoiseKey, NoiseStream
from pipeline.orientation import IntBox
from pipeline.policy import Style
from serving.geometry import Box, Label

Pixels = NDArray[Any]

# Below this sigma (px) a tiny box would keep its very pixels: a 1-px box averages over itself.
MIN_SIGMA_PX = 2.0
# Cell side of a blur as a share of sigma: large enough to destroy, too small to show.
BLUR_CELL = 0.6
# Cell side of a pixelation as a share of sigma.
PIXELATE_CELL = 2.0
# Noise of the cells against the noise of the fine grain: smoothing takes most of it away.
CELL_NOISE = 2.0
# How far around a box cells are read: what a Gaussian weighs beyond (5 %) is left to the nearer.
REACH_SIGMAS = 2.0
NEUTRAL_GREY = 128 / 255


@dataclass(frozen=True, slots=True)
class RedactionBox:
    """One area to be redacted, already dilated, in whole pixels of the upright picture.

    Attributes:
        x1, y1, x2, y2: the area at full strength, ``x2``/``y2`` exclusive; may reach over the
            picture's borders.
        style: how; ``style.dilation`` is not applied again (see :meth:`around`).
        label: the class, for records.
    """

    x1: int
    y1: int
    x2: int
    y2: int
    style: Style
    label: Label

    @classmethod
    def around(cls, box: Box, style: Style, label: Label) -> RedactionBox:
        """The detection ``box`` (upright) grown as ``style`` says, rounded outwards."""
        grow = style.dilation
        dx = box.width * grow.sides + style.margin_px
        return cls(
            math.floor(box.x1 - dx),
            math.floor(box.y1 - box.height * grow.top - style.margin_px),
            math.ceil(box.x2 + dx),
            math.ceil(box.y2 + box.height * grow.bottom + style.margin_px),
            style,
            label,
        )

    @property
    def area(self) -> IntBox:
        """``(x1, y1, x2, y2)``."""
        return (self.x1, self.y1, self.x2, self.y2)

    @property
    def sigma_px(self) -> float:
        """Gaussian sigma in pixels: ``strength`` x geometric mean of the sides, at least 2."""
        sides = math.sqrt(max(self.x2 - self.x1, 0) * max(self.y2 - self.y1, 0))
        return max(self.style.strength * sides, MIN_SIGMA_PX)

    @property
    def feather_px(self) -> int:
        """Width of the soft edge outside the box, in pixels."""
        return round(self.style.feather * max(min(self.x2 - self.x1, self.y2 - self.y1), 0))

    def moved(self, area: IntBox) -> RedactionBox:
        """The same redaction at another ``area``, for instance in stored coordinates."""
        return RedactionBox(*area, self.style, self.label)


def redact_pixels(
    pixels: Pixels, boxes: Sequence[RedactionBox], noise: NoiseKey, *, alpha: bool | None = None
) -> Pixels:
    """A copy of ``pixels`` with every box redacted; pixels beyond the feather are identical.

    Each layer is computed from the source, and layers are painted from the weakest sigma to the
    strongest: a pixel under several boxes is blurred once, by the strongest, in any order of boxes.

    Args:
        pixels: [h, w] or [h, w, c], uint8 or uint16. Colours under transparent alpha are redacted;
            alpha becomes opaque in a box where it varies, since it can show what was there.
        boxes: in the coordinates of ``pixels``, that is, as stored.
        noise: keys the noise, together with each box's integers.
        alpha: whether the last channel is alpha; by default true for 2 and 4 channels.
    """
    out = pixels.copy()
    planes = out[:, :, None] if out.ndim == 2 else out
    source = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if alpha is None:
        alpha = planes.shape[2] in (2, 4)
    colours = planes.shape[2] - int(alpha)
    height, width = planes.shape[:2]
    for box in sorted(set(boxes), key=_strength_order):
        inside = _clipped(box.area, width, height)
        if inside is not None:
            _paint(source[:, :, :colours], planes[:, :, :colours], inside, box, noise)
            if alpha:
                _level(source[:, :, -1], planes[:, :, -1], inside)
    return out


def touched_area(box: RedactionBox, width: int, height: int) -> IntBox | None:
    """Everything that redacting ``box`` may change, feather included; None when outside."""
    inside = _clipped(box.area, width, height)
    return None if inside is None else _grown(inside, box.feather_px, width, height)


def _strength_order(box: RedactionBox) -> tuple[object, ...]:
    rank = {"blur": 0, "pixelate": 1, "solid": 2}[box.style.mode]
    sigma = math.inf if rank == 2 else box.sigma_px
    return (sigma, rank, box.area, box.style.feather, box.style.noise, box.label)


def _clipped(area: IntBox, width: int, height: int) -> IntBox | None:
    x1, y1 = max(area[0], 0), max(area[1], 0)
    x2, y2 = min(area[2], width), min(area[3], height)
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def _grown(area: IntBox, by: int, width: int, height: int) -> IntBox:
    x1, y1, x2, y2 = area
    return (max(x1 - by, 0), max(y1 - by, 0), min(x2 + by, width), min(y2 + by, height))


def _paint(source: Pixels, out: Pixels, inside: IntBox, box: RedactionBox, noise: NoiseKey) -> None:
    """Mix the redacted layer of one box into ``out``, strip by strip."""
    height, width = out.shape[:2]
    region = _grown(inside, box.feather_px, width, height)
    x1, row, x2, _ = region
    dx = _distance(x1, x2, inside[0], inside[2])
    for layer in _layer(source, inside, region, box, noise):
        rows = layer.shape[0]
        target = out[row : row + rows, x1:x2]
        dy = _distance(row, row + rows, inside[1], inside[3])
        if not dy.any():
            # only the sides of these rows are feathered: the box itself needs no mixing
            left, right = inside[0] - x1, inside[2] - x1
            target[:, left:right] = layer[:, left:right]
            sides = [slice(0, left), slice(right, None)]
        else:
            sides = [slice(None)]
        for side in sides:
            weight = _feather(dx[side], dy, box.feather_px)
            mixed = target[:, side] * (256 - weight) + layer[:, side] * weight
            target[:, side] = (mixed + 128) >> 8
        row += rows


def _level(source: Pixels, out: Pixels, inside: IntBox) -> None:
    """Make alpha ``out`` opaque in a box where its ``source`` is not the same all over."""
    x1, y1, x2, y2 = inside
    part = source[y1:y2, x1:x2]
    if part.min() != part.max():
        out[y1:y2, x1:x2] = np.iinfo(source.dtype).max


def _distance(start: int, stop: int, inner_start: int, inner_stop: int) -> NDArray[np.float64]:
    """How far each pixel of ``start``..``stop`` lies outside the inner range; 0 inside."""
    at = np.arange(start, stop)
    return np.maximum(np.maximum(inner_start - at, at - (inner_stop - 1)), 0).astype(np.float64)


def _feather(dx: NDArray[np.float64], dy: NDArray[np.float64], feather: int) -> Ints:
    """Weights [len(dy), len(dx), 1] of 256: 256 in the box, smoothly to 0 ``feather`` outside."""
    far = np.minimum(np.hypot(dy[:, None], dx[None, :]) / (feather + 1), 1)
    return np.asarray(np.rint(256 * (1 - far * far * (3 - 2 * far)))[:, :, None], dtype=np.int32)


def _layer(
    source: Pixels, inside: IntBox, region: IntBox, box: RedactionBox, noise: NoiseKey
) -> Iterator[Ints]:
    """Strips [rows, w, c] of whole grey levels that replace ``region``, from its top."""
    full = int(np.iinfo(source.dtype).max)
    width, height = region[2] - region[0], region[3] - region[1]
    if box.style.mode == "solid":
        for top in range(0, height, ROWS_A_STRIP):
            shape = (min(ROWS_A_STRIP, height - top), width, source.shape[2])
            yield np.full(shape, round(NEUTRAL_GREY * full), dtype=np.int32)
        return
    blur = box.style.mode == "blur"
    cell = box.sigma_px * (BLUR_CELL if blur else PIXELATE_CELL)
    margin = max(box.feather_px, REACH_SIGMAS * box.sigma_px if blur else 0)
    cells = Cells.of(source, inside, cell, margin)
    stream = noise.stream(box.style.mode, inside)
    level = box.style.noise * full / 255
    rows, columns, channels = cells.means.shape
    # blocks share their noise between the colours: it would tint them
    grid = cells.means + stream.normal((rows, columns, channels if blur else 1), CELL_NOISE * level)
    grid = np.clip(grid, 0, full)
    if blur:
        yield from _with_grain(Smooth(cells, grid, box.sigma_px, full), region, stream, level)
    else:
        yield from cells.blocks(grid, region, ROWS_A_STRIP)


def _with_grain(
    smooth: Smooth, region: IntBox, stream: NoiseStream, level: float
) -> Iterator[Ints]:
    """The smooth layer with fine grain, the same in every colour: coloured specks would show."""
    grain = stream.grain(region[2] - region[0], level * smooth.unit)
    shift = smooth.unit.bit_length() - 1
    for strip in smooth.strips(region):
        noisy = strip + grain(strip.shape[0])[:, :, None]
        yield np.clip((noisy + smooth.unit // 2) >> shift, 0, smooth.full)
