"""A blur is bent to what is published around its box: it looks so, and tells nothing more."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from evaluation.irreversibility.known import without_surroundings
from pipeline.encode import redact_image
from pipeline.expected import Channel, changed_pixels, expected
from pipeline.images import ImageLimits, inspect_image
from pipeline.noise import NoiseKey
from pipeline.policy import Style
from pipeline.redaction import (
    RedactionBox,
    changed_areas,
    redact_pixels,
    seen_area,
    touched_area,
)
from tests.pipeline.jpegs import VARIANTS, decoded
from tests.pipeline.pictures import Pixels, box, policy, textured

KEY = NoiseKey(b"a secret of the operator, 32 byte", "street/1.jpg")
STRONG = {"strength": 2.0, "noise": 8, "feather": 0.07}


def on_a_wall(inside: int, wall: int = 200) -> tuple[Pixels, RedactionBox]:
    """Something large in front of an even wall."""
    pixels = np.full((320, 320, 3), wall, np.uint8)
    pixels[104:216, 104:216] = inside
    return pixels, box(100, 100, 220, 220, **STRONG)


@pytest.mark.parametrize("inside", [0, 60, 255])
def test_before_an_even_wall_nothing_shows_but_grain(inside: int) -> None:
    """Neither an edge nor another colour, whatever was there and whatever noise the cells have."""
    pixels, one = on_a_wall(inside)
    after = redact_pixels(pixels, [one], KEY).astype(float)
    blocks = after[100:220, 100:220].reshape(12, 10, 12, 10, 3).mean(axis=(1, 3))
    assert np.abs(blocks - 200).max() < 9
    assert after[100:220, 100:220].std() > 2, "the grain stays"


@pytest.mark.parametrize("side", [12, 24, 60, 150])
@pytest.mark.parametrize("name", ["simplejpeg-420", "simplejpeg-444", "opencv-progressive"])
def test_a_patch_goes_over_into_what_is_around_it(name: str, side: int) -> None:
    """From a dark wall on the left to a light one on the right."""
    slope = np.linspace(40, 220, 400).astype(np.uint8)
    pixels = np.repeat(np.repeat(slope[None, :, None], 320, axis=0), 3, axis=2)
    one = box(200 - side // 2, 160 - side // 2, 200 + side // 2, 160 + side // 2, **STRONG)
    held = pixels.copy()
    held[one.y1 + 2 : one.y2 - 2, one.x1 + 2 : one.x2 - 2] = textured(side - 4, side - 4)
    data = VARIANTS[name](held)
    info = inspect_image(data, ImageLimits())
    made = redact_image(data, info, [one], noise=KEY, policy=policy())
    after = np.squeeze(decoded(made.data)).astype(float)
    inside = np.s_[one.y1 : one.y2, one.x1 : one.x2]
    difference = (after - pixels)[inside].mean(axis=2)
    # by a third of it, so that grain averages out
    third = side // 3
    parts = difference[: 3 * third, : 3 * third].reshape(3, third, 3, third).mean(axis=(1, 3))
    assert np.abs(parts).max() < 8 + 0.05 * side


def permuted(pixels: Pixels, area: tuple[int, int, int, int], seed: int = 3) -> Pixels:
    """Another picture of the same averages: the pixels of ``area`` in another order."""
    x1, y1, x2, y2 = area
    out = pixels.copy()
    inside = out[y1:y2, x1:x2].reshape(-1, pixels.shape[2])
    out[y1:y2, x1:x2] = (
        np.random.default_rng(seed).permutation(inside).reshape(y2 - y1, x2 - x1, -1)
    )
    return out


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (-3, 2), (7, 7)])
@pytest.mark.parametrize("strength", [0.4, 2.0])
def test_nothing_but_averages_and_what_is_around_shows(
    strength: float, shift: tuple[int, int]
) -> None:
    """So no other box over the same place, of a rerun or a neighbour, can tell more."""
    before = textured(320, 320)
    # inside one cell, whatever its size
    other = permuted(before, (136, 136, 152, 152))
    assert not np.array_equal(before, other)
    one = box(100 + shift[0], 100 + shift[1], 180 + shift[0], 180 + shift[1], strength=strength)
    assert one.cell_px >= 16
    first, second = (redact_pixels(p, [one], KEY) for p in (before, other))
    assert np.array_equal(first, second)


def saved_420(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90, subsampling=2)
    return file.getvalue()


@pytest.mark.parametrize("route", ["pixels", "spliced"])
@pytest.mark.parametrize("gap", [0, 2, 6])
def test_a_blur_is_not_bent_to_what_another_box_hides(route: str, gap: int) -> None:
    """Else the face beside it would show at its edge."""
    before = textured(352, 224)
    # cells of 32 pixels: those of the left box end where the right one begins, or before
    left = box(66, 66, 126, 126, strength=0.4, noise=0, feather=0)
    right = box(128 + gap, 64, 256, 160, mode="solid", noise=0, feather=0)
    other = before.copy()
    other[64:160, 128 + gap : 256] = textured(128 - gap, 96, seed=5) // 4
    made = []
    for pixels in (before, other):
        if route == "pixels":
            after = redact_pixels(pixels, [left, right], KEY)
        else:
            data = saved_420(pixels)
            info = inspect_image(data, ImageLimits())
            image = redact_image(data, info, [left, right], noise=KEY, policy=policy())
            assert image.route == "spliced"
            after = decoded(image.data)
        made.append(after[68:124, 68:124].astype(int))
    # the left box's blocks are coded with nothing of the right one's
    assert np.abs(made[0] - made[1]).max() <= (0 if route == "pixels" or not gap else 1)


@pytest.mark.parametrize(
    "other",
    [(0, 64, 57, 128), (135, 64, 200, 128), (64, 0, 128, 57), (64, 135, 128, 200)],
    ids=["left", "right", "above", "below"],
)
def test_a_square_of_which_another_box_hides_one_row_is_not_seen(
    other: tuple[int, int, int, int],
) -> None:
    plain = {"noise": 0, "feather": 0}
    # cells end with the box; squares of 8 pixels lie around it
    one, hidden = box(64, 64, 128, 128, **plain), box(*other, mode="solid", **plain)
    before = textured(224, 224)
    x1, y1, x2, y2 = other
    changed = before.copy()
    changed[y1:y2, x1:x2] = 255 * (before[y1:y2, x1:x2] < 128)
    first, second = (redact_pixels(p, [one, hidden], KEY) for p in (before, changed))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_square_that_the_picture_s_end_cuts_is_not_seen(axis: int) -> None:
    """Nor is what lies behind the end of a row in memory: the next row."""
    before = np.ascontiguousarray(np.swapaxes(textured(135, 200), 0, axis))
    far = before.copy()
    # the same cells of 32 pixels, other squares of 8 at the end
    for start in (64, 96):
        if axis == 0:
            far[start : start + 32, 128:] = far[start : start + 32, 128:][::-1]
        else:
            far[128:, start : start + 32] = far[128:, start : start + 32][:, ::-1]
    far[:, :8], far[:8] = 255 - far[:, :8], 255 - far[:8]
    one, inside = box(64, 64, 128, 128, noise=0, feather=0), np.s_[64:128, 64:128]
    first, second = (redact_pixels(p, [one], KEY)[inside] for p in (before, far))
    assert np.array_equal(first, second)


def test_soft_edges_are_not_published_as_they_were() -> None:
    one, outside = box(64, 64, 128, 128, feather=0.07), box(-30, 10, 0, 40, feather=0.07)
    assert changed_areas([one, outside], 130, 200).tolist() == [[60, 60, 130, 132]]
    assert changed_pixels([one], (130, 200)).tolist() == [[60, 60, 130, 132]]


def test_the_check_knows_of_boxes_that_lie_elsewhere() -> None:
    """Squares under a box of another part of the picture are not seen by either."""
    before = textured(300, 160, 1)
    plain = {"noise": 0, "feather": 0}
    one, other = box(40, 40, 100, 100, **plain), box(103, 40, 180, 120, mode="solid", **plain)
    channel = Channel(before.astype(np.float32), 0, 0, 1, 1, (300, 160), shared=True)
    after = redact_pixels(before, [one, other], KEY)
    inside = np.s_[40:100, 40:100]
    right, wrong = (
        np.abs(expected(channel, [one], changed_pixels(boxes, (300, 160))).levels - after)[
            inside
        ].max()
        for boxes in ([one, other], [one])
    )
    assert right <= 1.5
    assert wrong > 1.5


def test_restart_markers_hide_nothing_of_what_is_around() -> None:
    """Segments that hold squares around a box are read, not only those of its cells."""
    pixels = textured(640, 480)
    style = {"strength": 0.4, "noise": 0, "feather": 0}
    # cells end with the box; the squares around it lie in other segments
    boxes = [
        box(128, 128, 192, 192, **style),
        box(320, 256, 448, 384, **style),
        # begins in the middle of a unit: only squares of colours reach into the one before
        box(456, 104, 520, 168, **style),
    ]
    shown = []
    for options in ({}, {"restart_marker_blocks": 1}):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=90, subsampling=2, **options)
        data = file.getvalue()
        info = inspect_image(data, ImageLimits())
        made = redact_image(data, info, boxes, noise=KEY, policy=policy())
        assert made.route == "spliced"
        shown.append(decoded(made.data))
    assert np.array_equal(*shown)


def test_without_anything_around_a_box_is_blurred_all_the_same() -> None:
    before = textured(90, 70)
    after = redact_pixels(before, [box(-5, -5, 95, 75, strength=2.0)], KEY).astype(float)
    fine = after - after.mean(axis=(0, 1))
    likeness = np.corrcoef(fine.ravel(), (before - before.mean(axis=(0, 1))).ravel())[0, 1]
    assert abs(likeness) < 0.1


def test_what_attackers_take_off_is_all_that_comes_from_around() -> None:
    """The same face before two walls: what is left of both is the same but for the cells."""
    style = Style(strength=0.4, noise=0, feather=0)
    one = RedactionBox(128, 128, 192, 192, style, "face")
    left = []
    for wall in (40, 220):
        pixels = np.full((320, 320, 3), wall, np.uint8)
        pixels[128:192, 128:192] = textured(64, 64)
        left.append(without_surroundings(redact_pixels(pixels, [one], KEY), one, 1).astype(int))
    assert np.abs(left[0] - left[1]).max() <= 2


def test_seen_area_is_what_a_blur_depends_on() -> None:
    before = textured(320, 320)
    one = box(110, 90, 170, 160, strength=0.1, noise=0)
    seen, touched = seen_area(one, 320, 320), touched_area(one, 320, 320)
    assert seen is not None
    assert touched is not None
    far = 255 - before
    far[seen[1] : seen[3], seen[0] : seen[2]] = before[seen[1] : seen[3], seen[0] : seen[2]]
    inside = np.s_[one.y1 : one.y2, one.x1 : one.x2]
    first, second = (redact_pixels(p, [one], KEY)[inside] for p in (before, far))
    assert np.array_equal(first, second)
    near = before.copy()
    near[seen[1] : touched[1]] = 255 - near[seen[1] : touched[1]]
    assert not np.array_equal(first, redact_pixels(near, [one], KEY)[inside])


@pytest.mark.parametrize("area", [(10, 20, 3000, 24), (40, 0, 44, 3000)])
def test_long_thin_boxes_take_few_squares_and_are_expected_so(
    area: tuple[int, int, int, int],
) -> None:
    """Every square looks at all around the box: their number has to stay small."""
    size = (max(area[2], 120) + 20, max(area[3], 120) + 20)
    before = textured(*size, 1)
    one = box(*area, strength=0.4, noise=0, feather=0)
    assert max(one.x2 - one.x1, one.y2 - one.y1) <= 64 * one.square_px
    channel = Channel(before.astype(np.float32), 0, 0, 1, 1, size, shared=True)
    aim = expected(channel, [one], changed_pixels([one], size))
    after = redact_pixels(before, [one], KEY)
    assert np.abs(aim.levels - after)[aim.owner == 0].max() <= 1.5
