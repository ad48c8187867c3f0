"""Sequential entropy-coded data followed at two places at once.

Where a code begins is known only once the one before it has been looked up: most of the time a
processor waits. Two lanes take turns, one from the beginning and one from the middle, which knows
neither where a code begins nor where an MCU does. Huffman codes put that right by themselves: who
reads on from a wrong bit soon falls into step. The second lane is believed from the first MCU
boundary on that both have found, and not at all where they never meet. DC values are sums; the
second lane's differ by what it could not know. Source: S. T. Klein and Y. Wiseman, "Parallel
Huffman decoding with applications to JPEG files", The Computer Journal 46(5), 2003.
"""

from __future__ import annotations

import numpy as np

from pipeline.compiled import Number, compiled
from pipeline.jpeg.bitstream import Longs, Words
from pipeline.jpeg.entropy import (
    MAX_DC,
    OK,
    OUT_OF_RANGE,
    Ints,
    Shorts,
    dc_difference,
    find_units,
)
from pipeline.jpeg.huffman import ENDED, MAX_AC_BITS, MAX_DC_BITS, SHORT_BITS, SKIP_BITS

# Fewer MCUs are not worth it.
LEAST_MCUS = 512
# MCUs that the first lane follows alone before it looks whether it has met the second.
_ALONE = 128
# The second lane's DC values are kept in 32 bits. No picture's sum gets here.
_MOST = 1 << 29


