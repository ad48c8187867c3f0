"""Stuffed bytes, held against the plainest ways of taking them out and putting them in."""

from __future__ import annotations

import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import ImageRefused
from pipeline.jpeg import segments
from pipeline.jpeg.bitstream import PADDING_WORDS, stuff, unstuff

# Mostly the bytes that matter.
codes = st.lists(st.sampled_from([0x00, 0xFF, 0xD0, 0xD7, 0xD9, 0x41]), max_size=400).map(bytes)
long_runs = st.binary(min_size=1020, max_size=5000).map(lambda raw: raw.replace(b"\xff", b"\xff\0"))


def words_of(raw: bytes, marks: int = 0) -> tuple[int, bytes, list[int]]:
    """What :func:`unstuff` makes of ``raw``: bits, bytes, and marks."""
    words = np.zeros(len(raw) // 4 + 1 + PADDING_WORDS, np.uint32)
    found = np.zeros(marks, np.int64)
    bits = unstuff(np.frombuffer(raw, np.uint8), words, found)
    packed = words.astype(">u4").tobytes()
    assert not any(packed[max(bits, 0) // 8 :]) or bits < 0, "zeros behind the end"
    return bits, packed[: bits // 8], found.tolist()


@given(codes)
@example(b"")
@example(b"\xff")
@example(b"\xff\x00")
@example(b"\xff\x00" * 9)
@settings(max_examples=300, deadline=None)
def test_zeros_behind_ones_are_taken_out(raw: bytes) -> None:
    bits, packed, _ = words_of(raw)
    if re.search(rb"\xff(?!\x00)", raw, re.DOTALL):
        assert bits == -1
    else:
        assert packed == raw.replace(b"\xff\0", b"\xff")


@given(st.binary(max_size=600) | codes)
@example(b"\xff" * 8)
@settings(max_examples=300, deadline=None)
def test_they_are_put_in_again(plain: bytes) -> None:
    words = np.zeros(len(plain) // 4 + 4, np.uint32)
    padded = plain.ljust(4 * len(words), b"\xaa")
    words[:] = np.frombuffer(padded, ">u4")
    assert stuff(words, len(plain)) == plain.replace(b"\xff", b"\xff\0")


def test_a_short_segment_takes_no_room_for_those_behind_it() -> None:
    """A picture may have a restart marker behind each unit: together they must stay linear."""
    words = np.zeros(1 << 20, np.uint32)
    raw = np.full(64, 0x41, np.uint8)
    unstuff(raw, words, np.zeros(0, np.int64))
    tracemalloc.start()
    try:
        unstuff(raw, words, np.zeros(0, np.int64))
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()


@given(long_runs)
@example(b"\x41" * 1023 + b"\xff\0" + b"\x42" * 2000)
@example(b"\xff\0" * 2048)
@settings(max_examples=100, deadline=None)
def test_marks_say_where_words_begin(raw: bytes) -> None:
    """What lies before a mark, with its stuffed zeros, is 1,024 bytes of words a mark."""
    bits, packed, marks = words_of(raw, len(raw) // 1024 + 1)
    for number, at in enumerate(marks):
        if 1024 * number < bits // 8:
            assert raw[:at].replace(b"\xff\0", b"\xff") == packed[: 1024 * number]
            assert len(raw[:at].replace(b"\xff\0", b"\xff")) == 1024 * number


@given(codes, st.integers(0, 9000))
@example(b"\xff\xd9", 4096)
@example(b"\xff\xd9", 4095)
@example(b"\xff\xd9", 12287)
@settings(max_examples=300, deadline=None)
def test_a_scan_ends_at_its_next_marker(rest: bytes, before: int) -> None:
    data = b"\x11" * before + rest
    found = re.search(rb"\xff[^\x00\xff\xd0-\xd7]", data, re.DOTALL)
    if found is None:
        with pytest.raises(ImageRefused, match="ends inside"):
            segments._scan_stop(data, 0)
    else:
        assert segments._scan_stop(data, 0) == found.start()
