"""Any Huffman-coded scan, sequential or progressive: its coefficients read, and written anew.

Source: ITU-T T.81, annexes F and G. Bounded like :mod:`pipeline.jpeg.entropy`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import Number, compiled, inlined
from pipeline.jpeg.bitstream import Longs, Words, bits_of, extended, peek, put
from pipeline.jpeg.entropy import BAD_CODE, MAX_DC, OK, OUT_OF_RANGE, TOO_SHORT, Ints, Shorts
from pipeline.jpeg.huffman import MAX_DC_BITS

# Correction bits that wait for the end of a run of blocks; libjpeg allows itself as many.
MAX_CORRECTIONS = 1000
MAX_RUN = 0x7FFF
# A block's codes in one scan, its correction bits and a run's among them.
MAX_SCAN_BLOCK_BITS = 64 * 28 + 64

Counts = NDArray[np.int64]


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


@inlined
def _emit(
    symbol: Number,
    table: Number,
    bits: Number,
    size: Number,
    counts: Counts,
    write: Ints,
    out: Words,
    to: Number,
) -> Number:
    """Count or write a symbol and ``size`` further bits; the next bit, < 0 if it has no code."""
    if out.shape[0] == 0:
        counts[table, symbol] += 1
        return to
    entry = np.int64(write[table, symbol])
    put(out, to, entry >> 5, entry & 31)
    put(out, to + (entry & 31), bits & ((1 << size) - 1), size)
    return to + (entry & 31) + size


@compiled
def write_scan(
    segment: Longs,
    order: Longs,
    pattern: Longs,
    band: Longs,
    progressive: bool,
    coefficients: Shorts,
    counts: Counts,
    write: Ints,
    out: Words,
) -> Number:
    """Count the symbols of one stretch of a scan (``out`` is empty), or write it.

    Args:
        segment: one row as for :func:`read_scan`; its bits are not looked at.
        counts: [tables, 256], added to.
        write: [tables, 256], see :class:`pipeline.jpeg.huffman.HuffmanTable`.
        out: zeros, long enough, or nothing.

    Returns:
        How many bits were written, filled up to whole bytes.
    """
    first, last, high, low = band[0], band[1], band[2], band[3]
    before = np.zeros(4, np.int64)
    waiting = np.zeros(MAX_CORRECTIONS + 128, np.uint8)
    # blocks in the run that has not been written, its correction bits, and its table
    pending = np.zeros(3, np.int64)
    size = pattern.shape[0]
    to = np.int64(0)
    start = segment[2] * size
    for i in range(start, start + segment[3] * size):
        row = pattern[i % size]
        block = coefficients[order[i]]
        if first == 0 and high == 0:
            value = np.int64(block[0]) >> low
            difference = value - before[row[0]]
            before[row[0]] = value
            count = bits_of(difference)
            bits = difference if difference > 0 else difference - 1
            to = _emit(count, row[1], bits, count, counts, write, out, to)
        elif first == 0 and out.shape[0]:
            put(out, to, (np.int64(block[0]) >> low) & 1, 1)
            to += 1
        if last > 0 and high == 0:
            to = _write_first(
                block,
                max(first, 1),
                last,
                low,
                progressive,
                pending,
                waiting,
                row[2],
                counts,
                write,
                out,
                to,
            )
        elif last > 0:
            to = _write_more(
                block, first, last, low, pending, waiting, row[2], counts, write, out, to
            )
    to = _end_run(pending, waiting, counts, write, out, to)
    if out.shape[0] == 0:
        return 0
    pad = -to & 7
    put(out, to, (1 << pad) - 1, pad)
    return to + pad


@compiled
def _end_run(
    pending: Longs,
    waiting: NDArray[np.uint8],
    counts: Counts,
    write: Ints,
    out: Words,
    to: Number,
) -> Number:
    """Write the run of blocks that end, and the correction bits that waited for it."""
    run, corrections, table = pending[0], pending[1], pending[2]
    if run > 0:
        size = bits_of(run) - 1
        to = _emit(size << 4, table, run, size, counts, write, out, to)
        to = _put_corrections(waiting, 0, corrections, out, to)
        pending[0], pending[1] = 0, 0
    return to


@inlined
def _put_corrections(
    waiting: NDArray[np.uint8], start: Number, count: Number, out: Words, to: Number
) -> Number:
    if out.shape[0]:
        for i in range(start, start + count):
            put(out, to, np.int64(waiting[i]), 1)
            to += 1
    return to


@compiled
def _write_first(
    block: Shorts,
    first: Number,
    last: Number,
    low: Number,
    progressive: bool,
    pending: Longs,
    waiting: NDArray[np.uint8],
    table: Number,
    counts: Counts,
    write: Ints,
    out: Words,
    to: Number,
) -> Number:
    zeros = 0
    for k in range(first, last + 1):
        value = np.int64(block[k])
        magnitude = abs(value) >> low
        if magnitude == 0:
            zeros += 1
            continue
        to = _end_run(pending, waiting, counts, write, out, to)
        while zeros > 15:
            to = _emit(0xF0, table, 0, 0, counts, write, out, to)
            zeros -= 16
        size = bits_of(magnitude)
        bits = magnitude if value > 0 else -magnitude - 1
        to = _emit(zeros << 4 | size, table, bits, size, counts, write, out, to)
        zeros = 0
    if zeros:
        pending[0] += 1
        pending[2] = table
        if not progressive or pending[0] == MAX_RUN:
            to = _end_run(pending, waiting, counts, write, out, to)
    return to


@compiled
def _write_more(
    block: Shorts,
    first: Number,
    last: Number,
    low: Number,
    pending: Longs,
    waiting: NDArray[np.uint8],
    table: Number,
    counts: Counts,
    write: Ints,
    out: Words,
    to: Number,
) -> Number:
    newest = -1
    for k in range(first, last + 1):
        if abs(np.int64(block[k])) >> low == 1:
            newest = k
    zeros, corrections = 0, 0
    for k in range(first, last + 1):
        value = np.int64(block[k])
        magnitude = abs(value) >> low
        if magnitude == 0:
            zeros += 1
            continue
        while zeros > 15 and k <= newest:
            # what waits behind the run's own bits is this block's
            begin = pending[1]
            to = _end_run(pending, waiting, counts, write, out, to)
            to = _emit(0xF0, table, 0, 0, counts, write, out, to)
            zeros -= 16
            to = _put_corrections(waiting, begin, corrections, out, to)
            corrections = 0
        if magnitude > 1:
            waiting[pending[1] + corrections] = magnitude & 1
            corrections += 1
            continue
        begin = pending[1]
        to = _end_run(pending, waiting, counts, write, out, to)
        sign = np.int64(value > 0)
        to = _emit(zeros << 4 | 1, table, sign, 1, counts, write, out, to)
        to = _put_corrections(waiting, begin, corrections, out, to)
        zeros, corrections = 0, 0
    if zeros or corrections:
        pending[0] += 1
        pending[1] += corrections
        pending[2] = table
        if pending[0] == MAX_RUN or pending[1] > MAX_CORRECTIONS - 64:
            to = _end_run(pending, waiting, counts, write, out, to)
    return to
