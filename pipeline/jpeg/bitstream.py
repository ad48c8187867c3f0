"""Streams of bits in 32-bit words: reading, writing, copying, and the stuffing of JPEG's bytes.

A stream has no stuffed bytes and zeros behind its end. Source: ITU-T T.81, B.1.1.5 and annex F.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import Number, compiled, inlined

# Words of zeros behind a stream. An MCU has at most 16 blocks (T.81 allows 10), a block 64 codes of
# 16 bits with 11 further bits.
PADDING_WORDS = 1024

# The byte behind which a zero is stuffed, and the first of eight restart markers.
ONES, RST0 = 0xFF, 0xD0
# Bytes looked through together, and copied together.
_LOOK, _STRETCH = 256, 16

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


_SIZES = np.array([magnitude.bit_length() for magnitude in range(256)])


@compiled
def bits_of(value: Number) -> Number:
    """How many bits the magnitude of ``value`` has: its coding category."""
    magnitude: Number = abs(value)
    size = 0
    while magnitude > 255:
        magnitude >>= 8
        size += 8
    return size + _SIZES[magnitude]


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
def scan_end(codes: Bytes, at: int) -> Number:
    """Where the first marker stands from byte ``at`` on that ends a scan; -1 if none does.

    Stuffed zeros, fill bytes and restart markers do not.
    """
    last = codes.shape[0] - 1
    while at < last:
        stop = min(at + _LOOK, last)
        # most stretches hold none: what has no branches is compiled to vectors
        found = np.uint8(0)
        for i in range(np.uint64(at), np.uint64(stop)):
            code, behind = codes[i], codes[i + np.uint64(1)]
            ends = (behind != 0) & (behind != ONES) & ((behind & 0xF8) != RST0)
            found |= np.uint8(code == ONES) & np.uint8(ends)
        if found:
            for i in range(at, stop):
                behind = codes[i + 1]
                if codes[i] == ONES and behind not in (0, ONES) and behind & 0xF8 != RST0:
                    return i
        at = stop
    return -1


def unstuff(raw: Bytes, words: Words, marks: Longs) -> int:
    """Pack ``raw`` into ``words`` without the zeros that follow bytes of ones.

    Args:
        words: zeros, long enough for all of ``raw``.
        marks: [n], filled with where in ``raw`` every 256th word begins, as far as it reaches.

    Returns:
        How many bits there are; -1 if anything but a zero follows such a byte.
    """
    own = words[: -(-len(raw) // 4)]
    size = int(_without_zeros(raw, own.view(np.uint8), marks))
    if size < 0:
        return -1
    if sys.byteorder == "little":
        own[: -(-size // 4)].byteswap(inplace=True)
    return 8 * size


def stuff(words: Words, size: int) -> memoryview:
    """The first ``size`` bytes of ``words``, with a zero behind each of ones."""
    packed = words[: -(-size // 4)].astype(">u4").view(np.uint8)[:size]
    out = np.empty(size + int(np.count_nonzero(packed == ONES)), np.uint8)
    _with_zeros(packed, out)
    return out.data


@compiled
def _without_zeros(raw: Bytes, out: Bytes, marks: Longs) -> Number:
    """Copy ``raw`` without the bytes behind those of ones; its length, -1 if any of them is not 0.

    Args:
        out: zeros, at least as long as ``raw``.
        marks: see :func:`unstuff`.
    """
    # unsigned: an index that may be negative costs a comparison; and as below, a function that took
    # these arrays for each stretch would count references to them
    size, count = np.uint64(raw.shape[0]), np.uint64(marks.shape[0])
    one, stretch, mark_bytes = np.uint64(1), np.uint64(_STRETCH), np.uint64(1024)
    at, to, mark = np.uint64(0), np.uint64(0), np.uint64(1)
    # where the next mark is due
    limit = mark_bytes if count > one else size
    while at < size:
        stop = min(at + stretch, size)
        if stop - at == stretch and to + stretch <= limit:
            found = np.uint8(0)
            for i in range(stretch):
                value = raw[at + i]
                found |= np.uint8(value == ONES)
                out[to + i] = value
            if not found:
                at, to = at + stretch, to + stretch
                continue
        while at < stop:
            if to == limit:
                marks[mark] = at
                mark += one
                limit = mark_bytes * mark if mark < count else size
            value = raw[at]
            out[to] = value
            at, to = at + one, to + one
            if value == ONES:
                if at == size or raw[at] != 0:
                    return -1
                at += one
    for i in range(to, min(to + stretch, np.uint64(out.shape[0]))):
        out[i] = 0
    return np.int64(to)


@compiled
def _with_zeros(packed: Bytes, out: Bytes) -> None:
    """Copy ``packed`` to ``out`` with a zero behind each byte of ones, which it has room for."""
    size, one, stretch = np.uint64(packed.shape[0]), np.uint64(1), np.uint64(_STRETCH)
    at, to = np.uint64(0), np.uint64(0)
    while at < size:
        stop = min(at + stretch, size)
        if stop - at == stretch:
            found = np.uint8(0)
            for i in range(stretch):
                value = packed[at + i]
                found |= np.uint8(value == ONES)
                out[to + i] = value
            if not found:
                at, to = at + stretch, to + stretch
                continue
        while at < stop:
            value = packed[at]
            out[to] = value
            at, to = at + one, to + one
            if value == ONES:
                out[to] = 0
                to += one
