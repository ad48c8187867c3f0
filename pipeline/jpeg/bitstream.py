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

# The byte behind which a zero is stuffed.
ONES = 0xFF

Bytes = NDArray[np.uint8]
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


def unstuff(raw: Bytes, words: Words, marks: Longs) -> int:
    """Pack ``raw`` into ``words`` without the zeros that follow bytes of ones.

    Args:
        words: zeros, long enough for all of ``raw``.
        marks: [n], filled with where in ``raw`` every 256th word begins, as far as it reaches.

    Returns:
        How many bits there are; -1 if anything but a zero follows such a byte.
    """
    packed = np.zeros(len(raw) + 3, np.uint8)[: -(-len(raw) // 4) * 4]
    size = int(_without_zeros(raw, np.flatnonzero(raw == ONES), packed, marks))
    if size < 0:
        return -1
    used = -(-size // 4)
    words[:used] = packed.view(">u4")[:used]
    return 8 * size


def stuff(words: Words, size: int) -> bytes:
    """The first ``size`` bytes of ``words``, with a zero behind each of ones."""
    packed = words[: -(-size // 4)].astype(">u4").view(np.uint8)[:size]
    ones = np.flatnonzero(packed == ONES)
    out = np.zeros(size + len(ones), np.uint8)
    _with_zeros(packed, ones, out)
    return out.tobytes()


@inlined
def _copy_bytes(source: Bytes, at: Number, stop: Number, out: Bytes, to: Number) -> None:
    """As ``out[to:...] = source[at:stop]``, in half the time where it is a few dozen bytes."""
    for i in range(np.uint64(stop - at)):
        out[np.uint64(to) + i] = source[np.uint64(at) + i]


@compiled
def _without_zeros(raw: Bytes, ones: Longs, out: Bytes, marks: Longs) -> int:
    """Copy ``raw`` without the bytes behind ``ones``; its length, -1 if any of them is not 0."""
    size = raw.shape[0]
    at, to, mark = 0, 0, 1
    for i in range(ones.shape[0] + 1):
        last = i == ones.shape[0]
        stop = size if last else ones[i] + 1
        if not last and (stop >= size or raw[stop] != 0):
            return -1
        count = stop - at
        _copy_bytes(raw, at, stop, out, to)
        while mark < marks.shape[0] and 1024 * mark < to + count:
            marks[mark] = at + 1024 * mark - to
            mark += 1
        to += count
        at = stop + 1
    return to


@compiled
def _with_zeros(packed: Bytes, ones: Longs, out: Bytes) -> None:
    """Copy ``packed`` to ``out``, which is 0, leaving a byte free behind each of ``ones``."""
    at = 0
    for i in range(ones.shape[0] + 1):
        stop = packed.shape[0] if i == ones.shape[0] else ones[i] + 1
        _copy_bytes(packed, at, stop, out, at + i)
        at = stop
