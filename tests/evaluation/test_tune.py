"""Thresholds by labelled pictures: what is estimated, what is chosen, what is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.annotations import LabelledBox, LabelledPicture, read_annotations
from evaluation.operating_points import ClassCandidates, Thresholds, by_class
from evaluation.operations import goals_of
from evaluation.sweep import judge_setting
from evaluation.tune import Goal, refuse_shared_pictures, tune_policy
from evaluation.tuning import GRID, tune
from pipeline.errors import ConfigurationError
from pipeline.policy import PrivacyPolicy, load_policy
from serving.geometry import Box, Candidate, Label
from tests.integration.jobs import data_root, streetblur

POLICY = load_policy("default")
SIZE = (400, 300)


def candidate(box: Box, score: float, label: Label = "face", probability: float = 1.0) -> Candidate:
    return Candidate(label, box, score, probability=probability, source="test")


def picture(*boxes: Box, label: Label = "face", ignore: tuple[Box, ...] = ()) -> LabelledPicture:
    items = [LabelledBox(label, box) for box in boxes]
    items += [LabelledBox(label, box, ignore=True) for box in ignore]
    return LabelledPicture("x.jpg", *SIZE, (label,), tuple(items))


FACE = Box(100, 100, 140, 150)
ELSEWHERE = Box(250, 50, 290, 100)
LOW = Thresholds((0,), (0.03,))


def test_a_box_counts_when_detections_above_the_threshold_cover_it() -> None:
    found = ClassCandidates("face", [(picture(FACE), [candidate(FACE, 0.5)])], POLICY)
    assert found.at(Thresholds((0,), (0.5,))).recall == 1
    assert found.at(Thresholds((0,), (0.51,))).recall == 0
    assert found.at(LOW).outside_mean == 0


def test_several_halves_make_a_whole() -> None:
    halves = [Box(100, 100, 140, 120), Box(100, 118, 140, 150)]
    both = [candidate(half, 0.5) for half in halves]
    assert ClassCandidates("face", [(picture(FACE), both)], POLICY).at(LOW).recall == 1
    assert ClassCandidates("face", [(picture(FACE), both[:1])], POLICY).at(LOW).recall == 0


def test_what_lies_elsewhere_counts_as_changed() -> None:
    found = ClassCandidates("face", [(picture(FACE), [candidate(ELSEWHERE, 0.5)])], POLICY)
    told = found.at(LOW)
    grown = (40 * 1.1 + 4) * (50 * 1.06 + 4)
    assert told.recall == 0
    assert told.outside_mean == pytest.approx(grown / (400 * 300), rel=0.3)
    ignored = ClassCandidates(
        "face", [(picture(FACE, ignore=(ELSEWHERE,)), [candidate(ELSEWHERE, 0.5)])], POLICY
    )
    assert ignored.at(LOW).outside_mean == 0
    assert ignored.at(LOW).point().boxes == 1


def test_thresholds_go_by_the_height_of_the_detection() -> None:
    steps = Thresholds((0, 50), (0.2, 0.6))
    small, large = Box(10, 10, 40, 59), Box(100, 100, 140, 150)
    pair = [candidate(small, 0.3), candidate(large, 0.3)]
    found = ClassCandidates("face", [(picture(small, large), pair)], POLICY)
    assert found.at(steps).point().recall.value == 0.5
    assert found.at(steps.raised(1, 0.3)).recall == 1
    assert Thresholds.of(POLICY.face).as_mapping() == POLICY.face.threshold


def test_other_classes_and_unlabelled_pictures_are_left_out() -> None:
    plates = picture(FACE, label="plate")
    every = {"a": [(plates, [candidate(FACE, 0.9)])], "b": [(picture(FACE), [])]}
    assert set(by_class(every, "face", POLICY)) == {"b"}
    assert by_class(every, "plate", POLICY)["a"].at(LOW).recall == 0


def test_boxes_below_12_px_and_no_pictures_count_nowhere() -> None:
    tiny = Box(10, 10, 20, 21)
    found = ClassCandidates("face", [(picture(tiny), [candidate(tiny, 0.9)])], POLICY)
    assert found.at(LOW).point().boxes == 0
    assert len(ClassCandidates("face", [], POLICY)) == 0
    assert ClassCandidates("face", [], POLICY).at(LOW).point().boxes == 0


def test_what_the_filter_drops_is_not_redacted() -> None:
    rules = POLICY.model_copy(
        update={"face": POLICY.face.model_copy(update={"min_probability": 0.5})}
    )
    weak = [candidate(FACE, 0.9, probability=0.4)]
    assert ClassCandidates("face", [(picture(FACE), weak)], rules).at(LOW).recall == 0
    assert ClassCandidates("face", [(picture(FACE), weak)], POLICY).at(LOW).recall == 1


boxes = st.builds(
    lambda x, y, w, h: Box(x, y, x + w, y + h),
    *(st.floats(-20, 380), st.floats(-20, 280), st.floats(1, 120), st.floats(1, 120)),
)


@given(st.lists(boxes, max_size=4), st.lists(st.tuples(boxes, st.floats(0.03, 1)), max_size=6))
@settings(max_examples=100, deadline=None)
def test_higher_thresholds_never_redact_more(
    labelled: list[Box], detected: list[tuple[Box, float]]
) -> None:
    inside = [box for box in labelled if box.x2 > 0 and box.y2 > 0]
    found = ClassCandidates(
        "face", [(picture(*inside), [candidate(*one) for one in detected])], POLICY
    )
    before = found.at(LOW)
    for value in (0.1, 0.4, 0.9):
        after = found.at(Thresholds((0,), (value,)))
        assert after.hits.sum() <= before.hits.sum()
        assert after.changed.sum() <= before.changed.sum()
        assert (after.changed <= after.outside).all()
        before = after


def crowd(seed: int, true: float, false: float) -> list[tuple[LabelledPicture, list[Candidate]]]:
    """40 pictures: a face found with a score about ``true``, a false one of about ``false``."""
    draw = np.random.default_rng(seed)
    out = []
    for _ in range(40):
        scores = np.clip(draw.normal((true, false), 0.08), 0.02, 0.99)
        out.append((picture(FACE), [candidate(FACE, scores[0]), candidate(ELSEWHERE, scores[1])]))
    return out


def test_false_blurs_are_saved_as_long_as_recall_stays() -> None:
    sets = by_class({"a": crowd(1, 0.7, 0.3), "b": crowd(2, 0.65, 0.3)}, "face", POLICY)
    found = tune(sets, Thresholds((0,), (0.2,)), target=0.97, budget=0.01)
    assert found.met
    (value,) = found.thresholds.values
    assert 0.35 <= value <= 0.5
    assert found.point.recall.value >= 0.97
    assert found.point.outside_mean < 0.3 * found.curve[0.05].outside_mean
    assert [one.name for one in found.held_out] == ["a", "b"]
    assert all(one.point.recall.value > 0.9 for one in found.held_out)
    # the next threshold of the grid would cost too much
    assert found.curve[0.6].recall.value < 0.97


def test_the_step_is_raised_that_saves_most_for_what_it_costs() -> None:
    """Small: 2,400 px a lost face. Large: 3,000 px for one and a half. Only one can be had."""
    small, large = Box(10, 10, 50, 58), Box(100, 100, 140, 160)
    false = [Box(200, 10, 250, 58), Box(200, 100, 250, 160)]
    pictures = []
    for number in range(100):
        scores = (0.3 if number < 2 else 0.9, 0.3 if number < 3 else 0.9, 0.3, 0.3)
        found = [candidate(*one) for one in zip((small, large, *false), scores, strict=True)]
        pictures.append((picture(small, large), found))
    sets = by_class({"a": pictures}, "face", POLICY)
    found = tune(sets, Thresholds((0, 50), (0.2, 0.2)), target=0.98, budget=0.5)
    assert found.thresholds.values[0] > 0.3 >= found.thresholds.values[1]
    assert found.point.recall.value == 0.99


def test_recall_comes_first_and_a_budget_that_is_not_kept_is_told() -> None:
    """Where true and false score alike, the budget is missed, not the faces."""
    sets = by_class({"a": crowd(3, 0.4, 0.4)}, "face", POLICY)
    found = tune(sets, Thresholds((0,), (0.2,)), target=0.97, budget=0.005)
    assert not found.met
    assert found.point.recall.value >= 0.97
    assert found.point.outside_mean > 0.005
    assert found.held_out == ()


def test_a_target_that_no_threshold_reaches_costs_no_recall() -> None:
    some = [*crowd(3, 0.7, 0.3), *[(picture(FACE), [candidate(ELSEWHERE, 0.3)])] * 10]
    sets = by_class({"a": some}, "face", POLICY)
    found = tune(sets, Thresholds((0,), (0.2,)), target=0.97, budget=0.5)
    assert not found.met
    assert found.point.recall.value == found.curve[0.05].recall.value == 0.8
    assert found.point.outside_mean < found.curve[0.05].outside_mean


def test_a_set_apart_is_held_out() -> None:
    """One set whose faces score low: the others' thresholds lose them, and the table shows it."""
    sets = by_class({"a": crowd(4, 0.8, 0.3), "b": crowd(5, 0.35, 0.05)}, "face", POLICY)
    found = tune(sets, Thresholds((0,), (0.2,)), target=0.97, budget=0.2)
    by_name = {one.name: one for one in found.held_out}
    assert by_name["b"].thresholds.values[0] > found.thresholds.values[0]
    assert by_name["b"].point.recall.value < 0.5


