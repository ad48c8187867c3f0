"""Fairness scenes, skin tones, statistics of groups, and the command on drawn streets."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from evaluation.annotations import AnnotationError, LabelledBox, LabelledPicture, data_root
from evaluation.fairness import __main__ as command
from evaluation.fairness.crops import FACE_BOX, FOLDER, FaceCrop, age_group, read_crops
from evaluation.fairness.judged import judge_boxes
from evaluation.fairness.light import LIGHTS, linear, shrinking, srgb
from evaluation.fairness.occlusions import OCCLUSIONS
from evaluation.fairness.page import page
from evaluation.fairness.patches import patch_of
from evaluation.fairness.places import Background, Place, choose_backgrounds, choose_places
from evaluation.fairness.real_sets import recalls_by_occlusion
from evaluation.fairness.report import FairnessReport, about_run, make_report
from evaluation.fairness.scenes import (
    CONDITIONS,
    Condition,
    Scene,
    Stage,
    digest_of_scenes,
    plan_scenes,
)
from evaluation.fairness.spread import detectable, paired, recall_of, spread_of
from evaluation.fairness.tone import NOT_COMPUTABLE, crop_angle, lab, tone_class, typology_angle
from evaluation.fairness.trial import Trial, face_detectors, run_trial
from evaluation.operating_points import ClassCandidates, Thresholds
from evaluation.origin import Origin
from pipeline.errors import ConfigurationError
from pipeline.policy import load_policy
from serving.geometry import Box, Candidate
from tests.evaluation.figures import crop, people, trial_of

POLICY = load_policy("default")
PLACES = (Place(60, 50, 24), Place(160, 60, 48))


def street(level: int = 128) -> Background:
    return Background("street", np.full((200, 300, 3), level, np.uint8), PLACES)


# light and sizes


def test_every_grey_level_comes_back() -> None:
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(srgb(linear(levels)), levels)


@pytest.mark.parametrize(("scale", "start"), [(1.0, 0.0), (4.0, 3.5), (8.37, 1.2)])
def test_shrinking_averages(scale: float, start: float) -> None:
    weights = shrinking(5, scale, start, 60)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    ramp = np.arange(60) + 0.5
    np.testing.assert_allclose(weights @ ramp, start + scale * (np.arange(5) + 0.5), atol=0.02)


def test_nothing_is_enlarged() -> None:
    with pytest.raises(ConfigurationError, match="enlarged"):
        shrinking(5, 0.99, 0, 60)
    with pytest.raises(ConfigurationError, match="enlarged"):
        patch_of(crop(side=40), 48)


@pytest.mark.parametrize("height", [8, 16, 20, 24, 48, 100])
def test_a_face_has_exactly_its_size(height: int) -> None:
    """A crop that is bright in the face box alone shows bright rows in that many pixels."""
    pixels = np.full((200, 200, 3), 10, np.uint8)
    bottom = round(FACE_BOX[3] * 200)
    pixels[:bottom] = 200
    patch = patch_of(FaceCrop.of("a", pixels, {}), height)
    assert patch.face.height == height
    assert (patch.face.x1, patch.face.y1) == (round(patch.face.x1), round(patch.face.y1))
    middle = round((patch.face.x1 + patch.face.x2) / 2)
    seen = patch.light[:, middle].mean(axis=1) / np.maximum(patch.alpha[:, middle], 1e-6)
    last = round(patch.face.y2)
    assert seen[last - 1] == pytest.approx(linear(np.uint8([200]))[0], rel=1e-3)
    assert seen[last] < seen[last - 1] / 2


def test_light_is_averaged_not_grey_levels() -> None:
    pixels = np.zeros((200, 200, 3), np.uint8)
    pixels[::2] = 255
    patch = patch_of(FaceCrop.of("a", pixels, {}), 48)
    centre = patch.light[patch.light.shape[0] // 2, patch.light.shape[1] // 2]
    assert srgb(centre)[0] == 188  # half the light


def test_a_face_has_a_soft_edge_and_no_corners() -> None:
    patch = patch_of(crop(), 48)
    assert patch.alpha[0].max() == 0
    assert patch.alpha[:, 0].max() == 0
    x1, y1, x2, y2 = (round(value) for value in patch.face.as_tuple())
    assert patch.alpha[(y1 + y2) // 2, (x1 + x2) // 2] == pytest.approx(1, abs=1e-5)
    assert patch.alpha[y1, x1] < 0.2
    assert np.abs(np.diff(patch.alpha, axis=1)).max() < 0.3


def test_occlusions_cover_what_they_should() -> None:
    bare = patch_of(crop(), 48)
    y1 = round(bare.face.y1)
    changed = {
        what: np.abs(patch_of(crop(), 48, what).light - bare.light).sum(axis=(1, 2)) > 0.05
        for what in OCCLUSIONS
    }
    assert not changed["none"].any()
    rows = {what: np.flatnonzero(seen) - y1 for what, seen in changed.items()}
    assert 8 <= rows["sunglasses"].min() < rows["sunglasses"].max() <= 24
    assert 20 <= rows["mask"].min() < rows["mask"].max() <= 53
    np.testing.assert_array_equal(rows["dark mask"], rows["mask"])
    assert rows["hat"].min() < -8
    assert rows["hat"].max() <= 22


# scenes


def test_every_face_visits_every_place_once_under_every_condition() -> None:
    visits = np.zeros((2, 2, 5, 7), int)
    for scene in plan_scenes(7, [5, 3], 2):
        assert len(set(scene.faces)) == len(scene.faces)
        for place, face in enumerate(scene.faces):
            visits[scene.condition, scene.background, place, face] += 1
    assert (visits[:, 0] == 1).all()
    assert (visits[:, 1, :3] == 1).all()
    assert (visits[:, 1, 3:] == 0).all()


def test_labels_are_at_the_places_with_their_heights() -> None:
    stage = Stage([crop(), crop((90, 60, 50))], [street()])
    boxes = stage.labels(Scene(0, 0, (0, 1)), "a.jpg").boxes
    assert [(b.box.x1, b.box.y1, b.box.height) for b in boxes] == [(60, 50, 24), (160, 60, 48)]


def test_scenes_differ_in_the_faces_alone() -> None:
    stage = Stage([crop(), crop((90, 60, 50))], [street()])
    for condition in range(len(CONDITIONS)):
        one, other = (stage.pixels(Scene(0, condition, faces)) for faces in ((0, 1), (1, 0)))
        differs = (one != other).any(axis=2)
        for place in PLACES:
            margin = place.size // 2
            differs[
                place.y - margin : place.y + place.size + margin,
                place.x - margin : place.x + place.size + margin,
            ] = False
        assert not differs.any()


def test_light_is_what_it_is_said_to_be() -> None:
    stage = Stage([crop()], [street()])
    means = {
        condition.light: linear(stage.pixels(Scene(0, number, (0, 0)))[:30]).mean()
        for number, condition in enumerate(CONDITIONS)
    }
    normal = float(linear(np.uint8([128]))[0])
    assert means["normal"] == pytest.approx(normal, rel=1e-3)
    assert means["dark"] == pytest.approx(0.35 * normal, rel=0.02)
    assert means["backlit"] == pytest.approx(1.8 * normal + LIGHTS["backlit"].veil, rel=0.02)
    dark = stage.pixels(Scene(0, 1, (0, 0)))[:30].astype(float)
    assert dark.std() > 1


def test_places_keep_clear_of_candidates_and_of_one_another() -> None:
    taken = [Box(0, 0, 480, 540)]
    places = choose_places((540, 960), taken, (16, 24, 48), 4, seed=1)
    assert places is not None
    assert sorted(place.size for place in places) == [16] * 4 + [24] * 4 + [48] * 4
    assert min(place.x for place in places) > 480
    for number, one in enumerate(places):
        for other in places[:number]:
            gap = max(
                one.x - other.x - other.size,
                other.x - one.x - one.size,
                one.y - other.y - other.size,
                other.y - one.y - one.size,
            )
            assert gap >= one.size + other.size
    assert choose_places((540, 960), [Box(0, 0, 960, 540)], (16,), 1, seed=1) is None


# skin tones


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((255, 255, 255), (100.0, 0.0, 0.0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((119, 119, 119), (50.03, 0.0, 0.0)),
    ],
)
def test_lab_of_known_colours(
    colour: tuple[int, int, int], expected: tuple[float, float, float]
) -> None:
    np.testing.assert_allclose(lab(np.array(colour, np.uint8)), expected, atol=0.05)


@pytest.mark.parametrize(
    ("lightness", "yellowness", "angle", "name"),
    [
        (75, 15, 59.04, "very light"),
        (70, 20, 45.0, "light"),
        (62, 18, 33.69, "intermediate"),
        (57, 20, 19.29, "tan"),
        (45, 18, -15.52, "brown"),
        (30, 12, -59.04, "dark"),
    ],
)
def test_typology_angle(lightness: float, yellowness: float, angle: float, name: str) -> None:
    found = typology_angle(lightness, yellowness)
    assert found == pytest.approx(angle, abs=0.01)
    assert tone_class(found) == name


def test_grey_pictures_have_no_tone() -> None:
    grey = np.full((200, 200, 3), 120, np.uint8)
    assert crop_angle(grey) is None
    assert tone_class(None) == NOT_COMPUTABLE
    light, dark = crop((230, 190, 165)), crop((80, 50, 38))
    assert light.angle is not None
    assert dark.angle is not None
    assert light.angle > 41 > -30 > dark.angle
    assert dark.groups["skin tone"] == "dark"


def test_age_groups() -> None:
    assert [age_group(age) for age in (17, 18, 29, 30, 59, 60, 116)] == [
        None,
        "18-29",
        "18-29",
        "30-44",
        "45-59",
        "60+",
        "60+",
    ]


# statistics


def rates_of(recalls: Sequence[float], people: int, seed: int, factor: float = 0.3) -> np.ndarray:
    """Rates of people whose variance is ``factor`` of a yes or no's, group after group."""
    random = np.random.default_rng(seed)
    size = 1 / factor - 1
    return np.concatenate([random.beta(q * size, (1 - q) * size, people) for q in recalls])


