"""Verification is a gate: whatever lies in the output and was not published is found."""

from __future__ import annotations

import os
import shutil
import tracemalloc

import pytest

import pipeline.verify
from pipeline.due import Choice
from pipeline.manifest import Selection, list_pictures
from pipeline.operations import show_findings
from pipeline.result import Exit, exit_code
from pipeline.storage import ObjectInfo, StorageSettings, open_store
from pipeline.verify import SAMPLE, RowSet, verify
from pipeline.workspace import open_workspace
from tests.integration.jobs import altered, files, pictures, run_stubbed

pytestmark = pytest.mark.usefixtures("secret")

SETTINGS = StorageSettings()


def checked(output, job="test", workspace=None):
    """Verification as the command makes it, with the exit code."""
    store = open_store(str(output), settings=SETTINGS)
    result = verify(open_workspace(store, job, workspace=workspace, settings=SETTINGS))
    return result, exit_code(result, allow_empty=False)


@pytest.mark.parametrize("name", ["extra.jpg", "extra.jfif", "extra.JPG.bak", "extra", "notes.txt"])
def test_a_file_that_no_job_published_is_found_whatever_its_suffix(source, output, name):
    run_stubbed(source, output)
    (output / "sub").mkdir()
    shutil.copy(source / "d0" / "0000.jpg", output / "sub" / name)
    result, code = checked(output)
    assert result.unaccounted.sample == [f"sub/{name}"]
    assert code is Exit.INCOMPLETE


@pytest.mark.parametrize("where", ["extra.jpg", "d0/all"])
def test_a_link_to_originals_is_found(source, output, where):
    run_stubbed(source, output)
    target = source if where == "d0/all" else source / "d0" / "0000.jpg"
    (output / where).symlink_to(target)
    result, code = checked(output)
    assert result.unaccounted.sample == [where]
    assert code is Exit.INCOMPLETE


def test_a_device_is_found(source, output):
    run_stubbed(source, output)
    os.mkfifo(output / "pipe.jpg")
    result, code = checked(output)
    assert (result.unaccounted.sample, code) == (["pipe.jpg"], Exit.INCOMPLETE)


def test_a_folder_replaced_by_a_link_is_found_before_and_after_a_run(source, output):
    run_stubbed(source, output)
    shutil.rmtree(output / "d1")
    (output / "d1").symlink_to(source / "d1")
    result, _ = checked(output)
    assert result.missing.sample == ["d1/0001.jpg", "d1/0004.jpg"]
    assert result.unaccounted.sample == ["d1"]
    result = run_stubbed(source, output)[0]
    assert result.verification.tally.reasons == {"quarantined: symlink": 2}
    assert result.verification.unaccounted.sample == ["d1"]
    assert result.exit_code is Exit.INCOMPLETE


def test_an_original_under_the_key_of_a_quarantined_picture_is_found(source, output):
    (source / "bad.jpg").write_text("this is text")
    run_stubbed(source, output)
    shutil.copy(source / "d0" / "0000.jpg", output / "bad.jpg")
    result, code = checked(output)
    assert (result.unaccounted.sample, code) == (["bad.jpg"], Exit.INCOMPLETE)


def test_an_original_under_the_key_of_a_failed_picture_is_found(source, output):
    victim = source / "d0" / "0000.jpg"
    content = victim.read_bytes()

    def losing(config):
        from pipeline.engine import LocalEngine

        victim.unlink()
        return LocalEngine(config)

    run_stubbed(source, output, engine_factory=losing)
    (output / "d0" / "0000.jpg").write_bytes(content)
    result, _ = checked(output)
    assert result.due.sample == result.unaccounted.sample == ["d0/0000.jpg"]


def test_an_old_output_of_a_picture_that_is_quarantined_now_is_stale(source, output, capsys):
    run_stubbed(source, output)
    good = (source / "d0" / "0000.jpg").read_bytes()
    (source / "d0" / "0000.jpg").write_text("this is text")
    result, _ = run_stubbed(source, output)
    assert result.verification.stale.sample == ["d0/0000.jpg"]
    assert result.verification.unaccounted.count == 0
    assert result.exit_code is Exit.QUARANTINED
    assert "rerun OUTPUT --quarantined" in result.verification.stale.fix
    show_findings(result.verification)
    printed = " ".join(capsys.readouterr().out.split())
    assert "stale: 1 ('d0/0000.jpg') An earlier run published these" in printed

    (source / "d0" / "0000.jpg").write_bytes(good)
    result, _ = run_stubbed(source, output)
    assert result.verification.stale.count == 0
    assert result.exit_code is Exit.COMPLETE


def test_an_old_output_is_stale_when_the_same_row_was_quarantined_later(source, output):
    first, _ = run_stubbed(source, output)
    small = {"max_pixels": 10}
    result, _ = run_stubbed(source, output, choice=Choice("all"), limits=small)
    assert result.verification.tally.quarantined == first.verification.rows == 6
    assert (result.verification.stale.count, result.verification.unaccounted.count) == (6, 0)

    result, _ = run_stubbed(source, output, choice=Choice("quarantined"))
    assert (result.verification.stale.count, result.exit_code) == (0, Exit.COMPLETE)


def test_removing_the_object_resolves_a_stale_output_too(source, output):
    run_stubbed(source, output)
    (source / "d0" / "0000.jpg").write_text("this is text")
    run_stubbed(source, output)
    (output / "d0" / "0000.jpg").unlink()
    result, code = checked(output)
    assert (result.stale.count, code) == (0, Exit.QUARANTINED)


def test_an_output_replaced_by_other_bytes_of_the_same_size_is_found(source, output):
    run_stubbed(source, output)
    path = output / "d0" / "0000.jpg"
    path.write_bytes(altered(path.read_bytes()))
    result, code = checked(output)
    assert (result.altered.sample, code) == (["d0/0000.jpg"], Exit.INCOMPLETE)


