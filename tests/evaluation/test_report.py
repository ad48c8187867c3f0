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
from evaluation.picture import read_upright
from evaluation.report import plots
from evaluation.report.page import Extras, write_page
from evaluation.report.thumbnails import CELLS, SIDE, worst_false_blurs, worst_misses
from evaluation.verdicts import CurvePoint, Latency, Verdicts
from pipeline.errors import ConfigurationError
from serving.geometry import Box

FACE, ELSEWHERE = Box(180, 70, 270, 190), Box(20, 300, 120, 400)
NASTY = "<script>alert('$x^2$')</script>&amp;"


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
    assert page.count("<svg") == 4


def test_the_same_verdicts_make_the_same_page(
    one_set: LabelledSet, outputs: Path, tmp_path: Path
) -> None:
    first, second = (page_of(one_set, outputs, tmp_path / name) for name in ("a.html", "b.html"))
    created = re.compile(r"\d{4}-\d\d-\d\dT[^.]*")
    assert created.sub("", first) == created.sub("", second)


def thumbnail(data: str) -> np.ndarray:
    raw = np.frombuffer(base64.b64decode(data.split(",")[1]), np.uint8)
    return cv2.imdecode(raw, cv2.IMREAD_COLOR)


def detail(pixels: np.ndarray) -> float:
    """What is finer than a fifth of a cell, inside the drawn box."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY).astype(np.float32)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), SIDE / CELLS / 5)
    inner = slice(SIDE * 7 // 16, SIDE * 9 // 16)
    return float(fine[inner, inner].std())


def test_nobody_can_be_recognised_unless_asked_for(one_set: LabelledSet, outputs: Path) -> None:
    found = verdicts_of(one_set, outputs)
    (hidden,) = worst_misses(found.sets, [one_set])
    (shown,) = worst_misses(found.sets, [one_set], show=True)
    assert detail(thumbnail(hidden.data)) < 0.2 * detail(thumbnail(shown.data))
    assert hidden.caption == "face, 120 px high, 0% of it obscured; normal, none"
    assert hidden.title == f"{NASTY}/0.png"


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


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_real_browser_shows_it_without_an_error(
    one_set: LabelledSet, outputs: Path, tmp_path: Path
) -> None:
    page_of(one_set, outputs, tmp_path / "report.html")
    shot = tmp_path / "shot.png"
    done = subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=1300,2400",
            f"--screenshot={shot}",
            (tmp_path / "report.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "CONSOLE" not in done.stderr
    pixels = cv2.imread(str(shot))
    assert pixels is not None
    assert pixels.shape[1] == 1300
    # the plots' blue and the tiles' frames are there
    assert (np.abs(pixels.astype(int) - (178, 114, 0)).sum(axis=2) < 30).sum() > 200