def names_of(groups: int, people: int) -> list[str]:
    return [name for name in "abcdef"[:groups] for _ in range(people)]


def test_a_planted_gap_is_found_and_named() -> None:
    found = spread_of(rates_of((0.9, 0.9, 0.7, 0.9), 50, seed=3), names_of(4, 50), "abcd")
    assert found is not None
    assert found.worst == "c"
    assert found.p < 0.01
    assert found.spread.low < 0.2 < found.spread.high
    assert found.verdict == "missed"


def test_a_gap_within_the_goal_is_seldom_called_missed() -> None:
    called = 0
    for seed in range(40):
        rates = rates_of((0.70, 0.70, 0.66, 0.66, 0.66), 40, seed=seed, factor=0.1)
        found = spread_of(rates, names_of(5, 40), "abcde")
        assert found is not None
        called += found.verdict == "missed"
    assert called <= 4


def test_without_a_gap_p_is_seldom_small() -> None:
    small = 0
    for seed in range(40):
        found = spread_of(rates_of((0.9,) * 4, 30, seed=seed), names_of(4, 30), "abcd")
        assert found is not None
        assert found.verdict != "missed" or found.p < 0.05
        small += found.p < 0.05
    assert small <= 6  # 2 are expected; more than 6 has a chance of 0.5 %


