"""Who beats the target, who is dead, what is kept of it, and which setting is chosen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.irreversibility import treatments
from evaluation.irreversibility.bounds import Difference
from evaluation.irreversibility.choice import choice_page, weakest
from evaluation.irreversibility.results import (
    ChoiceRow,
    EffortName,
    FaceRow,
    PlateRow,
    Results,
    ResultsFile,
    attacked,
)
from evaluation.irreversibility.treatments import Pixels, Redacted, default_treatment
from evaluation.irreversibility.verdicts import (
    BRUTE_FORCE,
    EMBEDDING,
    LINEAR,
    NETWORK,
    TEXT_READER,
    TRAINED_READER,
    WEAK,
    Control,
    breaks,
    dead,
    holds,
)
from pipeline.errors import ConfigurationError
from pipeline.noise import NoiseKey
from pipeline.policy import Style, load_policy
from pipeline.redaction import RedactionBox
from serving.geometry import Label

FACES = {
    LINEAR: "linear",
    NETWORK: "network",
    EMBEDDING: "embedding, known pictures redacted",
}


def face(attacker: str, low: float, high: float, effort: EffortName = "full") -> FaceRow:
    return FaceRow(
        treatment="x",
        attacker=attacker,
        effort=effort,
        people="people",
        copies="one",
        rank1=Difference(0.1 + high, 0.1, low, high, 400, 45),
        chance=0.02,
        verification=0.5,
    )


def plate(attacker: str, exact: int, low: float, high: float) -> PlateRow:
    return PlateRow(
        treatment="x",
        attacker=attacker,
        what="us",
        copies=1,
        chance=0.0 if attacker == TEXT_READER else 1e-3,
        exact=exact,
        plates=500,
        symbols=0.1,
        low=low,
        high=high,
    )


def choice(
    strength: float, noise: float, high: float, people: str = "people", mode: str = "blur"
) -> ChoiceRow:
    return ChoiceRow(
        treatment=Redacted(strength, noise, mode).name,
        mode=mode,
        strength=strength,
        noise=noise,
        **face("linear", -0.01, high).model_dump(exclude={"treatment", "people"}),
        people=people,
    )


@pytest.mark.parametrize(
    ("row", "within"),
    [
        (face("linear", -0.01, 0.03), True),
        (face("linear", -0.01, 0.031), False),
        (plate(TEXT_READER, 0, 0, 0.05), True),
        (plate(TEXT_READER, 1, 0, 0.01), False),
        (plate(TRAINED_READER, 5, 0.003, 0.023), True),
        (plate(BRUTE_FORCE, 0, 0, 0.031), True),
        (plate(BRUTE_FORCE, 0, 0, 0.032), False),
    ],
)
def test_each_attacker_has_its_bound(row: FaceRow | PlateRow, within: bool) -> None:
    assert holds(row) is within


@pytest.mark.parametrize(
    ("row", "broken"),
    [
        (face("linear", 0.031, 0.4), True),
        (face("linear", 0.03, 0.4), False),
        (plate(BRUTE_FORCE, 100, 0.032, 0.4), True),
        (plate(BRUTE_FORCE, 100, 0.031, 0.4), False),
    ],
)
def test_broken_is_what_is_surely_above_the_target(row: FaceRow | PlateRow, broken: bool) -> None:
    assert breaks(row) is broken


@pytest.mark.parametrize("control", WEAK, ids=lambda control: control.treatment.name)
@pytest.mark.parametrize("corpse", FACES)
def test_a_live_attacker_on_faces_does_not_hide_a_dead_one(control: Control, corpse: str) -> None:
    rows = [
        face(attacker, -0.02 if family == corpse else 0.5, 0.7)
        for family, attacker in FACES.items()
    ]
    # another copy or method of the others, also dead, accuses nobody
    rows.append(face("wiener, then embedding", -0.02, 0.01))
    assert dead(rows, control.faces) == [corpse]


@pytest.mark.parametrize("control", WEAK, ids=lambda control: control.treatment.name)
@pytest.mark.parametrize("corpse", [TRAINED_READER, BRUTE_FORCE])
def test_a_live_reader_does_not_hide_a_dead_one(control: Control, corpse: str) -> None:
    readers = (TEXT_READER, TRAINED_READER, BRUTE_FORCE)
    rows = [plate(one, 400, 0 if one == corpse else 0.7, 0.9) for one in readers]
    assert dead(rows, control.plates) == [corpse]


def test_the_text_reader_has_to_read_clear_plates_only() -> None:
    rows = [plate(TRAINED_READER, 400, 0.7, 0.9), plate(BRUTE_FORCE, 400, 0.7, 0.9)]
    clear, *others = (dead(rows, control.plates) for control in WEAK)
    assert clear == [TEXT_READER]
    assert others == [[], []]


def test_an_attacker_that_was_not_run_is_dead() -> None:
    assert dead([], WEAK[0].faces) == [LINEAR, NETWORK, EMBEDDING]


def test_efforts_neither_replace_nor_judge_each_other() -> None:
    results = Results().with_rows("faces", [face("linear", -0.01, 0.01)])
    results = results.with_rows("faces", [face("linear", -0.01, 0.5, "quick")])
    assert [row.rank1.high for row in attacked(results.faces, "x", "full")] == [0.01]
    assert [row.rank1.high for row in attacked(results.faces, "x", "quick")] == [0.5]
    again = results.with_rows("faces", [face("linear", -0.01, 0.02)])
    assert [row.rank1.high for row in again.faces] == [0.5, 0.02]


def test_rows_of_older_files_are_full_but_for_people_with_little_effort(tmp_path: Path) -> None:
    old = face("linear", 0.1, 0.2).model_dump(exclude={"effort"})
    little = old | {"people": "people, little effort"}
    plates = plate(BRUTE_FORCE, 0, 0, 0.02).model_dump(exclude={"effort"})
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"rows": {"faces": [old, little], "plates": [plates], "sizes": []}}))
    found = ResultsFile(path).results
    assert [(row.people, row.effort) for row in found.faces] == [
        ("people", "full"),
        ("people", "little"),
    ]
    assert [row.effort for row in found.plates] == ["full"]


def test_results_are_kept_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    rows = [face("linear", 0.1, 0.2, "little"), face("network", 0.1, 0.2, "little")]
    ResultsFile(path).keep("faces", rows)
    read = ResultsFile(path)
    assert read.results.faces == tuple(rows)
    assert [one.name for one in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    "text", ["# a page", "[]", "", '{"rows": []}', '{"rows": {"faces": [{"treatment": 1}]}}', "1"]
)
def test_files_of_other_things_are_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"README\.md: .*--output"):
        ResultsFile(path)
    assert path.read_text() == text


def test_a_folder_is_no_results_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no regular file"):
        ResultsFile(tmp_path)


def test_a_missing_folder_is_told_before_any_attack(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        ResultsFile(tmp_path / "missing" / "results.json")


def test_the_weakest_that_holds_is_chosen_by_strength_then_noise() -> None:
    rows = [
        choice(2, 6, 0.02),
        choice(1.4, 12, 0.01),
        choice(1.4, 8, 0.03),
        choice(1.4, 6, 0.05),
        choice(1, 24, 0.2),
    ]
    assert weakest(rows) == {"blur": "blur 1.4, noise 8"}
    assert "- blur: blur 1.4, noise 8" in choice_page(rows)


def test_a_setting_has_to_hold_on_all_sets_of_people() -> None:
    rows = [
        choice(1, 8, 0.01),
        choice(1, 8, 0.05, "photographs"),
        # one set is missing: not judged yet
        choice(1.4, 8, 0.01),
        choice(2, 8, 0.01),
        choice(2, 8, 0.01, "photographs"),
    ]
    assert weakest(rows) == {"blur": "blur 2, noise 8"}


def test_each_mode_has_its_weakest_or_none() -> None:
    rows = [choice(1, 8, 0.2, mode="pixelate"), choice(2, 0, 0.0, mode="solid")]
    assert weakest(rows) == {"pixelate": None, "solid": "solid"}
    assert "- pixelate: none" in choice_page(rows)


def test_plates_are_attacked_with_the_style_of_plates(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load_policy("default")
    weak = policy.plate.style.model_copy(update={"strength": 0.3, "noise": 0.0, "mode": "pixelate"})

    def style(label: Label) -> Style:
        return policy.face.style if label == "face" else weak

    monkeypatch.setattr(treatments, "default_style", style)
    assert default_treatment("plate").name == "pixelate 0.3, noise 0"
    assert default_treatment("face").name == "blur 2, noise 8"


def test_settings_keep_the_other_fields_of_the_label(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load_policy("default")
    seen: list[RedactionBox] = []

    def paint(pixels: Pixels, boxes: list[RedactionBox], _key: NoiseKey) -> Pixels:
        seen.extend(boxes)
        return pixels

    monkeypatch.setattr(treatments, "redact_pixels", paint)
    own = policy.plate.style
    Redacted(1, 3).expected(
        np.zeros((64, 64, 3), np.uint8), RedactionBox(0, 0, 64, 64, own, "plate")
    )
    (box,) = seen
    assert box.style == own.model_copy(update={"strength": 1.0, "noise": 0})
    assert own.feather != policy.face.style.feather
