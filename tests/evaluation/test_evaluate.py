"""`streetblur evaluate`: what is measured, what is written, what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from evaluation.annotations import AnnotationError, LabelledBox, LabelledPicture
from evaluation.attributes import Attributes
from evaluation.conditions import conditions, lighting
from evaluation.evaluate import evaluate_outputs
from evaluation.judge import judge
from evaluation.labelled_sets import LabelledSet, find_sets, with_reviewed
from evaluation.operations import ReportOptions, write_report
from evaluation.oracle import redact
from evaluation.origin import origin_of
from evaluation.picture import read_upright
from evaluation.pipeline_run import gather
from evaluation.summary import SetScore, summarise
from evaluation.verdicts import ALL_SETS, Verdicts, VerdictsUnreadable, digest_of_labels
from pipeline.errors import ConfigurationError
from pipeline.policy import load_policy
from serving.geometry import Box
from tests.evaluation.coding import coded
from tests.evaluation.figures import fairness, scene_figures
from tests.integration.jobs import streetblur

GREY = np.full((60, 80, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def photograph(photographs: Path) -> np.ndarray:
    return read_upright(photographs / "astronaut.png")


FACE = LabelledBox(
    "face", Box(180, 70, 270, 190), occlusion="none", attrs=Attributes({"pose": "front"})
)
PICTURE = LabelledPicture("images/a.png", 512, 512, ("face",), (FACE,))


def score(*pictures: LabelledPicture, source: np.ndarray, output: np.ndarray) -> SetScore:
    return summarise("one", [judge(picture, source, output) for picture in pictures])


@pytest.mark.parametrize("quality", [75, 90, None])
def test_what_a_perfect_detector_gives(photograph: np.ndarray, quality: int | None) -> None:
    found = score(PICTURE, source=photograph, output=coded(redact(photograph, [FACE.box]), quality))
    row = found.recall("face")
    assert row is not None
    assert (row.obscured, row.found[0].value) == (1, 1.0)
    assert row.pixels.value > 0.95
    assert found.changed_outside_pooled < 1e-3
    assert found.false_regions.value == 0


def test_a_false_blur_is_a_false_area_and_in_vain(photograph: np.ndarray) -> None:
    elsewhere = Box(20, 300, 120, 400)
    found = score(PICTURE, source=photograph, output=redact(photograph, [FACE.box, elsewhere]))
    assert found.false_regions.value == 1
    share = 100 * 100 / (100 * 100 + FACE.box.width * FACE.box.height)
    assert found.changed_in_vain.value == pytest.approx(share, abs=0.05)
    assert found.changed_outside_pooled == pytest.approx(100 * 100 / 512**2, rel=0.2)


def test_a_region_that_is_ignored_is_no_false_blur(photograph: np.ndarray) -> None:
    elsewhere = Box(20, 300, 120, 400)
    region = LabelledBox("face", elsewhere, ignore=True)
    picture = replace(PICTURE, boxes=(FACE, region))
    found = score(picture, source=photograph, output=redact(photograph, [FACE.box, elsewhere]))
    assert (found.false_regions.value, found.changed_outside_pooled) == (0, 0)
    row = found.recall("face")
    assert row is not None
    assert row.boxes == 1


def test_overlap_is_that_of_the_boxes_a_tool_names(photograph: np.ndarray) -> None:
    output = redact(photograph, [FACE.box])
    half = Box(180, 70, 225, 190)
    (named,) = judge(PICTURE, photograph, output, redacted=[half]).boxes
    (seen,) = judge(PICTURE, photograph, output).boxes
    assert named.overlap == pytest.approx(0.5)
    assert seen.overlap > 0.9
    assert judge(PICTURE, photograph, output, redacted=[]).boxes[0].overlap == 0


def test_conditions_are_annotated_and_computed() -> None:
    item = LabelledBox("plate", Box(20, 20, 40, 30), attrs=Attributes({"pose": "rear"}))
    assert dict(conditions(GREY, item, "openalpr_us")) == {
        "border": "inside",
        "lighting": "normal",
        "pose": "rear",
        "region": "us",
    }
    assert "region" not in dict(conditions(GREY, item, "mine"))
    named = replace(item, attrs=Attributes({"region": "de"}))
    assert dict(conditions(GREY, named, "openalpr_us"))["region"] == "de"


@pytest.mark.parametrize(
    "box",
    [
        Box(0, 20, 9, 30),
        Box(20, 1, 30, 30),
        Box(70, 20, 80, 30),
        Box(20, 50, 30, 59),
        Box(-5, 5, 9, 9),
    ],
)
def test_cut_off_at_each_border(box: Box) -> None:
    assert dict(conditions(GREY, LabelledBox("face", box)))["border"] == "cut off"


@pytest.mark.parametrize(("level", "name"), [(10, "dark"), (128, "normal"), (230, "bright")])
def test_light_is_that_around_the_box(level: int, name: str) -> None:
    picture = np.full((60, 80, 3), 128, np.uint8)
    picture[10:40, 10:50] = level
    assert lighting(picture, LabelledBox("face", Box(20, 20, 40, 30))) == name
    assert lighting(picture, LabelledBox("face", Box(200, 200, 240, 230))) == "normal"


@pytest.mark.parametrize(("hits", "low", "high"), [(True, 0.478, 1.0), (False, 0.0, 0.522)])
def test_all_of_five_is_no_certainty(
    photograph: np.ndarray, hits: bool, low: float, high: float
) -> None:
    """Clopper-Pearson for 5 of 5 and 0 of 5."""
    output = redact(photograph, [FACE.box]) if hits else photograph
    row = score(*[PICTURE] * 5, source=photograph, output=output).recall("face")
    assert row is not None
    assert (row.recall, row.low, row.high) == (
        float(hits),
        pytest.approx(low, abs=1e-3),
        pytest.approx(high, abs=1e-3),
    )


@pytest.fixture
def labelled(tmp_path: Path, photographs: Path) -> Path:
    """Two labelled folders of one picture each."""
    for name in ("first", "second"):
        folder = tmp_path / "data" / name
        (folder / "images").mkdir(parents=True)
        shutil.copy(photographs / "astronaut.png", folder / "images" / "a.png")
        row = {
            "image": "images/a.png",
            "width": 512,
            "height": 512,
            "labelled_classes": ["face"],
            "boxes": [{"label": "face", "xyxy": [180, 70, 270, 190], "attrs": {"pose": "front"}}],
        }
        (folder / "annotations.jsonl").write_text(json.dumps(row) + "\n")
    return tmp_path / "data"


def test_sets_are_found_by_name(labelled: Path) -> None:
    assert [one.name for one in find_sets(labelled)] == ["first", "second"]
    assert [one.name for one in find_sets(labelled, ["second"])] == ["second"]
    (alone,) = find_sets(labelled / "first")
    assert alone.pictures[0].boxes[0].attrs == {"pose": "front"}
    with pytest.raises(ConfigurationError, match="third"):
        find_sets(labelled, ["third"])
    with pytest.raises(ConfigurationError, match="no labelled folder"):
        find_sets(labelled / "first" / "images")


@pytest.mark.parametrize(
    "line",
    [
        "{",
        '{"image": "images/b.png", "label": "face", "xyxy": [1, 2, 3, 4]}',
        '{"image": "images/a.png", "label": "dog", "xyxy": [1, 2, 3, 4]}',
        '{"image": "images/a.png", "label": "face", "xyxy": [1, 2, 3]}',
        '{"image": "images/a.png", "label": "face"}',
        "7",
    ],
)
def test_reviewed_regions_are_checked(labelled: Path, tmp_path: Path, line: str) -> None:
    file = tmp_path / "reviewed.jsonl"
    good = '{"image": "images/a.png", "label": "plate", "xyxy": [1, 2, 30, 40]}'
    unsure = good.replace("}", ', "kind": "unsure"}')
    file.write_text(f"{good}\n{unsure}\n")
    (one,) = find_sets(labelled / "first")
    (picture,) = with_reviewed(one.pictures, file)
    assert [(box.label, box.ignore) for box in picture.boxes] == [("face", False), ("plate", True)]
    file.write_text(f"{good}\n{line}\n")
    with pytest.raises(AnnotationError, match=r"reviewed\.jsonl:2"):
        with_reviewed(one.pictures, file)


def test_reviewed_regions_of_another_set_of_that_name_change_nothing(
    labelled: Path, tmp_path: Path
) -> None:
    file = tmp_path / "reviewed.jsonl"
    file.write_text('{"image": "images/b.png", "label": "plate", "xyxy": [1, 2, 30, 40]}\n')
    (one,) = find_sets(labelled / "first")
    assert with_reviewed(one.pictures, file) == one.pictures


def test_originals_that_lie_where_they_are_gathered_stay(labelled: Path, tmp_path: Path) -> None:
    sets = find_sets(labelled)
    before = {path: path.read_bytes() for path in labelled.rglob("*.png")}
    gather(sets, labelled)
    gather(sets, tmp_path / "work")
    gather(sets, tmp_path / "work")
    assert {path: path.read_bytes() for path in labelled.rglob("*.png")} == before
    assert len(list((tmp_path / "work").rglob("*.png"))) == 2


def test_verdicts_are_read_as_they_were_written(labelled: Path, tmp_path: Path) -> None:
    found = evaluate_outputs(find_sets(labelled), labelled, name="nothing", command="a command")
    found.write(tmp_path / "verdicts.json")
    again = Verdicts.read(tmp_path / "verdicts.json")
    assert again == found
    assert [one.name for one in again.scores()] == ["first", "second", ALL_SETS]
    assert again.scores() == found.scores()


@pytest.mark.parametrize(
    "content", [None, b"", b"[]", b"{}", b'{"format": 0}', b'{"format": 1}', b"\xff\xfe"]
)
def test_other_files_are_no_verdicts(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "verdicts.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VerdictsUnreadable, match=r"verdicts\.json"):
        Verdicts.read(path)


def test_the_digest_changes_with_any_label(labelled: Path) -> None:
    sets = {one.name: one.pictures for one in find_sets(labelled)}
    moved = replace(FACE, box=Box(180, 70, 270, 190.5))
    other = {**sets, "first": (replace(sets["first"][0], boxes=(moved,)),)}
    assert digest_of_labels(sets) == digest_of_labels(dict(reversed(sets.items())))
    assert digest_of_labels(sets) != digest_of_labels(other)


def test_the_command_runs_the_pipeline_and_judges_it(labelled: Path, tmp_path: Path) -> None:
    report, keep = tmp_path / "report", tmp_path / "keep"
    places = ("--report", str(report), "--keep", str(keep))
    done = streetblur(
        "evaluate", str(labelled), "--engine", "local", "--runtime", "onnxruntime", *places
    )
    assert done.returncode == 0, done.stderr
    scores = json.loads((report / "scores.json").read_text())
    assert [one["name"] for one in scores["sets"]] == ["first", "second", ALL_SETS]
    row = scores["sets"][-1]["recalls"][0]
    assert (row["group"], row["boxes"], row["obscured"]) == ("all", 2, 2)
    assert row["found"][0]["value"] == 1
    about = scores["about"]
    assert about["policy"]
    assert "face_detector=" in about["models"]
    assert set(about["latency"]) >= {"decode", "detect", "redact", "total"}
    assert about["latency"]["total"]["pictures"] == 2
    assert about["model_bytes"]["face_detector"] > 1_000_000
    gauges = {
        one.name: one
        for one in text_string_to_metric_families((report / "metrics.prom").read_text())
    }
    values = {
        sample.labels["set"]: sample.value
        for sample in gauges["streetblur_evaluation_recall_ratio"].samples
        if sample.labels["group"] == ">=12 px"
    }
    assert values == {"first": 1, "second": 1, ALL_SETS: 1}
    ends = [
        next(
            one.value
            for one in gauges[f"streetblur_evaluation_recall_{end}_ratio"].samples
            if (one.labels["set"], one.labels["group"]) == ("first", "all")
        )
        for end in ("low", "high")
    ]
    assert ends == [pytest.approx(0.025), 1]
    assert "all sets" in (report / "report.md").read_text()
    here = origin_of(load_policy("default"), about["data"])
    assert Verdicts.read(report / "verdicts.json").about.origin == replace(
        here, runtime="onnxruntime f32"
    )
    again = streetblur(
        "evaluate", str(labelled), "--outputs", str(keep / "blurred"), "--report", str(report)
    )
    assert again.returncode == 0, again.stderr
    assert Verdicts.read(report / "verdicts.json").about.name == "blurred"


def test_the_command_shows_what_was_measured_apart(labelled: Path, tmp_path: Path) -> None:
    people, scenes = tmp_path / "fairness.json", tmp_path / "scenes.json"
    report = tmp_path / "report"
    fairness().write(people)
    scene_figures().write(scenes)
    command = ("evaluate", str(labelled), "--outputs", str(labelled), "--report", str(report))
    done = streetblur(*command, "--fairness", str(people), "--scenes", str(scenes))
    assert done.returncode == 0, done.stderr
    page = (report / "report.html").read_text()
    assert "Worst groups and likely causes" in page
    assert "90.0% (80.0-95.0) of 40" in page
    assert page.count("outputs of this page is not known") == 2
    for wrong in (
        ("--fairness", str(scenes)),
        ("--scenes", str(people)),
        ("--scenes", str(tmp_path / "nowhere.json")),
    ):
        (report / "report.html").unlink(missing_ok=True)
        done = streetblur(*command, *wrong)
        assert done.returncode == 1
        assert f"{wrong[1]}: no figures on {wrong[0].removeprefix('--')}" in done.stderr
        assert not (report / "report.html").exists()


def test_the_command_says_what_is_missing(labelled: Path, tmp_path: Path) -> None:
    done = streetblur("evaluate", str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert "no labelled folder" in done.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    done = streetblur("evaluate", str(labelled), "--outputs", str(empty))
    assert done.returncode == 2
    assert "no such folder" in done.stderr
    (labelled / "first" / "images" / "a.png").unlink()
    done = streetblur("evaluate", str(labelled), "--engine", "local", "--set", "first")
    assert done.returncode == 1
    assert "missing" in done.stderr


def test_what_the_report_needs_is_asked_for_first(labelled: Path, tmp_path: Path) -> None:
    report, nothing = tmp_path / "report", str(tmp_path / "nothing.json")
    places = ("--outputs", str(labelled), "--report", str(report))
    for option, said in (("--against", "no verdicts"), ("--policy", "no such policy")):
        done = streetblur("evaluate", str(labelled), *places, option, nothing)
        assert done.returncode != 0
        assert said in done.stderr
        assert not report.exists()


def test_verdicts_stay_where_another_run_does_not_compare(labelled: Path, tmp_path: Path) -> None:
    first, second = find_sets(labelled)
    other = tmp_path / "other.json"
    evaluate_outputs([first], labelled, name="first", command="").write(other)
    found = evaluate_outputs([second], labelled, name="second", command="")
    with pytest.raises(ConfigurationError, match="no picture in common"):
        write_report(found, [second], ReportOptions(tmp_path / "report", against=other))
    assert Verdicts.read(tmp_path / "report" / "verdicts.json") == found


def test_a_set_may_be_its_own_outputs(labelled: Path) -> None:
    """Originals as outputs: nothing is obscured, nothing has changed."""
    (one,) = find_sets(labelled, ["first"])
    found = evaluate_outputs([one], one.folder, name="nothing", command="")
    (figures,) = found.scores()
    row = figures.recall("face")
    assert row is not None
    assert (row.recall, row.pixels.value, row.found[0].value) == (0, 0, 0)
    assert (figures.changed_outside_pooled, figures.false_regions.value) == (0, 0)
    with pytest.raises(ConfigurationError, match="no labelled set"):
        evaluate_outputs([], one.folder, name="", command="")
    assert isinstance(one, LabelledSet)
