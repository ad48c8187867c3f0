"""Outputs that were coded again are held against their source outside the boxes, too."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.containers import png
from pipeline.decode import decode_stored
from pipeline.encode import redact_image
from pipeline.errors import OutputRejected
from pipeline.images import ImageInfo, ImageLimits, inspect_image
from pipeline.noise import NoiseKey
from pipeline.output_check import check_output
from pipeline.redaction import RedactionBox
from tests.pipeline.jpegs import ARITHMETIC
from tests.pipeline.pictures import KINDS, box, policy, saved, textured

KEY = NoiseKey(b"secret", "a.jpg")
BOXES = [box(40, 30, 72, 60)]
SIZE = (203, 171)


def inspect(data: bytes) -> ImageInfo:
    return inspect_image(data, ImageLimits())


def redacted(data: bytes, boxes: list[RedactionBox], **changes: Any) -> bytes:
    made = redact_image(data, inspect(data), boxes, noise=KEY, policy=policy(**changes))
    assert made.route == "reencoded"
    return made.data


def verdict(data: bytes, output: bytes, boxes: list[RedactionBox]) -> str:
    try:
        check_output(data, inspect(data), output, boxes, policy())
    except OutputRejected as error:
        return error.reason
    return ""


def pixels_of(data: bytes) -> Any:
    return decode_stored(data, inspect(data)).copy()


WRITERS = {
    "png-rgb": lambda pixels: saved(pixels, "PNG"),
    "png-rgba": lambda pixels: saved(pixels, "PNG"),
    "png-16-rgb": png.encode_png,
    "webp-lossless": lambda pixels: saved(pixels, "WEBP", lossless=True),
    "webp-alpha": lambda pixels: saved(pixels, "WEBP", lossless=True, exact=True),
    "tiff-rgb": lambda pixels: saved(pixels, "TIFF"),
}


@pytest.mark.parametrize("boxes", [BOXES, []])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_sample_outside_by_one_level(kind: str, boxes: list[RedactionBox]) -> None:
    """In the last channel, so that alpha counts as well."""
    data = KINDS[kind](*SIZE)
    made = redact_image(data, inspect(data), boxes, noise=KEY, policy=policy())
    pixels = pixels_of(made.data)
    assert verdict(data, WRITERS[kind](pixels), boxes) == ""
    pixels[150, 190, -1] ^= 1
    assert verdict(data, WRITERS[kind](pixels), boxes) == "changed_outside"


def test_other_channels() -> None:
    grey = saved(textured(*SIZE, 1), "PNG")
    coloured = saved(np.repeat(pixels_of(grey)[:, :, None], 3, axis=2), "PNG")
    assert verdict(grey, coloured, []) == "changed_outside"


def test_alpha_that_is_gone() -> None:
    data = saved(textured(*SIZE, 4), "WEBP", quality=85)
    assert verdict(data, _webp(pixels_of(data)[:, :, :3]), []) == "changed_outside"


def _jpeg(pixels: Any) -> bytes:
    return saved(pixels, "JPEG", quality=90)


def _webp(pixels: Any) -> bytes:
    return saved(pixels, "WEBP", quality=90)


def dark_corner(pixels: Any) -> Any:
    out = pixels.copy()
    out[-40:, -40:] = 0
    return out


def inverted_outside(pixels: Any) -> Any:
    out = 255 - pixels
    out[20:70, 30:82] = pixels[20:70, 30:82]
    return out


def another(pixels: Any) -> Any:
    return textured(*SIZE, seed=9)


@pytest.mark.parametrize("forge", [dark_corner, inverted_outside, another])
@pytest.mark.parametrize("write", [_jpeg, _webp])
def test_another_picture_outside(write: Any, forge: Any) -> None:
    data = write(textured(*SIZE))
    pixels = pixels_of(data)
    assert verdict(data, write(pixels), []) == ""
    assert verdict(data, write(forge(pixels)), []) == "changed_outside"
    good = redacted(data, BOXES, jpeg={"quality": 90})
    assert verdict(data, good, BOXES) == ""
    forged = forge(pixels_of(good))
    forged[20:70, 30:82] = pixels_of(good)[20:70, 30:82]
    assert verdict(data, write(forged), BOXES) == "changed_outside"


def test_another_picture_of_the_same_averages() -> None:
    board = np.kron(np.indices((43, 51)).sum(axis=0) % 2, np.ones((4, 4)))[: SIZE[1], : SIZE[0]]
    pixels = np.repeat((board * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    data = _jpeg(pixels)
    assert verdict(data, _jpeg(np.roll(pixels, 4, axis=0)), []) == "changed_outside"


def hard_pictures() -> dict[str, Any]:
    """What lossy coding changes most."""
    chance = np.random.default_rng(0)
    noise = chance.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    full = (noise > 127).astype(np.uint8) * 255
    patches = np.kron(full[:22, :26], np.ones((8, 8, 1), np.uint8))[: SIZE[1], : SIZE[0]]
    return {"noise": noise, "full colours": full, "patches": patches}


CODERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "JPEG to 50": (
        lambda p: saved(p, "JPEG", quality=90, subsampling=2),
        {"jpeg": {"quality": 50}},
    ),
    "4:4:4 to 50": (
        lambda p: saved(p, "JPEG", quality=90, subsampling=0),
        {"jpeg": {"quality": 50}},
    ),
    "arithmetic": (ARITHMETIC["sequential"], {}),
    "WebP 1": (lambda p: saved(p, "WEBP", quality=1), {}),
    "WebP 90": (lambda p: saved(p, "WEBP", quality=90), {}),
}


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("name", hard_pictures())
def test_good_outputs_of_hard_pictures_pass(name: str, coder: str) -> None:
    make, changes = CODERS[coder]
    data = make(hard_pictures()[name])
    for boxes in (BOXES, [box(0, 0, *SIZE)], [box(-9, -9, 20, 180), box(190, 160, 260, 180)]):
        assert verdict(data, redacted(data, boxes, **changes), boxes) == ""


def test_sides_shorter_than_a_tile() -> None:
    for width, height in ((5, 7), (200, 9), (9, 200)):
        data = _jpeg(textured(width, height))
        assert verdict(data, _jpeg(pixels_of(data)), []) == ""
        assert verdict(data, _jpeg(255 - pixels_of(data)), []) == "changed_outside"


def test_alpha_of_lossy_pictures() -> None:
    data = saved(textured(*SIZE, 4), "WEBP", quality=85)
    pixels = pixels_of(data)
    pixels[150, 190, 3] ^= 64
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=90, exact=True)
    assert verdict(data, buffer.getvalue(), []) == "changed_outside"
