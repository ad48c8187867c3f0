"""The report: self-contained, escaped, drawn alike each time, and nobody is recognised in it."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from evaluation.annotations import LabelledBox, LabelledPicture
from evaluation.comparison import compare
from evaluation.evaluate import evaluate_outputs
from evaluation.labelled_sets import LabelledSet
from evaluation.oracle import redact
from evaluation.origin import UNKNOWN, Origin
from evaluation.picture import read_upright
from evaluation.report import plots
from evaluation.report.page import Extras, write_page
from evaluation.report.sections import fairness_section, relation, scenes_section
from evaluation.report.thumbnails import SIDE, worst_false_blurs, worst_misses
from evaluation.verdicts import CurvePoint, Latency, Verdicts
from pipeline.errors import ConfigurationError
from serving.geometry import Box
from tests.evaluation.figures import NASTY, ORIGIN, fairness, scene_figures

FACE, ELSEWHERE = Box(180, 70, 270, 190), Box(20, 300, 120, 400)


@pytest.fixture
def one_set(tmp_path: Path, photographs: Path) -> LabelledSet:
    folder = tmp_path / "set"
    folder.mkdir()
    labels = []
    for number in range(2):
        shutil.copy(photographs / "astronaut.png", folder / f"{number}.png")
        box = LabelledBox("face", FACE, occlusion="none")
        labels.append(LabelledPicture(f"{number}.png", 512, 512, ("face",), (box,)))
    return LabelledSet(NASTY, folder, tuple(labels))


@pytest.fixture
def outputs(tmp_path: Path, one_set: LabelledSet) -> Path:
    """The first is missed, and something else is redacted on the second."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    for number, boxes in enumerate([[], [FACE, ELSEWHERE]]):
        pixels = redact(read_upright(one_set.folder / f"{number}.png"), boxes)
        cv2.imwrite(str(folder / f"{number}.png"), pixels[:, :, ::-1])
    return folder


def verdicts_of(one_set: LabelledSet, outputs: Path) -> Verdicts:
    found = evaluate_outputs([one_set], outputs, name=NASTY, command=f"a {NASTY}")
    point = CurvePoint(0.2, 0.9, 0.8, 0.95, 0.01, 40)
    points = (point, replace(point, threshold=0.4, recall=0.7, outside=0.005))
    latency = {"detect": Latency(2, 100, 150, 170), "total": Latency(2, 140, 200, 260)}
    return replace(
        found,
        about=replace(found.about, latency=latency, policy="d"),
        curves={"face": {">=12 px": points, "<12 px": points}},
    )


def page_of(one_set: LabelledSet, outputs: Path, path: Path, *, show: bool = False) -> str:
    found = verdicts_of(one_set, outputs)
    extras = Extras(
        misses=worst_misses(found.sets, [one_set], show=show),
        false_blurs=worst_false_blurs(found.sets, [one_set], {one_set.name: outputs}, show=show),
        shows_originals=show,
        against=("another", compare(found, found)),
        thresholds={"face": (0.2,)},
        fairness=fairness(),
        scenes=scene_figures(),
    )
    write_page(found, found.scores(), extras, path)
    return path.read_text()


def test_everything_is_on_the_page_and_nothing_is_fetched(
    one_set: LabelledSet, outputs: Path, tmp_path: Path
) -> None:
    page = page_of(one_set, outputs, tmp_path / "report.html")
    assert "<script" not in page
    assert "Content-Security-Policy" in page
    fetched = re.findall(r"""(?:src|href)=["']([^"']*)""", page)
    assert all(one.startswith(("data:image/jpeg", "#")) for one in fetched)
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", page))
    assert all(one.startswith(("http://www.w3.org/", "https://www.w3.org/")) for one in addresses)
    assert "@import" not in page
    assert not re.findall(r"url\((?!#)", page)
    for heading in ("Recall by set", "Recall against", "Conditions", "Worst misses", "Latency"):
        assert heading in page
    assert "Worst false blurs" in page
    assert "Against another" in page
    assert "&lt;script&gt;" in page
    # four of the run, one of scenes; of fairness the spreads, and groups by ethnicity and gender
    assert page.count("<svg") == page.count('role="img" aria-label="') == 4 + 1 + 3
    assert "mathdefault" not in page


def test_the_same_verdicts_make_the_same_page(
    one_set: LabelledSet, outputs: Path, tmp_path: Path
) -> None:
    first, second = (page_of(one_set, outputs, tmp_path / name) for name in ("a.html", "b.html"))
    created = re.compile(r"\d{4}-\d\d-\d\dT[^.]*")
    assert created.sub("", first) == created.sub("", second)


