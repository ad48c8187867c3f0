"""How the measurement of the outputs' check ends: 0, 1 and 2 each have one meaning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluation import refusals
from pipeline.errors import OutputRejected
from tests.pipeline.pictures import saved, textured


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of one set of one labelled picture."""
    folder = tmp_path / "data"
    (folder / "set").mkdir(parents=True)
    (folder / "set" / "a.jpg").write_bytes(saved(textured(160, 120), "JPEG", quality=92))
    row = {"image": "a.jpg", "width": 160, "height": 120, "labelled_classes": ["face"]}
    row["boxes"] = [{"label": "face", "xyxy": [40, 30, 100, 90]}]
    (folder / "set" / "annotations.jsonl").write_text(json.dumps(row) + "\n")
    return folder


def test_good_outputs_pass_and_forged_ones_do_not(data, capsys):
    assert refusals.main(["--data", str(data)]) == 0
    out = capsys.readouterr().out
    assert "| blur | - | - | 0 of 1 | - |" in out
    assert "| nothing redacted | - | - | 0 of 1 | - |" in out
    assert "1 pictures, 0 that cannot be read" in out


def test_a_good_output_that_is_refused_ends_with_1(data, monkeypatch):
    def refuse(*arguments, **options):
        raise OutputRejected("changed_outside", "whatever it is")

    monkeypatch.setattr(refusals, "check_output", refuse)
    assert refusals.main(["--data", str(data)]) == 1


def test_forging_is_for_every_nth_picture(data, capsys):
    labels = data / "set" / "annotations.jsonl"
    line = labels.read_text()
    (data / "set" / "b.jpg").write_bytes((data / "set" / "a.jpg").read_bytes())
    labels.write_text(line + line.replace("a.jpg", "b.jpg"))
    assert refusals.main(["--data", str(data), "--every", "2"]) == 0
    assert "| nothing redacted | - | - | 0 of 1 | - |" in capsys.readouterr().out


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "two", ""])
def test_every_must_be_a_positive_whole_number(data, number, capsys):
    with pytest.raises(SystemExit) as ended:
        refusals.main(["--data", str(data), "--every", number])
    assert ended.value.code == 2
    assert "is no whole number from 1 on" in capsys.readouterr().err


def ends_with_2(capsys, *arguments: object) -> str:
    assert refusals.main(list(map(str, arguments))) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return str(printed.err)


def test_without_data_it_ends_with_2(tmp_path, capsys):
    said = ends_with_2(capsys, "--data", tmp_path / "nonexistent")
    assert str(tmp_path / "nonexistent") in said
    assert "--data" in said


def test_with_an_unknown_set_it_ends_with_2(data, capsys):
    assert "no folder named sett" in ends_with_2(capsys, "--data", data, "--sets", "sett")


@pytest.mark.parametrize("content", [b"{\n", b"[]\n", b"\xff\xfe"])
def test_with_damaged_labels_it_ends_with_2(data, capsys, content):
    labels = data / "set" / "annotations.jsonl"
    labels.write_bytes(labels.read_bytes() + content)
    assert str(labels) in ends_with_2(capsys, "--data", data)


def test_with_a_missing_picture_it_ends_with_2(data, capsys):
    (data / "set" / "a.jpg").unlink()
    assert "a.jpg cannot be read" in ends_with_2(capsys, "--data", data)
