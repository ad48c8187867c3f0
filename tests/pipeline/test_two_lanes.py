"""Following coded data at two places at once gives what following it at one does, faults too."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from pipeline.jpeg import entropy, two_lanes
from pipeline.jpeg.frame import Frame, frame_of, scans_of
from pipeline.jpeg.segments import parse_jpeg
from pipeline.jpeg.sequential import SequentialScan, Tables
from pipeline.jpeg.stretches import segment_bounds, segment_words, without_end
from pipeline.jpeg.unspliceable import Unspliceable
from tests.pipeline.jpegs import VARIANTS, by_pillow
from tests.pipeline.pictures import textured

LOW = np.zeros((0, 0, 0), np.int16)


def parsed(data: bytes) -> tuple[bytes, Frame, Tables] | None:
    """The coded data of a file of one sequential scan without restart markers."""
    structure = parse_jpeg(data)
    if structure.arithmetic or structure.progressive or structure.scans != 1:
        return None
    frame, (scan,) = frame_of(data, structure), scans_of(data, structure)
    if scan.restart_interval:
        return None
    raw = without_end(data[scan.segment.stop : scan.segment.scan_stop])
    return raw, frame, Tables.of(frame, scan)


def followed(find: Any, raw: bytes, frame: Frame, tables: Tables, first: int) -> tuple[Any, ...]:
    """What ``find`` says of ``raw``, ``first`` being each component's first predictor."""
    bounds = segment_bounds(raw, frame.mcus, frame.mcus)
    words, segments = segment_words(raw, bounds, np.arange(1), frame.mcus, frame.mcus)
    places, ends = np.zeros(frame.mcus, np.int64), np.zeros(1, np.int64)
    dc = np.zeros((frame.mcus, len(frame.components)), np.int32)
    levels = np.zeros((frame.mcus, len(tables.blocks)), np.int16)
    start = np.full((1, len(frame.components)), first, np.int64)
    fault = find(
        words, segments, start, tables.blocks, tables.read, tables.short, tables.skip, places, dc,
        ends, levels, LOW,
    )  # fmt: skip
    return fault, places, dc, ends, levels


def assert_same(raw: bytes, frame: Frame, tables: Tables, first: int = 0) -> int:
    alone = followed(entropy.find_units, raw, frame, tables, first)
    both = followed(two_lanes.find_units_twice, raw, frame, tables, first)
    assert alone[0] == both[0]
    if alone[0] == entropy.OK:
        for a, b in zip(alone[1:], both[1:], strict=True):
            np.testing.assert_array_equal(a, b)
    return int(alone[0])


def test_every_encoders_files_are_followed_alike() -> None:
    files = [parsed(make(textured(403, 310, seed=4))) for make in VARIANTS.values()]
    alike = [assert_same(*found, first=7) == entropy.OK for found in files if found is not None]
    assert all(alike)
    assert len(alike) >= 20


def test_the_second_lane_does_half_of_the_work() -> None:
    found = parsed(by_pillow()(textured(800, 600, seed=1)))
    assert found is not None
    raw, frame, tables = found
    words, segments = segment_words(raw, [(0, len(raw))], np.arange(1), frame.mcus, frame.mcus)
    other = np.empty(frame.mcus + 1, np.int64)
    done, at, ahead = two_lanes.follow_both(
        words, 0, segments[0, 1], np.zeros(3, np.int64), tables.blocks, tables.read, tables.short,
        tables.skip, np.empty(frame.mcus, np.int64), np.empty((frame.mcus, 6), np.int16), other,
        np.empty((frame.mcus + 1, 6), np.int32),
    )  # fmt: skip
    assert 0.3 * frame.mcus < done < 0.7 * frame.mcus
    assert ahead > 0.3 * frame.mcus
    # what one of them is through with, the other has begun with or would have
    assert at in other[:ahead] or at < other[0] or other[ahead] > segments[0, 1] - 800


