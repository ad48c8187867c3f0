"""Files of figures: read as written; what is wrong with others is said."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from evaluation.figures_file import FiguresFile, FiguresUnreadable
from evaluation.summary import Share


@dataclass(frozen=True, slots=True)
class Heights:
    name: str
    by_size: dict[int, Share]
    pair: tuple[float, float] | None


FILE = FiguresFile("heights", 3, Heights, "python -m heights")
FIGURES = Heights("a", {16: Share(0.5, 0.4, 0.6)}, (0.1, 0.2))


def test_figures_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "heights.json"
    FILE.write(FIGURES, path)
    assert FILE.read(path) == FIGURES
    assert list(path.parent.iterdir()) == [path]
    stored = json.loads(path.read_text())
    assert (stored["kind"], stored["format"]) == ("heights", 3)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"format": 3', '"format": 2', r"format 2, this version reads 3"),
        ('"format": 3,', "", r"format None, this version reads 3"),
        ('"kind": "heights"', '"kind": "widths"', r"it holds figures on widths, not heights"),
        ('"kind": "heights",', "", r"it holds something else, not heights"),
        ('"kind": "heights"', '"kind": {}', r"it holds something else, not heights"),
        ('"value": 0.5', '"value": NaN', r"NaN is no figure"),
        ('"value": 0.5', '"value": 1e999', r"1e999 is no figure"),
        ('"value": 0.5', '"value": "many"', r"by_size\.16\.value: Input should be a valid number"),
        ('"name": "a",', "", r"it is damaged: name: Field required"),
        ('"16"', '"sixteen"', r"it is damaged: by_size\.sixteen"),
        ("}", "", r"it is damaged, or no JSON"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "heights.json"
    FILE.write(FIGURES, path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(FiguresUnreadable, match=said) as caught:
        FILE.read(path)
    assert str(path) in str(caught.value)
    assert "`python -m heights`" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory"),
        (b"", "no JSON"),
        (b"\xff\xfe", "cannot be read"),
        (b"[1]", "it holds something else"),
        (b"[" * 100_000, "no JSON"),
    ],
)
def test_what_is_no_file_of_figures_is_refused(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "heights.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FiguresUnreadable, match=said):
        FILE.read(path)
    with pytest.raises(FiguresUnreadable, match="cannot be read"):
        FILE.read(tmp_path)
