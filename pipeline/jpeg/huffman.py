"""Huffman tables of JPEG files, for reading, skipping and writing.

Source: ITU-T T.81, annexes C, F.1.2 and F.2.2, and table K.2 for codes of one's own.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import Number, compiled
from pipeline.jpeg.unspliceable import Unspliceable

# Bits that are looked at together when coefficients are skipped; 16 KB a table at 13.
SKIP_BITS = 13
# Bits of the small table that is asked first: nearly all codes are shorter.
SHORT_BITS = 10
MAX_CODE_BITS = 16

# What the end of a block adds to the number of coefficients passed: no 64 of them reach it.
ENDED = 128

# Coding categories of 8-bit samples: DC differences have up to 11 bits, AC coefficients up to 10.
MAX_DC_BITS, MAX_AC_BITS = 11, 10


@dataclass(frozen=True, slots=True, eq=False)
class HuffmanTable:
    """One table, ready for use.

    Attributes:
        counts: how many codes there are of 1..16 bits.
        symbols: in the order of their codes.
        read: [65536] int16: for the next 16 bits, 256 x bits of the code + symbol; 0 for no code.
        short: [2^10] int16: the same for the next bits, 0 also where the code is longer.
        write: [256] int32: for a symbol, 32 x its code + bits of the code; 0 where it has none.
        skip: [2^13] int16: for the next bits, what :func:`skip_entries` says.
    """

    counts: tuple[int, ...]
    symbols: bytes
    read: NDArray[np.int16]
    short: NDArray[np.int16]
    write: NDArray[np.int32]
    skip: NDArray[np.int16]

    @property
    def payload(self) -> bytes:
        """What a DHT segment says of it, without class and number."""
        return bytes(self.counts) + self.symbols


@lru_cache(maxsize=256)
def huffman_table(counts: bytes, symbols: bytes) -> HuffmanTable:
    """The table of 16 ``counts`` and their ``symbols``.

    Raises:
        Unspliceable: more codes than there can be, or a symbol twice.
    """
    lengths = np.repeat(np.arange(1, MAX_CODE_BITS + 1), np.frombuffer(counts, np.uint8))
    if len(lengths) != len(symbols) or len(set(symbols)) != len(symbols):
        raise Unspliceable("tables", "a Huffman table gives a symbol no code or two")
    read = np.zeros(1 << MAX_CODE_BITS, np.int16)
    write = np.zeros(256, np.int32)
    code, at, last = 0, 0, 0
    for length, symbol in zip(lengths.tolist(), symbols, strict=True):
        code <<= length - last
        last = length
        width = 1 << (MAX_CODE_BITS - length)
        if at + width > len(read):
            raise Unspliceable("tables", "a Huffman table has more codes than there can be")
        read[at : at + width] = length << 8 | symbol
        write[symbol] = code << 5 | length
        code, at = code + 1, at + width
    short = read[:: 1 << (MAX_CODE_BITS - SHORT_BITS)].copy()
    short[short >> 8 > SHORT_BITS] = 0
    for array in (read, short, write):
        array.flags.writeable = False
    return HuffmanTable(tuple(counts), symbols, read, short, write, skip_entries(read))


@compiled
def skip_entries(read: NDArray[np.int16]) -> NDArray[np.int16]:
    """How far whole AC coefficients reach within each value of the next ``SKIP_BITS`` bits.

    Of the first coefficient only the code has to lie within them.

    Returns:
        [2^SKIP_BITS]: bits + 64 x coefficients passed, ``ENDED`` more of these if the block ends
        there; 0 where not even one code is whole, or one is none of a sequential scan.
    """
    out = np.zeros(1 << SKIP_BITS, np.int16)
    for bits in range(1 << SKIP_BITS):
        used: Number = 0
        passed: Number = 0
        while passed < 64 and used < SKIP_BITS:
            window = ((bits << used) & ((1 << SKIP_BITS) - 1)) << (MAX_CODE_BITS - SKIP_BITS)
            entry = np.int64(read[window])
            length, symbol = entry >> 8, entry & 255
            run, size = symbol >> 4, symbol & 15
            room = SKIP_BITS - used - (size if used else 0)
            if length == 0 or length > room or size > MAX_AC_BITS:
                break
            if size == 0 and run not in (0, 15):
                break
            ended = size == 0 and run == 0
            if not ended and passed + run + 1 > 64:
                break
            used += length + size
            passed += ENDED if ended else run + 1
        out[bits] = used + 64 * passed
    return out


def fitted_table(counts: NDArray[np.int64]) -> HuffmanTable:
    """The shortest codes of up to 16 bits for symbols that occur ``counts`` [256] times.

    No code consists of ones alone (T.81, annex K.2).
    """
    # the last symbol, which is no symbol, takes the code of ones
    heap: list[tuple[int, int, tuple[int, ...]]] = [
        (int(count), symbol, (symbol,)) for symbol, count in enumerate(counts) if count
    ]
    heap.append((1, 256, (256,)))
    if len(heap) == 1:
        heap.append((1, 0, (0,)))
    lengths = [0] * 257
    heapq.heapify(heap)
    while len(heap) > 1:
        left, right = heapq.heappop(heap), heapq.heappop(heap)
        for symbol in (*left[2], *right[2]):
            lengths[symbol] += 1
        heapq.heappush(heap, (left[0] + right[0], min(left[1], right[1]), left[2] + right[2]))
    bits = [0] * 258
    for length in lengths:
        if length:
            bits[length] += 1
    for length in range(257, MAX_CODE_BITS, -1):
        while bits[length] > 0:
            shorter = length - 2
            while bits[shorter] == 0:
                shorter -= 1
            bits[length] -= 2
            bits[length - 1] += 1
            bits[shorter + 1] += 2
            bits[shorter] -= 1
    longest = max(length for length in range(1, MAX_CODE_BITS + 1) if bits[length])
    bits[longest] -= 1
    order = sorted((s for s in range(256) if lengths[s]), key=lambda s: (lengths[s], s))
    return huffman_table(bytes(bits[1 : MAX_CODE_BITS + 1]), bytes(order))
