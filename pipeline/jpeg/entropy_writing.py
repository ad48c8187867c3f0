"""Sequential entropy-coded data with some blocks changed: all other bits are copied.

Source: ITU-T T.81, annex F.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import Number, compiled
from pipeline.jpeg.bitstream import Longs, Words, bits_of, copy_bits, extended, peek, put
from pipeline.jpeg.entropy import BAD_CODE, NO_CODE, Ints, Shorts, skip_ac
from pipeline.jpeg.huffman import MAX_AC_BITS, MAX_DC_BITS

# A changed block takes at most as much.
MAX_BLOCK_BITS = 64 * (16 + 11)
# An entry of a table for writing is a code and, in its last bits, the code's length.
_CODE, _LENGTH = np.uint64(5), np.uint64(31)
_WORD, _ONE = np.uint64(32), np.uint64(1)


@compiled
def _write_ac(block: Shorts, write: Ints, spare: Ints, out: Words, to: Number) -> Number:
    """Write a changed block's AC coefficients; small ones that have no code are left out.

    Args:
        spare: [64]: up to which magnitude they are small.

    Returns:
        Where they end; -1 if a large one, or the end of the block, has no code.
    """
    # what is not in ``out`` yet is kept in a register: less than 32 bits between two codes
    word, have = np.uint64(to >> 5), np.uint64(to & 31)
    ahead = np.uint64(out[word]) >> (_WORD - have)
    zeros = np.uint64(write[0xF0])
    run: Number = 0
    for k in range(1, 64):
        value = np.int64(block[k])
        if value == 0:
            run += 1
            continue
        size = bits_of(value)
        entry = np.uint64(write[(run & 15) << 4 | size]) if size <= MAX_AC_BITS else np.uint64(0)
        if entry == 0 or (run > 15 and zeros == 0):
            if abs(value) > spare[k]:
                return -1
            run += 1
            continue
        while run > 15:
            ahead = ahead << (zeros & _LENGTH) | zeros >> _CODE
            have += zeros & _LENGTH
            if have >= _WORD:
                have -= _WORD
                out[word] = np.uint32(ahead >> have)
                word += _ONE
            run -= 16
        width = np.uint64(size)
        bits = np.uint64(value if value > 0 else value + (1 << size) - 1)
        ahead = (ahead << (entry & _LENGTH) | entry >> _CODE) << width | bits
        have += (entry & _LENGTH) + width
        if have >= _WORD:
            have -= _WORD
            out[word] = np.uint32(ahead >> have)
            word += _ONE
        run = 0
    if run:
        entry = np.uint64(write[0])
        if entry == 0:
            return -1
        ahead = ahead << (entry & _LENGTH) | entry >> _CODE
        have += entry & _LENGTH
        if have >= _WORD:
            have -= _WORD
            out[word] = np.uint32(ahead >> have)
            word += _ONE
    out[word] = np.uint32(ahead << (_WORD - have))
    return np.int64(word) * 32 + np.int64(have)


@compiled
def _write_dc(difference: Number, write: Ints, out: Words, to: Number) -> Number:
    """Write a DC difference; where it ends, -1 if it has no code."""
    size = bits_of(difference)
    entry = np.int64(write[size]) if size <= MAX_DC_BITS else np.int64(0)
    if entry == 0:
        return -1
    bits = difference if difference >= 0 else difference + (1 << size) - 1
    count = (entry & 31) + size
    put(out, to, (entry >> 5) << size | bits, count)
    return to + count


@compiled
def write_segment(
    words: Words,
    segment: Longs,
    begin: int,
    end: int,
    runs: Longs,
    places: Longs,
    dc: Ints,
    blocks: Longs,
    read: Shorts,
    skip: Shorts,
    write: Ints,
    spare: Ints,
    slots: Ints,
    coefficients: Shorts,
    changed: NDArray[np.bool_],
    out: Words,
    spans: Longs,
) -> Number:
    """Write one segment with changed blocks; all other bits are copied.

    Args:
        segment: see :data:`SEGMENT_FIELDS`.
        begin: the bit from which on it is to be written; those before are copied elsewhere.
        end: the bit behind its last block.
        runs: [n, 2] first and last + 1 MCU of each run of changed ones, in order; none touches
            the next.
        spare: [components, 64] in zigzag order: AC coefficients up to these may be left out where
            they have no code.
        slots: [MCUs] int32: where a changed MCU's coefficients are.
        coefficients: [slots, blocks of an MCU, 64] in zigzag order.
        changed: [slots, blocks of an MCU].
        out: zeros, long enough.
        spans: [n, 4], filled for each run: bits of the source and of ``out`` that it takes,
            with the MCU behind it, whose DC differences are mended.

    Returns:
        How many bits were written; < 0 for minus what is wrong.
    """
    components = dc.shape[1]
    to: Number = 0
    copied = begin
    behind = segment[2] + segment[3]
    old, new = np.zeros(components, np.int64), np.zeros(components, np.int64)
    for run in range(runs.shape[0]):
        first, last = runs[run, 0], runs[run, 1]
        at = places[first]
        to = copy_bits(words, copied, at, out, to)
        spans[run, 0], spans[run, 2] = at, to
        for component in range(components):
            old[component] = dc[first, component]
            new[component] = old[component]
        for mcu in range(first, min(last + 1, behind)):
            slot = slots[mcu] if mcu < last else -1
            for block in range(blocks.shape[0]):
                component, dc_table, table = blocks[block, 0], blocks[block, 1], blocks[block, 2]
                window = peek(words, at)
                code = np.int64(read[dc_table, window >> 16])
                size, length = code & 255, code >> 8
                if size:
                    bits = (window >> (32 - length - size)) & ((1 << size) - 1)
                    old[component] += extended(bits, size)
                ac = at + length + size
                at = skip_ac(words, ac, read[table], skip[table])
                if code == 0 or at < 0:
                    return -BAD_CODE
                own = slot >= 0 and changed[slot, block]
                value = np.int64(coefficients[slot, block, 0]) if own else old[component]
                to = _write_dc(value - new[component], write[dc_table], out, to)
                if to < 0:
                    return -NO_CODE
                new[component] = value
                if own:
                    to = _write_ac(
                        coefficients[slot, block], write[table], spare[component], out, to
                    )
                    if to < 0:
                        return -NO_CODE
                else:
                    to = copy_bits(words, ac, at, out, to)
        copied = at
        spans[run, 1], spans[run, 3] = at, to
    to = copy_bits(words, copied, end, out, to)
    pad = -to & 7
    put(out, to, (1 << pad) - 1, pad)
    return to + pad
