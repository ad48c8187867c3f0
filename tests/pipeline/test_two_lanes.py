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


def test_sums_that_leave_their_range_behind_the_middle_are_refused_alike() -> None:
    """The second lane does not know how far the first one has come."""
    picture = np.zeros((480, 480, 3), np.uint8)
    picture[350:] = 255
    found = parsed(by_pillow()(picture))
    assert found is not None
    top = 32767
    faults = {
        assert_same(*found, first=first) for first in (0, top - 3000, top - 1, -top, -top + 1)
    }
    assert faults == {entropy.OK, entropy.OUT_OF_RANGE}


def test_pictures_of_one_sequential_scan_take_two_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = two_lanes.find_units_twice
    monkeypatch.setattr(two_lanes, "find_units_twice", lambda *a: asked.append(1) or real(*a))
    for picture, times in ((textured(800, 600, seed=1), 1), (textured(80, 60, seed=1), 1)):
        data = by_pillow()(picture)
        structure = parse_jpeg(data)
        SequentialScan(data, frame_of(data, structure), scans_of(data, structure)[0])
        assert len(asked) == times
