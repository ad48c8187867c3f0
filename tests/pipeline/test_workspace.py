"""Records say where faces are: a workspace that strangers may read is refused."""

from __future__ import annotations

import os
import shutil
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from pipeline.access import Access, spec_of_job
from pipeline.errors import (
    ConfigurationError,
    LedgerError,
    StorageError,
    StreetblurError,
)
from pipeline.job import JobSpec, load_spec
from pipeline.lease import Lease
from pipeline.operations import show_preview
from pipeline.records import kept_boxes
from pipeline.result import Exit, RunResult
from pipeline.runner import Runner
from pipeline.status import find_outcome
from pipeline.storage import StorageSettings, open_store
from pipeline.storage_local import FolderStore
from pipeline.workspace import Workspace
from tests.integration.jobs import MODELS, files, pictures, run_stubbed

ELSEWHERE = "run of job 'test' are elsewhere"
pytestmark = pytest.mark.usefixtures("secret")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "records"


def spec(source: Path, output: Path, **flags: Any) -> JobSpec:
    flags.setdefault("job", "test")
    return load_spec(None, input=str(source), output=str(output), **flags)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_workspace_that_is_made_is_closed(source: Path, output: Path, workspace: Path) -> None:
    result, _ = run_stubbed(source, output, workspace=str(workspace))
    assert result.exit_code is Exit.COMPLETE
    assert (mode(workspace), mode(workspace / "test")) == (0o700, 0o700)


def test_in_an_open_workspace_the_job_s_own_folder_is_closed(
    source: Path, output: Path, workspace: Path
) -> None:
    workspace.mkdir()
    workspace.chmod(0o755)
    result, _ = run_stubbed(source, output, workspace=str(workspace))
    assert result.exit_code is Exit.COMPLETE
    assert (mode(workspace), mode(workspace / "test")) == (0o755, 0o700)


@pytest.mark.parametrize(
    ("outer", "inner"),
    [(0o755, 0o755), (0o711, 0o711), (0o777, 0o700), (0o775, 0o705)],
    ids=["readable", "enterable", "replaceable", "job readable"],
)
def test_a_workspace_open_to_other_users_is_refused_and_left_as_it_is(
    source: Path, output: Path, workspace: Path, outer: int, inner: int
) -> None:
    (workspace / "test").mkdir(parents=True)
    (workspace / "test").chmod(inner)
    workspace.chmod(outer)
    with pytest.raises(ConfigurationError, match=f"chmod 700 {workspace}"):
        run_stubbed(source, output, workspace=str(workspace))
    assert (mode(workspace), mode(workspace / "test")) == (outer, inner)
    assert files(output) == {}


@pytest.mark.parametrize("outer", [0o700, 0o770, 0o750])
def test_a_workspace_closed_to_other_users_is_taken_whatever_lies_in_it(
    source: Path, output: Path, workspace: Path, outer: int
) -> None:
    (workspace / "test").mkdir(parents=True)
    (workspace / "test").chmod(0o755)
    workspace.chmod(outer)
    assert run_stubbed(source, output, workspace=str(workspace))[0].exit_code is Exit.COMPLETE


@pytest.mark.parametrize("shared", [0o755, 0o777])
def test_the_default_workspace_is_closed_in_any_output(
    source: Path, output: Path, shared: int
) -> None:
    output.mkdir()
    output.chmod(shared)
    assert run_stubbed(source, output)[0].exit_code is Exit.COMPLETE
    assert mode(output / "_streetblur") == 0o700


def test_a_default_workspace_that_was_opened_is_refused(source: Path, output: Path) -> None:
    run_stubbed(source, output)
    for folder in (output / "_streetblur", output / "_streetblur" / "test"):
        folder.chmod(0o755)
    with pytest.raises(ConfigurationError, match=f"chmod 700 {output / '_streetblur'}"):
        run_stubbed(source, output)


