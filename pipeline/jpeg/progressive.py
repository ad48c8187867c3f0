"""Any Huffman-coded scan, sequential or progressive: its coefficients read.

Source: ITU-T T.81, annexes F and G. Bounded like :mod:`pipeline.jpeg.entropy`.
"""

from __future__ import annotations

import numpy as np

from pipeline.compiled import Number, compiled, inlined
from pipeline.jpeg.bitstream import Longs, Words, extended, peek
from pipeline.jpeg.entropy import BAD_CODE, MAX_DC, OK, OUT_OF_RANGE, TOO_SHORT, Shorts
from pipeline.jpeg.huffman import MAX_DC_BITS


@compiled
def read_scan(
    words: Words,
    segments: Longs,
    order: Longs,
    pattern: Longs,
    read: Shorts,
    band: Longs,
    progressive: bool,
    coefficients: Shorts,
) -> Number:
    """Read one scan into ``coefficients`` [blocks, 64], zigzag order.

    Args:
        segments: see :data:`pipeline.jpeg.entropy.SEGMENT_FIELDS`; each is followed to its end.
        order: numbers of the scan's blocks, as coded.
        pattern: [blocks of an MCU, 3]: component in the scan, DC table, AC table.
        read: [tables, 65536].
        band: first and last coefficient, high and low bit.

    Returns:
        ``OK``, or what is wrong.
    """
    first, last, high, low = band[0], band[1], band[2], band[3]
    before = np.zeros(4, np.int64)
    size = pattern.shape[0]
    for segment in range(segments.shape[0]):
        at, stop = segments[segment, 0], segments[segment, 1]
        before[:] = 0
        run = 0
        start = segments[segment, 2] * size
        for i in range(start, start + segments[segment, 3] * size):
            row = pattern[i % size]
            block = coefficients[order[i]]
            if first == 0 and high == 0:
                window = peek(words, at)
                code = np.int64(read[row[1], window >> 16])
                count = code & 255
                if code == 0 or count > MAX_DC_BITS:
                    return BAD_CODE
                used = (code >> 8) + count
                at += used
                if count:
                    bits = (window >> (32 - used)) & ((1 << count) - 1)
                    before[row[0]] += extended(bits, count)
                value = before[row[0]] << low
                if abs(value) > MAX_DC:
                    return OUT_OF_RANGE
                block[0] = value
            elif first == 0:
                block[0] |= (peek(words, at) >> 31) << low
                at += 1
            if last > 0 and high == 0:
                table = read[row[2]]
                at, run = _read_first(
                    words, at, table, block, max(first, 1), last, low, run, progressive
                )
            elif last > 0:
                at, run = _read_more(words, at, read[row[2]], block, first, last, low, run)
            if at < 0:
                return -at
            if at > stop:
                return TOO_SHORT
        if run or stop - at >= 8:
            return BAD_CODE
    return OK


@compiled
def _read_first(
    words: Words,
    at: Number,
    table: Shorts,
    block: Shorts,
    first: Number,
    last: Number,
    low: Number,
    run: Number,
    progressive: bool,
) -> tuple[Number, Number]:
    """AC coefficients of one block that were not coded before: where they end, blocks to skip."""
    if run > 0:
        return at, run - 1
    k = first
    while k <= last:
        window = peek(words, at)
        code = np.int64(table[window >> 16])
        zeros, size, length = (code >> 4) & 15, code & 15, code >> 8
        if code == 0:
            return -BAD_CODE, 0
        if size == 0:
            if zeros == 15:
                at += length
                k += 16
                continue
            if zeros and not progressive:
                return -BAD_CODE, 0
            bits = (window >> (32 - length - zeros)) & ((1 << zeros) - 1)
            return at + length + zeros, (1 << zeros) - 1 + bits
        at += length + size
        k += zeros
        bits = (window >> (32 - length - size)) & ((1 << size) - 1)
        value = extended(bits, size) << low
        if k > last or size > 14 or abs(value) > MAX_DC:
            return -BAD_CODE, 0
        block[k] = value
        k += 1
    return at, 0


@compiled
def _read_more(
    words: Words,
    at: Number,
    table: Shorts,
    block: Shorts,
    first: Number,
    last: Number,
    low: Number,
    run: Number,
) -> tuple[Number, Number]:
    """One more bit of one block's AC coefficients: where it ends, blocks that are to be skipped."""
    k = first
    while run == 0 and k <= last:
        window = peek(words, at)
        code = np.int64(table[window >> 16])
        zeros, size, length = (code >> 4) & 15, code & 15, code >> 8
        if code == 0 or size > 1:
            return -BAD_CODE, 0
        value = 0
        if size:
            value = (1 << low) if (window >> (31 - length)) & 1 else -(1 << low)
            at += length + 1
        elif zeros == 15:
            at += length
        else:
            bits = (window >> (32 - length - zeros)) & ((1 << zeros) - 1)
            at += length + zeros
            run = (1 << zeros) + bits
            break
        while k <= last:
            if block[k]:
                at = _correct(words, at, block, k, low)
            elif zeros == 0:
                break
            else:
                zeros -= 1
            k += 1
        if size:
            if k > last:
                return -BAD_CODE, 0
            block[k] = value
        k += 1
    if run > 0:
        for rest in range(k, last + 1):
            if block[rest]:
                at = _correct(words, at, block, rest, low)
        run -= 1
    return at, run


@inlined
def _correct(words: Words, at: Number, block: Shorts, k: Number, low: Number) -> Number:
    value = np.int64(block[k])
    if (peek(words, at) >> 31) & 1 and (value & (1 << low)) == 0:
        block[k] = value + (1 << low) if value > 0 else value - (1 << low)
    return at + 1
