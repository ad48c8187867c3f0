from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.annotations import AnnotationError, data_root, read_annotations
from serving.geometry import Box

ROW: dict[str, Any] = {
    "image": "images/x.jpg",
    "width": 40,
    "height": 30,
    "labelled_classes": ["plate"],
    "boxes": [{"label": "plate", "xyxy": [1, 2, 11.5, 6], "text": "AB 12", "attrs": {}}],
}


def write(folder: Path, *rows: dict[str, Any] | str) -> Path:
    path = folder / "annotations.jsonl"
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
    return path


def boxed(**fields: Any) -> dict[str, Any]:
    """A picture with one box."""
    return {**ROW, "boxes": [{"label": "plate", "xyxy": [1, 2, 3, 4], **fields}]}


def test_a_line_becomes_a_picture(tmp_path: Path) -> None:
    (picture,) = read_annotations(write(tmp_path, ROW))
    assert (picture.image, picture.width, picture.height) == ("images/x.jpg", 40, 30)
    assert picture.labelled_classes == ("plate",)
    assert picture.boxes[0].box == Box(1, 2, 11.5, 6)
    assert picture.boxes[0].text == "AB 12"


def test_ignore_and_occlusion_are_read(tmp_path: Path) -> None:
    boxes = [
        {"label": "face", "xyxy": [0, 0, 4, 4], "attrs": {"ignore": True, "occlusion": "mask"}}
    ]
    (picture,) = read_annotations(write(tmp_path, {**ROW, "boxes": boxes}))
    assert picture.boxes[0].ignore
    assert picture.boxes[0].occlusion == "mask"


def test_blank_lines_are_skipped(tmp_path: Path) -> None:
    assert len(read_annotations(write(tmp_path, "", ROW, ""))) == 1


def test_lines_end_where_json_lines_do(tmp_path: Path) -> None:
    line = json.dumps(boxed(text="AB\u2028\u008512"), ensure_ascii=False)
    path = tmp_path / "annotations.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + f"{line}\r\n".encode())
    (picture,) = read_annotations(path)
    assert picture.boxes[0].text == "AB\u2028\u008512"


def test_other_attributes_are_kept_as_text(tmp_path: Path) -> None:
    attrs = {"region": "eu", "age": 31, "ignore": False, "occlusion": None, "points": [1, 2]}
    boxes = [{"label": "face", "xyxy": [0, 0, 4, 4], "attrs": attrs}]
    (picture,) = read_annotations(write(tmp_path, {**ROW, "boxes": boxes}))
    assert picture.boxes[0].attrs == {"region": "eu", "age": "31"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"width": 1' + "0" * 5000 + "}", "not valid JSON"),
        ("[]", "a JSON object"),
        ({**ROW, "image": ""}, "field image"),
        ({**ROW, "image": "/etc/x.jpg"}, "inside the labelled folder"),
        ({**ROW, "image": "../x.jpg"}, "inside the labelled folder"),
        ({**ROW, "image": "images/../../x.jpg"}, "inside the labelled folder"),
        ({**ROW, "image": "images/./x.jpg"}, "inside the labelled folder"),
        ({**ROW, "width": 0}, "width and height"),
        ({**ROW, "height": True}, "width and height"),
        ({**ROW, "boxes": None}, "lists needed"),
        ({**ROW, "labelled_classes": ["dog"]}, "'dog' is no class"),
        ({**ROW, "boxes": [{"label": "plate", "xyxy": [1, 2, 3]}]}, "four finite numbers"),
        ({**ROW, "boxes": [{"label": "plate", "xyxy": [1, 2, 3, "4"]}]}, "four finite numbers"),
        ({**ROW, "boxes": [{"label": "plate", "xyxy": [1, 2, 3, 10**400]}]}, "four finite numbers"),
        ({**ROW, "boxes": [{"label": "plate", "xyxy": [5, 2, 3, 4]}]}, "empty or inverted"),
        ({**ROW, "boxes": [{"label": "dog", "xyxy": [1, 2, 3, 4]}]}, "'dog' is no class"),
        ({**ROW, "boxes": [{"label": "face", "xyxy": [1, 2, 3, 4], "attrs": 3}]}, "field attrs"),
        (boxed(xyxy=[40, 2, 45, 4]), "outside the picture"),
        (boxed(xyxy=[1, -9, 3, 0]), "outside the picture"),
        (boxed(text=["AB"]), "field text"),
        (boxed(attrs={"occlusion": 5}), "field occlusion"),
        (boxed(attrs={"ignore": "false"}), "field ignore"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, row: dict[str, Any] | str, message: str) -> None:
    with pytest.raises(AnnotationError, match=message) as raised:
        read_annotations(write(tmp_path, {**ROW, "image": "first.jpg"}, row))
    assert "annotations.jsonl:2" in str(raised.value)


def test_a_picture_labelled_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="labelled twice"):
        read_annotations(write(tmp_path, ROW, ROW))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"nothing\.jsonl"):
        read_annotations(tmp_path / "nothing.jsonl")


def test_the_data_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREETBLUR_DATA", "elsewhere")
    assert data_root() == Path("elsewhere")