def test_a_sticky_folder_guards_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine").chmod(0o700)
    tmp_path.chmod(0o1777)
    store = open_store(str(tmp_path), settings=StorageSettings())
    assert isinstance(store, FolderStore)
    assert store.answers_anonymous_reads("here")
    assert not store.answers_anonymous_reads("mine/here")
    assert not store.sub("mine").answers_anonymous_reads("here")


def test_records_left_behind_elsewhere_are_not_forgotten(
    source: Path, output: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_stubbed(source, output)
    before = files(output)
    for job in ("test", "new"):
        with pytest.raises(ConfigurationError, match=ELSEWHERE) as caught:
            run_stubbed(source, output, job=job, workspace=str(workspace), detector="blind")
        assert "without --workspace" in caught.value.fix
    with pytest.raises(ConfigurationError, match=ELSEWHERE):
        show_preview(spec(source, output, workspace=str(workspace)))
    assert files(output) == before
    flags = {"workspace": str(workspace), "allow_unblur": True, "allow_empty": True}
    run_stubbed(source, output, detector="blind", **flags)
    with pytest.raises(ConfigurationError, match=ELSEWHERE) as caught:
        run_stubbed(source, output)
    assert f"with --workspace {workspace.as_uri()}" in caught.value.fix
    run_stubbed(source, output, **flags)


BOX = ("face", 1, 2, 30, 20)


def blurred_once(source: Path, output: Path, **flags: Any) -> None:
    """A job that blurs one named box and finds nothing else."""
    named = output.with_name("boxes.yaml")
    named.write_text("d0/0000.jpg:\n- {label: face, xyxy: [1, 2, 30, 20]}\n")
    run_stubbed(source, output, detector="blind", overrides=str(named), allow_empty=True, **flags)


def boxes(result: RunResult) -> list[tuple[str, int, int, int, int]]:
    _, outcome = find_outcome(result.workspace.ledger, "d0/0000.jpg")
    return [(b.label, b.x1, b.y1, b.x2, b.y2) for b in kept_boxes(outcome)]


@pytest.mark.parametrize("job", ["test", "next"])
@pytest.mark.parametrize("how", ["same", "dots", "link", "moved"])
@pytest.mark.parametrize("records", ["inside", "outside"])
def test_another_spelling_of_the_output_forgets_nothing(
    source: Path, output: Path, workspace: Path, how: str, job: str, records: str
) -> None:
    flags = {"workspace": str(workspace)} if records == "outside" else {}
    blurred_once(source, output, **flags)
    before = files(output)["d0/0000.jpg"]
    assert before != files(source)["d0/0000.jpg"]
    other = output
    if how == "dots":
        (output.parent / "sub").mkdir()
        other = output.parent / "sub" / ".." / output.name
    elif how != "same":
        other = output.with_name("other")
        output.rename(other) if how == "moved" else other.symlink_to(output)
    if (how, job, records) == ("moved", "test", "outside"):
        with pytest.raises(LedgerError, match="what was blurred stays blurred"):
            run_stubbed(source, other, job=job, detector="blind", allow_empty=True, **flags)
        job = "as advised"
    result, _ = run_stubbed(
        source, other, job=job.replace(" ", "-"), detector="blind", allow_empty=True, **flags
    )
    assert boxes(result) == [BOX]
    assert files(other)["d0/0000.jpg"] == before


def test_another_spelling_of_the_input_is_the_same_job(source: Path, output: Path) -> None:
    run_stubbed(source, output)
    link = source.with_name("link")
    link.symlink_to(source)
    _, recorder = run_stubbed(link, output)
    assert recorder.rows == []


def test_a_rerun_works_where_the_output_is_now(source: Path, output: Path) -> None:
    run_stubbed(source, output)
    moved = output.with_name("moved")
    output.rename(moved)
    found = spec_of_job(Access(output=str(moved)))
    assert (found.output, found.job) == (str(moved), "test")
    assert run_stubbed(source, moved)[1].rows == []
    assert not output.exists()


def test_records_that_were_moved_are_known_again(
    source: Path, output: Path, workspace: Path
) -> None:
    blurred_once(source, output, workspace=str(workspace))
    moved = workspace.with_name("moved")
    workspace.rename(moved)
    flags: dict[str, Any] = {"detector": "blind", "allow_empty": True}
    with pytest.raises(ConfigurationError, match="missing here"):
        run_stubbed(source, output, workspace=str(workspace), **flags)
    result, _ = run_stubbed(source, output, job="next", workspace=str(moved), **flags)
    assert boxes(result) == [BOX]


def test_a_run_that_was_refused_decides_nothing(
    source: Path,
    output: Path,
    workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cannot_list(*_: object, **__: object) -> None:
        raise StorageError("no answer")

    with pytest.raises(ConfigurationError, match="mars"):
        run_stubbed(source, output, policy="mars")
    assert not output.exists()
    (workspace / "test").mkdir(parents=True)
    for folder in (workspace, workspace / "test"):
        folder.chmod(0o755)
    with pytest.raises(ConfigurationError, match="--workspace"):
        run_stubbed(source, output, workspace=str(workspace))
    closed = str(tmp_path / "closed")
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.runner.plan", cannot_list)  # the lease is held by then
        with pytest.raises(StorageError):
            run_stubbed(source, output, workspace=closed)
    assert run_stubbed(source, output)[0].exit_code is Exit.COMPLETE


@pytest.mark.parametrize("inside", ["d0", "d0/records"])
def test_pictures_do_not_go_among_records(source: Path, output: Path, inside: str) -> None:
    flags = {"workspace": str(output / inside)}
    clash = inside == "d0"
    with pytest.raises(ConfigurationError, match="among the records") if clash else nullcontext():
        show_preview(spec(source, output, **flags))
    if not clash:
        assert run_stubbed(source, output, **flags)[0].exit_code is Exit.COMPLETE
        return
    with pytest.raises(ConfigurationError, match="among the records"):
        run_stubbed(source, output, **flags)
    assert [key for key in files(output) if key.endswith(".jpg")] == []


@pytest.mark.parametrize(
    ("workspace", "into"),
    [("data", "data"), ("data", "data/test"), ("data", "data/new/out"), (None, "out/_streetblur")],
)
def test_no_output_lies_among_records(
    source: Path, tmp_path: Path, workspace: str | None, into: str
) -> None:
    flags = {} if workspace is None else {"workspace": str(tmp_path / workspace)}
    for how in (lambda p, o, **f: show_preview(spec(p, o, **f)), run_stubbed):
        with pytest.raises(ConfigurationError, match=r"where jobs keep|among the records"):
            how(source, tmp_path / into, **flags)
    assert sorted(path.name for path in tmp_path.iterdir() if path != source) == []


def test_a_dry_run_refuses_what_a_run_refuses(
    source: Path, output: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run_stubbed(source, output)
    (workspace / "test").mkdir(parents=True)
    for folder in (workspace, workspace / "test"):
        folder.chmod(0o755)
    other = tmp_path / "other"
    pictures(other, 1)
    refused: list[tuple[Path, Path, dict[str, str], str]] = [
        (source, tmp_path / "a", {"workspace": str(source / "records")}, "the workspace lies with"),
        (source, tmp_path / "a", {"workspace": str(workspace)}, "chmod 700"),
        (other, output, {}, "already exists with another input"),
    ]
    for place, target, flags, text in refused:
        for how in (lambda p, o, **f: show_preview(spec(p, o, **f)), run_stubbed):
            with pytest.raises(StreetblurError, match=text):
                how(place, target, **flags)
    monkeypatch.setenv("STREETBLUR_SECRET", "zz")
    for how in (lambda p, o, **f: show_preview(spec(p, o, **f)), run_stubbed):
        with pytest.raises(ConfigurationError, match="64 hex digits"):
            how(source, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_who_waits_for_a_run_with_other_records_is_refused_when_it_ends(
    source: Path, output: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[StreetblurError] = []

    def try_it() -> None:
        try:
            run_stubbed(
                source,
                output,
                workspace=str(workspace.with_name("other")),
                detector="blind",
                lease_ttl_s=60,
            )
        except StreetblurError as error:
            told.append(error)

    second = threading.Thread(target=try_it)
    tell = Workspace.tell

    def tell_late(self: Workspace, lease: Lease, *arguments: Any, **options: Any) -> None:
        if second.ident is None:
            second.start()
            time.sleep(0.5)  # it has read the lease by now, and waits
        tell(self, lease, *arguments, **options)

    monkeypatch.setattr(Workspace, "tell", tell_late)
    run_stubbed(source, output, workspace=str(workspace), lease_ttl_s=60)
    second.join(timeout=60)
    assert [type(error) for error in told] == [ConfigurationError]
    assert "are elsewhere" in told[0].what
    with pytest.raises(ConfigurationError, match=ELSEWHERE):
        run_stubbed(source, output, workspace=str(workspace.with_name("other")), detector="blind")


def test_an_old_copy_of_the_records_is_refused(source: Path, output: Path, workspace: Path) -> None:
    run_stubbed(source, output, detector="blind", allow_empty=True, workspace=str(workspace))
    copy = workspace.with_name("copy")
    shutil.copytree(workspace, copy)
    copy.chmod(0o700)
    blurred_once(source, output, workspace=str(workspace))
    with pytest.raises(ConfigurationError, match=ELSEWHERE):
        run_stubbed(source, output, detector="blind", allow_empty=True, workspace=str(copy))


def test_a_plan_elsewhere_decides_nothing(source: Path, output: Path, workspace: Path) -> None:
    blurred_once(source, output)
    elsewhere = spec(source, output, workspace=str(workspace), allow_unblur=True)
    with pytest.raises(ConfigurationError, match=ELSEWHERE):
        Runner(elsewhere, [], lambda versions: dict(MODELS)).plan_only()
    with pytest.raises(ConfigurationError, match=ELSEWHERE):
        run_stubbed(source, output, detector="blind", workspace=str(workspace))
    result, _ = run_stubbed(source, output, detector="blind", allow_empty=True)
    assert boxes(result) == [BOX]


def test_one_workspace_serves_two_outputs_of_one_job_only_by_other_names(
    source: Path, tmp_path: Path
) -> None:
    records = str(tmp_path / "data" / "rec")
    run_stubbed(source, tmp_path / "data" / "sub", workspace=records)
    with pytest.raises(LedgerError, match="another output"):
        run_stubbed(source, tmp_path / "data", workspace=records)


def test_overrides_and_policy_are_read_once(source: Path, output: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = "d0/0000.jpg:\n- {label: face, xyxy: [1, 2, 30, 20]}\n"
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    result, _ = run_stubbed(source, output, detector="blind", overrides=str(pipe), allow_empty=True)
    writer.join()
    assert boxes(result) == [BOX]


def test_an_empty_overrides_file_is_no_answer(source: Path, output: Path, tmp_path: Path) -> None:
    (tmp_path / "none.yaml").write_text("# nothing yet\n")
    with pytest.raises(ConfigurationError, match="the file is empty"):
        run_stubbed(source, output, overrides=str(tmp_path / "none.yaml"))


def test_a_link_to_nowhere_is_no_place(source: Path, output: Path, tmp_path: Path) -> None:
    output.symlink_to(tmp_path / "unmounted" / "out")
    with pytest.raises(ConfigurationError, match="not there"):
        run_stubbed(source, output)
    assert not (tmp_path / "unmounted").exists()


@pytest.mark.parametrize("address", ["file://", "file://localhost"])
def test_an_address_without_a_path_is_refused(source: Path, address: str) -> None:
    with pytest.raises(ConfigurationError, match="file address"):
        run_stubbed(source, address)