def test_the_policy_holds_the_evidence_and_no_identity_changes() -> None:
    pictures = {"a": crowd(1, 0.7, 0.3), "b": crowd(2, 0.65, 0.3)}
    other = {"c": crowd(6, 0.7, 0.3)}
    made = tune_policy(
        POLICY, {"face": Goal(0.97, 0.01)}, pictures, other, command="streetblur tune"
    )
    assert made.met
    assert made.policy.plate == POLICY.plate
    assert made.policy.face.threshold == made.classes["face"].thresholds.as_mapping()
    again = PrivacyPolicy.model_validate(yaml.safe_load(made.policy.to_yaml()))
    assert again == made.policy
    bare = made.policy.model_copy(update={"evidence": {}})
    assert bare.digest() == made.policy.digest() != POLICY.digest()
    assert "evidence" not in POLICY.to_yaml()
    told = json.loads(json.dumps(made.policy.evidence))
    face = told["classes"]["face"]
    assert set(face["held_out"]) == {"a", "b"}
    assert face["reported_on"]["c"]["boxes"] == 40
    assert len(face["curve"]) == len(GRID)
    with pytest.raises(ConfigurationError, match="no labelled plate"):
        tune_policy(POLICY, {"plate": Goal(0.9, 0.01)}, pictures, {}, command="")