def test_small_groups_are_shown_but_not_compared() -> None:
    rates = np.array([1.0] * 20 + [0.9] * 20 + [0.0] * 3)
    groups = ["a"] * 20 + ["b"] * 20 + ["c"] * 3
    found = spread_of(rates, groups, "abc")
    assert found is not None
    assert [(one.name, one.counted) for one in found.groups] == [
        ("a", True),
        ("b", True),
        ("c", False),
    ]
    assert (found.worst, found.best) == ("b", "a")
    assert found.spread.value == pytest.approx(0.1)
    assert spread_of(rates[20:], groups[20:], "bc") is None


def test_all_found_is_not_taken_for_certainty() -> None:
    found = spread_of(np.ones(80), names_of(2, 40), "ab")
    assert found is not None
    assert (found.spread.value, found.p) == (0, 1)
    assert found.groups[0].recall.low < 0.92
    assert found.detectable > 0.1
    assert found.verdict == "open"


@pytest.mark.parametrize(("recall", "factor", "groups"), [(0.9, 0.3, 5), (0.7, 0.1, 2)])
def test_the_detectable_shortfall_is_found_four_times_in_five(
    recall: float, factor: float, groups: int
) -> None:
    people, others = 40, 160
    short = detectable(recall, people, others, factor, groups)
    random, size, found = np.random.default_rng(5), 1 / factor - 1, 0
    reach = {5: 2.5758, 2: 2.2414}[groups]  # z of 1 - 0.05 / 2 / groups
    for _ in range(1500):
        q = recall - short
        ours = random.beta(q * size, (1 - q) * size, people)
        theirs = random.beta(recall * size, (1 - recall) * size, others)
        error = math.sqrt(ours.var(ddof=1) / people + theirs.var(ddof=1) / others)
        found += abs(theirs.mean() - ours.mean()) > reach * error
    assert found / 1500 == pytest.approx(0.8, abs=0.05)


