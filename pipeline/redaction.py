"""Making boxes unrecognisable: masks, feather, blur with keyed noise, pixelate, solid.

A box is redacted at full strength everywhere, corners included (an ellipse inside it would leave
21 % sharp); the soft edge lies outside it (inside it would let half the signal through). Detail is
first destroyed by averaging over cells, then noised, and only then smoothed: what an attacker can
win back by deconvolution is the noisy cells, never the pixels. See docs/decisions/0008.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cells import BLUR, PIXELATE, SOLID, SPLINE_SIGMA, Floats, cells_in, paint
from pipeline.noise import NoiseField, NoiseKey, quantiles
from pipeline.orientation import IntBox
from pipeline.policy import Style
from pipeline.surroundings import LEAST_SQUARE, MOST_SQUARES, SQUARES, square_px
from serving.geometry import Box, Label

Pixels = NDArray[Any]

# The smallest cell: below it a tiny box would keep its very pixels.
MIN_CELL_PX = 4
# Standard deviations as multiples of the style's noise: of the cells, of the points between them
# (smoothing takes most of either away), and of single pixels, which a JPEG pays for in bytes: as
# much as a sensor has.
CELL_NOISE, HALF_NOISE, GRAIN = 2.0, 1.0, 0.25
# Noise that a channel has for itself: more would show as specks of colour.
COLOUR_NOISE = 0.5
# Beyond the last pixel of any picture.
FAR = 1 << 30
_NO_GRAIN = np.empty((0, 0), np.uint8)
_NO_NOISE = np.empty((0, 0), np.float32)
MODES = {"blur": BLUR, "pixelate": PIXELATE, "solid": SOLID}


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
    def cell_px(self) -> int:
        """Side of a cell: the power of two next above ``strength`` x the mean side, at least 4."""
        return _cell_px(self.x2 - self.x1, self.y2 - self.y1, self.style.strength)

    @property
    def square_px(self) -> int:
        """Least side of the squares in which the blur is bent to what lies around the box."""
        sides = max(self.x2 - self.x1, 0), max(self.y2 - self.y1, 0)
        least = max(math.sqrt(sides[0] * sides[1]) / SQUARES, max(sides) / MOST_SQUARES)
        return power_of_two(least, LEAST_SQUARE)

    @property
    def sigma_px(self) -> float:
        """Standard deviation of the Gaussian that the blur comes close to, in pixels."""
        return SPLINE_SIGMA * self.cell_px

    @property
    def feather_px(self) -> int:
        """Width of the soft edge outside the box, in pixels."""
        return round(self.style.feather * max(min(self.x2 - self.x1, self.y2 - self.y1), 0))

    def moved(self, area: IntBox) -> RedactionBox:
        """The same redaction at another ``area``, for instance in stored coordinates."""
        return RedactionBox(*area, self.style, self.label)


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """One channel of a picture, or of a part of it.

    Attributes:
        source, out: [h, w] samples, uint8 or uint16: what is read, what is written.
        left, top: the first sample's place in the channel.
        width, height: how many samples of the channel belong to the picture; those beyond are a
            coder's padding and are redacted with the nearest.
        step_x, step_y: pixels that a sample spans.
        channel: number in the picture, for noise of its own; None where there is only one.
        shared: whether it gets the noise that all channels share (brightness, not colour).
        averages: [rows, columns] int32 averages of the blocks of 8 x 8 samples of the whole
            channel, in 1 / 16 grey levels: where cells are whole blocks they are taken instead of
            ``source``; [0, 0] for none.
    """

    source: Pixels
    out: Pixels
    left: int
    top: int
    width: int
    height: int
    step_x: int
    step_y: int
    channel: int | None
    shared: bool
    averages: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 0), np.int32))


def redact_pixels(
    pixels: Pixels, boxes: Sequence[RedactionBox], noise: NoiseKey, *, alpha: bool | None = None
) -> Pixels:
    """A copy of ``pixels`` with every box redacted; pixels beyond the feather are identical.

    Args:
        pixels: [h, w] or [h, w, c], uint8 or uint16. Colours under transparent alpha are redacted;
            alpha becomes opaque in a box where it varies, since it can show what was there.
        boxes: in the coordinates of ``pixels``, that is, as stored.
        noise: keys the noise.
        alpha: whether the last channel is alpha; by default true for 2 and 4 channels.
    """
    out = pixels.copy()
    if not boxes:
        return out
    source, written = (p[:, :, None] if p.ndim == 2 else p for p in (pixels, out))
    if alpha is None:
        alpha = source.shape[2] in (2, 4)
    colours = source.shape[2] - int(alpha)
    height, width = source.shape[:2]
    planes = [
        Plane(
            source[:, :, i],
            written[:, :, i],
            *(0, 0, width, height, 1, 1),
            channel=i if colours > 1 else None,
            shared=True,
        )
        for i in range(colours)
    ]
    redact_planes(planes, boxes, noise.field(), (width, height))
    if alpha:
        for box in boxes:
            inside = _clipped(box.area, width, height)
            if inside is not None:
                _level(source[:, :, -1], written[:, :, -1], inside)
    return out


def redact_planes(
    planes: Sequence[Plane],
    boxes: Sequence[RedactionBox],
    noise: NoiseField,
    size: tuple[int, int],
    changed: NDArray[np.int64] | None = None,
) -> None:
    """Redact ``boxes`` in ``planes`` of a picture of ``size`` pixels, writing each plane's ``out``.

    Each layer is computed from the source, and layers are painted from the weakest to the
    strongest: a sample under several boxes is blurred once, by the strongest, in any order of
    boxes. The planes must hold all of :func:`needed_area` and :func:`seen_area` of every box; with
    ``averages``, :func:`touched_area` is enough for boxes whose cells are whole blocks.

    Args:
        changed: :func:`changed_areas` of all boxes of the picture; by default of ``boxes``.
    """
    if changed is None:
        changed = changed_areas(boxes, *size)
    places = [
        np.array([p.left, p.top, p.width, p.height, p.step_x, p.step_y, *size], np.int64)
        for p in planes
    ]
    for box in sorted(set(boxes), key=strength_order):
        touched, covered = touched_area(box, *size), covered_area(box, *size)
        if touched is None or covered is None:
            continue
        area = np.array(covered, np.int64)
        layer = _Noise(box, touched, covered, size, noise)
        mode, cell, reach = MODES[box.style.mode], box.cell_px, box.feather_px
        square, own = box.square_px, np.array(touched, np.int64)
        for plane, place in zip(planes, places, strict=True):
            full = 255 if plane.source.dtype == np.uint8 else 65535
            paint(
                plane.source,
                plane.averages,
                plane.out,
                place,
                area,
                reach,
                mode,
                cell,
                square,
                own,
                changed,
                layer.of_cells(plane, full),
                layer.between(plane, full),
                *layer.grain(plane, full),
                full,
            )


class _Noise:
    """The noise of one box, for all planes.

    Args:
        touched: what the box may change, in pixels of the picture.
        area: what it covers at full strength, ``FAR`` where that is to the end of the padding.
    """

    def __init__(
        self,
        box: RedactionBox,
        touched: IntBox,
        area: IntBox,
        size: tuple[int, int],
        field: NoiseField,
    ) -> None:
        self._level = box.style.noise / 255
        self._blur = box.style.mode == "blur"
        self._side = box.cell_px
        self._field = field
        self._cells = cells_of(touched, self._side, *size)
        self._area, self._reach = area, box.feather_px
        none = box.style.mode == "solid" or not box.style.noise
        self._of_cells = None if none else field.values("cell", self._side, self._cells)

    def of_cells(self, plane: Plane, full: int) -> Floats:
        """[rows, columns] for the cells."""
        if self._of_cells is None:
            return _NO_NOISE
        level = self._level * full
        out: Floats | None = None
        if plane.shared:
            out = quantiles(CELL_NOISE * level)[self._of_cells[0]]
        if plane.channel is not None:
            own = quantiles(COLOUR_NOISE * level)[self._of_cells[plane.channel + 1]]
            out = own if out is None else out + own
        return _NO_NOISE if out is None else out

    def between(self, plane: Plane, full: int) -> Floats:
        """[2 rows - 1, 2 columns - 1] for the points between the cells; [0, 0] for no such."""
        least = self._side // max(plane.step_x, plane.step_y)
        if not plane.shared or not self._blur or least < MIN_CELL_PX:
            return _NO_NOISE
        left, top, right, bottom = self._cells
        points = (2 * left, 2 * top, 2 * right - 1, 2 * bottom - 1)
        (values,) = self._field.values("half", self._side, points)
        return np.asarray(quantiles(HALF_NOISE * self._level * full)[values])

    def grain(self, plane: Plane, full: int) -> tuple[NDArray[np.uint8], Floats]:
        """A byte for each sample that may change, and the grey levels of the bytes."""
        if self._of_cells is None or not plane.shared or not self._blur:
            return _NO_GRAIN, quantiles(0.0)
        x1, y1, x2, y2 = self._area
        area = (
            max((x1 - self._reach) // plane.step_x, plane.left),
            max((y1 - self._reach) // plane.step_y, plane.top),
            min(-(-(x2 + self._reach) // plane.step_x), plane.left + plane.source.shape[1]),
            min(-(-(y2 + self._reach) // plane.step_y), plane.top + plane.source.shape[0]),
        )
        (values,) = self._field.values("grain", plane.step_x, area)
        return values, quantiles(GRAIN * self._level * full)


def touched_area(box: RedactionBox, width: int, height: int) -> IntBox | None:
    """Everything that redacting ``box`` may change, feather included; None when outside."""
    inside = _clipped(box.area, width, height)
    return None if inside is None else _grown(inside, box.feather_px, width, height)


def changed_areas(boxes: Iterable[RedactionBox], width: int, height: int) -> NDArray[np.int64]:
    """[n, 4] what each of ``boxes`` may change, see :func:`touched_area`."""
    found = [one for box in boxes if (one := touched_area(box, width, height)) is not None]
    return np.array(found, np.int64).reshape(-1, 4)


def seen_area(box: RedactionBox, width: int, height: int, step: int = 1) -> IntBox | None:
    """All pixels that a blur is bent to, and the box; None when it lies outside.

    Args:
        step: most pixels that a sample of any channel spans.
    """
    touched = touched_area(box, width, height)
    if touched is None:
        return None
    side = square_px(box.square_px, step)
    x1, y1, x2, y2 = touched
    return (
        max((x1 // side - 1) * side, 0),
        max((y1 // side - 1) * side, 0),
        min((-(-x2 // side) + 1) * side, width),
        min((-(-y2 // side) + 1) * side, height),
    )


def covered_area(box: RedactionBox, width: int, height: int) -> IntBox | None:
    """What ``box`` replaces at full strength, ``FAR`` where that is to the end of the padding."""
    inside = _clipped(box.area, width, height)
    if inside is None:
        return None
    # a coder pads with copies of the last samples: what hides those hides the padding
    right = inside[2] if inside[2] < width else FAR
    return (inside[0], inside[1], right, inside[3] if inside[3] < height else FAR)


def needed_area(box: RedactionBox, width: int, height: int) -> IntBox | None:
    """All pixels that redacting ``box`` reads or writes; None when it lies outside."""
    touched = touched_area(box, width, height)
    if touched is None:
        return None
    side = box.cell_px
    left, top, right, bottom = cells_of(touched, side, width, height)
    return (
        left * side,
        top * side,
        width if right == cells_in(width, side) else right * side,
        height if bottom == cells_in(height, side) else bottom * side,
    )


def cells_of(touched: IntBox, side: int, width: int, height: int) -> IntBox:
    """The cells that ``touched`` pixels are made of.

    One more on each side would hardly show, and reading them costs as much as the box itself.
    """
    x1, y1, x2, y2 = touched
    columns, rows = cells_in(width, side), cells_in(height, side)
    return (
        min(x1 // side, columns - 1),
        min(y1 // side, rows - 1),
        min(-(-x2 // side), columns),
        min(-(-y2 // side), rows),
    )


@lru_cache(maxsize=4096)
def _cell_px(width: int, height: int, strength: float) -> int:
    return power_of_two(strength * math.sqrt(max(width, 0) * max(height, 0)), MIN_CELL_PX)


def power_of_two(least: float, smallest: int) -> int:
    """The next one from ``least`` on, at least ``smallest``, which is one."""
    return max(smallest, 1 << max(math.ceil(least) - 1, 0).bit_length())


def strength_order(box: RedactionBox) -> tuple[object, ...]:
    """Sorts boxes from the weakest to the strongest, which determines what they cover."""
    rank = MODES[box.style.mode]
    cell = math.inf if box.style.mode == "solid" else box.cell_px
    return (cell, rank, box.area, box.style.feather, box.style.noise, box.label)


def _clipped(area: IntBox, width: int, height: int) -> IntBox | None:
    x1, y1 = max(area[0], 0), max(area[1], 0)
    x2, y2 = min(area[2], width), min(area[3], height)
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def _grown(area: IntBox, by: int, width: int, height: int) -> IntBox:
    x1, y1, x2, y2 = area
    return (max(x1 - by, 0), max(y1 - by, 0), min(x2 + by, width), min(y2 + by, height))


def _level(source: Pixels, out: Pixels, inside: IntBox) -> None:
    """Make alpha ``out`` opaque in a box where its ``source`` is not the same all over."""
    x1, y1, x2, y2 = inside
    part = source[y1:y2, x1:x2]
    if part.min() != part.max():
        out[y1:y2, x1:x2] = np.iinfo(source.dtype).max