@pytest.mark.parametrize(
    ("targets", "budgets"),
    [
        ("face", "0.1"),
        ("face=2", "0.1"),
        ("dog=0.9", "0.1"),
        ("0.9", "0.1"),
        ("face=0.9", "plate=0.1"),
        ("face=0.9", "face=nan"),
        ("face=0.9", "-0.1"),
        ("", "0.1"),
    ],
)
def test_wrong_targets(targets: str, budgets: str) -> None:
    with pytest.raises(ConfigurationError):
        goals_of(targets, budgets)


def test_targets_of_each_class() -> None:
    assert goals_of("face=0.97,plate=0.98", "0.005") == {
        "face": Goal(0.97, 0.005),
        "plate": Goal(0.98, 0.005),
    }
    assert goals_of("plate=1", "plate=0.1,0.2") == {"plate": Goal(1, 0.1)}


@pytest.fixture
def labelled(tmp_path: Path, photographs: Path) -> Path:
    for name, file in (("first", "astronaut.png"), ("second", "grace_hopper.jpg")):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        shutil.copy(photographs / file, folder / file)
        width, height = (512, 512) if name == "first" else (512, 600)
        box = [180, 70, 270, 190] if name == "first" else [185, 120, 330, 320]
        row = {
            "image": file,
            "width": width,
            "height": height,
            "labelled_classes": ["face"],
            "boxes": [{"label": "face", "xyxy": box}],
        }
        (folder / "annotations.jsonl").write_text(json.dumps(row) + "\n")
    return tmp_path / "data"


