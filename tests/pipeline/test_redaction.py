"""Masks, feather, blur and noise; broken variants show that the checks can fail."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline import redaction
from pipeline.cells import cell_means, cells_in
from pipeline.noise import NoiseKey
from pipeline.policy import Dilation, Style
from pipeline.redaction import RedactionBox, redact_pixels, touched_area
from serving.geometry import Box
from tests.pipeline.pictures import box, textured

Pixels = NDArray[Any]
Redactor = Callable[[Pixels, list[RedactionBox], NoiseKey], Pixels]
KEY = NoiseKey(b"a secret of the operator, 32 byte", "street/1.jpg")
MODES = ("blur", "pixelate", "solid")


def detail_gain(before: Pixels, after: Pixels, area: tuple[int, int, int, int]) -> float:
    """Share of the source's fine detail that is left in ``area``."""
    x1, y1, x2, y2 = area
    fine = [p.astype(np.float32) - cv2.blur(p.astype(np.float32), (7, 7)) for p in (before, after)]
    a, b = (p[y1:y2, x1:x2] for p in fine)
    return float((a * b).mean() / (a * a).mean())


def corners_are_obscured(redact: Redactor) -> bool:
    before = textured(200, 200)
    after = redact(before, [box(50, 50, 150, 150)], KEY)
    corners = [(50, 50), (142, 50), (50, 142), (142, 142)]
    return all(detail_gain(before, after, (x, y, x + 8, y + 8)) < 0.3 for x, y in corners)


def borders_are_obscured(redact: Redactor) -> bool:
    before = textured(200, 200)
    after = redact(before, [box(50, 50, 150, 150)], KEY)
    edges = [(50, 50, 53, 150), (147, 50, 150, 150), (50, 50, 150, 53), (50, 147, 150, 150)]
    return all(detail_gain(before, after, edge) < 0.3 for edge in edges)


