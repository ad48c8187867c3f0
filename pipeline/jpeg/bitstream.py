"""Streams of bits in 32-bit words: reading, writing, copying, and the stuffing of JPEG's bytes.

A stream has no stuffed bytes and zeros behind its end. Source: ITU-T T.81, B.1.1.5 and annex F.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import Number, compiled, inlined

# Words of zeros behind a stream. An MCU has at most 16 blocks (T.81 allows 10), a block 64 codes of
# 16 bits with 11 further bits.
PADDING_WORDS = 1024

Words = NDArray[np.uint32]
Longs = NDArray[np.int64]


@inlined
def peek(words: Words, at: Number) -> Number:
    """The next 32 bits."""
    word, shift = at >> 5, at & 31
    high = (np.int64(words[word]) << shift) & 0xFFFFFFFF
    return high | (np.int64(words[word + 1]) >> (32 - shift))


@inlined
def extended(bits: Number, size: Number) -> Number:
    """The value of ``size`` further bits; T.81, figure F.12."""
    return bits if bits >> (size - 1) else bits - (1 << size) + 1


@compiled
def bits_of(value: Number) -> Number:
    """How many bits the magnitude of ``value`` has: its coding category."""
    magnitude: Number = abs(value)
    size = 0
    while magnitude:
        magnitude >>= 1
        size += 1
    return size


@inlined
def put(out: Words, to: Number, bits: Number, count: Number) -> None:
    """Write ``count`` <= 32 bits at bit ``to`` of ``out``, whose later bits are 0."""
    free = 32 - (to & 31)
    word = to >> 5
    if count <= free:
        out[word] |= np.uint32(bits << (free - count))
    else:
        out[word] |= np.uint32(bits >> (count - free))
        out[word + 1] = np.uint32((bits << (32 - count + free)) & 0xFFFFFFFF)


@compiled
def copy_bits(words: Words, at: Number, stop: Number, out: Words, to: Number) -> Number:
    """Append the bits ``at``..``stop`` to ``out`` at bit ``to``; where they end."""
    count = min(-to & 31, stop - at)
    if count:
        put(out, to, peek(words, at) >> (32 - count), count)
    at, to = at + count, to + count
    whole, word = (stop - at) >> 5, to >> 5
    for i in range(whole):
        out[word + i] = peek(words, at + 32 * i)
    at, to = at + 32 * whole, to + 32 * whole
    if at < stop:
        put(out, to, peek(words, at) >> (32 - stop + at), stop - at)
    return to + stop - at


@compiled
def same_bits(words: Words, at: int, stop: int, others: Words, to: int) -> bool:
    """Whether the bits ``at``..``stop`` of ``words`` are those of ``others`` from ``to`` on."""
    while at < stop:
        count = min(32, stop - at)
        if (peek(words, at) ^ peek(others, to)) >> (32 - count):
            return False
        at += count
        to += count
    return True


@compiled
def unstuff(raw: NDArray[np.uint8], words: Words, marks: Longs) -> int:
    """Pack ``raw`` into ``words`` without the zeros that follow bytes of ones.

    Args:
        marks: [n], filled with where in ``raw`` every 256th word begins, as far as it reaches.

    Returns:
        How many bits there are; -1 if anything but a zero follows such a byte.
    """
    packed: Number = np.int64(0)
    filled, word, at, size = 0, 0, 0, raw.shape[0]
    while at < size:
        byte = np.int64(raw[at])
        packed, filled, at = (packed << 8) | byte, filled + 1, at + 1
        if byte == 255:
            if at >= size or raw[at] != 0:
                return -1
            at += 1
        if filled == 4:
            words[word] = packed & 0xFFFFFFFF
            packed, filled, word = np.int64(0), 0, word + 1
            if word & 255 == 0 and word >> 8 < marks.shape[0]:
                marks[word >> 8] = at
    if filled:
        words[word] = (packed << (32 - 8 * filled)) & 0xFFFFFFFF
    return 32 * word + 8 * filled


@inlined
def _has_ones(four: Number) -> Number:
    """Whether any of four bytes is 255 (a zero byte in the complement)."""
    inverted = four ^ 0xFFFFFFFF
    return (inverted - 0x01010101) & ~inverted & 0x80808080


@compiled
def stuff(words: Words, start: int, stop: int, out: NDArray[np.uint8]) -> int:
    """Write the bytes ``start``..``stop`` of ``words`` to ``out``, a zero behind each of ones.

    Returns:
        How many bytes were written.
    """
    to, at = 0, start
    while at < stop:
        four = np.int64(words[at >> 2])
        if at & 3 == 0 and at + 4 <= stop and not _has_ones(four):
            out[to], out[to + 1] = four >> 24, (four >> 16) & 255
            out[to + 2], out[to + 3] = (four >> 8) & 255, four & 255
            at, to = at + 4, to + 4
            continue
        byte = (four >> (24 - 8 * (at & 3))) & 255
        out[to] = byte
        at, to = at + 1, to + 1
        if byte == 255:
            out[to] = 0
            to += 1
    return to
