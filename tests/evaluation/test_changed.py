"""Changed outside: coding noise is none, blur is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from evaluation.annotations import LabelledPicture
from evaluation.changed import ChangedOutside, changed_map, changed_outside, outside_map
from evaluation.oracle import redact
from evaluation.picture import read_upright
from serving.geometry import Box
from tests.evaluation.coding import coded

Labelled = list[tuple[Path, LabelledPicture]]
NAMES = ["astronaut.png", "grace_hopper.jpg", "chelsea.png", "coffee.png", "brick.png"]


@pytest.mark.parametrize("quality", [75, 90, None])
def test_coding_again_changes_nothing(labelled: Labelled, quality: int | None) -> None:
    shares = []
    for folder, picture in labelled:
        source = read_upright(folder / picture.image)
        shares.append(changed_outside(source, coded(source, quality), []).share)
    assert np.mean(shares) < 3e-4
    assert max(shares) < 5e-3


def test_the_oracle_changes_nothing_outside(labelled: Labelled) -> None:
    shares = []
    for folder, picture in labelled:
        source = read_upright(folder / picture.image)
        boxes = [item.box for item in picture.boxes]
        output = coded(redact(source, boxes), 90)
        shares.append(changed_outside(source, output, boxes).share)
    assert np.mean(shares) < 3e-4


@pytest.mark.parametrize("name", NAMES)
def test_a_blurred_patch_is_found_almost_whole(photographs: Path, name: str) -> None:
    source = read_upright(photographs / name)
    height, width = source.shape[:2]
    patch = Box(width * 0.3, height * 0.3, width * 0.7, height * 0.7)
    changed = changed_map(source, coded(redact(source, [patch], sigma=20), 90))
    inside = ~outside_map(width, height, [patch], growth=0)
    assert changed[inside].mean() > 0.7
    assert changed[~inside].mean() < 0.02


def test_a_change_of_colour_alone_is_found() -> None:
    red = np.full((60, 60, 3), (200, 60, 60), dtype=np.uint8)
    grey = int(cv2.cvtColor(red, cv2.COLOR_RGB2GRAY)[0, 0])
    assert changed_map(red, np.full_like(red, grey)).all()


def test_a_flat_area_whose_level_moves_is_found() -> None:
    flat = np.full((60, 60, 3), 90, dtype=np.uint8)
    assert changed_map(flat, flat + 8).all()


def test_different_sizes_are_refused() -> None:
    flat = np.zeros((8, 8, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="sizes must agree"):
        changed_map(flat, flat[:4])


@pytest.mark.parametrize(
    ("boxes", "inside"),
    [
        ([], 0),
        ([Box(40, 40, 60, 60)], 30 * 30),
        ([Box(-20, -20, 20, 20)], 30 * 30),
        ([Box(200, 200, 210, 210)], 0),
        ([Box(-100, -100, 300, 300)], 100 * 100),
        ([Box(40, 40, 60, 60), Box(40, 40, 60, 60)], 30 * 30),
    ],
)
def test_boxes_grow_by_a_quarter_on_each_side(boxes: list[Box], inside: int) -> None:
    assert np.count_nonzero(~outside_map(100, 100, boxes)) == inside


def test_boxes_that_cover_the_picture_leave_no_share() -> None:
    assert ChangedOutside(0, 0).share == 0
