"""The job from end to end on folders, with a stub detector: identity, resume, fail closed."""

from __future__ import annotations

import shutil

import pytest

from pipeline.due import Choice
from pipeline.errors import ConfigurationError, LedgerError
from pipeline.records import kept_boxes
from pipeline.result import Exit
from pipeline.status import find_outcome, job_status
from serving.errors import InsaneOutput
from tests.integration.jobs import MODELS, SECRET, altered, files, pictures, run_stubbed

pytestmark = pytest.mark.usefixtures("secret")
PICTURES = 12


def test_every_picture_is_published_changed_under_its_own_key(source, output):
    (source / "d0" / "notes.txt").write_text("no picture")
    result, recorder = run_stubbed(source, output, shard_size=5)
    before, after = files(source), files(output)
    del before["d0/notes.txt"]
    assert result.exit_code is Exit.COMPLETE
    assert after.keys() == before.keys()
    assert all(after[key] != before[key] for key in before)
    assert len(recorder.commits) == 3
    assert result.revision.not_selected == {".txt": 1}


def test_an_unchanged_second_run_does_no_inference(source, output, tmp_path, monkeypatch):
    count = tmp_path / "count"
    monkeypatch.setenv("STUB_COUNT", str(count))
    run_stubbed(source, output, detector="counting")
    first = files(output)
    assert count.read_text().count("x") == 12
    result, recorder = run_stubbed(source, output, detector="counting")
    assert count.read_text().count("x") == 12
    assert recorder.rows == []
    assert result.exit_code is Exit.COMPLETE
    assert files(output) == first


def test_a_replaced_source_makes_exactly_that_image_due(source, output):
    run_stubbed(source, output)
    first = files(output)
    pictures(source / "new", 1, seed=7)
    shutil.move(source / "new" / "d0" / "0000.jpg", source / "d1" / "0001.jpg")
    shutil.rmtree(source / "new")
    result, recorder = run_stubbed(source, output)
    assert [row["key"] for row in recorder.rows] == ["d1/0001.jpg"]
    second = files(output)
    assert {key for key in first if first[key] != second[key]} == {"d1/0001.jpg"}
    assert result.revision.changed == 1
    assert result.exit_code is Exit.COMPLETE


def test_a_source_replaced_by_another_of_the_same_size_is_due(source, output):
    run_stubbed(source, output)
    path = source / "d1" / "0001.jpg"
    path.write_bytes(altered(path.read_bytes()))
    result, recorder = run_stubbed(source, output)
    assert [row["key"] for row in recorder.rows] == ["d1/0001.jpg"]
    assert result.revision.changed == 1


def test_added_and_vanished_sources(source, output):
    run_stubbed(source, output)
    pictures(source / "more", 2, seed=3)
    (source / "d0" / "0000.jpg").unlink()
    result, recorder = run_stubbed(source, output)
    assert {row["key"] for row in recorder.rows} == {"more/d0/0000.jpg", "more/d1/0001.jpg"}
    assert (result.revision.added, result.revision.gone) == (2, 1)
    assert result.verification.orphans.sample == ["d0/0000.jpg"]
    assert result.exit_code is Exit.COMPLETE
    status = job_status(result.workspace.ledger, "test")
    assert (status.images, status.due, status.tally.published) == (13, 0, 13)


@pytest.mark.parametrize("what", ["policy", "models"])
def test_changed_rules_make_all_due(source, output, tmp_path, what):
    run_stubbed(source, output)
    if what == "policy":
        path = tmp_path / "mine.yaml"
        path.write_text("name: mine\nface: {threshold: 0.2}\nplate: {threshold: 0.2}\n")
        _, recorder = run_stubbed(source, output, policy=str(path))
    else:
        _, recorder = run_stubbed(source, output, models={**MODELS, "face_detector": "2:other"})
    assert len(recorder.rows) == 12


def test_a_resumed_job_keeps_its_policy(source, output):
    run_stubbed(source, output, policy="eu")
    result, recorder = run_stubbed(source, output)
    assert result.revision.policy.name == "eu"
    assert recorder.rows == []


@pytest.mark.parametrize("damage", ["missing", "altered"])
def test_a_damaged_output_is_made_again(source, output, damage):
    run_stubbed(source, output)
    first = files(output)
    victim = output / "d2" / "0005.jpg"
    if damage == "missing":
        victim.unlink()
    else:
        shutil.copy(source / "d2" / "0005.jpg", victim)
    result, recorder = run_stubbed(source, output)
    assert [row["key"] for row in recorder.rows] == ["d2/0005.jpg"]
    assert files(output) == first
    assert result.exit_code is Exit.COMPLETE


def test_a_foreign_picture_in_the_output_is_not_complete(source, output):
    run_stubbed(source, output)
    shutil.copy(source / "d0" / "0000.jpg", output / "stranger.jpg")
    result, _ = run_stubbed(source, output)
    assert result.verification.unaccounted.sample == ["stranger.jpg"]
    assert result.exit_code is Exit.INCOMPLETE


