"""AC coefficients of changed blocks, held against a writer that joins texts of 0 and 1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.jpeg import entropy_writing
from pipeline.jpeg.bitstream import bits_of
from pipeline.jpeg.huffman import MAX_AC_BITS, fitted_table

ZEROS, END = 0xF0, 0x00
EVERY = [run << 4 | size for run in range(16) for size in range(11)]

values = st.one_of(st.integers(-3, 3), st.integers(-1023, 1023), st.sampled_from([-32768, 32767]))
blocks = st.dictionaries(st.integers(1, 63), values, max_size=63)
# symbols that have no code; mostly few
holes = st.one_of(st.just(set()), st.sets(st.sampled_from(EVERY), max_size=40))


def table_without(missing: set[int]) -> np.ndarray:
    counts = np.zeros(256, np.int64)
    for symbol in EVERY:
        # codes of many lengths
        counts[symbol] = 0 if symbol in missing else 1 + (symbol * 2654435761 % 4093) ** 2
    return fitted_table(counts).write


def plainly(block: np.ndarray, write: np.ndarray, spare: int) -> str | None:
    """The bits of T.81, F.1.2.2; None where something that would be seen has no code."""

    def code(symbol: int) -> str | None:
        entry = int(write[symbol])
        return f"{entry >> 5:0{entry & 31}b}" if entry else None

    out, run = "", 0
    for value in (int(one) for one in block[1:]):
        size = abs(value).bit_length()
        own = code((run & 15) << 4 | size) if 0 < size <= MAX_AC_BITS else None
        if value and (own is None or (run > 15 and code(ZEROS) is None)):
            if abs(value) > spare:
                return None
            value = 0
        if value == 0:
            run += 1
            continue
        assert own is not None
        out += (code(ZEROS) or "") * (run // 16) + own
        out += f"{value if value > 0 else value + (1 << size) - 1:0{size}b}"
        run = 0
    end = code(END)
    return out if not run else None if end is None else out + end


def written(block: np.ndarray, write: np.ndarray, spare: int, before: str) -> tuple[int, str]:
    """What the compiled code makes of it behind the bits ``before``."""
    out = np.zeros((len(before) + entropy_writing.MAX_BLOCK_BITS) // 32 + 4, np.uint32)
    padded = before + "0" * (-len(before) % 32)
    for word in range(len(padded) // 32):
        out[word] = int(padded[32 * word : 32 * word + 32], 2)
    to = entropy_writing._write_ac(block, write, np.full(64, spare, np.int32), out, len(before))
    return int(to), "".join(f"{word:032b}" for word in out)


@given(blocks, holes, st.sampled_from([0, 3, 64]), st.text("01", max_size=100))
@settings(max_examples=400, deadline=None)
def test_the_bits_are_those_of_the_standard(
    entries: dict[int, int], missing: set[int], spare: int, before: str
) -> None:
    block = np.zeros(64, np.int16)
    for place, value in entries.items():
        block[place] = value
    write = table_without(missing)
    expected = plainly(block, write, spare)
    to, bits = written(block, write, spare, before)
    if expected is None:
        assert to == -1
        return
    assert to == len(before) + len(expected)
    assert bits[:to] == before + expected
    assert "1" not in bits[to:]


@pytest.mark.parametrize("last", [17, 33, 49, 63])
def test_long_runs_of_zeros(last: int) -> None:
    block = np.zeros(64, np.int16)
    block[last] = 1000
    write = table_without(set())
    for before in ("", "1" * 31):
        to, bits = written(block, write, 0, before)
        assert bits[len(before) : to] == plainly(block, write, 0)


def test_a_visible_coefficient_without_a_code_is_not_left_out() -> None:
    block = np.zeros(64, np.int16)
    block[1] = 65
    write = table_without({7})
    assert written(block, write, 64, "")[0] == -1
    block[1] = 64
    to, bits = written(block, write, 64, "")
    assert bits[:to] == plainly(np.zeros(64, np.int16), write, 0)


def test_a_table_without_an_end_of_block() -> None:
    block = np.zeros(64, np.int16)
    assert written(block, table_without({END}), 64, "")[0] == -1
    block[1:] = 1
    assert written(block, table_without({END}), 0, "")[0] > 0


@given(st.integers(-(2**40), 2**40))
@settings(max_examples=300, deadline=None)
def test_bits_of_a_magnitude(value: int) -> None:
    assert bits_of(value) == abs(value).bit_length()
