"""The scanner's command: what it prints, and how it ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from evaluation.embedded.__main__ import main
from tests.evaluation.embedded_jpeg import comment, plain_jpeg
from tests.pipeline.pictures import thumbnail


def run(*paths: Path) -> int:
    return main([str(path) for path in paths])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a clean picture, below it one that hides something."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "clean.jpg").write_bytes(plain_jpeg())
    (tmp_path / "sub" / "laden.jpg").write_bytes(comment(thumbnail()))
    return tmp_path


def test_the_command_is_silent_about_clean_files(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder / "clean.jpg") == 0
    assert capsys.readouterr().out == "1 files looked at: 0 with findings, 0 unreadable\n"


def test_the_command_names_each_find(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{folder / 'sub' / 'laden.jpg'}: JPEG at comment, byte 158",
        "2 files looked at: 1 with findings, 0 unreadable",
    ]


def test_the_command_does_not_pass_over_what_it_cannot_read(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "notes.txt").write_text("no picture", "utf-8")
    assert run(folder / "notes.txt", folder / "clean.jpg", folder / "missing.jpg") == 2
    printed = capsys.readouterr()
    assert printed.out == "3 files looked at: 0 with findings, 2 unreadable\n"
    assert f"{folder / 'notes.txt'}: unreadable: it is no JPEG" in printed.err
    assert f"{folder / 'missing.jpg'}: unreadable: No such file" in printed.err


def test_the_command_refuses_an_empty_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path) == 2
    assert "holds no file" in capsys.readouterr().err


def test_the_command_does_not_pass_over_a_link_to_a_folder(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "link").symlink_to(folder)
    assert run(elsewhere) == 2
    assert "link: unreadable: it is no regular file" in capsys.readouterr().err


def test_the_command_waits_for_no_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    assert run(tmp_path) == 2
    assert "a.jpg: unreadable: it is no regular file" in capsys.readouterr().err


def test_the_command_prints_names_that_are_no_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")).write_bytes(comment(thumbnail()))
    assert run(tmp_path) == 1
    assert "\\udcff.jpg: JPEG at comment" in capsys.readouterr().out


def test_the_command_says_what_it_found_in_a_damaged_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cut.jpg").write_bytes(comment(thumbnail())[:-2])
    assert run(tmp_path) == 1
    printed = capsys.readouterr()
    assert "cut.jpg: JPEG at comment" in printed.out
    assert "cut.jpg: unreadable: the JPEG ends before its end marker" in printed.err


def test_the_command_wants_a_path() -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