def test_fairness_is_shown_against_the_goal(
    one_set: LabelledSet, outputs: Path, tmp_path: Path
) -> None:
    page = page_of(one_set, outputs, tmp_path / "report.html")
    assert "Missed at 16\N{NO-BREAK SPACE}px: ethnicity." in page
    assert "more faces scored below the threshold; goes along with small size" in page
    for text in ("Worst groups and likely causes", "48.3 (", "detectable", "d1", "f1", "p1"):
        assert text in page
    section = fairness_section(fairness(), ORIGIN)
    spreads, causes, groups, *_ = section.tables
    rows = {(row[0], row[1]): row for row in spreads.rows[1:]}
    assert rows["ethnicity", "16 px"][2:4] == ["b", "a"]
    assert rows["ethnicity", "16 px"][-1] == "missed"
    assert causes.rows[1][:5] == ["ethnicity", "normal", "16 px", "b", "a"]
    assert {row[1] for row in groups.rows[1:]} == {"a", "b", "m", "f"}


def test_scenes_are_shown_by_size_and_variation(
    one_set: LabelledSet, outputs: Path, tmp_path: Path
) -> None:
    page = page_of(one_set, outputs, tmp_path / "report.html")
    for text in (
        "90.0% (80.0-95.0) of 40",
        "80.0% of 40",
        "-20.0 (-30.0 to -10.0)",
        "3 of 9",
        "by day: &gt;=12 px 90.0%, 12-16 px 80.0%",
    ):
        assert text in page
    bare = scenes_section(replace(scene_figures(), negatives=()), ORIGIN, {})
    assert [table.title for table in bare.tables] == ["faces"]


