"""What earlier runs blurred stays blurred, whichever way the same source comes back."""

from __future__ import annotations

import logging
import shutil

import pytest

from pipeline.due import Choice
from pipeline.records import kept_boxes
from pipeline.result import Exit
from pipeline.status import find_outcome, job_status
from tests.integration.jobs import MODELS, files, pictures, run_stubbed

pytestmark = pytest.mark.usefixtures("secret")
PICTURES = 4

KEY = "d0/0000.jpg"
BLIND = {"detector": "blind", "allow_empty": True}


def models(version):
    return {**MODELS, "face_detector": f"{version}:test"}


def boxes(result, key=KEY):
    _, outcome = find_outcome(result.workspace.ledger, key)
    return [(b.label, b.x1, b.y1, b.x2, b.y2) for b in kept_boxes(outcome)]


def overriding(folder, *rectangles, key=KEY):
    path = folder / "overrides.yaml"
    path.write_text(
        "".join([f"{key}:\n", *(f"- {{label: face, xyxy: {r}}}\n" for r in rectangles)])
    )
    return str(path)


def test_a_job_keeps_what_a_later_job_over_the_same_output_blurred(source, output, tmp_path):
    run_stubbed(source, output, job="a", **BLIND)
    asked = overriding(tmp_path, [1, 2, 30, 20])
    run_stubbed(source, output, job="b", overrides=asked, **BLIND)
    blurred = files(output)
    result, recorder = run_stubbed(source, output, job="a", **BLIND)
    assert [row["key"] for row in recorder.rows] == [KEY]
    assert boxes(result) == [("face", 1, 2, 30, 20)]
    assert files(output) == blurred
    assert result.exit_code is Exit.COMPLETE
    assert result.revision.inherits == ["b"]


def test_known_jobs_make_no_new_revision(source, output):
    run_stubbed(source, output, job="a", **BLIND)
    run_stubbed(source, output, job="b", **BLIND)
    first, _ = run_stubbed(source, output, job="a", **BLIND)
    second, recorder = run_stubbed(source, output, job="a", **BLIND)
    assert (first.revision.number, second.revision.number) == (1, 1)
    assert recorder.rows == []


def test_boxes_of_two_jobs_are_united(source, output, tmp_path):
    run_stubbed(source, output, job="a", **BLIND)
    run_stubbed(source, output, job="b", overrides=overriding(tmp_path, [1, 2, 30, 20]), **BLIND)
    asked = overriding(tmp_path, [40, 20, 60, 50])
    result, _ = run_stubbed(source, output, job="a", overrides=asked, **BLIND)
    assert boxes(result) == [("face", 1, 2, 30, 20), ("face", 40, 20, 60, 50)]
    result, _ = run_stubbed(source, output, job="b", models=models(2), **BLIND)
    assert boxes(result) == [("face", 1, 2, 30, 20), ("face", 40, 20, 60, 50)]


def test_allow_unblur_forgets_what_another_job_blurred(source, output, tmp_path):
    run_stubbed(source, output, job="a", **BLIND)
    run_stubbed(source, output, job="b", overrides=overriding(tmp_path, [1, 2, 30, 20]), **BLIND)
    result, _ = run_stubbed(source, output, job="a", allow_unblur=True, **BLIND)
    assert boxes(result) == []


@pytest.mark.parametrize("between", ["replaced", "gone"])
def test_a_source_that_comes_back_is_blurred_as_before(source, output, between):
    run_stubbed(source, output)
    original = (source / KEY).read_bytes()
    if between == "replaced":
        shutil.copy(source / "d1" / "0001.jpg", source / KEY)
    else:
        (source / KEY).unlink()
    run_stubbed(source, output)
    (source / KEY).write_bytes(original)
    result, recorder = run_stubbed(source, output, models=models(2), **BLIND)
    assert len(recorder.rows) == 4
    assert boxes(result) == [("face", 24, 16, 72, 48)]
    assert result.exit_code is Exit.COMPLETE


@pytest.mark.parametrize("between", ["replaced", "gone"])
def test_it_is_so_after_its_old_shard_was_committed_again(source, output, between):
    run_stubbed(source, output)
    original = (source / KEY).read_bytes()
    if between == "replaced":
        pictures(source / "other", 1, seed=9)
        shutil.move(source / "other" / "d0" / "0000.jpg", source / KEY)
        shutil.rmtree(source / "other")
    else:
        (source / KEY).unlink()
    run_stubbed(source, output, models=models(2), **BLIND)
    again, _ = run_stubbed(source, output, models=models(3), **BLIND)
    assert again.verification.orphans.sample == ([KEY] if between == "gone" else [])
    assert again.exit_code is Exit.COMPLETE
    (source / KEY).write_bytes(original)
    result, recorder = run_stubbed(source, output, models=models(3), **BLIND)
    assert [row["key"] for row in recorder.rows] == [KEY]
    assert boxes(result) == [("face", 24, 16, 72, 48)]
    assert files(output)[KEY] != original
    status = job_status(result.workspace.ledger, "test")
    assert (status.images, status.due, status.tally.rows) == (4, 0, 4)


def test_another_job_keeps_what_a_replaced_row_of_a_sibling_blurred(source, output):
    run_stubbed(source, output, job="a")
    original = (source / KEY).read_bytes()
    shutil.copy(source / "d1" / "0001.jpg", source / KEY)
    run_stubbed(source, output, job="a", models=models(2), **BLIND)
    (source / KEY).write_bytes(original)
    result, _ = run_stubbed(source, output, job="b", models=models(2), **BLIND)
    assert boxes(result) == [("face", 24, 16, 72, 48)]


def test_another_source_under_the_same_key_inherits_nothing(source, output):
    run_stubbed(source, output)
    pictures(source / "other", 1, seed=9)
    shutil.move(source / "other" / "d0" / "0000.jpg", source / KEY)
    shutil.rmtree(source / "other")
    result, _ = run_stubbed(source, output, models=models(2), **BLIND)
    assert boxes(result) == []


def test_a_failure_after_a_source_came_back_forgets_nothing(source, output):
    run_stubbed(source, output)
    original = (source / KEY).read_bytes()
    (source / KEY).unlink()
    run_stubbed(source, output)
    (source / KEY).write_bytes(original)

    def losing(config):
        from pipeline.engine import LocalEngine

        (source / KEY).unlink()
        return LocalEngine(config)

    result, _ = run_stubbed(source, output, models=models(2), engine_factory=losing, **BLIND)
    assert result.verification.tally.failed == 1
    (source / KEY).write_bytes(original)
    result, _ = run_stubbed(source, output, models=models(2), choice=Choice("failed"), **BLIND)
    assert boxes(result) == [("face", 24, 16, 72, 48)]


def test_a_job_whose_outcomes_are_damaged_is_named(source, output, caplog):
    run_stubbed(source, output, job="a")
    (damaged,) = (output / "_streetblur" / "a" / "outcomes").rglob("*.parquet")
    damaged.write_bytes(b"no parquet")
    run_stubbed(source, output, job="b", **BLIND)
    found = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert any("/a: what shard 0 blurred is not known" in text for text in found)
