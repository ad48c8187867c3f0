"""Two runs side by side: real changes are found, chance is not, and the gate fails on the first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.changed import ChangedOutside
from evaluation.comparison import Difference, compare
from evaluation.gate import compact, lost_outputs, main, regressions, told
from evaluation.judge import JudgedBox, JudgedPicture
from evaluation.verdicts import ALL_SETS, About, Verdicts
from pipeline.errors import ConfigurationError

ABOUT = About("one", "a command", "2026-11-22T00:00:00+00:00", "d1", "a machine")


def run(
    seed: int, recall: float, changed: int = 100, *, pictures: int = 150, name: str = "faces"
) -> Verdicts:
    """Three boxes a picture, each obscured with this chance."""
    draw = np.random.default_rng(seed)
    judged = tuple(
        JudgedPicture(
            f"{number}.jpg",
            "judged",
            tuple(
                JudgedBox("face", height, None, 1.0, bool(draw.random() < recall))
                for height in (10, 20, 60)
            ),
            ChangedOutside(int(changed * draw.uniform(0.5, 1.5)), 10_000),
            changed_pixels=500,
            false_regions=int(draw.integers(0, 2)),
        )
        for number in range(pictures)
    )
    return Verdicts(ABOUT, {name: judged})


def row(found: tuple[Difference, ...], metric: str, group: str = "") -> Difference:
    (one,) = (d for d in found if (d.metric, d.group) == (metric, group))
    return one


def test_the_same_run_differs_in_nothing() -> None:
    found = compare(run(1, 0.9), run(1, 0.9))
    assert {one.verdict for one in found} == {"no difference"}
    assert all(one.low == one.high == 0 for one in found)
    assert row(found, "recall", "all").count == 450
    assert row(found, "recall", ">=12 px").count == 300
    assert row(found, "changed_outside").count == 150


def test_what_is_lost_is_worse_and_what_is_won_better() -> None:
    before, after = run(1, 0.97), run(2, 0.85)
    lost, won = (
        row(compare(*pair), "recall", "all") for pair in ((before, after), (after, before))
    )
    assert (lost.verdict, won.verdict) == ("worse", "better")
    assert lost.after - lost.before == pytest.approx(-0.12, abs=0.04)
    assert lost.low < lost.after - lost.before < lost.high < 0
    more = compare(run(1, 0.9, 100), run(1, 0.9, 200))
    assert row(more, "changed_outside").verdict == "worse"


def test_one_box_is_chance() -> None:
    before = run(1, 1.0)
    first = before.sets["faces"][0]
    missed = replace(first, boxes=(replace(first.boxes[0], obscured=False), *first.boxes[1:]))
    after = Verdicts(ABOUT, {"faces": (missed, *before.sets["faces"][1:])})
    assert row(compare(before, after), "recall", "all").verdict == "no difference"
    assert regressions(before, after) == ()


@pytest.mark.parametrize(("pictures", "verdict"), [(5, "no difference"), (6, "worse")])
def test_a_handful_of_pictures_shows_nothing(pictures: int, verdict: str) -> None:
    """All become worse, so drawing them again never leaves that side."""
    found = compare(run(1, 1.0, 100, pictures=pictures), run(1, 0.0, 300, pictures=pictures))
    assert row(found, "recall", "all").verdict == verdict
    assert row(found, "changed_outside").verdict == verdict


def test_chance_alone_is_rarely_called_a_difference() -> None:
    """Two draws of the same quality: about one in twenty intervals leaves out 0."""
    called = [
        row(
            compare(run(2 * n, 0.9, pictures=80), run(2 * n + 1, 0.9, pictures=80)), "recall", "all"
        ).verdict
        != "no difference"
        for n in range(60)
    ]
    assert sum(called) <= 8


def test_pictures_that_only_one_run_published_count_nowhere() -> None:
    before = run(1, 0.9)
    faces = before.sets["faces"]
    dropped = (replace(faces[0], status="not_published", changed=None), *faces[1:-1])
    found = compare(before, Verdicts(ABOUT, {"faces": dropped}))
    assert row(found, "recall", "all").count == 3 * 148
    found = compare(Verdicts(ABOUT, {"faces": dropped}), before)
    assert row(found, "recall", "all").count == 3 * 148


def test_sets_together_where_there_are_several() -> None:
    pair = [Verdicts(ABOUT, {**run(n, 0.9).sets, **run(n, 0.9, name="more").sets}) for n in (1, 2)]
    assert {one.set_name for one in compare(*pair)} == {"faces", "more", ALL_SETS}


def test_other_labels_do_not_compare() -> None:
    before = run(1, 0.9)
    first, *rest = before.sets["faces"]
    fewer = (replace(first, boxes=first.boxes[1:]), *rest)
    moved = (replace(first, boxes=(replace(first.boxes[0], height=11), *first.boxes[1:])), *rest)
    for other in (fewer, moved):
        with pytest.raises(ConfigurationError, match="other labels"):
            compare(before, Verdicts(ABOUT, {"faces": other}))
    with pytest.raises(ConfigurationError, match="no picture in common"):
        compare(before, run(1, 0.9, name="other"))


def test_a_part_of_the_pictures_is_enough() -> None:
    before = run(1, 0.9)
    part = Verdicts(replace(ABOUT, data="d2"), {"faces": before.sets["faces"][:20]})
    assert row(compare(before, part), "recall", "all").count == 60


def test_the_gate_needs_more_than_a_trifle() -> None:
    good, bad = run(1, 0.97), run(2, 0.85)
    (lines := told(regressions(good, bad))).sort()
    assert len(lines) == 2
    assert "faces: recall face >=12 px" in lines[0] or "faces: recall face >=12 px" in lines[1]
    assert regressions(bad, good) == ()


def even(missed: int, changed: int, areas: int) -> Verdicts:
    """1,000 pictures of one box: so many are missed, changed alike, and so many false areas."""
    return Verdicts(
        ABOUT,
        {
            "faces": tuple(
                JudgedPicture(
                    f"{number}.jpg",
                    "judged",
                    (JudgedBox("face", 20, None, 1.0, number >= missed),),
                    ChangedOutside(changed + number % 2, 10_000),
                    changed_pixels=500,
                    false_regions=int(number < areas),
                )
                for number in range(1000)
            )
        },
    )


@pytest.mark.parametrize(
    ("metric", "trifle", "more"),
    [
        ("recall", even(4, 100, 0), even(6, 100, 0)),
        ("changed_outside", even(0, 109, 0), even(0, 111, 0)),
        ("false_regions", even(0, 100, 45), even(0, 100, 55)),
    ],
)
def test_a_trifle_is_no_regression(metric: str, trifle: Verdicts, more: Verdicts) -> None:
    good = even(0, 100, 0)
    assert (
        row(compare(good, trifle), metric, "all" if metric == "recall" else "").verdict == "worse"
    )
    assert regressions(good, trifle) == ()
    assert {one.metric for one in regressions(good, more)} == {metric}


def without_outputs(verdicts: Verdicts, count: int) -> Verdicts:
    faces = verdicts.sets["faces"]
    refused = [replace(one, status="not_published", changed=None) for one in faces[:count]]
    return Verdicts(ABOUT, {"faces": (*refused, *faces[count:])})


def test_the_gate_misses_outputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = run(1, 0.97, pictures=400)
    assert lost_outputs(good, without_outputs(good, 0), ["faces"]) == []
    (line,) = lost_outputs(good, without_outputs(good, 1), ["faces"])
    assert line == "faces: 1 of 400 pictures have no output any more"
    baseline, refused = tmp_path / "baseline.json", tmp_path / "refused.json"
    Verdicts(ABOUT, {**good.sets, **run(2, 0.97, name="more").sets}).write(baseline)
    good.write(refused)
    command = ["--baseline", str(baseline), "--verdicts", str(refused)]
    assert main(command) == 1
    assert "more: 150 of 150 pictures have no output any more" in capsys.readouterr().out
    assert main([*command, "--set", "faces"]) == 0
    assert main([*command, "--set", "faces", "--set", "none"]) == 2
    assert "the baseline has no set none" in capsys.readouterr().err


def test_a_part_of_the_sets_is_no_baseline(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--baseline", str(tmp_path / "new.json"), "--update", "--set", "faces"])


def test_a_stored_baseline_gives_the_same_answer(tmp_path: Path) -> None:
    good, bad = run(1, 0.97), run(2, 0.85)
    compact(good).write(tmp_path / "quality.json")
    assert regressions(Verdicts.read(tmp_path / "quality.json"), bad) == regressions(good, bad)


def test_the_command_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--update", "--data", str(tmp_path)]) == 2
    assert "no labelled folder" in capsys.readouterr().err


def test_the_command_fails_on_what_is_worse_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline, good, bad = (tmp_path / f"{name}.json" for name in ("baseline", "good", "bad"))
    run(1, 0.97).write(good)
    run(2, 0.85).write(bad)
    stored = ["--baseline", str(baseline)]
    assert main([*stored, "--verdicts", str(good)]) == 2
    assert main([*stored, "--verdicts", str(good), "--update"]) == 0
    assert main([*stored, "--verdicts", str(good)]) == 0
    assert "no worse than the baseline" in capsys.readouterr().out
    assert main([*stored, "--verdicts", str(bad)]) == 1
    assert "recall face >=12 px" in capsys.readouterr().out
