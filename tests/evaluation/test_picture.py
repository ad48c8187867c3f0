"""Reading upright, and telling the same scene from another one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.changed import outside_map
from evaluation.demo.sources import FACES
from evaluation.oracle import redact
from evaluation.picture import PictureUnreadable, read_upright, same_scene
from serving.geometry import Box
from tests.evaluation.coding import coded

EVERYWHERE = np.ones((512, 512), dtype=np.bool_)


def test_orientation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((40, 60, 3), dtype=np.uint8)
    pixels[:20, :20] = 250
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    upright = read_upright(tmp_path / "turned.png")
    assert upright.shape == (60, 40, 3)
    assert upright[5, 35, 0] == 250


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\xff\xd8\xff\xe0\x00\x10JFIF"])
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.jpg").write_bytes(content)
    with pytest.raises(PictureUnreadable, match=r"bad\.jpg"):
        read_upright(tmp_path / "bad.jpg")


def test_a_picture_of_absurd_size_is_unreadable(tmp_path: Path) -> None:
    Image.new("1", (20_000, 10_000)).save(tmp_path / "bomb.png")
    with pytest.raises(PictureUnreadable, match=r"bomb\.png"):
        read_upright(tmp_path / "bomb.png")


def test_coding_again_keeps_the_scene(photographs: Path) -> None:
    source = read_upright(photographs / "astronaut.png")
    assert same_scene(source, coded(source, 75), EVERYWHERE)


def test_a_redacted_face_keeps_the_scene(photographs: Path) -> None:
    source, face = read_upright(photographs / "astronaut.png"), Box(*FACES["astronaut.png"])
    output = coded(redact(source, [face]), 75)
    assert same_scene(source, output, outside_map(512, 512, [face]))


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (0, -1), (3, 3), (40, 0)])
def test_a_shifted_output_is_another_scene(photographs: Path, dx: int, dy: int) -> None:
    source = read_upright(photographs / "astronaut.png")
    assert not same_scene(source, np.roll(source, (dy, dx), axis=(0, 1)), EVERYWHERE)


def test_another_picture_is_another_scene(photographs: Path) -> None:
    source = read_upright(photographs / "astronaut.png")
    assert not same_scene(source, read_upright(photographs / "camera.png"), EVERYWHERE)


def test_another_size_is_another_scene(photographs: Path) -> None:
    source = read_upright(photographs / "astronaut.png")
    assert not same_scene(source, source[:-2], EVERYWHERE)


def test_a_picture_without_detail_passes() -> None:
    flat = np.full((512, 512, 3), 90, dtype=np.uint8)
    assert same_scene(flat, flat, EVERYWHERE)


def test_a_face_that_fills_the_picture_takes_its_margin_with_it(photographs: Path) -> None:
    source = read_upright(photographs / "astronaut.png")
    margin = EVERYWHERE.copy()
    margin[30:, 30:] = False
    wiped = redact(source, [Box(0, 0, 512, 512)])
    assert same_scene(source, wiped, margin)
    assert not same_scene(source, wiped, EVERYWHERE)
    assert not same_scene(source, redact(source[:, ::-1], [Box(0, 0, 512, 512)]), margin)
    assert not same_scene(source, read_upright(photographs / "camera.png"), margin)