def test_without_these_files_the_page_says_how_to_get_them(
    one_set: LabelledSet, outputs: Path, tmp_path: Path
) -> None:
    found = verdicts_of(one_set, outputs)
    write_page(found, found.scores(), Extras(), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "--fairness fairness/fairness.json" in page
    assert "--scenes scenes/scenes.json" in page


def test_a_group_that_stands_alone_is_said_not_to_be_compared() -> None:
    section = fairness_section(replace(fairness(), spreads=(), causes=()), ORIGIN)
    assert section.found == "No two groups have enough people to be compared."
    assert section.plots == []


@pytest.mark.parametrize(
    ("measured", "run", "doubtful", "said"),
    [
        (ORIGIN, replace(ORIGIN, data="d2"), False, "Same policy, models and runtime"),
        (ORIGIN, replace(ORIGIN, runtime="openvino bf16"), False, "on onnxruntime f32 where that"),
        (ORIGIN, replace(ORIGIN, policy="p2"), True, "policy p1 instead of p2."),
        (
            replace(ORIGIN, models="face_detector=2:f3,plate_detector=1:f2"),
            ORIGIN,
            True,
            "Not of this page's run: face_detector 2:f3 instead of 1:f1.",
        ),
        (
            replace(ORIGIN, models="face_detector=1:f1"),
            ORIGIN,
            True,
            "plate_detector none instead of 1:f2",
        ),
        (ORIGIN, Origin("d1"), True, "outputs of this page is not known"),
        (UNKNOWN, ORIGIN, True, "What made these figures is not known"),
    ],
)
def test_figures_of_another_run_are_said_to_be(
    measured: Origin, run: Origin, doubtful: bool, said: str
) -> None:
    found = relation(measured, run)
    assert found.doubtful == doubtful
    assert said in found.text
    assert fairness_section(fairness(measured), run).relation == found
    assert scenes_section(scene_figures(measured), run, {}).relation == found


@pytest.mark.parametrize(("policy", "doubted"), [("p1", 0), ("p2", 2)])
def test_the_page_warns_of_figures_of_another_run(
    one_set: LabelledSet, outputs: Path, tmp_path: Path, policy: str, doubted: int
) -> None:
    found = verdicts_of(one_set, outputs)
    about = replace(found.about, policy=policy, models=ORIGIN.models, runtime=ORIGIN.runtime)
    extras = Extras(fairness=fairness(), scenes=scene_figures())
    write_page(replace(found, about=about), found.scores(), extras, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count('class="doubt"') == doubted
    assert page.count("Same policy, models and runtime") == 2 - doubted


def thumbnail(data: str) -> np.ndarray:
    raw = np.frombuffer(base64.b64decode(data.split(",")[1]), np.uint8)
    return cv2.imdecode(raw, cv2.IMREAD_COLOR)


def detail(pixels: np.ndarray) -> float:
    """What is finer than a fifth of a twelfth of the side, inside the drawn box."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY).astype(np.float32)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), SIDE / 12 / 5)
    inner = slice(SIDE * 7 // 16, SIDE * 9 // 16)
    return float(fine[inner, inner].std())


def test_nobody_can_be_recognised_unless_asked_for(one_set: LabelledSet, outputs: Path) -> None:
    found = verdicts_of(one_set, outputs)
    (hidden,) = worst_misses(found.sets, [one_set])
    (shown,) = worst_misses(found.sets, [one_set], show=True)
    assert detail(thumbnail(hidden.data)) < 0.2 * detail(thumbnail(shown.data))
    assert hidden.caption == "face, 120 px high, 0% of it obscured; normal, none"
    assert hidden.title == f"{NASTY}/0.png"


def test_a_face_that_fills_the_picture_keeps_no_more_of_itself(
    one_set: LabelledSet, outputs: Path
) -> None:
    box = LabelledBox("face", Box(0, 0, 512, 512))
    labels = tuple(replace(picture, boxes=(box,)) for picture in one_set.pictures)
    whole = replace(one_set, pictures=labels[:1])
    shutil.copy(one_set.folder / "0.png", outputs / "0.png")
    (hidden,) = worst_misses(verdicts_of(whole, outputs).sets, [whole])
    grey = cv2.cvtColor(thumbnail(hidden.data), cv2.COLOR_BGR2GRAY)[8:-8, 8:-8]
    twice = cv2.resize(cv2.resize(grey, (4, 4), interpolation=cv2.INTER_AREA), grey.shape[::-1])
    assert np.abs(twice.astype(float) - grey).mean() < 10


def test_a_box_without_its_scene_is_among_the_misses(one_set: LabelledSet, outputs: Path) -> None:
    shutil.copy(one_set.folder / "0.png", outputs / "1.png")
    other = cv2.imread(str(outputs / "1.png"))[::-1, ::-1]
    cv2.imwrite(str(outputs / "1.png"), np.ascontiguousarray(other))
    found = verdicts_of(one_set, outputs)
    told = [one.caption for one in worst_misses(found.sets, [one_set])]
    assert any("the output shows something else" in one for one in told), told


def test_a_target_is_missed_where_the_interval_reaches_below_it(
    one_set: LabelledSet, outputs: Path, tmp_path: Path
) -> None:
    """One face of one picture: 100 %, but no certainty."""
    found = verdicts_of(replace(one_set, pictures=one_set.pictures[1:]), outputs)
    write_page(found, found.scores(), Extras(), tmp_path / "report.html")
    assert 'class="tile bad">faces obscured<b>100.0%</b>' in (tmp_path / "report.html").read_text()


def test_a_false_blur_is_shown_where_it_is(one_set: LabelledSet, outputs: Path) -> None:
    found = verdicts_of(one_set, outputs)
    (one,) = worst_false_blurs(found.sets, [one_set], {one_set.name: outputs}, show=True)
    assert one.title.endswith("/1.png")
    pixels = thumbnail(one.data)
    # its frame is a third of the picture's side, in the middle
    frame = np.array([167, 121, 204], np.int16)
    near = np.abs(pixels[SIDE // 2].astype(np.int16) - frame).sum(axis=1) < 90
    columns = set(np.flatnonzero(near).tolist())
    assert columns & set(range(SIDE // 3 - 6, SIDE // 3 + 7))
    assert columns & set(range(2 * SIDE // 3 - 6, 2 * SIDE // 3 + 7))
    assert worst_false_blurs(found.sets, [one_set], {}) == []


def test_pictures_that_are_gone_are_left_out(one_set: LabelledSet, outputs: Path) -> None:
    found = verdicts_of(one_set, outputs)
    (one_set.folder / "0.png").unlink()
    assert worst_misses(found.sets, [one_set]) == []


def test_a_missing_library_is_told_before_anything_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigurationError, match=r"matplotlib is missing.*streetblur\[evaluate\]"):
        plots.require()


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def shown(page: Path) -> np.ndarray:
    """The whole page in a browser, BGR; its content policy would have any fetch told as well."""
    shot = page.with_suffix(".png")
    done = subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            f"--user-data-dir={page.parent / 'profile'}",
            "--window-size=1300,7000",
            f"--screenshot={shot}",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "CONSOLE" not in done.stderr
    pixels = cv2.imread(str(shot))
    assert pixels is not None
    assert pixels.shape == (7000, 1300, 3)
    return pixels


def of_colour(pixels: np.ndarray, colour: str) -> int:
    """How many pixels have about the colour ``#rrggbb``."""
    bgr = [int(colour[at : at + 2], 16) for at in (5, 3, 1)]
    return int((np.abs(pixels.astype(int) - bgr).sum(axis=2) < 30).sum())


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_real_browser_shows_it_without_an_error(
    one_set: LabelledSet, outputs: Path, tmp_path: Path
) -> None:
    page_of(one_set, outputs, tmp_path / "report.html")
    pixels = shown(tmp_path / "report.html")
    assert of_colour(pixels, plots.COLOURS[0]) > 200
    found = verdicts_of(one_set, outputs)
    write_page(found, found.scores(), Extras(), tmp_path / "bare.html")
    bare = shown(tmp_path / "bare.html")
    extras = Extras(fairness=fairness(), scenes=scene_figures())
    write_page(found, found.scores(), extras, tmp_path / "apart.html")
    apart = shown(tmp_path / "apart.html")
    # marks and lines of the other sections, and the frames of their warnings
    for colour in (plots.COLOURS[0], plots.COLOURS[1], "#b3261e"):
        assert of_colour(apart, colour) > of_colour(bare, colour) + 100
