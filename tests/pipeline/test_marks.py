"""Marks: nothing that was blurred is forgotten because records were moved, lost or are old."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipeline.workspace
from pipeline.access import Access
from pipeline.errors import ConfigurationError, LeaseError, LedgerError, StreetblurError
from pipeline.job import JobRecord
from pipeline.lease import Lease, acquire
from pipeline.lease_record import lease_key
from pipeline.ledger import Ledger
from pipeline.marks import newest_marks
from pipeline.operations import explain, show_status, verify_job
from pipeline.result import Exit
from pipeline.status import job_status
from pipeline.storage import StorageSettings, open_store
from pipeline.waves import WaveLoop
from pipeline.workspace import Workspace
from tests.integration.jobs import files, pictures, run_stubbed
from tests.pipeline.test_workspace import BOX, blurred_once, boxes
from tests.servers import SeaweedServer

pytestmark = pytest.mark.usefixtures("secret")

BLIND: dict[str, Any] = {"detector": "blind", "allow_empty": True}


def records(output: Path, job: str = "test") -> Path:
    return output / "_streetblur" / job


def refused(source: Path, output: Path, match: str, **flags: Any) -> str:
    """A run is refused and changes nothing; returns what it advises."""
    before = files(output)
    with pytest.raises(ConfigurationError, match=match) as caught:
        run_stubbed(source, output, **{**BLIND, **flags})
    assert files(output) == before
    return caught.value.fix


@pytest.mark.parametrize("job", ["test", "next"])
def test_a_job_folder_that_was_moved_takes_its_marks_along(
    source: Path, output: Path, tmp_path: Path, job: str
) -> None:
    blurred_once(source, output)
    elsewhere = tmp_path / "records"
    elsewhere.mkdir(mode=0o700)
    shutil.move(records(output), elsewhere)
    refused(source, output, "records of job 'test' are missing here", job=job)
    with_flag, _ = run_stubbed(source, output, job="next", workspace=str(elsewhere), **BLIND)
    assert boxes(with_flag) == [BOX]


@pytest.mark.parametrize("job", ["test", "next"])
def test_a_job_folder_that_is_gone_is_missed_until_it_is_let_go_of(
    source: Path, output: Path, job: str
) -> None:
    blurred_once(source, output)
    shutil.rmtree(records(output))
    fix = refused(source, output, "are missing here", job=job)
    (mark,) = newest_marks(open_store(str(output), settings=StorageSettings())).values()
    assert f"an empty file {output}/_streetblur/{mark.kept} lets go" in fix
    stand_in = output / "_streetblur" / mark.kept
    stand_in.parent.mkdir(parents=True)
    stand_in.touch()
    result, _ = run_stubbed(source, output, job=job, **BLIND)
    assert (result.exit_code, boxes(result)) == (Exit.COMPLETE, [])


def test_an_old_copy_of_one_job_s_folder_is_refused_whoever_ran_last(
    source: Path, output: Path, tmp_path: Path
) -> None:
    run_stubbed(source, output, **BLIND)
    shutil.copytree(records(output), tmp_path / "copy")
    blurred_once(source, output)
    run_stubbed(source, output, job="later", **BLIND)
    shutil.rmtree(records(output))
    shutil.copytree(tmp_path / "copy", records(output))
    for job in ("test", "later", "next"):
        assert "Bring the whole folder test/" in refused(source, output, "too old", job=job)


def test_to_let_go_once_is_remembered(source: Path, output: Path, tmp_path: Path) -> None:
    blurred_once(source, output)
    run_stubbed(source, output, job="also", **BLIND)
    other = {"workspace": str(tmp_path / "other")}
    refused(source, output, "elsewhere", job="new", **other)
    run_stubbed(source, output, job="new", allow_unblur=True, **BLIND, **other)
    result, _ = run_stubbed(source, output, job="newer", **BLIND, **other)
    assert (result.exit_code, boxes(result)) == (Exit.COMPLETE, [])
    refused(source, output, "newest run of job 'newer' are elsewhere")


@pytest.mark.parametrize("lost", ["the damaged one", "all"])
def test_repairing_leases_does_not_make_an_old_copy_good(
    source: Path, output: Path, tmp_path: Path, lost: str
) -> None:
    kept = {"workspace": str(tmp_path / "records")}
    run_stubbed(source, output, **BLIND, **kept)
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "records", copy)
    copy.chmod(0o700)
    blurred_once(source, output, **kept)
    newest = output / lease_key(2)
    newest.write_bytes((output / lease_key(1)).read_bytes())
    if lost == "all":
        for lease in newest.parent.glob("*.json"):
            lease.unlink()
    fix = refused(source, output, "elsewhere", workspace=str(copy))
    assert f"--workspace {(tmp_path / 'records').as_uri()}" in fix


def test_verify_does_not_trust_an_old_copy(source: Path, output: Path, tmp_path: Path) -> None:
    kept = {"workspace": str(tmp_path / "records")}
    run_stubbed(source, output, **BLIND, **kept)
    shutil.copytree(tmp_path / "records", tmp_path / "copy")
    assert (
        verify_job(Access(output=str(output), **kept), as_json=False, allow_empty=True)
        == Exit.COMPLETE
    )
    blurred_once(source, output, **kept)
    with pytest.raises(ConfigurationError, match="elsewhere"):
        verify_job(
            Access(output=str(output), workspace=str(tmp_path / "copy")),
            as_json=False,
            allow_empty=True,
        )


def test_nobody_publishes_before_both_marks_are_there(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def noted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            steps.append(name)
            return real(*arguments, **options)

        return call

    for name in ("keep", "tell"):
        real = getattr(pipeline.workspace, name)
        monkeypatch.setattr(pipeline.workspace, name, noted(name, real))
    monkeypatch.setattr(WaveLoop, "run", noted("work", WaveLoop.run))
    run_stubbed(source, output)
    assert steps == ["keep", "tell", "work"]


def test_who_is_followed_while_it_tells_publishes_nothing(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def followed(self: Workspace, lease: Lease, *arguments: Any, **options: Any) -> None:
        self.output.put(lease_key(lease.epoch + 1), b"{}")
        tell(self, lease, *arguments, **options)

    tell = Workspace.tell
    monkeypatch.setattr(Workspace, "tell", followed)
    with pytest.raises(LeaseError, match="taken over"):
        run_stubbed(source, output)
    assert [key for key in files(output) if key.endswith(".jpg")] == []


def test_who_is_followed_while_it_plans_makes_no_revision(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def followed(self: Ledger, record: JobRecord, **options: Any) -> JobRecord:
        store = open_store(str(output), settings=StorageSettings())
        store.put(lease_key(1 + len(list((output / "_streetblur/lease").glob("*.json")))), b"{}")
        return create_job(self, record, **options)

    create_job = Ledger.create_job
    monkeypatch.setattr(Ledger, "create_job", followed)
    with pytest.raises(LeaseError, match="taken over"):
        run_stubbed(source, output)
    assert not (records(output) / "revisions").exists()


def test_a_run_that_waited_sees_what_was_planned_meanwhile(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read of the ledger before the lease was taken is read again."""
    run_stubbed(source, output, **BLIND)
    real = acquire

    def late(*arguments: Any, **options: Any) -> Lease:
        with monkeypatch.context() as patch:
            patch.setattr("pipeline.runner.acquire", real)
            shutil.copy(source / "d0" / "0000.jpg", source / "late.jpg")
            run_stubbed(source, output, **BLIND)
        return real(*arguments, **options)

    monkeypatch.setattr("pipeline.runner.acquire", late)
    result, recorder = run_stubbed(source, output, **BLIND)
    assert (result.revision.number, recorder.rows) == (1, [])