def find_units_twice(
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
    """As :func:`pipeline.jpeg.entropy.find_units`, and with the same results, for one segment.

    Args:
        segments: [1, 4].
        low: [0, 0, 0]: no small picture is made of it.
    """
    begin, stop, first, count = segments[0].tolist()
    own, seen = places[first : first + count], levels[first : first + count]
    other, others = np.empty(count + 1, np.int64), np.empty((count + 1, len(blocks)), np.int32)
    done, at, ahead = follow_both(
        words, begin, stop, start[0], blocks, read, short, skip, own, seen, other, others
    )
    # the last block of each component: the next one's differs from that
    last = np.array([np.flatnonzero(blocks[:, 0] == c)[-1] for c in range(dc.shape[1])])
    while done < count:
        before = seen[done - 1, last].astype(np.int64) if done else start[0]
        met = int(np.searchsorted(other[:ahead], at))
        if met < ahead and other[met] == at:
            taken = min(ahead - met, count - done)
            offset = (before - (others[met - 1, last] if met else 0)).astype(np.int32)
            found = others[met : met + taken] + offset[blocks[:, 0]]
            if found.max() > MAX_DC or found.min() < -MAX_DC:
                return OUT_OF_RANGE
            seen[done : done + taken] = found
            own[done : done + taken] = other[met : met + taken]
            done, at, ahead = done + taken, int(other[met + taken]), 0
            continue
        until = min(done + _ALONE, count) if met < ahead else count
        alone = np.array([[at, stop, first + done, until - done]])
        fault = find_units(
            words, alone, before[None], blocks, read, short, skip, places, dc, ends, levels, low
        )
        if fault != OK:
            return fault
        done, at = until, int(ends[0])
    ends[0] = at
    dc[first] = start[0]
    dc[first + 1 : first + count] = seen[:-1, last]
    return OK


@compiled
def follow_both(
    words: Words,
    begin: Number,
    stop: Number,
    start: Longs,
    blocks: Longs,
    read: Shorts,
    short: Shorts,
    skip: Shorts,
    places: Longs,
    levels: Shorts,
    other: Longs,
    others: Ints,
) -> tuple[Number, Number, Number]:
    """Follow bits from ``begin`` on and from the middle on, until the two meet or one ends.

    What stands here twice does so because a lane's state has to stay in registers.

    Args:
        start: [components] DC predictors at ``begin``.
        places, levels: of the MCUs, filled as far as the first lane gets.
        other, others: [MCUs + 1] and [MCUs + 1, blocks of an MCU], filled with what the second lane
            takes for the beginnings of MCUs, the end of the last one included, and for their DC
            values, the first predicted as 0. Its faults only make it begin anew.

    Returns:
        MCUs that the first lane is through with, the bit behind them, and MCUs of the second.
    """
    codes, short_codes, jumps = read.reshape(-1), short.reshape(-1), skip.reshape(-1)
    size, count, one = np.uint64(blocks.shape[0]), np.uint64(places.shape[0]), np.uint64(1)
    before1, before2 = start.copy(), np.zeros_like(start)
    at1: Number = begin
    at2: Number = begin + (stop - begin) // 2
    word1, word2 = np.uint64((at1 >> 5) + 1), np.uint64((at2 >> 5) + 1)
    ahead1 = np.uint64(words[at1 >> 5]) << np.uint64(32 + (at1 & 31))
    ahead2 = np.uint64(words[at2 >> 5]) << np.uint64(32 + (at2 & 31))
    have1, have2 = 32 - (at1 & 31), 32 - (at2 & 31)
    k1: Number = 64
    k2: Number = 64
    block1, block2, unit1, unit2 = np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0)
    base1, base2 = np.uint64(0), np.uint64(0)
    entry1: Number = 0
    entry2: Number = 0
    met, lost = np.uint64(0), False
    places[0], other[0] = at1, at2
    while True:
        if 64 < k1 <= ENDED or k1 > ENDED + 63:
            # more than there are: the next block's bits were read as this one's
            at1 = 32 * np.int64(word1) - have1 - (entry1 & 63)
            word1 = np.uint64((at1 >> 5) + 2)
            ahead1 = np.uint64(words[at1 >> 5]) << np.uint64(32 + (at1 & 31))
            ahead1 |= np.uint64(words[(at1 >> 5) + 1]) << np.uint64(at1 & 31)
            have1 = 64 - (at1 & 31)
            k1 -= entry1 >> 6
            head = (base1 << np.uint64(16 - SKIP_BITS)) + (ahead1 >> np.uint64(48))
            code = np.int64(codes[head])
            value, run = code & 15, (code >> 4) & 15
            k1 += run + 1 if value or run else ENDED
            if code == 0 or value > MAX_AC_BITS or (value == 0 and run not in (0, 15)):
                break
            if 64 < k1 <= ENDED:
                break
            used = (code >> 8) + value
            ahead1, have1 = ahead1 << np.uint64(used), have1 - used
        if k1 >= 64:
            if block1 == size:
                at1 = 32 * np.int64(word1) - have1
                if at1 > stop:
                    break
                block1, unit1 = np.uint64(0), unit1 + one
                if unit1 == count:
                    break
                places[unit1] = at1
                while met < unit2 and other[met] < at1:
                    met += one
                if met < unit2 and other[met] == at1:
                    break
            if have1 < 32:
                ahead1 |= np.uint64(words[word1]) << np.uint64(32 - have1)
                word1, have1 = word1 + one, have1 + 32
            table = np.uint64(blocks[block1, 1])
            head = (table << np.uint64(SHORT_BITS)) + (ahead1 >> np.uint64(64 - SHORT_BITS))
            code = np.int64(short_codes[head])
            if code == 0:
                code = np.int64(codes[(table << np.uint64(16)) + (ahead1 >> np.uint64(48))])
            component = np.uint64(blocks[block1, 0])
            level = before1[component] + dc_difference(np.int64(ahead1 >> np.uint64(32)), code)
            if code == 0 or (code & 255) > MAX_DC_BITS or abs(level) > MAX_DC:
                break
            before1[component] = level
            levels[unit1, block1] = level
            used = (code >> 8) + (code & 255)
            ahead1, have1 = ahead1 << np.uint64(used), have1 - used
            base1 = np.uint64(blocks[block1, 2] << SKIP_BITS)
            block1 += one
            k1 = 1
        if have1 < 32:
            ahead1 |= np.uint64(words[word1]) << np.uint64(32 - have1)
            word1, have1 = word1 + one, have1 + 32
        entry1 = np.int64(jumps[base1 + (ahead1 >> np.uint64(64 - SKIP_BITS))])
        if entry1 == 0:
            head = (base1 << np.uint64(16 - SKIP_BITS)) + (ahead1 >> np.uint64(48))
            code = np.int64(codes[head])
            value, run = code & 15, (code >> 4) & 15
            if code == 0 or value > MAX_AC_BITS or (value == 0 and run not in (0, 15)):
                break
            entry1 = (code >> 8) + value + 64 * (run + 1 if value or run else ENDED)
        used = entry1 & 63
        ahead1, have1 = ahead1 << np.uint64(used), have1 - used
        k1 += entry1 >> 6
        if 64 < k2 <= ENDED or k2 > ENDED + 63:
            # more than there are: the next block's bits were read as this one's
            at2 = 32 * np.int64(word2) - have2 - (entry2 & 63)
            word2 = np.uint64((at2 >> 5) + 2)
            ahead2 = np.uint64(words[at2 >> 5]) << np.uint64(32 + (at2 & 31))
            ahead2 |= np.uint64(words[(at2 >> 5) + 1]) << np.uint64(at2 & 31)
            have2 = 64 - (at2 & 31)
            k2 -= entry2 >> 6
            head = (base2 << np.uint64(16 - SKIP_BITS)) + (ahead2 >> np.uint64(48))
            code = np.int64(codes[head])
            value, run = code & 15, (code >> 4) & 15
            k2 += run + 1 if value or run else ENDED
            legal = code != 0 and value <= MAX_AC_BITS and (value != 0 or run == 0 or run == 15)
            if not legal or 64 < k2 <= ENDED:
                # not as if the block had ended
                lost, k2 = True, 1
            used = (code >> 8) + value
            ahead2, have2 = ahead2 << np.uint64(used), have2 - used
        if k2 >= 64:
            if block2 == size:
                at2 = 32 * np.int64(word2) - have2
                if at2 > stop or unit2 == count:
                    break
                block2, unit2 = np.uint64(0), unit2 + one
                other[unit2] = at2
            if have2 < 32:
                ahead2 |= np.uint64(words[word2]) << np.uint64(32 - have2)
                word2, have2 = word2 + one, have2 + 32
            table = np.uint64(blocks[block2, 1])
            head = (table << np.uint64(SHORT_BITS)) + (ahead2 >> np.uint64(64 - SHORT_BITS))
            code = np.int64(short_codes[head])
            if code == 0:
                code = np.int64(codes[(table << np.uint64(16)) + (ahead2 >> np.uint64(48))])
            component = np.uint64(blocks[block2, 0])
            level = before2[component] + dc_difference(np.int64(ahead2 >> np.uint64(32)), code)
            if code == 0 or (code & 255) > MAX_DC_BITS or abs(level) > _MOST:
                lost = True
            before2[component] = level
            others[unit2, block2] = level
            used = ((code >> 8) + (code & 15)) & 31
            ahead2, have2 = ahead2 << np.uint64(used), have2 - used
            base2 = np.uint64(blocks[block2, 2] << SKIP_BITS)
            block2 += one
            k2 = 1
        if have2 < 32:
            ahead2 |= np.uint64(words[word2]) << np.uint64(32 - have2)
            word2, have2 = word2 + one, have2 + 32
        entry2 = np.int64(jumps[base2 + (ahead2 >> np.uint64(64 - SKIP_BITS))])
        if entry2 == 0:
            head = (base2 << np.uint64(16 - SKIP_BITS)) + (ahead2 >> np.uint64(48))
            code = np.int64(codes[head])
            value, run = code & 15, (code >> 4) & 15
            if code == 0 or value > MAX_AC_BITS or (value == 0 and run not in (0, 15)):
                lost = True
            entry2 = (code >> 8) + value + 64 * (run + 1 if value or run else ENDED)
        used = entry2 & 63
        ahead2, have2 = ahead2 << np.uint64(used), have2 - used
        k2 += entry2 >> 6
        if lost:
            # anything may stand where it was: go on a bit further
            at2 = 32 * np.int64(word2) - have2 + 1
            if at2 > stop:
                break
            word2 = np.uint64((at2 >> 5) + 1)
            ahead2 = np.uint64(words[at2 >> 5]) << np.uint64(32 + (at2 & 31))
            have2 = 32 - (at2 & 31)
            lost, k2, block2, unit2, met = False, 64, np.uint64(0), np.uint64(0), np.uint64(0)
            other[0] = at2
            before2[:] = 0
    if unit1 < count:
        at1 = places[unit1]
    return np.int64(unit1), at1, np.int64(unit2)