def test_what_cannot_be_detected_is_the_whole_recall() -> None:
    assert detectable(0.05, 3, 3, 1.0, 2) == 0.05


@pytest.mark.parametrize("rates", [[0.5], [0.96] * 5])
def test_people_who_are_all_alike_have_an_interval(rates: list[float]) -> None:
    found = recall_of(np.array(rates))
    assert 0 <= found.low < rates[0] < found.high <= 1


def test_pairs_know_that_people_are_the_same() -> None:
    base = rates_of((0.5,), 60, seed=1)
    found = paired(np.clip(base - 0.1, 0, 1), base, name="mask", base_name="normal", size=16)
    assert -0.1 <= found.difference.low <= found.difference.value <= found.difference.high < -0.08
    assert found.detectable < 0.02


# judgements


def test_faces_are_judged_as_operating_points_judge_them() -> None:
    random = np.random.default_rng(7)
    for _ in range(30):
        candidates, boxes = [], []
        for _ in range(6):
            x, y, side = random.uniform(10, 250), random.uniform(10, 250), random.uniform(14, 60)
            boxes.append(Box(x, y, x + 0.86 * side, y + side))
            dx, dy, score = random.uniform(-0.3, 0.3), random.uniform(-0.3, 0.3), random.uniform()
            moved = Box(x + dx * side, y + dy * side, x + (dx + 0.86) * side, y + (dy + 1) * side)
            candidates.append(Candidate("face", moved, score, 1.0, "native"))
        found = judge_boxes(boxes, candidates, POLICY, 320, 320)
        items = tuple(LabelledBox("face", box) for box in boxes)
        labels = LabelledPicture("a", 320, 320, ("face",), items)
        operated = ClassCandidates("face", [(labels, candidates)], POLICY)
        hits = operated.at(Thresholds.of(POLICY.face)).hits.sum()
        assert found.obscured.sum() == hits
        for value in (0.1, 0.5, 0.9):
            at = operated.at(Thresholds((0,), (value,)))
            assert (found.critical >= value).sum() == at.hits.sum()


def test_too_little_covered_is_told_from_not_found() -> None:
    face = Box(100, 100, 143, 148)
    half = Candidate("face", Box(100, 100, 120, 148), 0.8, 1.0, "native")
    weak = replace(half, box=face, score=0.1)
    found = judge_boxes([face], [half, weak], POLICY, 320, 320)
    assert (found.obscured[0], found.critical[0], found.touched[0]) == (False, 0.1, 0.8)
    nothing = judge_boxes([face], [], POLICY, 320, 320)
    assert (nothing.obscured[0], nothing.critical[0], nothing.touched[0]) == (False, 0, 0)


def test_matching_heights_takes_out_what_heights_do() -> None:
    """Small faces are found half of the time, masked or not; masks are small, bare faces large."""

    def picture(occlusion: str, small: int, large: int) -> tuple[LabelledPicture, list[Candidate]]:
        boxes, candidates = [], []
        for number, side in enumerate([14] * small + [60] * large):
            box = Box(100 * number, 0, 100 * number + side, side)
            boxes.append(LabelledBox("face", box, occlusion=occlusion))
            if side == 60 or number % 2:
                candidates.append(Candidate("face", box, 0.9, 1.0, "native"))
        labels = LabelledPicture(occlusion, 3000, 100, ("face",), tuple(boxes))
        return labels, candidates

    bare, masked = recalls_by_occlusion(
        "set", [picture("none", 10, 20), picture("mask", 20, 10)] * 3, POLICY
    )
    assert (bare.occlusion, masked.occlusion) == ("none", "mask")
    assert bare.raw.value - masked.raw.value > 0.1
    assert masked.bins == ("12-16 px", ">=48 px")
    assert masked.difference is not None
    assert masked.difference.value == pytest.approx(0, abs=1e-9)


