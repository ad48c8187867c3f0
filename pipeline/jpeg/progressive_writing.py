"""Any Huffman-coded scan, sequential or progressive: its coefficients written anew.

Source: ITU-T T.81, annexes F and G.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import Number, compiled, inlined
from pipeline.jpeg.bitstream import Longs, Words, bits_of, put
from pipeline.jpeg.entropy import Ints, Shorts

# Correction bits that wait for the end of a run of blocks; libjpeg allows itself as many.
MAX_CORRECTIONS = 1000
MAX_RUN = 0x7FFF
# A block's codes in one scan, its correction bits and a run's among them.
MAX_SCAN_BLOCK_BITS = 64 * 28 + 64

Counts = NDArray[np.int64]


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