def test_a_rerun_of_the_same_source_never_unblurs(source, output):
    run_stubbed(source, output)
    other = {**MODELS, "face_detector": "2:blind"}
    result, _ = run_stubbed(source, output, detector="blind", models=other)
    _, outcome = find_outcome(result.workspace.ledger, "d0/0000.jpg")
    assert [item["reason"] for item in outcome["detections"]] == ["blurred_before"]
    third = {**MODELS, "face_detector": "3:blind"}
    result, _ = run_stubbed(source, output, detector="blind", models=third, allow_unblur=True)
    _, outcome = find_outcome(result.workspace.ledger, "d0/0000.jpg")
    assert kept_boxes(outcome) == ()
    assert result.exit_code is Exit.NOTHING_DETECTED


def test_another_job_over_the_same_output_never_unblurs_either(source, output):
    run_stubbed(source, output, job="monday")
    result, _ = run_stubbed(source, output, job="tuesday", detector="blind")
    _, outcome = find_outcome(result.workspace.ledger, "d0/0000.jpg")
    assert len(kept_boxes(outcome)) == 1


def test_a_failure_keeps_what_was_blurred_before(source, output):
    run_stubbed(source, output)
    victim = source / "d0" / "0000.jpg"
    content = victim.read_bytes()
    other = {**MODELS, "face_detector": "2:blind"}

    def losing(config):
        from pipeline.engine import LocalEngine

        victim.unlink()
        return LocalEngine(config)

    result, _ = run_stubbed(source, output, models=other, detector="blind", engine_factory=losing)
    assert result.exit_code is Exit.INCOMPLETE
    assert result.verification.tally.failed == 1
    victim.write_bytes(content)
    result, recorder = run_stubbed(
        source, output, models=other, detector="blind", choice=Choice("failed")
    )
    assert [row["key"] for row in recorder.rows] == ["d0/0000.jpg"]
    assert result.exit_code is Exit.COMPLETE
    _, outcome = find_outcome(result.workspace.ledger, "d0/0000.jpg")
    assert len(kept_boxes(outcome)) == 1


def test_overrides_are_blurred_and_kept_over_reruns(source, output, tmp_path):
    path = tmp_path / "overrides.yaml"
    path.write_text("d0/0000.jpg: [{label: plate, xyxy: [1, 2, 30, 20]}]\n")
    run_stubbed(source, output, detector="blind", overrides=str(path))
    first = files(output)
    assert first["d0/0000.jpg"] != (source / "d0" / "0000.jpg").read_bytes()
    result, recorder = run_stubbed(source, output, detector="blind")
    assert recorder.rows == []
    path.write_text("d0/0003.jpg: [{label: face, xyxy: [1, 2, 30, 20]}]\n")
    result, recorder = run_stubbed(source, output, detector="blind", overrides=str(path))
    assert {row["key"] for row in recorder.rows} == {"d0/0000.jpg", "d0/0003.jpg"}
    _, outcome = find_outcome(result.workspace.ledger, "d0/0000.jpg")
    assert [item["source"] for item in outcome["detections"]] == ["prior"]


def test_models_that_fail_their_canary_publish_nothing(source, output):
    with pytest.raises(InsaneOutput):
        run_stubbed(source, output, detector="broken")
    assert files(output) == {}


def test_nothing_detected_anywhere_is_no_success(source, output):
    result, _ = run_stubbed(source, output, detector="blind")
    assert result.exit_code is Exit.NOTHING_DETECTED
    result, _ = run_stubbed(source, output, detector="blind", allow_empty=True)
    assert result.exit_code is Exit.COMPLETE


def test_one_bad_picture_is_quarantined_with_its_reason(source, output):
    (source / "bad.jpg").write_text("this is text")
    (source / "empty.jpg").touch()
    result, recorder = run_stubbed(source, output)
    reasons = {row["key"]: row["reason"] for row in recorder.rows if row["status"] != "published"}
    assert reasons == {"bad.jpg": "unknown_format", "empty.jpg": "empty"}
    assert result.exit_code is Exit.QUARANTINED
    assert "bad.jpg" not in files(output)
    result, recorder = run_stubbed(source, output)
    assert recorder.rows == []
    assert result.exit_code is Exit.QUARANTINED
    _, recorder = run_stubbed(source, output, choice=Choice("quarantined"))
    assert len(recorder.rows) == 2


def test_one_shard_again(source, output):
    run_stubbed(source, output, shard_size=5)
    _, recorder = run_stubbed(source, output, choice=Choice("all", shard=1))
    assert len(recorder.rows) == 5


def test_the_same_job_name_for_another_input_is_refused(source, output, tmp_path):
    run_stubbed(source, output)
    pictures(tmp_path / "other", 1)
    with pytest.raises(LedgerError, match="another input"):
        run_stubbed(tmp_path / "other", output)


@pytest.mark.parametrize("inside", ["", "sub", ".."])
def test_overlapping_input_and_output_are_refused(source, inside):
    with pytest.raises(ConfigurationError):
        run_stubbed(source, source / inside)


def test_records_hold_no_secret_and_the_workspace_is_private(source, output):
    run_stubbed(source, output)
    workspace = output / "_streetblur"
    for path in workspace.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes()
    assert (workspace / "test").stat().st_mode & 0o077 == 0
