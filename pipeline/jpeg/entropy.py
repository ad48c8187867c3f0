"""Sequential entropy-coded data, bit by bit: find blocks and read them.

Bits are read from a stream without stuffed bytes, as 32-bit words with zeros behind the end. Every
loop is bounded by the number of blocks that the frame has, and every block by 64 coefficients, so
that damaged data ends in an error and never reads further than :data:`PADDING_WORDS` behind the
end. Source: ITU-T T.81, annex F.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import Number, compiled, inlined
from pipeline.jpeg.bitstream import Longs, Words, extended, peek
from pipeline.jpeg.huffman import ENDED, MAX_AC_BITS, MAX_DC_BITS, SHORT_BITS, SKIP_BITS

# Coefficients of a block that a picture of a quarter of the size is made of.
LOW = 5
# T.81 allows 11 bits and a sign; more is left to coders of 16-bit coefficients.
MAX_DC = 32767

OK, BAD_CODE, TOO_SHORT, OUT_OF_RANGE, NO_CODE = range(5)
FAULTS = {
    BAD_CODE: "a code that is in no table",
    TOO_SHORT: "the data ends before the picture does",
    OUT_OF_RANGE: "a value that 8-bit samples do not have",
    NO_CODE: "a value has no code in the file's tables",
}

Shorts = NDArray[np.int16]
Ints = NDArray[np.int32]
# Rows of a table of segments (what lies between two restart markers): first and last bit, first
# MCU, number of MCUs.
SEGMENT_FIELDS = 4
# Rows of a table of an MCU's blocks: component, DC table, AC table.
BLOCK_FIELDS = 3


@inlined
def dc_difference(window: Number, code: Number) -> Number:
    """The DC difference at the front of ``window``, 32 bits, whose ``code`` a table gave."""
    size = code & 15
    bits = (window >> (32 - (code >> 8) - size)) & ((1 << size) - 1)
    half = (1 << size) >> 1
    return bits if bits >= half else bits - 2 * half + 1


@compiled
def skip_ac(words: Words, at: Number, read: Shorts, skip: Shorts) -> Number:
    """Where the block ends whose AC coefficients begin at bit ``at``; -1 for an unknown code."""
    k: Number = 1
    while k < 64:
        window = peek(words, at)
        entry = np.int64(skip[window >> (32 - SKIP_BITS)])
        reached = k + (entry >> 6)
        if entry == 0 or 64 < reached <= ENDED or reached > ENDED + 63:
            code = np.int64(read[window >> 16])
            size, run = code & 15, (code >> 4) & 15
            if code == 0 or size > MAX_AC_BITS or (size == 0 and run not in (0, 15)):
                return -1
            entry = (code >> 8) + size
            reached = k + (run + 1 if size or run else ENDED)
            if 64 < reached <= ENDED:
                return -1
        at += entry & 63
        k = reached
    return at


@compiled
def find_units(
    words: Words,
    segments: Longs,
    start: Longs,
    blocks: Longs,
    read: Shorts,
    short: Shorts,
    skip: Shorts,
    places: Longs,
    dc: Ints,
    ends: Longs,
    levels: Shorts,
    low: Shorts,
) -> int:
    """Note where each MCU begins, which DC values come before it, and those of its blocks.

    Args:
        segments: [n, 4], see :data:`SEGMENT_FIELDS`.
        start: [n, components] DC predictors where each segment begins.
        blocks: [n, 3], see :data:`BLOCK_FIELDS`.
        read, short, skip: tables, [n, 65536], [n, 2^SHORT_BITS] and [n, 2^SKIP_BITS].
        places: [MCUs] int64, filled with bit positions.
        dc: [MCUs, components] int32, filled with the predictors before each MCU.
        ends: [n], filled with the bit behind each segment's last block.
        levels: [MCUs, blocks of an MCU], filled with each block's DC value.
        low: [MCUs, blocks of an MCU, 5], filled with the first coefficients of each block, where
            they are wanted; else [0, 0, 0].

    Returns:
        ``OK``, or what is wrong.
    """
    before = np.zeros(dc.shape[1], np.int64)
    # 1-D views: taking a row of a table for every block would cost more than reading it
    codes, short_codes, jumps = read.reshape(-1), short.reshape(-1), skip.reshape(-1)
    for segment in range(segments.shape[0]):
        at, stop = segments[segment, 0], segments[segment, 1]
        before[:] = start[segment]
        first = segments[segment, 2]
        # the next `have` bits, in front
        word = (at >> 5) + 1
        ahead = np.uint64(words[at >> 5]) << np.uint64(32 + (at & 31))
        have = 32 - (at & 31)
        for mcu in range(first, first + segments[segment, 3]):
            places[mcu] = 32 * word - have
            for i in range(dc.shape[1]):
                dc[mcu, i] = before[i]
            for block in range(blocks.shape[0]):
                if have < 32:
                    ahead |= np.uint64(words[np.uint64(word)]) << np.uint64(32 - have)
                    word, have = word + 1, have + 32
                window = np.int64(ahead >> np.uint64(32))
                table = blocks[block, 1]
                code = np.int64(short_codes[(table << SHORT_BITS) + (window >> (32 - SHORT_BITS))])
                if code == 0:
                    code = np.int64(codes[(table << 16) + (window >> 16)])
                used = (code >> 8) + (code & 255)
                if code == 0 or (code & 255) > MAX_DC_BITS:
                    return BAD_CODE
                before[blocks[block, 0]] += dc_difference(window, code)
                if abs(before[blocks[block, 0]]) > MAX_DC:
                    return OUT_OF_RANGE
                levels[mcu, block] = before[blocks[block, 0]]
                ahead, have = ahead << np.uint64(used), have - used
                code_base = blocks[block, 2] << 16
                near_base = blocks[block, 2] << SHORT_BITS
                jump_base = np.uint64(blocks[block, 2] << SKIP_BITS)
                k: Number = 1
                if low.shape[0] > 0:
                    near = low[mcu, block]
                    near[0] = before[blocks[block, 0]]
                    while k < LOW:
                        if have < 32:
                            ahead |= np.uint64(words[np.uint64(word)]) << np.uint64(32 - have)
                            word, have = word + 1, have + 32
                        window = np.int64(ahead >> np.uint64(32))
                        code = np.int64(short_codes[near_base + (window >> (32 - SHORT_BITS))])
                        if code == 0:
                            code = np.int64(codes[code_base + (window >> 16)])
                        size, run = code & 15, (code >> 4) & 15
                        if code == 0 or size > MAX_AC_BITS or (size == 0 and run not in (0, 15)):
                            return BAD_CODE
                        used = (code >> 8) + size
                        ahead, have = ahead << np.uint64(used), have - used
                        if size == 0 and run == 0:
                            k = 64
                            break
                        k += run
                        if size and k < LOW:
                            bits = (window >> (32 - used)) & ((1 << size) - 1)
                            near[k] = extended(bits, size)
                        k += 1
                while k < 64:
                    if have < 32:
                        ahead |= np.uint64(words[np.uint64(word)]) << np.uint64(32 - have)
                        word, have = word + 1, have + 32
                    entry = np.int64(jumps[jump_base + (ahead >> np.uint64(64 - SKIP_BITS))])
                    reached = k + (entry >> 6)
                    if entry == 0 or 64 < reached <= ENDED or reached > ENDED + 63:
                        code = np.int64(codes[code_base + np.int64(ahead >> np.uint64(48))])
                        size, run = code & 15, (code >> 4) & 15
                        if code == 0 or size > MAX_AC_BITS or (size == 0 and run not in (0, 15)):
                            return BAD_CODE
                        entry = (code >> 8) + size
                        reached = k + (run + 1 if size or run else ENDED)
                        if 64 < reached <= ENDED:
                            return BAD_CODE
                    used = entry & 63
                    ahead, have = ahead << np.uint64(used), have - used
                    k = reached
            if 32 * word - have > stop:
                return TOO_SHORT
        ends[segment] = 32 * word - have
    return OK


@compiled
def read_units(
    words: Words,
    mcus: Longs,
    places: Longs,
    dc: Ints,
    blocks: Longs,
    read: Shorts,
    skip: Shorts,
    whole: NDArray[np.bool_],
    coefficients: Shorts,
) -> int:
    """Read the MCUs ``mcus`` into ``coefficients`` [n, blocks of an MCU, 64], zigzag order.

    Args:
        places, dc: of :func:`find_units`.
        whole: [n, blocks of an MCU]: which blocks are read as a whole; of the others only DC.

    Returns:
        ``OK``, or what is wrong.
    """
    before = np.zeros(dc.shape[1], np.int64)
    for i in range(mcus.shape[0]):
        at = places[mcus[i]]
        for component in range(dc.shape[1]):
            before[component] = dc[mcus[i], component]
        for block in range(blocks.shape[0]):
            out = coefficients[i, block]
            out[:] = 0
            window = peek(words, at)
            code = np.int64(read[blocks[block, 1], window >> 16])
            size, length = code & 255, code >> 8
            if code == 0 or size > MAX_DC_BITS:
                return BAD_CODE
            if size:
                bits = (window >> (32 - length - size)) & ((1 << size) - 1)
                before[blocks[block, 0]] += extended(bits, size)
            out[0] = before[blocks[block, 0]]
            at += length + size
            if not whole[i, block]:
                at = skip_ac(words, at, read[blocks[block, 2]], skip[blocks[block, 2]])
                if at < 0:
                    return BAD_CODE
                continue
            table = read[blocks[block, 2]]
            k: Number = 1
            while k < 64:
                window = peek(words, at)
                code = np.int64(table[window >> 16])
                size, run, length = code & 15, (code >> 4) & 15, code >> 8
                if code == 0 or size > MAX_AC_BITS:
                    return BAD_CODE
                at += length + size
                if size == 0:
                    if run == 15:
                        k += 16
                        continue
                    if run == 0:
                        break
                    return BAD_CODE
                k += run
                if k > 63:
                    return BAD_CODE
                bits = (window >> (32 - length - size)) & ((1 << size) - 1)
                out[k] = extended(bits, size)
                k += 1
    return OK
