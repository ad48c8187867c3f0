"""The definition of *obscured*, on drawn detail and on labelled photographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from evaluation.annotations import LabelledPicture
from evaluation.demo.sources import FACES
from evaluation.obscured import is_obscured, obscured_map, obscured_share
from evaluation.oracle import Mode, redact
from evaluation.picture import read_upright
from serving.geometry import Box
from tests.evaluation.coding import coded

Pixels = NDArray[np.uint8]
Labelled = list[tuple[Path, LabelledPicture]]

FLAT = np.full((40, 160, 3), 180, dtype=np.uint8)


def recall(
    labelled: Labelled, change: Callable[[Pixels, list[Box]], Pixels], min_height: float
) -> float:
    verdicts = []
    for folder, picture in labelled:
        source = read_upright(folder / picture.image)
        output = change(source, [item.box for item in picture.boxes])
        verdicts += [
            is_obscured(obscured_share(source, output, item.box))
            for item in picture.boxes
            if item.box.height >= min_height and not item.ignore
        ]
    assert len(verdicts) > 50
    return float(np.mean(verdicts))


def stripes(wavelength: float, contrast: float = 100) -> Pixels:
    """Vertical stripes, 64 x 128 pixels."""
    wave = np.sin(2 * np.pi * np.arange(128) / wavelength) * contrast / 2 + 128
    return np.repeat(np.tile(wave, (64, 1))[..., None], 3, axis=2).astype(np.uint8)


def faded(pixels: Pixels, gain: float) -> Pixels:
    return np.asarray(128 + (pixels.astype(float) - 128) * gain, dtype=np.uint8)


@pytest.mark.parametrize("wavelength", [0.2, 0.35, 0.5])
@pytest.mark.parametrize(("gain", "obscured"), [(1.0, False), (0.5, False), (0.3, True), (0, True)])
def test_gain_decides_at_forty_per_cent(wavelength: float, gain: float, obscured: bool) -> None:
    source = stripes(wavelength * 64)
    assert is_obscured(float(obscured_map(source, faded(source, gain), 64).mean())) is obscured


def test_correlation_decides_where_gain_is_kept() -> None:
    source = stripes(0.4 * 64)
    turned = np.roll(source, round(0.1 * 64), axis=1)  # a quarter of a wavelength
    assert obscured_map(source, turned, 64).mean() > 0.9


@pytest.mark.parametrize("name", sorted(FACES))
def test_a_negative_is_not_obscured(photographs: Path, name: str) -> None:
    source = read_upright(photographs / name)
    assert not is_obscured(obscured_share(source, 255 - source, Box(*FACES[name])))


@pytest.mark.parametrize("height", [10.0, 64.0, 300.0])
def test_a_map_has_the_shape_of_the_pixels(height: float) -> None:
    assert obscured_map(FLAT, FLAT, height).shape == (40, 160)


def test_three_quarters_are_enough() -> None:
    assert is_obscured(0.75)
    assert not is_obscured(0.7499)


def test_an_unchanged_flat_area_is_not_obscured() -> None:
    assert not obscured_map(FLAT, FLAT, 40).any()


def test_a_flat_area_with_coding_noise_is_not_obscured() -> None:
    noise = np.random.default_rng(0).integers(-2, 3, FLAT.shape)
    assert not obscured_map(FLAT, np.asarray(FLAT + noise, dtype=np.uint8), 40).any()


def test_a_flat_area_that_changed_visibly_is_obscured() -> None:
    assert obscured_map(FLAT, FLAT - 12, 40).all()


def test_a_flat_area_with_new_detail_is_obscured() -> None:
    noisy = redact(FLAT, [Box(0, 0, 160, 40)], "noise")
    assert obscured_map(FLAT, noisy, 40).mean() > 0.95


def test_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="sizes must agree"):
        obscured_map(FLAT, FLAT[:-1], 40)


def test_a_box_outside_the_picture_is_not_obscured() -> None:
    assert obscured_share(FLAT, FLAT - 50, Box(200, 0, 240, 20)) == 0


def test_a_box_over_the_border_is_judged_by_what_is_inside() -> None:
    assert obscured_share(FLAT, FLAT - 50, Box(-20, -20, 20, 20)) == 1


def test_half_a_redacted_box_does_not_count(photographs: Path) -> None:
    source = read_upright(photographs / "grace_hopper.jpg")
    face = Box(*FACES["grace_hopper.jpg"])
    upper = Box(face.x1, face.y1, face.x2, face.y1 + face.height / 2)
    share = obscured_share(source, redact(source, [upper], "solid"), face)
    assert 0.35 < share < 0.65


@pytest.mark.parametrize("name", sorted(FACES))
@pytest.mark.parametrize("mode", ["blur", "pixelate", "solid", "noise"])
def test_redacted_photographs_are_obscured(photographs: Path, name: str, mode: Mode) -> None:
    source, face = read_upright(photographs / name), Box(*FACES[name])
    assert obscured_share(source, coded(redact(source, [face], mode), 90), face) > 0.9


@pytest.mark.parametrize("name", sorted(FACES))
def test_photographs_coded_again_are_not(photographs: Path, name: str) -> None:
    source = read_upright(photographs / name)
    assert obscured_share(source, coded(source, 75), Box(*FACES[name])) < 0.05


@pytest.mark.parametrize("name", sorted(FACES))
def test_the_share_does_not_depend_on_the_scale(photographs: Path, name: str) -> None:
    source, face = read_upright(photographs / name), Box(*FACES[name])
    output = redact(source, [face], sigma=0.09 * face.height)
    large = [cv2.resize(pixels, None, fx=2, fy=2) for pixels in (source, output)]
    twice = Box(*(2 * value for value in face.as_tuple()))
    once = obscured_share(source, output, face)
    assert obscured_share(large[0], large[1], twice) == pytest.approx(once, abs=0.08)


@pytest.mark.parametrize("quality", [75, 90, None])
def test_originals_as_outputs_have_no_recall(labelled: Labelled, quality: int | None) -> None:
    assert recall(labelled, lambda source, _: coded(source, quality), 0) == 0


@pytest.mark.parametrize(
    ("mode", "quality"),
    [("blur", 75), ("blur", 90), ("blur", None), ("pixelate", 90), ("solid", 90), ("noise", 90)],
)
def test_the_oracle_is_credited(labelled: Labelled, mode: Mode, quality: int | None) -> None:
    found = recall(labelled, lambda s, boxes: coded(redact(s, boxes, mode), quality), 12)
    assert found > 0.99


def test_blur_of_three_per_cent_of_the_height_is_not_credited(labelled: Labelled) -> None:
    assert recall(labelled, weak(0.03), 24) == 0


def test_blur_of_five_per_cent_of_the_height_is_hardly_credited(labelled: Labelled) -> None:
    # A plate that is blurred already has detail near 0.2 heights only, which this does remove.
    assert recall(labelled, weak(0.05), 24) < 0.02


def test_an_ellipse_that_leaves_the_corners_is_credited_less(labelled: Labelled) -> None:
    # 21.5 % of the box stays sharp, and the windows along the edge see some of it.
    def change(source: Pixels, boxes: list[Box]) -> Pixels:
        return coded(redact(source, boxes, shape="ellipse"), 90)

    assert recall(labelled, change, 24) < 0.8


def weak(share: float) -> Callable[[Pixels, list[Box]], Pixels]:
    def change(source: Pixels, boxes: list[Box]) -> Pixels:
        output = source
        for box in boxes:
            output = redact(output, [box], sigma=share * box.height)
        return coded(output, 90)

    return change
