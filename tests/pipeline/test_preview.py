"""``run --dry-run`` says what ``run`` would do, also where outputs were taken away or changed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline import operations
from pipeline.errors import ConfigurationError
from pipeline.job import load_spec
from tests.integration.jobs import (
    MODELS,
    OTHER_MODELS,
    CutAtOnce,
    altered,
    cut_off,
    pictures,
    run_stubbed,
)

pytestmark = pytest.mark.usefixtures("secret")


@pytest.fixture(autouse=True)
def present(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.model_commands.models_present", lambda versions: dict(MODELS))


def shown(
    source: Path, output: Path, capsys: pytest.CaptureFixture[str], **flags: Any
) -> dict[str, str]:
    """The preview's table by the names of its rows."""
    flags.setdefault("job", "test")
    spec = load_spec(None, input=str(source), output=str(output), **flags)
    operations.show_preview(spec)
    lines = [line.split("│") for line in capsys.readouterr().out.splitlines()]
    return {line[1].strip(): line[2].strip() for line in lines if len(line) == 4}


def tree(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_missing_and_altered_outputs_are_due_and_nothing_is_written(
    source: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_stubbed(source, output)
    assert shown(source, output, capsys)["due"] == "0"
    (output / "d0" / "0000.jpg").unlink()
    changed = output / "d1" / "0001.jpg"
    changed.write_bytes(altered(changed.read_bytes()))
    before = tree(output)
    table = shown(source, output, capsys)
    assert (table["due"], table["for a missing or altered output"]) == ("2", "2")
    assert tree(output) == before
    assert run_stubbed(source, output)[0].processed == 2


def test_without_any_output_all_that_was_published_is_due(
    source: Path, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = str(tmp_path / "records")
    (source / "bad.jpg").write_text("this is text")
    run_stubbed(source, output, workspace=records)
    shutil.rmtree(output)
    assert shown(source, output, capsys, workspace=records)["due"] == "6"
    assert not output.exists()
    assert run_stubbed(source, output, workspace=records)[0].processed == 6


def test_a_due_picture_without_output_counts_once(
    source: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_stubbed(source, output)
    picture = source / "d0" / "0000.jpg"
    picture.write_bytes(altered(picture.read_bytes()))
    (output / "d0" / "0000.jpg").unlink()
    table = shown(source, output, capsys)
    assert (table["due"], table["for a missing or altered output"]) == ("1", "0")
    assert table["changed, gone"] == "1, 0"


@pytest.mark.parametrize("job", ["test", "another"])
def test_a_run_that_would_be_refused_for_its_models_is_not_promised(
    source: Path, output: Path, capsys: pytest.CaptureFixture[str], job: str
) -> None:
    cut_off(source, output, job=job, models=OTHER_MODELS)
    before = tree(output)
    with pytest.raises(ConfigurationError, match="other models was cut off") as caught:
        shown(source, output, capsys)
    assert tree(output) == before
    with pytest.raises(ConfigurationError) as refused:
        run_stubbed(source, output)
    assert str(caught.value) == str(refused.value)
    assert shown(source, output, capsys, allow_unblur=True)["pictures"].startswith("6 ")


def test_models_of_a_run_that_published_nothing_are_no_reason_to_refuse(
    source: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_off(source, output, engine=CutAtOnce, models=OTHER_MODELS)
    assert shown(source, output, capsys)["due"] == "6"


def test_models_that_are_not_fetched_yet_are_taken_for_what_they_were(
    source: Path,
    output: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cut_off(source, output, job="another")
    missing = {**MODELS, "face_detector": "1:missing"}
    monkeypatch.setattr("pipeline.model_commands.models_present", lambda versions: dict(missing))
    assert shown(source, output, capsys)["due"] == "6"
    missing["face_detector"] = "2:missing"
    with pytest.raises(ConfigurationError, match="other models was cut off"):
        shown(source, output, capsys)
    missing["face_detector"] = "1:missing"
    run_stubbed(source, output)
    assert shown(source, output, capsys)["due"] == "0"


def test_a_killed_job_between_the_new_pictures_does_not_stand_in_the_way(
    source: Path, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    pictures(mine / "a", 2)
    pictures(mine / "z", 2)
    cut_off(source, output, job="another", models=OTHER_MODELS)
    assert shown(mine, output, capsys, shard_size=2)["due"] == "4"
    assert run_stubbed(mine, output, shard_size=2)[0].processed == 4
    with pytest.raises(ConfigurationError, match="other models was cut off"):
        shown(mine, output, capsys, job="wide", shard_size=3)
