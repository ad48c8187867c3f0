"""How much of a source's detail an output keeps inside boxes that were redacted.

A good output is what its cells' averages come to, and noise that knows nothing of the source. So
what is left when the expected redaction is taken off the output is compared with what the redaction
had to take off the source: scale by scale, from single samples to the cells themselves, over each
box and over small parts of it. A share of it that is more than chance was not redacted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import compiled
from pipeline.expected import Channel, cell_side, expected
from pipeline.orientation import IntBox
from pipeline.redaction import CELL_NOISE, COLOUR_NOISE, GRAIN, RedactionBox

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

# Standard deviations that noise alone does not reach by chance: 6 are 1 in 1000 million. A large
# box is judged in hundreds of places.
CHANCE = 6.0
# Detail weaker than this (grey levels, RMS) is hardly more than rounding.
FLAT = 1.0
# Share of the cells' noise that shows within a cell that is drawn smooth.
WITHIN_CELLS = 0.5
# How much more than in one square noise that is bent varies over several that go together.
BENT_TOGETHER = 2.0
# Grey levels between which a block of 8 x 8 samples counts as smooth.
SMOOTH = 24
# Standard deviation of what coding adds where a mask's edge crosses a block, beside quantising.
EDGE = 6.0
# Above this quantisation step nothing of a smooth block is coded but its noise.
FINE = 40
# Side of the smallest part of a box that is judged for itself, in samples.
SMALLEST_PART = 4


class Coding(NamedTuple):
    """Standard deviations, in grey levels, of what coding adds.

    Attributes:
        smooth: to a sample in a block of 8 x 8 that is smooth.
        rough: to a sample in a block that has an edge, or something that no box covers.
        averages: to the average of a block.
    """

    smooth: float
    rough: float
    averages: float


def coding_of(steps: NDArray[np.int32]) -> Coding:
    """What a JPEG's quantising adds: little where nothing is fine, whatever the steps there are.

    Args:
        steps: [64] quantisation steps, the average's first.
    """
    return _coding_of(tuple(steps.tolist()))


@lru_cache(maxsize=256)
def _coding_of(steps: tuple[int, ...]) -> Coding:
    smooth, rough = (
        math.sqrt(sum(step**2 for step in some) / len(some) / 12)
        for some in ([min(step, FINE) for step in steps], steps)
    )
    return Coding(smooth, rough, steps[0] / 8 / math.sqrt(12))


class Kept(NamedTuple):
    """What an output keeps of a box's detail.

    Attributes:
        box: which.
        excess: above 1 where it is more than the policy allows and more than chance.
    """

    box: RedactionBox
    excess: float

    @property
    def what(self) -> str:
        """For the message of a refusal."""
        return f"a {self.box.label} at {self.box.area} keeps its detail in the output"


def most_kept(
    channel: Channel,
    left: Callable[[Floats], Floats],
    boxes: Sequence[RedactionBox],
    max_gain: float,
    coding: Coding,
    changed: Longs,
) -> Kept | None:
    """The box that keeps most of its detail; None where no box has a sample in the channel.

    Where boxes overlap, each sample is judged as the strongest box over it asks.

    Args:
        channel: of the source, known wherever a box's cells lie.
        left: takes what is expected, [h, w], off the output, which must be known wherever a box
            covers it.
        boxes: in stored pixels.
        max_gain: share of its strength that detail may keep.
        coding: what coding adds.
        changed: :func:`pipeline.expected.changed_pixels` of all boxes of the picture.
    """
    aim = expected(channel, boxes, changed)
    lost, rest = channel.samples - aim.levels, left(aim.levels)
    noises = [_noise(box, channel, aim.noise.get(number)) for number, box in enumerate(boxes)]
    loudest = max((cells for _, _, cells in noises), default=0.0)
    # which coefficients are 0 depends on the noise there, too
    rough, smooth = coding.rough**2 + loudest**2 + EDGE**2, coding.smooth**2
    uneven = _rough(aim.levels, aim.owner)
    coded = np.where(uneven, np.float32(rough), np.float32(smooth))
    # what of it has the shape of a soft edge is judged apart
    coded += (aim.mixed > 0) * np.float32(loudest**2)
    most: Kept | None = None
    for number, box in enumerate(boxes):
        place = _inside(channel, box.area)
        if place is None:
            continue
        side = cell_side(box)
        sides = side // channel.step_x, side // channel.step_y
        grain, within, cells = noises[number]
        excess = _excess(
            aim.owner[place] == number,
            np.ascontiguousarray(lost[place]),
            np.ascontiguousarray(rest[place]),
            coded[place] + np.float32(grain**2),
            np.ascontiguousarray(aim.mixed[place]),
            place[1].start + channel.left,
            place[0].start + channel.top,
            max(min(sides), 1),
            max(sides),
            within**2 + coding.averages**2,
            cells**2 + coding.averages**2,
            2 * loudest**2,
            max_gain,
        )
        if most is None or excess > most.excess:
            most = Kept(box, excess)
    return most


@compiled
def _rough(levels: Floats, owner: NDArray[np.int32]) -> NDArray[np.bool_]:
    """[h, w]: which samples lie in blocks of 8 x 8 that are no smooth part of a redaction.

    Args:
        levels, owner: [h, w], see :class:`pipeline.expected.Expected`.
    """
    height, width = levels.shape
    out = np.empty((height, width), np.bool_)
    for top in range(0, height, 8):
        bottom = min(top + 8, height)
        for left in range(0, width, 8):
            right = min(left + 8, width)
            least = most = levels[top, left]
            first = owner[top, left]
            mixed = first < 0
            for y in range(top, bottom):
                for x in range(left, right):
                    least, most = min(least, levels[y, x]), max(most, levels[y, x])
                    mixed = mixed or owner[y, x] != first
            out[top:bottom, left:right] = mixed or most - least > SMOOTH
    return out


def _inside(channel: Channel, area: IntBox) -> tuple[slice, slice] | None:
    """Rows and columns of the channel's samples that a box covers; None for none."""
    found = []
    steps = (channel.step_x, channel.step_y)
    for axis, (step, offset) in enumerate(zip(steps, (channel.left, channel.top), strict=True)):
        own = channel.samples.shape[1 - axis]
        start = max(area[axis] // step - offset, 0)
        end = min(-(-min(area[axis + 2], channel.size[axis]) // step) - offset, own)
        found.append(slice(start, end))
    columns, rows = found
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def _noise(box: RedactionBox, channel: Channel, bent: float | None) -> tuple[float, float, float]:
    """Standard deviations of a box's noise: of samples, of parts of its cells, of its cells.

    Args:
        bent: see :attr:`pipeline.expected.Expected.noise`; None where the box is not blurred.
    """
    level = 0.0 if box.style.mode == "solid" else box.style.noise
    cells = level * (CELL_NOISE if channel.shared else 0) + level * COLOUR_NOISE
    smooth = box.style.mode == "blur"
    grain = GRAIN * level if smooth and channel.shared else 0.0
    within = WITHIN_CELLS * cells if smooth else 0.0
    if bent is not None:
        most = math.sqrt(BENT_TOGETHER * bent)
        within, cells = min(within, most), min(cells, most)
    return grain, within, cells


@compiled
def _parents(start: int, length: int, last: bool) -> Longs:
    """For each of ``length`` squares from number ``start`` on: which twice as large one holds it.

    They count from 0; ``last`` for a single one that holds all.
    """
    out = np.zeros(length, np.int64)
    if not last:
        for i in range(length):
            out[i] = (start + i) // 2 - start // 2
    return out


@compiled
def _gathered(values: Doubles, to_rows: Longs, to_columns: Longs) -> Doubles:
    """``values`` [n, h, w] added up over the squares that :func:`_parents` gives."""
    out = np.zeros((values.shape[0], to_rows[-1] + 1, to_columns[-1] + 1))
    for row in range(values.shape[1]):
        for column in range(values.shape[2]):
            for i in range(values.shape[0]):
                out[i, to_rows[row], to_columns[column]] += values[i, row, column]
    return out


@compiled
def _differences(
    count: Doubles,
    sums: Doubles,
    wide_count: Doubles,
    wide_sums: Doubles,
    wide_below: Doubles,
    to_rows: Longs,
    to_columns: Longs,
    coarse: float,
) -> Doubles:
    """What squares differ by from the larger ones that hold them, added to ``wide_below`` [4, ...].

    Returns:
        [4]: what both sides have in common, the energy of what was lost, the variance that noise
        gives to the former, and how far it goes with soft edges; ``coarse`` is the part of the
        noise that does not average out.
    """
    band = np.zeros(4)
    soft: Doubles = np.zeros((wide_count.shape[0] if sums.shape[0] > 3 else 0, wide_count.shape[1]))
    for row in range(count.shape[0]):
        to_row = to_rows[row]
        for column in range(count.shape[1]):
            to_column = to_columns[column]
            n = count[row, column]
            if n == 0:
                continue
            parent = wide_count[to_row, to_column]
            d = sums[0, row, column] / n - wide_sums[0, to_row, to_column] / parent
            r = sums[1, row, column] / n - wide_sums[1, to_row, to_column] / parent
            common, energy = n * d * r, n * d * d
            chance = energy * (sums[2, row, column] / n + n * coarse)
            wide_below[0, to_row, to_column] += common
            wide_below[1, to_row, to_column] += energy
            wide_below[2, to_row, to_column] += chance
            band[0] += common
            band[1] += energy
            band[2] += chance
            if soft.shape[0] > 0:
                mixed = sums[3, row, column] / n - wide_sums[3, to_row, to_column] / parent
                soft[to_row, to_column] += n * d * mixed
    for row in range(soft.shape[0]):
        for column in range(soft.shape[1]):
            share = abs(soft[row, column])
            wide_below[3, row, column] += share
            band[3] += share
    return band


@compiled
def _excess(
    own: NDArray[np.bool_],
    lost: Floats,
    left: Floats,
    noise: Floats,
    mixed: Floats,
    x: int,
    y: int,
    side: int,
    longest: int,
    within: float,
    cells: float,
    layers: float,
    max_gain: float,
) -> float:
    """How far above what is allowed ``left`` follows ``lost`` at any scale: 1 is the bound.

    Both are split into the differences between averages of squares and of squares twice as large,
    which do not overlap in what they tell (analysis of variance). At each scale over the whole, and
    for all scales up to a square's side over that square, the share of ``lost`` that is in ``left``
    is found by regression, with the standard deviation that noise would give it.

    Where a soft edge goes from one box's noise to another's, noise has the edge's own shape, over
    any length of it: how far ``lost`` has that shape counts as noise, square by square, as if all
    of it had the same sign.

    Args:
        own: [h, w] which samples are judged.
        noise: [h, w] variance of noise on each of them.
        mixed: [h, w] see :class:`pipeline.expected.Expected`.
        x, y: place of the first of them in the channel: squares lie on its grid.
        side, longest: shorter and longer side of a cell, in samples.
        within, cells: variance of noise on averages of parts of cells and of cells.
        layers: variance of what the noise of two boxes differs by.
    """
    height, width = own.shape
    count = np.empty((height, width))
    soft = False
    for row in range(height):
        for column in range(width):
            soft = soft or (own[row, column] and mixed[row, column] > 0)
    sums = np.empty((4 if soft else 3, height, width))
    for row in range(height):
        for column in range(width):
            here = 1.0 if own[row, column] else 0.0
            count[row, column] = here
            sums[0, row, column] = here * lost[row, column]
            sums[1, row, column] = here * left[row, column]
            sums[2, row, column] = here * noise[row, column]
            if soft:
                sums[3, row, column] = here * mixed[row, column]
    below = np.zeros((4, height, width))
    total = np.zeros(4)
    judged = count.sum()
    most = 0.0
    scale = 1
    while True:
        last = scale >= longest or (count.shape[0] == 1 and count.shape[1] == 1)
        to_rows, to_columns = _parents(y, count.shape[0], last), _parents(x, count.shape[1], last)
        wide_count = _gathered(count.reshape(1, *count.shape), to_rows, to_columns)[0]
        wide_sums = _gathered(sums, to_rows, to_columns)
        wide_below = _gathered(below, to_rows, to_columns)
        coarse = cells if scale >= side else within
        if scale == 1 and side > 1:
            coarse = 0.0
        band = _differences(
            count, sums, wide_count, wide_sums, wide_below, to_rows, to_columns, coarse
        )
        total += band
        most = max(most, _above(band, layers, judged, max_gain))
        most = max(most, _above(total, layers, judged, max_gain))
        scale *= 2
        if last:
            return most
        if scale >= SMALLEST_PART:
            for row in range(wide_count.shape[0]):
                for column in range(wide_count.shape[1]):
                    here = wide_count[row, column]
                    most = max(most, _above(wide_below[:, row, column], layers, here, max_gain))
        count, sums, below = wide_count, wide_sums, wide_below
        x, y = x // 2, y // 2


@compiled
def _above(found: Doubles, layers: float, samples: float, max_gain: float) -> float:
    """A share of detail against what is allowed, and against what noise does.

    Of either sign: a negative shows as much as the picture. A faint one comes of itself in a few
    samples, where noise is cut off at black and white: it takes twice as many deviations.

    Args:
        found: [4] of :func:`_differences`.
        layers: see :func:`_excess`.
    """
    common, energy, chance, shape = (
        float(found[0]),
        float(found[1]),
        float(found[2]),
        float(found[3]),
    )
    chance += layers * shape**2
    if energy <= FLAT * FLAT * samples or chance <= 0:
        return 0.0
    deviations = common / math.sqrt(chance) if common > 0 else -common / math.sqrt(chance) / 2
    return min(abs(common) / energy / max_gain, deviations / CHANCE)