def test_all_obscured_photographs_are_no_certainty() -> None:
    def picture(occlusion: str) -> tuple[LabelledPicture, list[Candidate]]:
        boxes = [Box(100 * number, 0, 100 * number + 60, 60) for number in range(5)]
        items = tuple(LabelledBox("face", box, occlusion=occlusion) for box in boxes)
        labels = LabelledPicture(occlusion, 600, 100, ("face",), items)
        return labels, [Candidate("face", box, 0.9, 1.0, "native") for box in boxes]

    _, masked = recalls_by_occlusion("set", [picture("none"), picture("mask")] * 4, POLICY)
    assert masked.matched is not None
    assert masked.difference is not None
    assert masked.matched.low == pytest.approx(0.025**0.25)
    assert masked.difference.low < -0.5 < 0.5 < masked.difference.high


# the report


def test_the_report_names_the_worst_group_and_what_would_close_the_gap(tmp_path: Path) -> None:
    crops, trial = people(60), trial_of(60, range(1, 59, 2))
    about = about_run(trial, 60, ["street"], POLICY, "a command")
    report = make_report(trial, crops, about, POLICY)
    found = report.spread("ethnicity", 16)
    assert found is not None
    assert (found.worst, found.verdict) == ("b", "missed")
    assert found.spread.value == pytest.approx(29 / 60)
    assert report.spread("age", 16) is None
    cause = next(one for one in report.causes if one.dimension == "ethnicity")
    assert (cause.size, cause.worst.name, cause.at_largest) == (16, "b", 0)
    assert cause.worst.misses.near == pytest.approx(29 / 60)
    assert cause.worst.recall_at[0.1] == 1
    assert "A lower threshold narrows the gap" in cause.reading
    assert cause.likely == "more faces scored below the threshold; goes along with small size"
    assert cause.worst.scores[16] < cause.best.scores[16]
    assert cause.allowing_for_light == pytest.approx(29 / 60, abs=0.05)
    other = next(one for one in report.causes if one.dimension == "gender")
    assert "No difference beyond chance" in other.reading
    assert other.likely == "none shown: chance alone gives such a gap"
    report.write(tmp_path / "fairness.json")
    stored = json.loads((tmp_path / "fairness.json").read_text())
    assert stored["about"]["people"] == 60
    assert stored["about"]["goal"] == 0.05
    assert {one["spread"]["verdict"] for one in stored["spreads"]} >= {"missed", "open"}
    assert FairnessReport.read(tmp_path / "fairness.json") == report
    text = page(report)
    assert "**ethnicity, normal, 16 px: b**" in text
    assert "| ethnicity | 16 px | b | a | 48.3 (" in text


def test_verdicts_are_read_as_they_were_written(tmp_path: Path) -> None:
    trial = replace(trial_of(6, [1]), origin=Origin("d", "p", "m=1:f", "r"))
    trial.write(tmp_path / "trial.npz")
    again = Trial.read(tmp_path / "trial.npz")
    assert again.conditions == trial.conditions
    assert again.origin == trial.origin
    for name in ("sizes", "obscured", "critical", "touched"):
        np.testing.assert_array_equal(getattr(again, name), getattr(trial, name))
    (tmp_path / "trial.npz").write_bytes(b"nothing")
    for path in (tmp_path / "trial.npz", tmp_path / "missing.npz"):
        with pytest.raises(ConfigurationError, match=r"\.npz"):
            Trial.read(path)


# the command


