"""The attackers bite: they name people behind weak blurs, and nobody behind the default."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

for package in ("torch", "sklearn", "skimage", "dlib"):
    pytest.importorskip(package, reason="attackers need: pip install 'streetblur[attack]'")

from evaluation.irreversibility import __main__ as command_line
from evaluation.irreversibility import study, treatments
from evaluation.irreversibility.attackers import COPIES, linear
from evaluation.irreversibility.bounds import Difference, difference, roc_area
from evaluation.irreversibility.embedding import FaceEmbedder
from evaluation.irreversibility.faces import LINEAR_ONLY
from evaluation.irreversibility.identities import Chip, People, people
from evaluation.irreversibility.networks import named
from evaluation.irreversibility.observations import (
    FACE_BOX,
    Observations,
    cell_of,
    grid_places,
    observe,
    worst_size,
)
from evaluation.irreversibility.page import page
from evaluation.irreversibility.plates import (
    Read,
    brute_force,
    plate_place,
    plate_scene,
    read_by_network,
)
from evaluation.irreversibility.reading import TextReader
from evaluation.irreversibility.results import EffortName, FaceRow, Results
from evaluation.irreversibility.scenes import scene
from evaluation.irreversibility.treatments import (
    Clear,
    Gaussian,
    MeanColour,
    Redacted,
    Treatment,
    default_treatment,
)
from evaluation.irreversibility.verdicts import WEAK
from pipeline.policy import load_policy
from pipeline.redaction import RedactionBox
from tests.evaluation.test_irreversibility_verdicts import face


@pytest.fixture(scope="module")
def crowd() -> People:
    """Every fourth of the people of whom a package has photographs."""
    everybody = people(None, FaceEmbedder())
    kept = [chip for chip in everybody.chips if chip.identity % 4 == 0]
    return People("crowd", tuple(Chip(c.pixels, c.identity // 4, c.known) for c in kept))


def seen(crowd: People, treatment: Treatment) -> Observations:
    return observe(crowd, treatment, places=2, runs=3, processes=1)


@pytest.fixture(scope="module")
def mean_colour(crowd: People) -> Observations:
    return seen(crowd, MeanColour())


@pytest.mark.parametrize(
    ("treatment", "least"),
    [
        (Clear(), 0.85),
        (Gaussian(0.05), 0.85),
        (Gaussian(0.05, noise=40, public=True), 0.85),
        (Gaussian(0.25), 0.6),
        (Redacted(0.1, 6), 0.6),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_is_too_weak_is_broken(
    crowd: People, mean_colour: Observations, treatment: Treatment, least: float
) -> None:
    guess = linear(seen(crowd, treatment), "one")
    base = linear(mean_colour, "one")
    assert guess.hits.mean() >= least
    found = difference(guess.hits, base.hits, guess.truth, base.truth)
    assert found.low > 0.1


@pytest.mark.parametrize("copies", COPIES)
def test_nobody_is_named_behind_the_default(
    crowd: People, mean_colour: Observations, copies: str
) -> None:
    guess, base = (
        linear(seen(crowd, default_treatment("face")), copies),
        linear(mean_colour, copies),
    )
    # ten people leave wide intervals; the figures of the full study are in docs/irreversibility.md
    found = difference(guess.hits, base.hits, guess.truth, base.truth)
    assert found.low <= 0


def test_a_network_learns_to_name_people_behind_a_weak_blur(crowd: People) -> None:
    assert named(seen(crowd, Gaussian(0.05)), "one", steps=40).hits.mean() > 0.5


def test_brute_force_reads_plates_behind_a_weak_blur_and_not_behind_the_default() -> None:
    weak = brute_force(Gaussian(0.05), "us", plates=2, copies=1, processes=1)
    assert all(one.exact and one.candidates == 1000 for one in weak)
    strong = brute_force(default_treatment("plate"), "us", plates=3, copies=4, processes=1)
    assert not any(one.exact for one in strong)


def test_a_text_reader_reads_clear_plates_and_no_redacted_ones() -> None:
    reader = TextReader()
    random = np.random.default_rng(4)
    place = plate_place(Clear(), random, 180)
    source = plate_scene("us", "ABC 1234", 3, place)
    assert "1234" in reader(Clear()(source.data, source.box, b""))
    shown = default_treatment("plate")(source.data, source.box, random.bytes(32))
    assert "1234" not in reader(shown)


def test_a_trained_reader_reads_weak_blurs_better_than_chance() -> None:
    read = read_by_network(Gaussian(0.05), "us", training=900, plates=60, steps=90, processes=1)
    assert read.symbols > 0.25


@pytest.mark.parametrize("share", [0.2, 0.4, 1.0, 2.0])
def test_sizes_are_taken_where_cells_are_smallest_in_relation(share: float) -> None:
    size = worst_size(share)
    assert 0.9 < cell_of(size, share) / (share * size) < 1.1
    style = load_policy("default").face.style.model_copy(update={"strength": share})
    assert RedactionBox(0, 0, round(size), round(size), style, "face").cell_px == cell_of(
        size, share
    )


@pytest.mark.parametrize("treatment", [default_treatment("face"), Redacted(0.4, 6)])
def test_scenes_put_the_box_where_it_was_asked_for(treatment: Redacted) -> None:
    face = np.full((150, 150, 3), 90, np.uint8)
    for place in grid_places(treatment, 2):
        found = scene(face, FACE_BOX, place, "face").box
        assert (found.x1 % place.period, found.y1 % place.period) == (place.x, place.y)
        sides = found.x2 - found.x1, found.y2 - found.y1
        assert np.sqrt(sides[0] * sides[1]) == pytest.approx(place.size, abs=2)


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=2, max_size=8))
def test_an_attacker_is_no_better_than_itself(hits: list[list[bool]]) -> None:
    flat = np.array([hit for own in hits for hit in own])
    who = np.array([person for person, own in enumerate(hits) for _ in own])
    found = difference(flat, flat, who, who)
    assert (found.low, found.value, found.high) == (0, 0, 0)
    other = difference(np.ones_like(flat), np.zeros_like(flat), who, who)
    assert (other.low, other.value, other.high) == (1, 1, 1)


def test_people_are_resampled_not_pictures() -> None:
    who = np.repeat(np.arange(10), 100)
    lucky = who < 3
    found = difference(lucky, np.zeros_like(lucky), who, who)
    # as uncertain as ten draws, not as a thousand
    assert found.high - found.low > 0.4


def test_the_linear_attacker_chooses_among_settings(
    crowd: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = replace(crowd, name="photographs")
    monkeypatch.setattr(study, "people", lambda *_, **__: crowd)
    monkeypatch.setattr(study, "photographs", lambda *_, **__: others)
    monkeypatch.setattr(study, "LINEAR_ONLY", replace(LINEAR_ONLY, processes=1))
    output = tmp_path / "results.json"
    made = study.Study(tmp_path, output, quick=True)
    made.choose([Redacted(0.4, 6), Redacted(2, 0, "solid")])
    page, any_holds = made.choice()
    assert any_holds
    assert page.endswith("- blur: none that was attacked\n- solid: solid")
    rows = json.loads(output.read_text())["rows"]["choices"]
    found = {(row["treatment"], row["people"], row["copies"], row["attacker"]) for row in rows}
    assert found == {
        (treatment, people, copies, "linear")
        # what fell on the first set is spared the second
        for treatment, people in (
            *(("blur 0.4, noise 6", "crowd"), ("solid", "crowd")),
            ("solid", "photographs"),
        )
        for copies in COPIES
    }
    assert {row["effort"] for row in rows} == {"quick"}


class Scripted(study.Study):
    """Finds what it is told: ``(treatment, attacker)`` pairs of which all break."""

    broken: ClassVar[set[tuple[str, str]]]

    def faces(self, treatments: Sequence[Treatment], controls: Sequence[Treatment] = ()) -> None:
        for one in (*treatments, *controls):
            effort: EffortName = "little" if one in controls else "full"
            rows = [
                FaceRow(
                    treatment=one.name,
                    attacker=attacker,
                    effort=effort,
                    people="people",
                    copies="one",
                    rank1=Difference(0.5, 0.1, *self.bounds(one.name, attacker), 400, 45),
                    chance=0.02,
                    verification=0.5,
                )
                for attacker in ("linear", "network", "embedding")
            ]
            self._file.keep("faces", rows)

    def plates(self, treatments: Sequence[Treatment], controls: Sequence[Treatment] = ()) -> None:
        for one in treatments:
            read = Read(0, 130, 0.1)
            row = study.plate_row(one, "brute force", "us, last three", 1, read, "full")
            self._file.keep("plates", [row])

    def bounds(self, treatment: str, attacker: str) -> tuple[float, float]:
        return (0.3, 0.5) if (treatment, attacker) in self.broken else (-0.02, 0.02)


WEAK_BROKEN = {(control.treatment.name, attacker) for control in WEAK for attacker in control.faces}


@pytest.mark.parametrize(
    ("broken", "status", "said"),
    [
        (WEAK_BROKEN, 0, ""),
        (
            WEAK_BROKEN | {("blur 2, noise 8", "network")},
            1,
            "faces: blur 2, noise 8 does not hold: network, one, on people: up to +50.0 points",
        ),
        (
            WEAK_BROKEN - {("clear", "embedding")},
            1,
            "faces: embedding does not break clear",
        ),
    ],
)
def test_the_exit_status_tells_who_beats_the_target_and_who_is_dead(
    broken: set[tuple[str, str]],
    status: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command_line, "Study", Scripted)
    monkeypatch.setattr(Scripted, "broken", broken, raising=False)
    output = tmp_path / "results.json"
    arguments = ["faces", "--data", str(tmp_path), "--output", str(output)]
    assert command_line.main(arguments) == status
    told = capsys.readouterr().err
    assert len(told.splitlines()) == status
    assert told.startswith(said)


def test_plates_are_attacked_behind_what_the_policy_does_to_plates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = load_policy("default")
    weak = own.plate.style.model_copy(update={"strength": 0.5, "noise": 3.0})
    monkeypatch.setattr(
        treatments, "default_style", lambda label: own.face.style if label == "face" else weak
    )
    monkeypatch.setattr(command_line, "Study", Scripted)
    monkeypatch.setattr(Scripted, "broken", set(), raising=False)
    output = tmp_path / "results.json"
    where = ["--no-controls", "--data", str(tmp_path), "--output", str(output)]
    for what in ("faces", "plates"):
        assert command_line.main([what, *where]) == 0
    rows = json.loads(output.read_text())["rows"]
    assert {row["treatment"] for row in rows["faces"]} == {"blur 2, noise 8"}
    assert {row["treatment"] for row in rows["plates"]} == {"blur 0.5, noise 3"}


@pytest.mark.parametrize("output", ["README.md", "missing/results.json"])
def test_a_wrong_output_is_no_verdict(
    output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "README.md").write_text("# a page")
    arguments = ["plates", "--data", str(tmp_path), "--output", str(tmp_path / output)]
    assert command_line.main(arguments) == 2
    assert str(tmp_path / output) in capsys.readouterr().err


def test_the_command_says_what_a_setting_is_and_needs_data(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "evaluation.irreversibility", "plates"]
    wrong = subprocess.run(
        [*command, "--setting", "blur:9"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "MODE:STRENGTH:NOISE" in wrong.stderr
    missing = subprocess.run(
        [*command, "--quick", "--no-controls", "--data", str(tmp_path), "--output",
         str(tmp_path / "x.json")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert missing.returncode == 2
    assert str(tmp_path) in missing.stderr
    assert not (tmp_path / "x.json").exists() or json.loads((tmp_path / "x.json").read_text())


def test_solid_boxes_have_no_cells_to_cut_them() -> None:
    solid = Redacted(2, 8, "solid")
    assert (solid.name, solid.period, solid.fresh) == ("solid", 0, False)
    places = grid_places(solid, 2)
    assert len(places) == 4
    assert all(place.size == 64 for place in places)


def test_the_page_keeps_efforts_apart_and_tells_the_power() -> None:
    rows = (face("linear", -0.02, 0.02), face("linear", 0.1, 0.2, "little"))
    text = page(Results(faces=rows))
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "## Faces: people",
        "## Faces: people, little effort",
    ]
    full = text.split("## ")[1].splitlines()
    column = [cell.strip() for cell in full[2].split("|")].index("detectable, points")
    # 4 points wide: (1.96 + 0.84) standard errors of 4 / 3.92 points
    assert [cell.strip() for cell in full[4].split("|")][column] == "2.9"


def test_areas_have_intervals_that_hold_for_people_with_many_pictures() -> None:
    """The value is the field's; taken picture by picture, intervals would be too narrow."""
    random = np.random.default_rng(0)
    names = np.repeat(np.arange(30), 12)
    within, narrow = [], []
    for _ in range(120):
        own = random.normal(0, 1, 30)[names]
        same = (own + random.normal(0.5, 0.5, len(names))).astype(np.float32)
        other = random.normal(0, 1, (len(names), 29)).astype(np.float32)
        found = roc_area(same, other, names)
        truth = NormalDist(0.5, (1 + 0.25 + 1) ** 0.5).cdf(0)
        within.append(found.low <= 1 - truth <= found.high)
        alone = roc_area(same, other, np.arange(len(names)))
        narrow.append(alone.low <= 1 - truth <= alone.high)
    roc_auc_score = pytest.importorskip("sklearn.metrics").roc_auc_score
    labels = np.repeat([1, 0], [same.size, other.size])
    assert found.value == pytest.approx(roc_auc_score(labels, np.r_[same, other.ravel()]))
    assert np.mean(within) > 0.88
    assert np.mean(narrow) < 0.75
