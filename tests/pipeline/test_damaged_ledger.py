"""A damaged ledger: commits and outcomes cost work, manifests are an error that says what to do."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from pipeline.due import Choice
from pipeline.errors import ConfigurationError, LedgerError, StorageError
from pipeline.records import kept_boxes
from pipeline.result import Exit
from pipeline.status import find_outcome, job_status
from pipeline.storage import StorageSettings, open_store
from pipeline.verify import verify
from pipeline.workspace import open_workspace
from tests.integration.jobs import MODELS, files, run_stubbed

pytestmark = pytest.mark.usefixtures("secret")

SETTINGS = StorageSettings()


@pytest.fixture
def output(tmp_path, source):
    """A complete job of two shards with three pictures each."""
    run_stubbed(source, tmp_path / "out", shard_size=3)
    return tmp_path / "out"


def appended(path):
    path.write_bytes(path.read_bytes() + b"\0")


def emptied(path):
    path.write_bytes(b"")


def removed(path):
    path.unlink()


def of_another_shard(path):
    other = path.parent.parent / "000001" / path.name
    path.write_bytes(other.read_bytes())


def newest(output, pattern):
    return sorted((output / "_streetblur" / "test").glob(pattern))[-1]


COMMITS = [
    ("outcomes/000000/*", appended),
    ("outcomes/000000/*", emptied),
    ("outcomes/000000/*", removed),
    ("outcomes/000000/*", of_another_shard),
    ("commits/000000/*", appended),
    ("commits/000000/*", emptied),
    ("commits/000000/*", removed),
    ("commits/000000/*", of_another_shard),
]


@pytest.mark.parametrize(("pattern", "damage"), COMMITS)
def test_a_run_mends_a_damaged_commit(source, output, pattern, damage, caplog):
    before = files(output)
    path = newest(output, pattern)
    damage(path)
    result, recorder = run_stubbed(source, output)
    assert {row["key"] for row in recorder.rows} == {"d0/0000.jpg", "d0/0003.jpg", "d1/0001.jpg"}
    assert (result.exit_code, files(output)) == (Exit.COMPLETE, before)
    if damage is not removed or "outcomes" in pattern:
        assert caplog.text.count(path.name) == 1
        assert "shard 0 is due again" in caplog.text
    caplog.clear()
    result, recorder = run_stubbed(source, output)
    assert (recorder.rows, caplog.text) == ([], "")


@pytest.mark.parametrize(("pattern", "damage"), COMMITS)
def test_verify_calls_its_pictures_due_and_nothing_strange(source, output, pattern, damage):
    run_stubbed(source, output, choice=Choice("all"))
    damage(newest(output, pattern))
    store = open_store(str(output), settings=SETTINGS)
    result = verify(open_workspace(store, "test", workspace=None, settings=SETTINGS))
    gone = damage is removed and "commits" in pattern
    assert result.due.count == (0 if gone else 3)
    assert (result.unaccounted.count, result.rows) == (0, 6)


def test_a_stray_file_among_the_commits_is_none(source, output):
    path = newest(output, "commits/000000/*")
    for name in (f"{path.name}.bak", "9999-99999999", "9999-1.json"):
        (path.parent / name).write_text("{}")
    result, recorder = run_stubbed(source, output)
    assert (recorder.rows, result.exit_code) == ([], Exit.COMPLETE)


def test_the_rerun_of_one_shard_mends_it_too(source, output):
    appended(newest(output, "outcomes/000000/*"))
    result, recorder = run_stubbed(source, output, choice=Choice("all", shard=0))
    assert (len(recorder.rows), result.exit_code) == (3, Exit.COMPLETE)


def test_status_counts_a_damaged_commit_as_none(output):
    appended(newest(output, "commits/000000/*"))
    status = job_status(ledger_of(output), "test")
    assert (status.committed, status.due, status.tally.published) == (1, 3, 3)


def test_boxes_that_an_older_sound_commit_names_stay_blurred(source, output):
    other = {**MODELS, "face_detector": "2:blind"}
    run_stubbed(source, output, detector="blind", models=other)
    appended(newest(output, "outcomes/000000/*"))
    result, recorder = run_stubbed(source, output, detector="blind", models=other)
    assert len(recorder.rows) == 3
    _, outcome = find_outcome(result.workspace.ledger, "d0/0000.jpg")
    assert len(kept_boxes(outcome)) == 1
    assert result.exit_code is Exit.COMPLETE


def test_a_partial_rerun_leaves_the_rest_of_a_damaged_shard_due(source, output):
    (source / "d0" / "0000.jpg").write_text("this is text")
    run_stubbed(source, output, choice=Choice("all"))
    run_stubbed(source, output, choice=Choice("all"))
    shard = sorted((output / "_streetblur" / "test" / "outcomes").iterdir())[-1].name
    assert shard == "000002"
    appended(newest(output, "outcomes/000001/*"))
    run_stubbed(source, output, choice=Choice("quarantined"))
    result, recorder = run_stubbed(source, output)
    assert len(recorder.rows) == 3
    assert result.exit_code is Exit.QUARANTINED


def ledger_of(output):
    store = open_store(str(output), settings=SETTINGS)
    return open_workspace(store, "test", workspace=None, settings=SETTINGS).ledger


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        ("manifest/0000-*/000000.parquet", appended),
        ("manifest/0000-*/000000.parquet", removed),
        ("manifest/0000-*/index.parquet", appended),
        ("manifest/0000-*/index.parquet", removed),
        ("manifest/0001-*/superseded.parquet", emptied),
        ("manifest/0001-*/superseded.parquet", removed),
        ("revisions/0000.json", appended),
        ("revisions/0000.json", removed),
    ],
)
def test_a_damaged_manifest_is_an_error_that_says_what_to_do(source, output, pattern, damage):
    (source / "d0" / "0000.jpg").unlink()
    run_stubbed(source, output)
    path = newest(output, pattern)
    damage(path)
    with pytest.raises(LedgerError) as caught:
        run_stubbed(source, output)
    assert caught.value.where.endswith(path.name)
    assert "Restore the file" in caught.value.fix
    assert "--job" in caught.value.fix
    assert ("move" in caught.value.fix) == (path.name != "000000.parquet")


def test_what_the_error_says_about_a_manifest_shard_helps(source, output):
    removed(newest(output, "manifest/*/000000.parquet"))
    result, _ = run_stubbed(source, output, job="another", detector="blind")
    assert result.exit_code is Exit.COMPLETE
    _, outcome = find_outcome(result.workspace.ledger, "d0/0003.jpg")
    assert len(kept_boxes(outcome)) == 1


def test_what_the_error_says_about_an_index_helps(source, output, tmp_path):
    removed(newest(output, "manifest/*/index.parquet"))
    shutil.move(output / "_streetblur" / "test", tmp_path / "moved-away")
    with pytest.raises(ConfigurationError, match="missing here") as caught:
        run_stubbed(source, output, job="another")
    stand_in = Path(re.search(r"an empty file (\S+\.txt)", caught.value.fix)[1])
    stand_in.parent.mkdir(parents=True)
    stand_in.touch()
    result, _ = run_stubbed(source, output, job="another")
    assert (result.exit_code, result.verification.rows) == (Exit.COMPLETE, 6)


def test_a_store_that_does_not_answer_is_no_damaged_ledger(output, monkeypatch):
    ledger = ledger_of(output)

    def down(self, key, **options):
        raise StorageError("the server does not answer", where=key)

    ledger.commits()
    monkeypatch.setattr(type(ledger.store), "get", down)
    with pytest.raises(StorageError, match="does not answer"):
        ledger.outcomes(0)
