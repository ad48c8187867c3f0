"""The demo's input: the same every time, with what it promises in it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from evaluation.annotations import LabelledPicture, read_annotations
from evaluation.demo.folder import label_file, make_folder
from evaluation.demo.modes import make_modes_sheet
from evaluation.demo.plates import SIZES_MM, Kind, draw_plate, place_plate
from evaluation.demo.run import run_demo
from evaluation.demo.sheet import MAX_BYTES, make_sheet
from evaluation.picture import read_upright
from pipeline.errors import ConfigurationError
from serving.pypi import sha256_file

SIDEWAYS = "formats/sideways-with-gps.jpg"
_ORIENTATION, _GPS, _THUMBNAIL_AT, _THUMBNAIL_SIZE = 0x0112, 0x8825, 0x0201, 0x0202


@pytest.fixture(scope="module")
def made(
    photographs: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, tuple[LabelledPicture, ...]]:
    folder = tmp_path_factory.mktemp("demo") / "input"
    return folder, make_folder(folder, photographs)


Made = tuple[Path, tuple[LabelledPicture, ...]]


def test_labels_lie_beside_the_folder_and_read_back(made: Made) -> None:
    folder, labels = made
    assert read_annotations(label_file(folder)) == labels
    assert not list(folder.rglob("*.jsonl"))


def test_every_label_fits_its_picture(made: Made) -> None:
    folder, labels = made
    for label in labels:
        upright = read_upright(folder.parent / label.image)
        assert upright.shape[:2] == (label.height, label.width)
        for item in label.boxes:
            assert 0 <= item.box.x1 < item.box.x2 <= label.width
            assert 0 <= item.box.y1 < item.box.y2 <= label.height


def test_faces_plates_and_pictures_without_either_are_there(made: Made) -> None:
    _, labels = made
    known = [item.label for label in labels for item in label.boxes]
    assert known.count("face") >= 20
    assert known.count("plate") >= 15
    assert sum(not label.boxes for label in labels) >= 3


def test_every_format_is_there(made: Made) -> None:
    folder, _ = made
    kinds = set()
    for path in folder.rglob("*.*"):
        with Image.open(path) as image:
            kinds.add((image.format, image.mode, bool(image.info.get("progressive"))))
    assert {
        ("JPEG", "RGB", False),
        ("JPEG", "RGB", True),
        ("JPEG", "L", False),
        ("PNG", "RGB", False),
        ("WEBP", "RGB", False),
    } <= kinds


def test_the_turned_picture_carries_orientation_position_and_thumbnail(made: Made) -> None:
    with Image.open(made[0] / SIDEWAYS) as image:
        exif, raw = image.getexif(), image.info["exif"]
    assert exif[_ORIENTATION] == 6
    assert exif.get_ifd(_GPS)[2] == pytest.approx((59, 19, 45.48), abs=0.01)
    preview_tags = exif.get_ifd(1) if 1 in exif else {}
    at = preview_tags.get(_THUMBNAIL_AT) or raw.find(b"\xff\xd8\xff") - len(b"Exif\0\0")
    with Image.open(io.BytesIO(raw[at + len(b"Exif\0\0") :])) as thumbnail:
        assert max(thumbnail.size) == 160


def test_the_same_bytes_every_time(made: Made, photographs: Path, tmp_path: Path) -> None:
    folder, _ = made
    again = tmp_path / "input"
    make_folder(again, photographs)
    for path in folder.rglob("*.*"):
        assert sha256_file(path) == sha256_file(again / path.relative_to(folder)), path.name


@pytest.mark.parametrize("kind", sorted(SIZES_MM))
def test_a_plate_has_its_format_and_is_drawn_where_it_says(kind: Kind) -> None:
    plate = draw_plate(kind, np.random.default_rng(1))
    width, height = SIZES_MM[kind]
    assert plate.pixels.shape == (2 * height, 2 * width, 3)
    canvas = np.zeros((200, 300, 3), dtype=np.uint8)
    corners = np.array([(40, 50), (240, 55), (240, 105), (40, 100)], dtype=np.float32)
    assert place_plate(canvas, plate, corners) == (40, 50, 240, 105)
    assert canvas[60:95, 60:220].mean() > 60
    assert not canvas[:49].any()
    assert not canvas[107:].any()


def test_a_sheet_is_small(made: Made, tmp_path: Path) -> None:
    folder, labels = made
    size = make_sheet(labels, folder, folder, tmp_path / "sheet.jpg")
    assert 20_000 < size <= MAX_BYTES
    assert (tmp_path / "sheet.jpg").stat().st_size == size


def test_the_sheet_of_modes_shows_each_face_and_plate_in_every_mode(
    photographs: Path, tmp_path: Path
) -> None:
    size = make_modes_sheet(photographs, tmp_path / "modes.jpg")
    assert 50_000 < size <= MAX_BYTES
    sheet = np.asarray(Image.open(tmp_path / "modes.jpg").convert("L")).astype(np.float32)
    faces = [sheet[26 + 55 : 26 + 105, 8 + 308 * i + 132 : 8 + 308 * i + 172] for i in range(5)]
    edges = [float(np.abs(np.diff(face, axis=1)).mean()) for face in faces]
    assert all(edges[0] > 2 * one for one in edges[1:]), f"sharp in the first alone: {edges}"


def test_a_sheet_without_outputs_is_refused(made: Made, tmp_path: Path) -> None:
    folder, labels = made
    with pytest.raises(ConfigurationError, match="no input picture has an output"):
        make_sheet(labels, folder, tmp_path, tmp_path / "sheet.jpg")


def test_what_somebody_else_put_there_is_left_alone(tmp_path: Path) -> None:
    stranger = tmp_path / "input" / "holiday.jpg"
    stranger.parent.mkdir()
    stranger.write_bytes(b"private")
    with pytest.raises(ConfigurationError, match="input"):
        run_demo(None, tmp_path / "output", Console(quiet=True))
    assert stranger.read_bytes() == b"private"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["input"]
