"""Scoring whole folders: what is counted, and what is counted apart."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from evaluation.annotations import (
    LABEL_FILE,
    AnnotationError,
    LabelledBox,
    LabelledPicture,
    read_annotations,
)
from evaluation.demo.folder import label_file, make_folder
from evaluation.demo.sources import FACES
from evaluation.judge import JudgedBox, JudgedPicture, judge, judge_file, locate
from evaluation.judge_sets import judge_set
from evaluation.oracle import redact
from evaluation.picture import read_upright
from evaluation.summary import SetScore, proportion, resamples, summarise
from pipeline.errors import ConfigurationError
from serving.geometry import Box

NAME = "grace_hopper.jpg"
FACE = LabelledBox("face", Box(*FACES[NAME]), occlusion="none")
PICTURE = LabelledPicture(f"images/{NAME}", 512, 600, ("face",), (FACE,))


@pytest.fixture
def labelled_folder(tmp_path: Path, photographs: Path) -> Path:
    """A data root with one labelled folder of two pictures."""
    folder = tmp_path / "data" / "faces"
    (folder / "images").mkdir(parents=True)
    rows = []
    for name in (NAME, "astronaut.png"):
        shutil.copy(photographs / name, folder / "images" / name)
        pixels = read_upright(photographs / name)
        boxes = [{"label": "face", "xyxy": list(FACES[name]), "attrs": {"occlusion": "none"}}]
        rows.append(
            {
                "image": f"images/{name}",
                "width": pixels.shape[1],
                "height": pixels.shape[0],
                "labelled_classes": ["face"],
                "boxes": boxes,
            }
        )
    (folder / LABEL_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def score_set(folder: Path, outputs: Path) -> SetScore:
    """``outputs`` judged by the labels of ``folder``."""
    labels = read_annotations(folder / LABEL_FILE)
    return summarise("faces", judge_set(labels, folder, outputs, name="faces"))


def test_originals_as_outputs_score_nothing(labelled_folder: Path) -> None:
    score = score_set(labelled_folder, labelled_folder)
    recall = score.recall("face")
    assert recall is not None
    assert (recall.obscured, recall.boxes) == (0, 2)
    assert score.changed_outside_pooled == 0


def test_what_was_not_published_is_counted_apart(labelled_folder: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    shutil.copy(labelled_folder / "images" / NAME, outputs / NAME)
    score = score_set(labelled_folder, outputs)
    assert (score.not_published, score.boxes_not_published, score.judged) == (1, 1, 1)
    recall = score.recall("face")
    assert recall is not None
    assert recall.boxes == 1


def test_a_broken_output_is_missed_not_excused(labelled_folder: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    shutil.copytree(labelled_folder, outputs)
    (outputs / "images" / NAME).write_bytes(b"broken")
    score = score_set(labelled_folder, outputs)
    assert score.unrelated == (f"images/{NAME}",)
    recall = score.recall("face")
    assert recall is not None
    assert recall.boxes == 2


def test_another_picture_is_not_credited(photographs: Path) -> None:
    source = read_upright(photographs / NAME)
    verdict = judge(PICTURE, source, source[::-1].copy())
    assert verdict.status == "unrelated"
    assert not any(box.obscured for box in verdict.boxes)


def test_the_scene_is_told_by_what_lies_outside_the_boxes() -> None:
    source = np.full((200, 200, 3), 128, np.uint8)
    source[50:150, 50:150] = np.random.default_rng(0).integers(0, 256, (100, 100, 3))
    face = LabelledBox("face", Box(50, 50, 150, 150))
    picture = LabelledPicture("x.jpg", 200, 200, ("face",), (face,))
    assert judge(picture, source, redact(source, [face.box], "solid")).status == "judged"


def test_ignored_boxes_count_nowhere(photographs: Path) -> None:
    ignored = LabelledBox("face", FACE.box, ignore=True)
    picture = LabelledPicture(PICTURE.image, 512, 600, ("face",), (ignored,))
    source = read_upright(photographs / NAME)
    verdict = judge(picture, source, redact(source, [FACE.box]))
    assert verdict.boxes == ()
    assert verdict.changed is not None
    assert verdict.changed.share == 0


def test_labels_for_another_size_are_refused(labelled_folder: Path) -> None:
    wrong = LabelledPicture(PICTURE.image, 600, 512, ("face",), (FACE,))
    with pytest.raises(AnnotationError, match="600x512"):
        judge_file(wrong, labelled_folder, labelled_folder)


def test_no_output_at_all_is_an_error(labelled_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="none of the labelled pictures"):
        score_set(labelled_folder, tmp_path / "empty")


def test_a_picture_is_found_with_and_without_its_first_folder(labelled_folder: Path) -> None:
    assert locate(labelled_folder, PICTURE.image) == locate(
        labelled_folder / "images", PICTURE.image
    )
    assert locate(labelled_folder, "images/absent.jpg") is None


def test_several_processes_give_the_same_answer(photographs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "input"
    make_folder(folder, photographs)
    labels = read_annotations(label_file(folder))
    alone = judge_set(labels, folder, folder, name="demo", processes=1)
    assert judge_set(labels, folder, folder, name="demo", processes=2) == alone


def box(height: float, obscured: bool) -> JudgedBox:
    return JudgedBox("face", height, "mask", float(obscured), obscured)


def test_heights_fall_into_their_bins() -> None:
    heights = [11.9, 12, 15.9, 16, 24, 47.9, 48, 500]
    picture = JudgedPicture("x", "judged", tuple(box(h, True) for h in heights), None)
    score = summarise("set", [picture])
    counts = {row.group: row.boxes for row in score.recalls}
    assert counts == {
        "all": 8,
        ">=12 px": 7,
        "<12 px": 1,
        "12-16 px": 2,
        "16-24 px": 1,
        "24-48 px": 2,
        ">=48 px": 2,
        "occlusion=mask": 8,
    }


def test_the_interval_holds_the_recall_and_is_repeatable() -> None:
    pictures = [
        JudgedPicture(str(i), "judged", (box(30, i % 4 != 0), box(30, True)), None)
        for i in range(40)
    ]
    row = summarise("set", pictures).recall("face")
    assert row is not None
    assert row.low < row.recall < row.high
    assert row == summarise("set", pictures).recall("face")


@pytest.mark.parametrize("boxes", [1, 4])
def test_the_interval_is_that_of_as_many_pictures(boxes: int) -> None:
    """Boxes of a picture that are hit and missed together tell no more than one would."""
    pictures = [
        JudgedPicture(str(i), "judged", tuple(box(30, i >= 20) for _ in range(boxes)), None)
        for i in range(100)
    ]
    row = summarise("set", pictures).recall("face")
    assert row is not None
    exact = binomtest(80, 100).proportion_ci(method="exact")
    assert (row.low, row.high) == (
        pytest.approx(exact.low, abs=0.01),
        pytest.approx(exact.high, abs=0.01),
    )


@pytest.mark.parametrize("missed", range(5))
def test_the_interval_is_the_exact_one_where_nearly_all_are_obscured(missed: int) -> None:
    pictures = [JudgedPicture(str(i), "judged", (box(30, i >= missed),), None) for i in range(57)]
    row = summarise("set", pictures).recall("face")
    assert row is not None
    exact = binomtest(57 - missed, 57).proportion_ci(method="exact")
    assert (row.low, row.high) == (
        pytest.approx(exact.low, abs=0.005),
        pytest.approx(exact.high, abs=0.005),
    )


@pytest.mark.parametrize("pictures", [1, 50])
def test_boxes_of_a_single_picture_are_not_taken_for_independent_ones(pictures: int) -> None:
    crowded = JudgedPicture("0", "judged", tuple(box(30, i > 0) for i in range(10)), None)
    others = [JudgedPicture(str(i), "judged", (), None) for i in range(1, pictures)]
    row = summarise("set", [crowded, *others]).recall("face")
    assert row is not None
    assert row.recall == pytest.approx(0.9)
    assert row.low < 0.05
    assert row.high > 0.99


def test_intervals_of_few_pictures_with_many_boxes_hold_the_truth() -> None:
    """At least 94 of 100, nominally 95: the variance itself is told badly by ten pictures."""
    draw = np.random.default_rng(1)
    weights, held = resamples(10), 0
    for _ in range(600):
        rates = draw.beta(7.5 * 0.75 * 4 / 3, 7.5 * 0.25 * 4 / 3, 10)
        whole = 1 + draw.poisson(29, 10)
        found = proportion(draw.binomial(whole, rates).astype(float), whole.astype(float), weights)
        held += found.low <= 0.75 <= found.high
    assert held >= 0.94 * 600


def test_overlaps_are_counted_from_their_limits_on() -> None:
    overlaps = (0.29, 0.3, 0.49, 0.5, 0.9)
    boxes = tuple(replace(box(30, True), overlap=value) for value in overlaps)
    row = summarise("set", [JudgedPicture("x", "judged", boxes, None)]).recall("face")
    assert row is not None
    assert [share.value for share in row.found] == [0.8, 0.4]
