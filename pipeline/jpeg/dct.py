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
    zigzag: Longs,
    steps: Ints,
    basis: Floats,
    samples: Bytes,
) -> None:
    """Turn the blocks that are ``DECODED`` into ``samples`` [8 rows, 8 columns] of bytes.

    Args:
        coefficients: [n, 64] int16 in zigzag order, quantised.
        at: [rows, columns] number of each block.
        uses: [rows, columns] what is asked of it.
        basis: :data:`BASIS`.
    """
    block, half = np.empty((8, 8), np.float32), np.empty((8, 8), np.float32)
    line = np.empty(8, np.float32)
    for row in range(at.shape[0]):
        for column in range(at.shape[1]):
            if uses[row, column] != DECODED:
                continue
            source = coefficients[at[row, column]]
            block[:, :] = 0
            used = 0
            for k in range(64):
                if source[k]:
                    place = zigzag[k]
                    block[place >> 3, place & 7] = np.float32(source[k] * steps[k])
                    used = max(used, (place >> 3) + 1)
            # columns first: [v, u] -> [y, u]
            half[:, :] = 0
            for v in range(used):
                for y in range(8):
                    weight = basis[v, y]
                    for u in range(8):
                        half[y, u] += weight * block[v, u]
            for y in range(8):
                for x in range(8):
                    line[x] = np.float32(128.5)
                for u in range(8):
                    value = half[y, u]
                    for x in range(8):
                        line[x] += value * basis[u, x]
                for x in range(8):
                    level: Number = np.int64(np.floor(line[x]))
                    samples[8 * row + y, 8 * column + x] = min(max(level, 0), 255)


@compiled
def encode_changed(
    before: Bytes,
    after: Bytes,
    coefficients: Shorts,
    changed: NDArray[np.bool_],
    at: Longs,
    uses: Uses,
    zigzag: Longs,
    steps: Ints,
    basis: Floats,
) -> None:
    """Quantise the blocks of ``after`` that have changed into ``coefficients``.

    Those are the ``COVERED`` ones, and of the ``DECODED`` ones those that differ from ``before``.

    Args:
        coefficients, at, uses, zigzag, steps, basis: as for :func:`decode_blocks`.
        changed: [n], set for the blocks that differ.
    """
    block, half = np.empty((8, 8), np.float32), np.empty((8, 8), np.float32)
    for row in range(at.shape[0]):
        for column in range(at.shape[1]):
            differs = uses[row, column] == COVERED
            if uses[row, column] == DECODED:
                for y in range(8 * row, 8 * row + 8):
                    for x in range(8 * column, 8 * column + 8):
                        differs = differs or before[y, x] != after[y, x]
            if not differs:
                continue
            changed[at[row, column]] = True
            half[:, :] = 0
            block[:, :] = 0
            for y in range(8):
                for x in range(8):
                    value = np.float32(np.int64(after[8 * row + y, 8 * column + x]) - 128)
                    for u in range(8):
                        half[y, u] += value * basis[u, x]
            for v in range(8):
                for y in range(8):
                    weight = basis[v, y]
                    for u in range(8):
                        block[v, u] += weight * half[y, u]
            target = coefficients[at[row, column]]
            for k in range(64):
                place = zigzag[k]
                value = block[place >> 3, place & 7] / np.float32(steps[k])
                target[k] = np.int64(np.rint(value))
