"""Blocks of coefficients to samples and back, in float32 in a fixed order.

Source: ITU-T T.81, annex A.3.3. Against libjpeg's ``islow`` transform a sample is off by one at
most; nothing outside the changed blocks goes through here.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import Number, compiled

Shorts = NDArray[np.int16]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Uses = NDArray[np.int8]

# What is asked of a block: its average, its samples, or nothing, because all of it is replaced.
ONLY_DC, DECODED, COVERED = range(3)
# Steps of a grey level in averages.
AVERAGE_UNIT = 16


def _basis() -> Floats:
    """[u, x]: the cosine basis with its normalisation."""
    rows = [
        [
            math.sqrt((1 if u == 0 else 2) / 8) * math.cos((2 * x + 1) * u * math.pi / 16)
            for x in range(8)
        ]
        for u in range(8)
    ]
    return np.array(rows, np.float32)


BASIS = _basis()


@compiled
def block_averages(dc: Shorts, step: int) -> Ints:
    """Averages [rows, columns] of blocks, in steps of 1 / ``AVERAGE_UNIT`` grey level.

    Args:
        dc: [rows, columns] quantised DC coefficients.
        step: theirs.
    """
    out = np.empty(dc.shape, np.int32)
    for row in range(dc.shape[0]):
        for column in range(dc.shape[1]):
            level: Number = np.int64(dc[row, column]) * step * AVERAGE_UNIT // 8
            out[row, column] = min(max(level + 128 * AVERAGE_UNIT, 0), 255 * AVERAGE_UNIT)
    return out


@compiled
def decode_blocks(
    coefficients: Shorts,
    at: Longs,
    uses: Uses,
    grids: Longs,
    zigzag: Longs,
    steps: Ints,
    basis: Floats,
    samples: Bytes,
) -> None:
    """Turn the blocks that are ``DECODED`` into bytes.

    Args:
        coefficients: [n, 64] int16 in zigzag order, quantised.
        at: [m] number of each block; the blocks of a grid lie behind one another, row by row.
        uses: [m] what is asked of it.
        grids: [grids, 4]: first block, rows, columns, component.
        steps: [components, 64] in zigzag order.
        basis: :data:`BASIS`.
        samples: [64 m], to be written: a grid's begin at 64 times its first block, and are
            [8 rows, 8 columns].
    """
    block, half = np.empty((8, 8), np.float32), np.empty((8, 8), np.float32)
    line = np.empty(8, np.float32)
    for grid in range(len(grids)):
        first, rows, columns, component = grids[grid]
        for number in range(rows * columns):
            if uses[first + number] != DECODED:
                continue
            source = coefficients[at[first + number]]
            block[:, :] = 0
            used = 0
            for k in range(64):
                if source[k]:
                    place = zigzag[k]
                    block[place >> 3, place & 7] = np.float32(source[k] * steps[component, k])
                    used = max(used, (place >> 3) + 1)
            # columns first: [v, u] -> [y, u]
            half[:, :] = 0
            for v in range(used):
                for y in range(8):
                    weight = basis[v, y]
                    for u in range(8):
                        half[y, u] += weight * block[v, u]
            corner = 64 * first + 64 * columns * (number // columns) + 8 * (number % columns)
            for y in range(8):
                for x in range(8):
                    line[x] = np.float32(128.5)
                for u in range(8):
                    value = half[y, u]
                    for x in range(8):
                        line[x] += value * basis[u, x]
                for x in range(8):
                    level: Number = np.int64(np.floor(line[x]))
                    samples[corner + 8 * columns * y + x] = min(max(level, 0), 255)


@compiled
def encode_changed(
    before: Bytes,
    after: Bytes,
    coefficients: Shorts,
    changed: NDArray[np.bool_],
    at: Longs,
    uses: Uses,
    grids: Longs,
    zigzag: Longs,
    steps: Ints,
    basis: Floats,
) -> None:
    """Quantise the blocks of ``after`` that have changed into ``coefficients``.

    Those are the ``COVERED`` ones, and of the ``DECODED`` ones those that differ from ``before``.

    Args:
        before, after: [64 m] samples, as :func:`decode_blocks` writes them.
        coefficients, at, uses, grids, zigzag, steps, basis: as for :func:`decode_blocks`.
        changed: [n], set for the blocks that differ.
    """
    half, block = np.empty((8, 8), np.float32), np.empty(64, np.float32)
    levels = np.empty(64, np.int16)
    cosines = np.ascontiguousarray(basis.T)
    step = np.empty(64, np.float32)
    for grid in range(len(grids)):
        first, rows, columns, component = grids[grid]
        for k in range(64):
            step[zigzag[k]] = np.float32(steps[component, k])
        for number in range(rows * columns):
            use = uses[first + number]
            line = 8 * columns
            corner = 64 * first + 8 * line * (number // columns) + 8 * (number % columns)
            differs = use == COVERED
            if use == DECODED:
                for y in range(8):
                    for x in range(corner + line * y, corner + line * y + 8):
                        differs = differs or before[x] != after[x]
            if not differs:
                continue
            changed[at[first + number]] = True
            # sums of eight in scalars: they stay in registers, side by side
            for y in range(8):
                a = b = c = d = e = f = g = h = np.float32(0)
                for x in range(8):
                    value = np.float32(np.int64(after[corner + line * y + x]) - 128)
                    a, b = a + value * cosines[x, 0], b + value * cosines[x, 1]
                    c, d = c + value * cosines[x, 2], d + value * cosines[x, 3]
                    e, f = e + value * cosines[x, 4], f + value * cosines[x, 5]
                    g, h = g + value * cosines[x, 6], h + value * cosines[x, 7]
                half[y, 0], half[y, 1], half[y, 2], half[y, 3] = a, b, c, d
                half[y, 4], half[y, 5], half[y, 6], half[y, 7] = e, f, g, h
            for v in range(8):
                a = b = c = d = e = f = g = h = np.float32(0)
                for y in range(8):
                    value = basis[v, y]
                    a, b = a + value * half[y, 0], b + value * half[y, 1]
                    c, d = c + value * half[y, 2], d + value * half[y, 3]
                    e, f = e + value * half[y, 4], f + value * half[y, 5]
                    g, h = g + value * half[y, 6], h + value * half[y, 7]
                k = 8 * v
                block[k], block[k + 1], block[k + 2], block[k + 3] = a, b, c, d
                block[k + 4], block[k + 5], block[k + 6], block[k + 7] = e, f, g, h
            for k in range(64):
                levels[k] = np.int16(np.rint(block[k] / step[k]))
            target = coefficients[at[first + number]]
            for k in range(64):
                target[k] = levels[zigzag[k]]