@pytest.fixture
def data(tmp_path: Path, photographs: Path) -> Path:
    """Four crops of one photograph's face, and a drawn street."""
    folder = tmp_path / "data" / FOLDER
    (folder / "images").mkdir(parents=True)
    face = cv2.imread(str(photographs / "astronaut.png"))[72:200, 162:290]
    rows = []
    for number, gain in enumerate((1.0, 0.9, 0.8, 0.7)):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), (face * gain).astype(np.uint8))
        row = {"image": f"images/{number}.png", "age": 30 + 15 * (number % 2)}
        rows.append(row | {"gender": "female", "ethnicity": "ab"[number % 2]})
    (folder / "faces.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    streets = tmp_path / "data" / "dev" / "openalpr_us" / "images"
    streets.mkdir(parents=True)
    picture = np.full((560, 980, 3), 140, np.uint8)
    picture[300:] = 90
    # some texture, or there is no telling whether an output shows the same scene
    grain = np.random.default_rng(1).normal(0, 60, picture.shape[:2])
    picture = np.clip(picture + cv2.GaussianBlur(grain, (0, 0), 2)[:, :, None], 0, 255)
    cv2.imwrite(str(streets / "street.png"), picture.astype(np.uint8))
    return tmp_path / "data"


def run(data: Path, output: Path, *more: str) -> int:
    common = ["--data", str(data), "--output", str(output), "--backgrounds", "1", "--places", "1"]
    return command.main([*common, "--processes", "1", "--no-photographs", *more])


def test_the_command_measures_and_reports(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, markdown = tmp_path / "out", tmp_path / "fairness.md"
    assert run(data, output, "--markdown", str(markdown), "--check", "1", "--sizes", "48") == 0
    stored = json.loads((output / "fairness.json").read_text())
    assert stored["about"]["places"] == {"48": 1}
    assert stored["about"]["scenes"] == 4 * len(CONDITIONS)
    (bare,) = (one for one in stored["overall"] if one["condition"] == "normal")
    assert bare["recall"]["value"] == 1
    assert stored["check"]["faces"] == stored["check"]["both"] == 1
    text = markdown.read_text()
    assert "Are all faces obscured alike?" in text
    assert run(data, output, "--reuse", "--check", "0", "--sizes", "48") == 0
    again = json.loads((output / "fairness.json").read_text())
    assert again["overall"] == stored["overall"]
    assert stored["about"]["origin"]["policy"] == POLICY.digest()
    assert "face_detector=1:" in stored["about"]["origin"]["models"]
    assert run(data, output, "--reuse", "--check", "0", "--sizes", "24") == 2
    own = tmp_path / "own.yaml"
    face = POLICY.face.model_copy(update={"threshold": {0: 0.9}})
    own.write_text(POLICY.model_copy(update={"face": face}).to_yaml())
    assert run(data, output, "--reuse", "--check", "0", "--sizes", "48", "--policy", str(own)) == 2
    assert capsys.readouterr().err.count("the verdicts are of another run") == 2


def test_the_digest_changes_with_faces_labels_and_places() -> None:
    crops, streets = [crop(), crop((90, 60, 50))], [street()]
    digest = digest_of_scenes(crops, streets)
    assert digest == digest_of_scenes(crops, [street()])
    others = [
        digest_of_scenes(crops[::-1], streets),
        digest_of_scenes([crop(), crop((90, 60, 51))], streets),
        digest_of_scenes([replace(crops[0], groups={"ethnicity": "b"}), crops[1]], streets),
        digest_of_scenes(crops, [street(129)]),
        digest_of_scenes(crops, [replace(streets[0], places=(Place(61, 50, 24), PLACES[1]))]),
    ]
    assert len({digest, *others}) == 1 + len(others)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sizes", "16", "500"], "enlarged"),
        (["--sizes", "4"], "too small"),
        (["--width", "100"], "too small"),
        (["--sizes", "16", "16"], "twice"),
        (["--reuse"], "earlier run"),
        (["--backgrounds", "9"], "can be backgrounds"),
        (["--policy", "nowhere"], "nowhere"),
    ],
)
def test_the_command_says_what_is_wrong(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    assert run(data, tmp_path / "out", "--check", "0", *arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", r"faces\.jsonl:1"),
        ('{"image": "a.png", "age": 30, "gender": "male"}', "ethnicity"),
        ('{"image": "a.png", "age": 9, "gender": "male", "ethnicity": "x"}', "adult"),
    ],
)
def test_wrong_labels_are_named(tmp_path: Path, line: str, said: str) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    (folder / "faces.jsonl").write_text(line + "\n")
    with pytest.raises(AnnotationError, match=said):
        read_crops(tmp_path)


def test_missing_crops_are_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"faces\.jsonl"):
        read_crops(tmp_path)


def test_real_crops_in_a_real_street() -> None:
    data = data_root()
    if not (data / FOLDER).is_dir():
        pytest.skip("no development data: set STREETBLUR_DATA to a folder that holds dev/")
    crops = read_crops(data)[::50]
    (background,) = choose_backgrounds(data, 1, (48,), 2, face_detectors(POLICY))
    trial = run_trial(crops, [background], POLICY, conditions=[Condition()])
    assert trial.obscured.shape == (1, 2, len(crops))
    assert trial.hits(0, 48).mean() >= 0.75
