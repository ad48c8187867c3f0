"""Shadows are recorded, compared, and change nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.compare import TOP, Comparison, compare
from pipeline.errors import ConfigurationError
from pipeline.job import load_spec
from pipeline.operations import show_preview
from pipeline.result import Exit
from pipeline.shadow import ShadowPlan
from serving.errors import ModelMissing
from serving.registry import REPOSITORY_SETTING
from tests.integration.jobs import files, pictures, run_stubbed
from tests.integration.jobs import streetblur as command


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "in"
    pictures(folder, 40)
    return folder


def models_of(versions):
    return {name: f"{number}:{number:016x}" for name, number in versions.items()}


def run(source, output, **more):
    return run_stubbed(source, output, detector="versioned", models_of=models_of, **more)


def test_a_shadow_changes_no_picture_and_no_identity(source, tmp_path):
    plain, alone = run(source, tmp_path / "plain")
    shadow, recorder = run(source, tmp_path / "shadow", shadow={"face_detector": {2: 0.5, 3: 1.0}})
    assert plain.exit_code is shadow.exit_code is Exit.COMPLETE
    assert files(tmp_path / "plain") == files(tmp_path / "shadow") != {}
    identities = {row["key"]: row["identity"] for row in alone.rows}
    assert {row["key"]: row["identity"] for row in recorder.rows} == identities
    again, recorder = run(source, tmp_path / "shadow")
    assert again.processed == 0, "nobody is due for having had a shadow"


def test_the_comparison_counts_what_differs(source, tmp_path):
    shares = {"face_detector": {2: 0.5, 3: 1.0, 4: 1.0}}
    result, recorder = run(source, tmp_path / "out", shadow=shares)
    by_version = {one.shadow[0]: one for one in compare(result.workspace.ledger)}
    other, broken, same = (by_version[name].as_dict() for name in "234")
    assert same["images"] == 40
    assert sum(c["both"] for c in same["boxes"]["face"].values()) == 40
    assert same["differing"] == []
    plan = ShadowPlan("face_detector", 2, 0.5)
    chosen = {row["key"] for row in recorder.rows if plan.wants(row["key"])}
    assert other["images"] == len(chosen) not in {0, 40}
    counts = other["boxes"]["face"].values()
    assert [sum(c[n] for c in counts) for n in ("both", "only_current", "only_shadow")] == [
        *(0, len(chosen), len(chosen)),
    ]
    assert {key for _, key in other["differing"]} <= chosen
    assert broken["images"] == 0
    assert list(broken["failed"].values()) == [40]
    assert "canary was not found" in next(iter(broken["failed"]))


def test_the_command_shows_it(source, tmp_path):
    run(source, tmp_path / "out", shadow={"face_detector": {2: 1.0}})
    shown = command("models", "compare", tmp_path / "out")
    assert shown.returncode == 0
    assert "40 pictures judged by both" in shown.stdout
    (found,) = json.loads(command("models", "compare", tmp_path / "out", "--json").stdout)
    assert (found["model"], found["shadow"]) == ("face_detector", "2:0000000000000002")
    run(source, tmp_path / "plain")
    without = command("models", "compare", tmp_path / "plain")
    assert without.returncode == 2
    assert "--shadow" in without.stderr


def test_a_version_is_no_shadow_of_itself(source, tmp_path):
    with pytest.raises(ConfigurationError, match="--shadow face_detector:1: version 1 of face_de"):
        run(source, tmp_path / "out", shadow={"face_detector": {1: 0.5}})
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigurationError, match="version 1 of face_detector decides itself"):
        preview(source, tmp_path, shadow={"face_detector": {1: 0.5}})


def test_a_shadow_that_comes_to_decide_is_none_any_more(source, tmp_path, caplog):
    result, recorder = run_stubbed(
        source,
        tmp_path / "out",
        detector="outdated",
        models_of=models_of,
        versions={"face_detector": 2},
        available=lambda model: (1, 2),
        shadow={"face_detector": {1: 1.0}},
    )
    assert result.exit_code is Exit.COMPLETE
    assert not any(row["shadows"] for row in recorder.rows)
    assert "face_detector 1 decides now and is no shadow any more" in caplog.text


@pytest.mark.parametrize(
    "flags", [{"shadow": {"face_detector": {9: 0.5}}}, {"models": {"face_detector": 9}}]
)
def test_a_dry_run_refuses_a_version_that_a_run_could_not_get(
    source, tmp_path, monkeypatch, capsys, flags
):
    monkeypatch.setenv(REPOSITORY_SETTING, str(tmp_path / "models"))
    preview(source, tmp_path)
    assert "40 (" in capsys.readouterr().out, "what can be fetched is no reason to refuse"
    with pytest.raises(ModelMissing, match=r"face_detector in .*: version 9 is not in the model"):
        preview(source, tmp_path, **flags)
    assert not (tmp_path / "models").exists()


def preview(source, tmp_path, **flags):
    show_preview(load_spec(None, input=str(source), output=str(tmp_path / "out"), **flags))


def judged(key, boxes):
    """One picture of which the deciding version blurs ``boxes`` faces and the shadow none."""
    face = {"kept": True, "label": "face", "source": "model", "x1": 0, "y1": 0, "x2": 9, "y2": 9}
    row = {"key": key, "models": "face_detector=1:a", "detections": [face] * boxes}
    return row, {"message": "", "detections": []}


@given(st.lists(st.integers(0, 40), min_size=5 * TOP, max_size=10 * TOP))
def test_the_pictures_that_differ_most_are_named_whatever_their_order(counts):
    comparison = Comparison("face_detector", "2:b")
    for number, boxes in enumerate(counts):
        comparison.add(*judged(f"{number:03d}.jpg", boxes))
    pairs = [(boxes, f"{number:03d}.jpg") for number, boxes in enumerate(counts) if boxes]
    assert comparison.as_dict()["differing"] == sorted(pairs, reverse=True)[:TOP]


@pytest.mark.parametrize(
    ("model", "version", "key", "place"),
    [
        ("face_detector", 2, "street/0001.jpg", 0.110163),
        ("face_detector", 2, "street/0002.jpg", 0.031379),
        ("face_detector", 2, "day/ü.png", 0.187003),
        ("plate_detector", 3, "street/0001.jpg", 0.859212),
    ],
)
def test_who_has_a_shadow_is_the_same_in_each_release(model, version, key, place):
    # place: sha256("<model>\n<version>\n<key>"), its first 8 bytes big-endian, over 2**64; cut off
    assert not ShadowPlan(model, version, place).wants(key)
    assert ShadowPlan(model, version, place + 1e-6).wants(key)


@given(st.lists(st.text(min_size=1), min_size=200, max_size=200, unique=True))
def test_the_share_is_kept_and_shares_nest(keys):
    small, large = (ShadowPlan("face_detector", 2, share) for share in (0.1, 0.5))
    assert all(large.wants(key) for key in keys if small.wants(key))
    assert not any(ShadowPlan("face_detector", 2, 0.0).wants(key) for key in keys)
    assert all(ShadowPlan("face_detector", 2, 1.0).wants(key) for key in keys)


def test_a_tenth_is_a_tenth():
    plan = ShadowPlan("plate_detector", 3, 0.1)
    wanted = sum(plan.wants(f"day/{number:06d}.jpg") for number in range(20_000))
    assert 1_800 < wanted < 2_200