def ellipse(pixels: Pixels, boxes: list[RedactionBox], key: NoiseKey) -> Pixels:
    """The mistake of known tools: only the ellipse inside the box."""
    out, blurred = pixels.copy(), redact_pixels(pixels, boxes, key)
    for b in boxes:
        mask = np.zeros(pixels.shape[:2], np.uint8)
        centre, axes = ((b.x1 + b.x2) // 2, (b.y1 + b.y2) // 2), ((b.x2 - b.x1) // 2,) * 2
        cv2.ellipse(mask, centre, axes, 0, 0, 360, 1, -1)
        out[mask == 1] = blurred[mask == 1]
    return out


def inward_feather(pixels: Pixels, boxes: list[RedactionBox], key: NoiseKey) -> Pixels:
    """The mistake of known tools: the soft edge lies inside the box."""
    shrunk = [
        box(b.x1 + f, b.y1 + f, b.x2 - f, b.y2 - f, feather=b.style.feather * 1.4)
        for b in boxes
        for f in [b.feather_px]
    ]
    return redact_pixels(pixels, shrunk, key)


def test_corners_of_the_box_are_obscured() -> None:
    assert corners_are_obscured(redact_pixels)
    assert not corners_are_obscured(ellipse), "the check must catch an ellipse"


def test_the_border_of_the_box_is_obscured() -> None:
    assert borders_are_obscured(redact_pixels)
    assert not borders_are_obscured(inward_feather), "the check must catch an inward feather"


@pytest.mark.parametrize("mode", MODES)
def test_one_strength_for_each_box(mode: str) -> None:
    before = textured(400, 300)
    areas = [(20, 20, 40, 44), (100, 100, 260, 280)]
    after = redact_pixels(before, [box(*a, mode=mode) for a in areas], KEY)
    assert all(detail_gain(before, after, a) < 0.3 for a in areas)


@pytest.mark.parametrize(
    ("sides", "strength", "cell"),
    [
        ((100, 100), 0.25, 32),
        ((128, 128), 0.25, 32),
        ((129, 129), 0.25, 64),
        ((400, 100), 0.25, 64),
        ((16, 16), 0.25, 4),
        ((1, 1), 0.25, redaction.MIN_CELL_PX),
        ((100, 100), 1.0, 128),
    ],
)
def test_cells_follow_the_box_in_powers_of_two(
    sides: tuple[int, int], strength: float, cell: int
) -> None:
    assert box(0, 0, *sides, strength=strength).cell_px == cell


def test_dilation_grows_and_rounds_outwards() -> None:
    grown = RedactionBox.around(Box(10.5, 20.0, 30.5, 60.0), box(0, 0, 1, 1).style, "plate")
    assert grown.area == (8, 16, 33, 64)


def test_each_side_grows_by_its_own_share() -> None:
    style = Style(dilation={"top": 0.0, "sides": 0.1, "bottom": 0.5})
    grown = RedactionBox.around(Box(10, 20, 30, 60), style, "face")
    assert grown.area == (8, 20, 32, 80)
    wider = style.model_copy(update={"margin_px": 3})
    assert RedactionBox.around(Box(10, 20, 30, 60), wider, "face").area == (5, 17, 35, 83)
    assert Style(dilation=0.2) == Style(dilation=Dilation(top=0.2, sides=0.2, bottom=0.2))


def test_the_blur_has_the_stated_sigma() -> None:
    before = np.zeros((401, 401), np.uint8)
    before[:, 200:] = 200
    after = redact_pixels(before, [box(0, 0, 401, 401, strength=0.1, noise=0)], KEY)
    slope = np.diff(after[200].astype(float))
    at = np.arange(400)
    mean = (slope * at).sum() / slope.sum()
    sigma = np.sqrt((slope * (at - mean) ** 2).sum() / slope.sum())
    assert sigma == pytest.approx(40.1, rel=0.1)


def test_grain_has_the_stated_deviation() -> None:
    grey = np.full((300, 300, 3), 128, np.uint8)
    after = redact_pixels(grey, [box(0, 0, 300, 300, noise=12)], KEY).astype(float)
    assert (after - cv2.blur(after, (9, 9)))[10:-10, 10:-10].std() == pytest.approx(3, rel=0.1)


def test_repr_never_shows_the_secret() -> None:
    assert "secret" not in repr(KEY)
    assert "seed" not in repr(KEY.field())


def test_solid_says_nothing_about_what_it_covers() -> None:
    a, b = textured(60, 60, seed=1), textured(60, 60, seed=2)
    boxes = [box(10, 10, 50, 50, mode="solid")]
    left, right = (redact_pixels(p, boxes, KEY)[10:50, 10:50] for p in (a, b))
    assert np.array_equal(left, right)


def test_colours_under_transparent_alpha_are_redacted() -> None:
    before = textured(80, 80, 4)
    before[:, :, 3] = 0
    after = redact_pixels(before, [box(10, 10, 70, 70)], KEY)
    assert np.array_equal(after[:, :, 3], before[:, :, 3])
    assert detail_gain(before[:, :, 0], after[:, :, 0], (10, 10, 70, 70)) < 0.3


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_shows_nothing_of_what_was_in_a_box(channels: int, depth: int) -> None:
    before = textured(80, 80, channels, depth=depth)
    after = redact_pixels(before, [box(10, 10, 70, 70)], KEY)
    inside = after[10:70, 10:70, -1]
    assert (inside == 2**depth - 1).all()
    outside = np.ones((80, 80), bool)
    outside[10:70, 10:70] = False
    assert np.array_equal(after[outside, -1], before[outside, -1])


def test_cmyk_has_no_alpha() -> None:
    before = textured(80, 80, 4)
    after = redact_pixels(before, [box(10, 10, 70, 70)], KEY, alpha=False)
    assert detail_gain(before[:, :, 3], after[:, :, 3], (10, 10, 70, 70)) < 0.3


def test_overlapping_boxes_are_blurred_once_by_the_strongest() -> None:
    before = textured(200, 200)
    weak, weaker = box(40, 40, 100, 100, strength=0.2), box(40, 40, 100, 100, strength=0.1)
    strong = box(60, 60, 160, 160, strength=0.5)
    first, second = (redact_pixels(before, [one, strong], KEY) for one in (weak, weaker))
    assert not np.array_equal(first, second)
    assert np.array_equal(first[60:160, 60:160], second[60:160, 60:160])


def noise_of(key: NoiseKey) -> Pixels:
    """Over 10 x 10 cells: the likeness of two fields is 0 +- 0.1."""
    grey = np.full((160, 160), 128, np.uint8)
    return redact_pixels(grey, [box(0, 0, 160, 160, strength=0.1)], key)


@pytest.mark.parametrize("mode", ["blur", "pixelate"])
def test_every_channel_has_noise_of_its_own(mode: str) -> None:
    """The differences of channels are what colours are coded as: they must not stay exact."""
    grey = np.full((160, 160, 3), 128, np.uint8)
    after = redact_pixels(grey, [box(0, 0, 160, 160, strength=0.1, mode=mode)], KEY).astype(int)
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert (after[:, :, one] - after[:, :, other]).std() > 1


def likeness(a: Pixels, b: Pixels) -> float:
    return abs(float(np.corrcoef(a.ravel(), b.ravel())[0, 1]))


def test_noise_depends_on_secret_and_picture() -> None:
    same = NoiseKey(KEY.secret, KEY.image_key)
    assert np.array_equal(noise_of(KEY), noise_of(same))
    others = [
        noise_of(NoiseKey(b"other", KEY.image_key)),
        noise_of(NoiseKey(KEY.secret, "2")),
        # cameras use the same names every day
        noise_of(NoiseKey(KEY.secret, KEY.image_key, "s3://raw/2026-11-22")),
    ]
    for a, b in itertools.combinations([noise_of(KEY), *others], 2):
        assert likeness(a, b) < 0.3


@pytest.mark.parametrize("mode", ["pixelate", "solid"])
@pytest.mark.parametrize("shift", [(1, 0), (0, 1), (-3, 2), (7, 7)])
def test_another_box_over_a_place_gives_no_second_sample(mode: str, shift: tuple[int, int]) -> None:
    """A rerun with other models, or the next frame's box: the same cells, the same noise.

    A blur is bent to what lies around its own box: see ``test_surroundings``.
    """
    before = textured(200, 200)
    dx, dy = shift
    first, second = (
        redact_pixels(before, [box(*area, mode=mode)], KEY)
        for area in [(40, 40, 140, 140), (40 + dx, 40 + dy, 140 + dx, 140 + dy)]
    )
    # beyond the outermost cells, whose outer neighbours differ, nothing may
    inner = np.s_[48:136, 48:136]
    assert np.array_equal(first[inner], second[inner])


def means_of(plane: Pixels, side: int) -> Pixels:
    """Averages of all cells of a whole picture."""
    height, width = plane.shape
    cells = np.array([0, 0, cells_in(width, side), cells_in(height, side)])
    return cell_means(plane, 0, 0, side, side, cells, np.array([width, height]), 1)


@pytest.mark.parametrize("length", [256, 257, 263, 264, 271, 272, 280, 287])
def test_coarse_cells_are_sums_of_fine_ones(length: int) -> None:
    plane = textured(length, length, 1)
    fine, coarse = means_of(plane, 16), means_of(plane, 32)
    ends = [0, *(16 * i for i in range(1, len(fine))), length]
    area = np.outer(np.diff(ends), np.diff(ends))
    starts = 2 * np.arange(len(coarse))
    sums, areas = (
        np.add.reduceat(np.add.reduceat(values, starts, 0), starts, 1)
        for values in (fine * area, area)
    )
    assert np.abs(sums / areas - coarse).max() < 1e-3


@pytest.mark.parametrize("mode", ["blur", "pixelate"])
def test_no_average_is_of_a_few_pixels_at_the_pictures_end(mode: str) -> None:
    before = textured(129, 129, 1)
    changed = before.copy()
    changed[128, 128] ^= 0x80
    boxes = [box(40, 20, 160, 160, mode=mode, noise=0)]
    a, b = (redact_pixels(p, boxes, KEY).astype(int) for p in (before, changed))
    assert np.abs(a - b).max() <= 1


def test_there_is_noise_at_every_scale() -> None:
    """A single scale of noise could be filtered away."""
    grey = np.full((512, 512), 128, np.uint8)
    after = redact_pixels(grey, [box(0, 0, 512, 512, strength=0.0625 * 2, noise=6)], KEY)
    levels = after.astype(np.float32) - 128
    bands = []
    for side in (1, 16, 64):
        means = means_of((levels * 64 + 8192).astype(np.uint16), side)
        finer = cv2.blur(means, (3, 3)) if side == 1 else cv2.blur(means, (5, 5))
        bands.append(float((means - finer).std()) / 64)
    assert min(bands) > 0.8, f"noise by scale: {bands}"


@pytest.mark.parametrize("mode", MODES)
def test_a_difference_of_one_pixel_is_all_but_gone(mode: str) -> None:
    """What is left of a pixel is its share of a cell."""
    before = textured(128, 128, 1)
    changed = before.copy()
    changed[64, 64] ^= 0x80
    boxes = [box(14, 14, 114, 114, mode=mode, noise=0)]
    a, b = (redact_pixels(p, boxes, KEY).astype(int) for p in (before, changed))
    assert np.abs(a - b).max() <= 1


def test_the_bytes_are_the_same_on_every_machine() -> None:
    """Golden: recompute only with a new redaction version."""
    before = np.random.default_rng(0).integers(60, 200, (48, 64, 3), dtype=np.uint8)
    after = redact_pixels(before, [box(8, 8, 40, 40)], KEY)
    inside = after[8:40, 8:40].astype(int)
    assert (int(inside.sum()), inside[0, 0].tolist(), inside[-1, -1].tolist()) == GOLDEN


GOLDEN = (380085, [118, 122, 129], [129, 126, 130])


@st.composite
def pictures_and_boxes(draw: st.DrawFn) -> tuple[Pixels, list[RedactionBox]]:
    width, height = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    channels = draw(st.sampled_from([1, 2, 3, 4]))
    depth = draw(st.sampled_from([8, 16]))
    corner, size = st.integers(-30, 80), st.integers(0, 90)
    boxes = []
    for _ in range(draw(st.integers(0, 4))):
        x, y = draw(corner), draw(corner)
        style = {
            "mode": draw(st.sampled_from(MODES)),
            "strength": draw(st.sampled_from([0.1, 0.25, 1.0])),
            "feather": draw(st.sampled_from([0.0, 0.15, 1.0])),
            "noise": draw(st.sampled_from([0.0, 6.0, 64.0])),
        }
        boxes.append(box(x, y, x + draw(size), y + draw(size), **style))
    return textured(width, height, channels, seed=draw(st.integers(0, 9)), depth=depth), boxes


@given(case=pictures_and_boxes(), shuffled=st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_only_the_boxes_change_in_any_order(
    case: tuple[Pixels, list[RedactionBox]], shuffled: Any
) -> None:
    pixels, boxes = case
    original = pixels.copy()
    after = redact_pixels(pixels, boxes, KEY)
    assert np.array_equal(pixels, original), "the input must stay untouched"
    assert after.shape == pixels.shape
    assert after.dtype == pixels.dtype
    outside = np.ones(pixels.shape[:2], bool)
    for b in boxes:
        area = touched_area(b, pixels.shape[1], pixels.shape[0])
        if area is not None:
            outside[area[1] : area[3], area[0] : area[2]] = False
    assert np.array_equal(after[outside], pixels[outside])
    other = list(boxes)
    shuffled.shuffle(other)
    assert np.array_equal(after, redact_pixels(pixels, other, KEY))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("area", [(-5, -5, 30, 30), (40, 40, 90, 90), (-9, -9, 99, 99)])
def test_boxes_over_the_border_are_redacted_up_to_it(
    mode: str, area: tuple[int, int, int, int]
) -> None:
    before = textured(64, 64)
    after = redact_pixels(before, [box(*area, mode=mode)], KEY)
    inside = (max(area[0], 0), max(area[1], 0), min(area[2], 64), min(area[3], 64))
    assert detail_gain(before, after, inside) < 0.35