@pytest.mark.parametrize("change", [altered, lambda data: data + b"more"])
def test_other_bytes_under_the_key_of_an_orphan_are_nobodys(source, output, change):
    run_stubbed(source, output)
    (source / "d0" / "0000.jpg").unlink()
    run_stubbed(source, output)
    assert checked(output)[0].orphans.sample == ["d0/0000.jpg"]
    path = output / "d0" / "0000.jpg"
    path.write_bytes(change(path.read_bytes()))
    result, code = checked(output)
    assert (result.orphans.count, result.unaccounted.sample) == (0, ["d0/0000.jpg"])
    assert code is Exit.INCOMPLETE


def test_two_jobs_share_an_output(tmp_path, output):
    pictures(tmp_path / "a", 2)
    pictures(tmp_path / "b", 3)
    for name in ("0", "1"):
        (tmp_path / "b" / f"d{name}").rename(tmp_path / "b" / f"e{name}")
    run_stubbed(tmp_path / "a", output, job="a")
    run_stubbed(tmp_path / "b", output, job="b")
    result, code = checked(output, "a")
    assert result.orphans.sample == ["d2/0002.jpg", "e0/0000.jpg", "e1/0001.jpg"]
    assert (result.unaccounted.count, code) == (0, Exit.COMPLETE)


def test_records_in_a_folder_of_the_output_are_not_strangers(source, output):
    workspace = str(output / "my records")
    result, _ = run_stubbed(source, output, workspace=workspace)
    assert (result.verification.unaccounted.sample, result.exit_code) == ([], Exit.COMPLETE)
    shutil.copy(source / "d0" / "0000.jpg", output / "extra.jfif")
    assert checked(output, workspace=workspace)[1] is Exit.INCOMPLETE


def test_pictures_in_a_workspace_folder_of_the_input_are_counted(source, output):
    (source / "_streetblur" / "deep").mkdir(parents=True)
    for name in ("a.jpg", "deep/b.jpg"):
        shutil.copy(source / "d0" / "0000.jpg", source / "_streetblur" / name)
    result, _ = run_stubbed(source, output)
    assert result.revision.not_selected == {"(reserved: _streetblur/)": 2}
    assert all(not key.startswith("_streetblur") for key in files(output))


def test_a_linked_workspace_folder_of_the_input_is_passed_over(source, tmp_path):
    (source / "_streetblur").symlink_to(tmp_path)
    selection = Selection()
    rows = list(list_pictures(open_store(str(source), settings=SETTINGS), selection))
    assert (len(rows), selection.counts()) == (6, {"(link)": 1})


def test_strangers_beyond_one_block_are_told_apart(source, output, monkeypatch):
    monkeypatch.setattr(pipeline.verify, "BLOCK", 2)
    run_stubbed(source, output, shard_size=2)
    for number in (0, 3, 4):
        (source / f"d{number % 3}" / f"{number:04d}.jpg").unlink()
    run_stubbed(source, output)
    for name in ("a.jpg", "d0/zzz.jpg", "e.jpg"):
        shutil.copy(output / "d0" / "0000.jpg", output / name)
    result, _ = checked(output)
    assert result.orphans.sample == ["d0/0000.jpg", "d0/0003.jpg", "d1/0004.jpg"]
    assert result.unaccounted.sample == ["a.jpg", "d0/zzz.jpg", "e.jpg"]


def test_memory_is_flat_in_the_number_of_strangers(source, output, monkeypatch):
    run_stubbed(source, output)
    count = 0

    def strangers(self, prefix="", *, exclude=(), report=None):
        if exclude:
            return (ObjectInfo(f"strange/{n:09d}.jpg", 1, f"etag-{n}") for n in range(count))
        return listing(self, prefix, exclude=exclude, report=report)

    store = type(open_store(str(output), settings=SETTINGS))
    listing = store.list
    monkeypatch.setattr(store, "list", strangers)
    monkeypatch.setattr(pipeline.verify, "BLOCK", 1_000, raising=False)
    run = pipeline.verify.sorted_rows
    monkeypatch.setattr(pipeline.verify, "sorted_rows", lambda rows: run(rows, run_rows=20_000))
    peaks = []
    for count in (40_000, 120_000):
        tracemalloc.start()
        result, _ = checked(output)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert result.unaccounted.count == count
        assert len(result.unaccounted.sample) == SAMPLE
    assert peaks[1] - peaks[0] < 8 * 2**20, f"grew by {(peaks[1] - peaks[0]) / 2**20:.1f} MB"


def test_a_row_set_is_a_set():
    rows = RowSet()
    for pair in [(3, 0), (3, 9), (3, 9), (70_000, 999)]:
        rows.add(*pair)
    assert sorted(rows) == [(3, 0), (3, 9), (70_000, 999)]
    assert (3, 9) in rows
    assert not [pair for pair in [(3, 8), (3, 1_000), (4, 0)] if pair in rows]


def test_strangers_in_a_bucket_are_found_and_records_are_none(source, s3_bucket, s3_server):
    settings = StorageSettings(endpoint_url=s3_server.endpoint_url)
    output = f"s3://{s3_bucket}/gate"
    flags = {"storage": settings, "workspace": f"{output}/my records"}
    assert run_stubbed(source, output, **flags)[0].exit_code is Exit.COMPLETE
    store = open_store(output, settings=settings)
    store.put("sub/extra.jfif", b"an original")
    result = run_stubbed(source, output, **flags)[0]
    assert result.verification.unaccounted.sample == ["sub/extra.jfif"]
    assert result.exit_code is Exit.INCOMPLETE
