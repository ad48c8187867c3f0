"""Which candidates a reviewer is shown, how, and that the committed review can be read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import evaluation
from evaluation.annotations import LabelledBox, LabelledPicture
from evaluation.review_sheets import COLUMNS, ROWS, TILE_PX, draw_tile, unexplained, write_sheets
from serving.geometry import LABELS, Box, Candidate, Label

LABEL = Box(100, 100, 140, 140)
PICTURE = LabelledPicture("images/a.png", 400, 300, ("face",), (LabelledBox("face", LABEL),))
ALONE = Box(300, 200, 330, 240)
REVIEWED = Path(evaluation.__file__).parent / "reviewed"
KINDS = {
    "face": {"face", "depicted_face", "unsure"},
    "plate": {"plate", "unreadable_plate", "unsure"},
}


def _candidate(box: Box, score: float = 0.5, label: Label = "face") -> Candidate:
    return Candidate(label, box, score, 1.0, "native")


@pytest.mark.parametrize(
    "box",
    [
        pytest.param(Box(105, 95, 150, 145), id="overlaps"),
        pytest.param(Box(100, 100, 110, 108), id="covered"),
        pytest.param(Box(144, 110, 152, 120), id="centre in the grown label"),
    ],
)
@pytest.mark.parametrize("label", LABELS)
def test_a_label_of_any_class_explains(box: Box, label: Label) -> None:
    assert unexplained(PICTURE, [_candidate(box, label=label)]) == []


@pytest.mark.parametrize(
    ("label", "score", "shown"),
    [("face", 0.14, 0), ("face", 0.15, 1), ("plate", 0.04, 0), ("plate", 0.05, 1)],
)
def test_weak_candidates_are_left_out(label: Label, score: float, shown: int) -> None:
    assert len(unexplained(PICTURE, [_candidate(ALONE, score, label)])) == shown


def test_several_boxes_of_one_object_are_shown_once_with_the_best() -> None:
    weak = _candidate(Box(304, 206, 334, 246), 0.3)
    best = _candidate(ALONE, 0.6)
    (item,) = unexplained(PICTURE, [weak, best])
    assert item.candidate == best


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(_candidate(ALONE, label="plate"), id="another class"),
        pytest.param(_candidate(Box(310, 210, 316, 218)), id="small inside large"),
    ],
)
def test_what_may_be_another_object_is_shown_too(other: Candidate) -> None:
    assert len(unexplained(PICTURE, [_candidate(ALONE), other])) == 2


def test_a_tile_shows_three_times_the_box_also_beyond_the_border() -> None:
    pixels = np.full((300, 400, 3), 200, np.uint8)
    (item,) = unexplained(PICTURE, [_candidate(Box(0, 0, 40, 30))])
    tile = draw_tile(pixels, 7, item)
    assert item.shown == Box(-40, -45, 80, 75)
    assert tile.shape == (TILE_PX, TILE_PX, 3)
    assert tile[TILE_PX // 2 + 40, TILE_PX // 2].tolist() == [200, 200, 200]
    assert tile[40, 40].tolist() == [90, 90, 90]
    left = round(40 * TILE_PX / 120)
    assert tile[TILE_PX // 2 - 10, left].tolist() == [255, 220, 0]


def test_sheets_and_table_name_every_candidate(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    cv2.imwrite(str(folder / PICTURE.image), np.full((300, 400, 3), 90, np.uint8))
    places = [Box(x, y, x + 8, y + 9) for y in (10, 60, 200, 250) for x in range(10, 290, 35)]
    items = unexplained(PICTURE, [_candidate(box) for box in places])
    output = tmp_path / "sheets"
    assert write_sheets(folder, items, output) == 2
    sizes = [cv2.imread(str(output / f"set-0{n}.png")).shape[:2] for n in (1, 2)]
    step = sizes[0][1] // COLUMNS
    assert sizes == [(ROWS * step, COLUMNS * step), (step, COLUMNS * step)]
    with (output / "set.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["number"]) for row in rows] == list(range(1, len(places) + 1))
    assert [float(row["x1"]) for row in rows] == [box.x1 for box in places]
    assert rows[-1]["sheet"] == "set-02.png"


def test_the_committed_review_is_well_formed() -> None:
    files = sorted(REVIEWED.glob("*.jsonl"))
    assert files
    for path in files:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for row in rows:
            assert set(row) == {"image", "label", "xyxy", "kind", "found"}
            assert row["kind"] in KINDS[row["label"]]
            assert isinstance(row["found"], bool)
            x1, y1, x2, y2 = row["xyxy"]
            assert all(isinstance(value, int) for value in row["xyxy"])
            assert 0 <= x1 < x2
            assert 0 <= y1 < y2
        order = [(row["image"], row["xyxy"][0]) for row in rows]
        assert order == sorted(order)
