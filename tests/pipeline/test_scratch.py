"""Temporary folders: private, and gone after their process, however it ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import scratch
from pipeline.errors import ConfigurationError
from pipeline.scratch import make_scratch, remove_scratch, scratch_folder, scratch_root, sweep


@pytest.fixture(autouse=True)
def _temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path))


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def process_with_folder(temp: Path) -> tuple[subprocess.Popen[str], Path]:
    """Another process that holds a folder with a file in it, until it is killed."""
    code = (
        "import sys, time; from pathlib import Path; from pipeline.scratch import make_scratch\n"
        "folder = make_scratch('sort', temp=Path(sys.argv[1]))\n"
        "(folder / 'sub').mkdir(); (folder / 'sub' / 'original').write_bytes(b'pixels')\n"
        "print(folder, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(temp)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_folders_are_private_and_gone_after_use(tmp_path: Path) -> None:
    with scratch_folder("sort") as folder:
        assert folder.parent.parent == tmp_path
        assert (mode(folder), mode(folder.parent)) == (0o700, 0o700)
        (folder / "file").write_bytes(b"x")
    assert list(scratch_root().iterdir()) == []


def test_a_folder_is_gone_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), scratch_folder("sort"):
        raise ZeroDivisionError
    assert list(scratch_root().iterdir()) == []


def test_what_a_killed_process_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    process, left = process_with_folder(tmp_path)
    try:
        mine = make_scratch("ray")
        assert (left / "sub" / "original").is_file()  # a living run keeps its own
    finally:
        process.kill()
        process.wait()
    assert left.is_dir()
    remove_scratch(mine)
    with scratch_folder("ray"):
        assert not left.exists()
    assert list(scratch_root().iterdir()) == []


def test_what_another_machine_or_nobody_made_is_left_alone() -> None:
    mine = make_scratch("sort")
    owner = mine.with_name(mine.name + ".owner")
    owner.write_text(owner.read_text().replace('"machine":"', '"machine":"other'))
    unowned = scratch_root() / "sort-unowned"
    unowned.mkdir()
    half_written = scratch_root() / "sort-0.owner"
    half_written.write_text("{")
    make_scratch("sort")
    assert mine.is_dir()
    assert unowned.is_dir()
    assert half_written.exists()


def test_a_root_open_to_others_is_closed() -> None:
    scratch_root().mkdir(mode=0o777)
    scratch_root().chmod(0o777)
    make_scratch("sort")
    assert mode(scratch_root()) == 0o700


def test_a_root_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    scratch_root().symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="somebody else"):
        make_scratch("sort")


def test_a_root_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    uid = os.getuid()
    monkeypatch.setattr(scratch.os, "getuid", lambda: uid + 1)
    scratch_root().mkdir()
    with pytest.raises(ConfigurationError, match="somebody else"):
        make_scratch("sort")


def test_a_folder_made_again_after_it_was_swept_goes_too(tmp_path: Path) -> None:
    living = make_scratch("ray", temp=tmp_path)
    (living / "kept").write_bytes(b"x")
    ghost = scratch_root(tmp_path) / "ray-0badcafe"
    (ghost / "r" / "logs").mkdir(parents=True)
    sweep(scratch_root(tmp_path))
    assert not ghost.exists()
    assert (living / "kept").exists()