def test_the_command_writes_a_policy_that_runs_accept(labelled: Path, tmp_path: Path) -> None:
    output = tmp_path / "own.yaml"
    goal = ("--target-recall", "face=0.9", "--max-pixel-fpr", "0.05")
    places = ("--cache", str(tmp_path / "cache"), "--output", str(output))
    done = streetblur(
        "tune", str(labelled), "--set", "first", *goal, *places,
        "--report-on", str(labelled / "second"), "--policy", "eu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "targets met" in done.stdout
    made = load_policy(str(output))
    assert made.name == "eu"
    assert made.evidence["pictures"] == {"first": 1}
    assert streetblur("policy", "show", str(output)).returncode == 0
    again = streetblur(
        "tune", str(labelled), *goal, *places, "--report-on", str(labelled / "second")
    )
    assert again.returncode == 2
    assert "among those that thresholds are chosen on" in again.stderr
    missed = streetblur(
        "tune", str(labelled), "--target-recall", "face=1", "--max-pixel-fpr", "0", *places
    )
    assert missed.returncode == 3, missed.stderr
    assert "targets missed" in missed.stdout


def test_pictures_of_the_same_bytes_are_found_under_other_names(
    labelled: Path, tmp_path: Path
) -> None:
    from evaluation.candidates import CandidateCache
    from evaluation.labelled_sets import find_sets

    copy = tmp_path / "copy"
    shutil.copytree(labelled / "first", copy / "renamed")
    cached = CandidateCache(tmp_path / "cache", POLICY.models.model_dump())
    with pytest.raises(ConfigurationError, match="among those"):
        refuse_shared_pictures(find_sets(labelled), find_sets(copy), cached)
    refuse_shared_pictures(find_sets(labelled, ["first"]), find_sets(labelled, ["second"]), cached)


def test_a_damaged_cache_is_named(tmp_path: Path) -> None:
    from evaluation.candidates import CandidateCache, detection_digest

    versions = POLICY.models.model_dump()
    (tmp_path / f"candidates-{detection_digest(versions)}.json").write_text('{"a": [')
    with pytest.raises(ConfigurationError, match="cache of candidates is damaged"):
        CandidateCache(tmp_path, versions)


DEV = data_root() / "dev"


@pytest.mark.skipif(not DEV.is_dir(), reason=f"no annotated pictures at {DEV}")
def test_estimates_agree_with_output_pictures(tmp_path: Path) -> None:
    """On real pictures: recall and changed pixels of redacted outputs, and what is estimated."""
    from evaluation.candidates import open_cache
    from evaluation.summary import summarise

    folder = DEV / "facemask_kaggle"
    some = read_annotations(folder / "annotations.jsonl")[::6]
    cached = open_cache(tmp_path, POLICY)
    cached.fill([folder / one.image for one in some], 2)
    pictures = [(one, cached.candidates(folder / one.image)) for one in some]
    faces = [(one, [c for c in found if c.label == "face"]) for one, found in pictures]
    score = summarise("dev", judge_setting(POLICY, faces, folder))
    row = score.recall("face", ">=12 px")
    told = ClassCandidates("face", faces, POLICY).at(Thresholds.of(POLICY.face)).point()
    assert row is not None
    assert told.boxes == row.boxes > 90
    assert told.recall.value == pytest.approx(row.recall, abs=0.02)
    assert told.outside_mean == pytest.approx(score.changed_outside_mean, rel=0.2)
