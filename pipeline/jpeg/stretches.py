"""The coded data of a scan, stretch by stretch between restart markers, as words of bits.

Source: ITU-T T.81, annexes B.1.1.5 and B.2.1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.jpeg import bitstream, entropy
from pipeline.jpeg.bitstream import RST0, Longs, Words
from pipeline.jpeg.unspliceable import Unspliceable

# a run of bytes of ones is looked at once: it may be as long as the file
_FILLED_RESTART = re.compile(rb"(?<!\xff)\xff\xff++(?=[\xd0-\xd7])")


def without_fill(raw: bytes) -> bytes:
    """The coded data ``raw`` of a scan without fill bytes (T.81, B.1.1.2) and markers at its end.

    Within coded data a byte of ones is followed by a zero, so none of this holds a coefficient.
    """
    raw = without_end(raw)
    return _FILLED_RESTART.sub(b"\xff", raw) if b"\xff\xff" in raw else raw


def without_end(raw: bytes) -> bytes:
    """The same without those at the end alone: enough where no restart marker is to come."""
    stop = len(raw)
    while True:
        while stop and raw[stop - 1] == 0xFF:
            stop -= 1
        if stop < 2 or raw[stop - 2] != 0xFF or not RST0 <= raw[stop - 1] < RST0 + 8:
            break
        stop -= 2
    return raw[:stop]


def segment_bounds(raw: bytes, interval: int, mcus: int) -> list[tuple[int, int]]:
    """Where the stretches between restart markers lie in ``raw``.

    Raises:
        Unspliceable: markers that should not be there, or not in that order.
    """
    count = -(-mcus // interval)
    if count == 1:
        return [(0, len(raw))]
    codes = np.frombuffer(raw, np.uint8)
    at = np.flatnonzero(codes[:-1] == 0xFF)
    at = at[codes[at + 1] != 0]
    if len(at) != count - 1 or (codes[at + 1] != RST0 + np.arange(count - 1) % 8).any():
        raise Unspliceable("scan", "the restart markers are not those that the header promises")
    edges = at.tolist()
    return list(zip([0, *(edge + 2 for edge in edges)], [*edges, len(raw)], strict=True))


def unstuffed(
    raw: NDArray[np.uint8],
    bounds: tuple[int, int],
    words: Words,
    marks: Longs | None = None,
) -> int:
    """Fill ``words`` with a segment; how many bits it has.

    Args:
        marks: see :func:`pipeline.jpeg.bitstream.unstuff`.

    Raises:
        Unspliceable: there is a marker in it.
    """
    nowhere = np.zeros(0, np.int64) if marks is None else marks
    bits = bitstream.unstuff(raw[bounds[0] : bounds[1]], words, nowhere)
    if bits < 0:
        raise Unspliceable("scan", "there is a marker where none should be")
    return bits


def segment_words(
    raw: bytes,
    bounds: Sequence[tuple[int, int]],
    numbers: NDArray[np.int64],
    interval: int,
    mcus: int,
    marks: Longs | None = None,
) -> tuple[Words, Longs]:
    """The stretches ``numbers`` without stuffed bytes, and the table of them.

    Args:
        marks: of the only stretch, see :func:`pipeline.jpeg.bitstream.unstuff`.

    Returns:
        Words, and [n, 4]: see :data:`pipeline.jpeg.entropy.SEGMENT_FIELDS`.

    Raises:
        Unspliceable: there is a marker in one.
    """
    codes = np.frombuffer(raw, np.uint8)
    size = sum(bounds[number][1] - bounds[number][0] for number in numbers)
    words = np.zeros(size // 4 + len(numbers) + bitstream.PADDING_WORDS, np.uint32)
    rows: list[tuple[int, int, int, int]] = []
    at = 0
    for number in numbers.tolist():
        bits = unstuffed(codes, bounds[number], words[at:], marks)
        first = number * interval
        rows.append((32 * at, 32 * at + bits, first, min(interval, mcus - first)))
        at += -(-bits // 32)
    return words, np.array(rows, np.int64).reshape(-1, entropy.SEGMENT_FIELDS)