def test_damaged_data_is_refused_alike() -> None:
    chance = random.Random(5)
    files = [parsed(make(textured(160, 120, seed=i))) for i, make in enumerate(VARIANTS.values())]
    sound = [found for found in files if found is not None]
    seen = set()
    for number in range(3000):
        raw, frame, tables = sound[number % len(sound)]
        out = bytearray(raw)
        for _ in range(chance.choice([1, 1, 2, 5])):
            at = chance.randrange(len(out))
            out[at] = chance.choice([0, out[at] ^ 1 << chance.randrange(8), chance.randrange(255)])
        if chance.random() < 0.2:
            del out[chance.randrange(len(out)) :]
        try:
            seen.add(assert_same(bytes(out).replace(b"\xff", b"\xff\0"), frame, tables))
        except Unspliceable:
            continue
    assert {entropy.OK, entropy.BAD_CODE, entropy.TOO_SHORT} <= seen


def halves(top: tuple[float, float], bottom: tuple[float, float], quality: int) -> bytes:
    """A grey JPEG: mean and deviation of its noise above and below decide which lane ends first."""
    draw = np.random.default_rng(3)
    noise = [draw.normal(*half, (400, 800)) for half in (top, bottom)]
    pixels = np.concatenate(noise).clip(0, 255).astype(np.uint8)
    return by_pillow(quality=quality)(pixels)


@pytest.mark.parametrize("cut", [1, 2, 4, 8, 30, 100])
def test_a_second_lane_that_ends_first_does_not_read_on_behind_the_end(cut: int) -> None:
    raw, frame, tables = parsed(halves((128, 60), (128, 3), 95)) or (b"", None, None)
    assert frame is not None
    assert tables is not None
    assert assert_same(raw[:-cut], frame, tables) == entropy.TOO_SHORT


@pytest.mark.parametrize(
    ("top", "bottom"), [((70, 60), (250, 2)), ((128, 3), (250, 60)), ((128, 60), (250, 3))]
)
def test_sums_that_leave_their_range_behind_the_middle_are_refused_alike(
    top: tuple[float, float], bottom: tuple[float, float]
) -> None:
    """The second lane does not know how far the first one has come."""
    raw, frame, tables = parsed(halves(top, bottom, 95)) or (b"", None, None)
    assert frame is not None
    assert tables is not None
    plain = followed(entropy.find_units, raw, frame, tables, 0)[4]
    most, upper = int(plain.max()), int(plain[: len(plain) // 3].max())
    starts = [0, *range(32767 - most - 4, 32767 - upper, 40)]
    faults = [assert_same(raw, frame, tables, first=start) for start in starts]
    assert set(faults) == {entropy.OK, entropy.OUT_OF_RANGE}


@pytest.mark.parametrize(("top", "bottom"), [(6, 60), (60, 3), (90, 10), (60, 6), (0, 80)])
def test_a_last_block_that_is_too_long_is_refused_alike(top: float, bottom: float) -> None:
    raw, frame, tables = parsed(halves((128, top), (128, bottom), 85)) or (b"", None, None)
    assert frame is not None
    assert tables is not None
    last = int(followed(entropy.find_units, raw, frame, tables, 0)[1][-1])
    plain = raw.replace(b"\xff\0", b"\xff")
    before = "".join(f"{byte:08b}" for byte in plain)[:last]

    def code(table: int, symbol: int) -> str:
        entry = int(tables.write[table, symbol])
        return f"{entry >> 5:0{entry & 31}b}"

    _, dc, ac = tables.blocks[0].tolist()
    for fill in range(8):
        bits = before + code(dc, 0) + (code(ac, 1) + "1") * fill + code(ac, 0xF0) * 4
        bits += "1" * (-len(bits) % 8)
        made = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
        assert assert_same(made.replace(b"\xff", b"\xff\0"), frame, tables) != entropy.OK


def test_pictures_of_one_sequential_scan_take_two_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = two_lanes.find_units_twice
    monkeypatch.setattr(two_lanes, "find_units_twice", lambda *a: asked.append(1) or real(*a))
    for picture, times in ((textured(800, 600, seed=1), 1), (textured(80, 60, seed=1), 1)):
        data = by_pillow()(picture)
        structure = parse_jpeg(data)
        SequentialScan(data, frame_of(data, structure), scans_of(data, structure)[0])
        assert len(asked) == times
