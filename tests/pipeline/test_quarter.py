"""The picture of a quarter of the size that one pass over the coded data gives."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.encode import redact_image
from pipeline.images import ImageLimits, inspect_image
from pipeline.jpeg.quarter import quarter_picture
from pipeline.jpeg.segments import parse_jpeg
from pipeline.jpeg.splice import scan_jpeg
from pipeline.jpeg.unspliceable import Unspliceable
from tests.pipeline.jpegs import VARIANTS
from tests.pipeline.pictures import Pixels, box, faces, policy, saved, textured
from tests.pipeline.test_splice import BOXES, KEY, SIZE

LEAST_PSNR = 33.0


def averaged(pixels: Pixels) -> Pixels:
    """Means over 4 x 4 pixels, those at the border left out."""
    height, width = pixels.shape[0] // 4, pixels.shape[1] // 4
    whole = pixels[: 4 * height, : 4 * width].astype(np.float64)
    return np.asarray(whole.reshape(height, 4, width, 4, -1).mean(axis=(1, 3)))


def psnr(a: Pixels, b: Pixels) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_it_is_close_to_averages(subsampling: str) -> None:
    for data, _ in faces(6):
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        coded = saved(np.asarray(picture), "JPEG", quality=90, subsampling=subsampling)
        expected = averaged(np.asarray(Image.open(io.BytesIO(coded))))
        small = quarter_picture(scan_jpeg(coded, parse_jpeg(coded)))
        assert small.shape == (-(-picture.height // 4), -(-picture.width // 4), 3)
        same = small[: expected.shape[0], : expected.shape[1]]
        assert psnr(same, expected) > LEAST_PSNR
        assert np.abs((same - expected).mean(axis=(0, 1))).max() < 0.5


@pytest.mark.parametrize("kind", ["pillow-grey", "opencv-restart", "libjpeg-turbo-441"])
@pytest.mark.parametrize("size", [(1, 1), (9, 17), (64, 64)])
def test_every_kind_and_size(kind: str, size: tuple[int, int]) -> None:
    flat = np.full((size[1], size[0], 3), (180, 90, 40), np.uint8)
    data = VARIANTS[kind](flat)
    small = quarter_picture(scan_jpeg(data, parse_jpeg(data)))
    shown = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert small.shape == (-(-size[1] // 4), -(-size[0] // 4), 3)
    assert np.abs(small.astype(int) - shown[0, 0]).max() <= 2


def test_the_same_pass_serves_the_splice() -> None:
    data = VARIANTS["simplejpeg-420"](textured(*SIZE))
    info = inspect_image(data, ImageLimits())
    scanned = scan_jpeg(data, parse_jpeg(data))
    in_one, in_two = (
        redact_image(data, info, BOXES, noise=KEY, policy=policy(), scanned=given)
        for given in (scanned, None)
    )
    assert in_one.data == in_two.data
    assert in_one.route == "spliced"


@pytest.mark.parametrize("kind", ["libjpeg-moz", "pillow-cmyk"])
def test_what_cannot_be_made_small_says_so(kind: str) -> None:
    data = VARIANTS[kind](textured(40, 40))
    with pytest.raises(Unspliceable):
        quarter_picture(scan_jpeg(data, parse_jpeg(data)))


def test_nothing_of_a_box_is_needed_for_it() -> None:
    """Boxes come from the small picture: it must not change what is spliced afterwards."""
    data = VARIANTS["opencv-restart"](textured(*SIZE))
    info = inspect_image(data, ImageLimits())
    scanned = scan_jpeg(data, parse_jpeg(data))
    for boxes in ([box(0, 0, 20, 20)], BOXES):
        made = redact_image(data, info, boxes, noise=KEY, policy=policy(), scanned=scanned)
        alone = redact_image(data, info, boxes, noise=KEY, policy=policy())
        assert made.data == alone.data