class Cut(Exception):
    """The power fails."""


def interrupted_plan(source: Path, output: Path, monkeypatch: pytest.MonkeyPatch, **flags: Any):
    """A first run that ends when its shards are written, and before its revision is."""

    def cut(self: Ledger, *_: Any, **__: Any) -> None:
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "write_revision", cut)
        with pytest.raises(Cut):
            run_stubbed(source, output, **flags)


@pytest.mark.parametrize("where", ["inside", "elsewhere"])
def test_a_plan_that_was_cut_off_is_not_taken_for_a_new_one(
    source: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    flags: dict[str, Any] = {"workspace": str(tmp_path / "records")} if where == "elsewhere" else {}
    interrupted_plan(source, output, monkeypatch, **flags)
    shutil.rmtree(output / "_streetblur/lease" if where == "inside" else output)
    shutil.copy(source / "d0" / "0000.jpg", source / "late.jpg")
    result, _ = run_stubbed(source, output, **flags)
    assert (result.exit_code, result.verification.rows) == (Exit.COMPLETE, 7)
    assert len([key for key in files(output) if key.endswith(".jpg")]) == 7


def test_what_another_run_wrote_is_not_taken_for_one_s_own(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted_plan(source, output, monkeypatch)
    shutil.rmtree(output / "_streetblur/lease")
    shutil.copy(source / "d0" / "0000.jpg", source / "late.jpg")
    monkeypatch.setattr(Ledger, "highest_epoch", lambda self: 0)
    with pytest.raises(LedgerError, match="another run has written something else"):
        run_stubbed(source, output)


def lose(record: Path) -> None:
    record.unlink()


def damage(record: Path) -> None:
    record.write_text("{")


@pytest.mark.parametrize("how", [lose, damage])
@pytest.mark.parametrize("where", ["inside", "elsewhere"])
def test_another_job_s_lost_record_is_no_reason_to_forget(
    source: Path, output: Path, tmp_path: Path, how: Callable[[Path], None], where: str
) -> None:
    flags: dict[str, Any] = {"workspace": str(tmp_path / "records")} if where == "elsewhere" else {}
    blurred_once(source, output, **flags)
    root = tmp_path / "records" if where == "elsewhere" else output / "_streetblur"
    how(root / "test" / "job.json")
    with pytest.raises(StreetblurError, match=r"job\.json"):
        run_stubbed(source, output, job="next", **BLIND, **flags)


def test_a_refused_run_leaves_nothing_behind(source: Path, output: Path, tmp_path: Path) -> None:
    blurred_once(source, output)
    before = sorted(path for path in output.rglob("*") if "/lease" not in str(path))
    refused(source, output, "elsewhere", workspace=str(output / "deep" / "records"))
    assert sorted(path for path in output.rglob("*") if "/lease" not in str(path)) == before
    result, _ = run_stubbed(source, output, **BLIND)
    assert (result.exit_code, boxes(result)) == (Exit.COMPLETE, [BOX])


def test_epochs_are_counted_on_when_leases_are_lost(source: Path, output: Path) -> None:
    """Unchanged runs leave nothing but marks; other jobs' marks count, too."""
    for _ in range(3):
        run_stubbed(source, output, **BLIND)
    for job in ("test", "other"):
        for lease in (output / "_streetblur/lease").glob("*.json"):
            lease.unlink()
        run_stubbed(source, output, job=job, **BLIND)
    store = open_store(str(output), settings=StorageSettings())
    assert {job: mark.epoch for job, mark in newest_marks(store).items()} == {"test": 4, "other": 5}
    shutil.rmtree(output / "_streetblur/lease")
    ledger = Ledger(store.sub("_streetblur/test"))
    assert ledger.highest_epoch() == 4


def test_a_workspace_that_was_let_go_of_stays_so_when_leases_are_lost(
    source: Path, output: Path, tmp_path: Path
) -> None:
    one, two = ({"workspace": str(tmp_path / name)} for name in ("one", "two"))
    for _ in range(2):
        run_stubbed(source, output, **BLIND, **one)
    for lease in (output / "_streetblur/lease").glob("*.json"):
        lease.unlink()
    blurred_once(source, output, allow_unblur=True, **two)
    refused(source, output, "elsewhere", **one)
    result, _ = run_stubbed(source, output, **BLIND, **two)
    assert boxes(result) == [BOX]


@pytest.mark.parametrize("lost", ["newest", "all"])
@pytest.mark.parametrize("job", ["test", "next"])
def test_a_mark_without_its_revision_proves_nothing(
    source: Path, output: Path, lost: str, job: str
) -> None:
    run_stubbed(source, output, **BLIND)
    blurred_once(source, output)
    for number in (1,) if lost == "newest" else (0, 1):
        (records(output) / f"revisions/{number:04d}.json").unlink()
    shutil.copy(source / "d0" / "0000.jpg", source / "d0" / "0.jpg")
    assert "Bring the whole folder test/" in refused(source, output, "incomplete", job=job)


def test_a_lost_revision_that_commits_name_is_missed_by_every_command(
    source: Path, output: Path
) -> None:
    run_stubbed(source, output, **BLIND)
    blurred_once(source, output)
    (records(output) / "revisions/0001.json").unlink()
    ledger = Ledger(open_store(str(records(output)), settings=StorageSettings()))
    with pytest.raises(LedgerError, match="missing, though commits name it"):
        job_status(ledger, "test")


def test_outcomes_of_other_pictures_are_not_taken_for_those_of_a_shard(
    source: Path, output: Path, tmp_path: Path
) -> None:
    """As when the records of another output were laid over these."""
    run_stubbed(source, output, **BLIND)
    pictures(tmp_path / "other", 9, seed=5)
    run_stubbed(tmp_path / "other", tmp_path / "out2", **BLIND)
    for name in ("commits", "outcomes"):
        shutil.rmtree(records(output) / name)
        shutil.copytree(records(tmp_path / "out2") / name, records(output) / name)
    with pytest.raises(LedgerError, match="other pictures than its manifest"):
        run_stubbed(source, output, **BLIND)


def test_only_who_was_told_to_lets_go(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records that vanish while a run plans are missed before it publishes."""
    blurred_once(source, output)
    tell = Workspace.missing_marks
    looks: list[int] = []

    def vanish(self: Workspace) -> Any:
        looks.append(len(looks))
        if len(looks) == 3:
            shutil.rmtree(records(output))
        return tell(self)

    monkeypatch.setattr(Workspace, "missing_marks", vanish)
    refused(source, output, "missing here", job="next")
    assert len(looks) == 3


def test_lost_records_of_several_jobs_are_named_at_once(source: Path, output: Path) -> None:
    for job in ("a", "b", "c"):
        run_stubbed(source, output, job=job, **BLIND)
    for job in ("a", "b"):
        shutil.rmtree(records(output, job))
    fix = refused(source, output, r"\(and those of 1 more jobs\)")
    for stand_in in re.findall(r"/\S+\.txt", fix):
        Path(stand_in).parent.mkdir(parents=True)
        Path(stand_in).touch()
    assert run_stubbed(source, output, **BLIND)[0].exit_code is Exit.COMPLETE


def test_status_warns_of_old_records(
    source: Path, output: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_stubbed(source, output, **BLIND)
    shutil.copytree(records(output), tmp_path / "copy")
    blurred_once(source, output)
    show_status(Access(output=str(output)), as_json=True)
    explain(Access(output=str(output)), "d0/0000.jpg", as_json=True)
    assert "out of date" not in caplog.text
    shutil.rmtree(records(output))
    shutil.copytree(tmp_path / "copy", records(output))
    show_status(Access(output=str(output)), as_json=True)
    explain(Access(output=str(output)), "d0/0000.jpg", as_json=True)
    assert caplog.text.count("out of date") == 2


@pytest.mark.parametrize("first", ["outer", "inner"])
def test_outputs_do_not_lie_in_one_another(source: Path, output: Path, first: str) -> None:
    def inner() -> None:
        run_stubbed(source / "d0", output / "d0", **BLIND)

    def outer() -> None:
        run_stubbed(source, output, **BLIND)

    one, other = (outer, inner) if first == "outer" else (inner, outer)
    one()
    before = {key: data for key, data in files(output).items() if key.endswith(".jpg")}
    with pytest.raises(ConfigurationError, match="neither knows what the other blurred"):
        other()
    after = {key: data for key, data in files(output).items() if key.endswith(".jpg")}
    assert before == after


def test_outputs_in_one_bucket_do_not_lie_in_one_another(
    source: Path, s3_bucket: str, s3_server: SeaweedServer
) -> None:
    flags: dict[str, Any] = {**BLIND, "storage": {"endpoint_url": s3_server.endpoint_url}}
    run_stubbed(source, f"s3://{s3_bucket}/a", **flags)
    run_stubbed(source, f"s3://{s3_bucket}/b/c", **flags)
    for output in ("a/d0", "b"):
        with pytest.raises(ConfigurationError, match="neither knows what the other blurred"):
            run_stubbed(source, f"s3://{s3_bucket}/{output}", **flags)


def test_verify_counts_what_was_planned(source: Path, output: Path) -> None:
    """A row too few or too many: a record of replaced rows that is another one's."""
    run_stubbed(source, output, **BLIND)
    (source / "d1" / "0001.jpg").unlink()
    run_stubbed(source, output, **BLIND)
    access = Access(output=str(output))
    (gone,) = (records(output) / "manifest").glob("0001-*/superseded.parquet")
    schema = pq.read_schema(gone)
    for pairs in ([], [{"shard": 0, "row": 0}, {"shard": 0, "row": 1}]):
        pq.write_table(pa.Table.from_pylist(pairs, schema=schema), gone)
        with pytest.raises(LedgerError, match="but 5 were planned"):
            verify_job(access, as_json=False, allow_empty=True)


def test_a_damaged_record_of_a_job_that_left_no_mark_is_no_other_output(
    source: Path, output: Path, tmp_path: Path
) -> None:
    """It may be over this output: nobody can tell, so nobody passes it over."""
    kept = {"workspace": str(tmp_path / "records")}
    run_stubbed(source, output, job="a", **BLIND, **kept)
    shutil.rmtree(output / "_streetblur/lease/told")
    (tmp_path / "records/a/job.json").write_text("{")
    with pytest.raises(LedgerError, match=r"job\.json"):
        run_stubbed(source, output, job="b", **BLIND, **kept)
