"""Outputs of photographs that keep too much in a box are refused; good ones, in any style, pass."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evaluation import refusals
from pipeline import redaction
from pipeline.encode import RedactedImage, redact_image
from pipeline.errors import OutputRejected
from pipeline.expected import Channel, changed_pixels, expected
from pipeline.images import ImageLimits, inspect_image
from pipeline.noise import NoiseKey
from pipeline.output_check import check_output
from pipeline.policy import load_policy
from pipeline.redaction import Plane, RedactionBox, redact_pixels, redact_planes
from serving.geometry import Box
from tests.pipeline.pictures import DATA, KINDS, box, faces, saved, textured

POLICY = load_policy("default")
KEY = NoiseKey(b"a secret of the operator, 32 byte", "street/1.jpg")
Shifts = Sequence[tuple[float, float]]


@cache
def labelled() -> tuple[tuple[bytes, RedactionBox], ...]:
    """Faces of at least 48 pixels with their files."""
    return tuple(
        (data, found)
        for data, boxes in faces(9)
        for xyxy in boxes
        for found in [RedactionBox.around(Box(*xyxy), POLICY.face.style, "face")]
        if min(found.x2 - found.x1, found.y2 - found.y1) >= 48
    )


def redacted(data: bytes, boxes: Sequence[RedactionBox]) -> RedactedImage:
    info = inspect_image(data, ImageLimits())
    return redact_image(data, info, boxes, noise=KEY, policy=POLICY)


def verdict(
    data: bytes, made: RedactedImage, boxes: Sequence[RedactionBox], *, whole: bool = False
) -> str:
    """Why the output would not be published; empty if it would."""
    info = inspect_image(data, ImageLimits())
    try:
        check_output(data, info, made.data, boxes, POLICY, spliced=made.spliced, whole=whole)
    except OutputRejected as error:
        return error.reason
    return ""


def shifted(one: RedactionBox, shifts: Shifts) -> list[RedactionBox]:
    width, height = one.x2 - one.x1, one.y2 - one.y1
    return [
        one.moved(
            (
                int(one.x1 + x * width),
                int(one.y1 + y * height),
                int(one.x2 + x * width),
                int(one.y2 + y * height),
            )
        )
        for x, y in shifts
    ]


@pytest.mark.parametrize(
    "shifts",
    [[(0.75, 0), (-0.75, 0)], [(0, 0.75), (0, -0.75)], [(0.85, 0), (-0.85, 0), (0, 0.85)]],
)
def test_a_sharp_strip_between_other_boxes_is_found(shifts: Shifts) -> None:
    for data, skipped in labelled():
        others = shifted(skipped, shifts)
        assert verdict(data, redacted(data, others), [skipped, *others]) == "not_obscured"


@pytest.mark.parametrize(("wide", "least"), [(0.12, 0.7), (0.25, 0.85)])
def test_a_strip_under_the_soft_edge_of_a_box_beside_it_is_mostly_found(
    wide: float, least: float
) -> None:
    """The edge mixes the noise of two boxes: that excuses what has the edge's shape, no more."""
    found = []
    for data, skipped in labelled():
        width, height = skipped.x2 - skipped.x1, skipped.y2 - skipped.y1
        beside = skipped.moved(
            (
                int(skipped.x1 + wide * width),
                int(skipped.y1 - 0.25 * height),
                int(skipped.x2 + 0.25 * width),
                int(skipped.y2 + 0.25 * height),
            )
        )
        found.append(verdict(data, redacted(data, [beside]), [skipped, beside]))
    assert found.count("not_obscured") >= least * len(found)


def test_many_boxes_hide_nothing_that_is_left_sharp() -> None:
    for data, face in labelled():
        draw = random.Random(1)
        shifts = [(draw.uniform(-0.4, 0.4), draw.uniform(-0.4, 0.4)) for _ in range(100)]
        tiny = box(0, 0, 1, 1, strength=0.1, feather=0)
        boxes = [*shifted(face, shifts), tiny]
        assert verdict(data, redacted(data, [tiny]), boxes) == "not_obscured"


@pytest.mark.parametrize("kind", ["png-rgb", "tiff-cmyk", "webp-lossless"])
@pytest.mark.parametrize("area", [(41, 33, 104, 60), (40, 33, 105, 60), (95, 29, 121, 66)])
def test_colours_beside_a_box_with_odd_borders_are_not_taken_for_its_own(
    kind: str, area: tuple[int, int, int, int]
) -> None:
    """Colours are judged at half the size: of some samples a part lies outside, sharp as it was."""
    data = KINDS[kind](132, 108)
    one = RedactionBox(*area, POLICY.plate.style, "plate")
    assert verdict(data, redacted(data, [one]), [one]) == ""


@pytest.mark.parametrize(
    ("strength", "weaker", "least"),
    [(0.4, 4, 0.2), (0.4, 8, 0.6), (0.4, 16, 0.7), (2.0, 8, 0.4), (2.0, 16, 0.9)],
)
def test_smaller_cells_than_the_policy_s_are_found(
    strength: float, weaker: int, least: float
) -> None:
    """As far as they leave more than the policy allows: a blur that is bent leaves less."""
    found = []
    for data, one in labelled():
        style = POLICY.face.style.model_copy(update={"strength": strength})
        face = RedactionBox(*one.area, style, one.label)
        with refusals.smaller_cells(weaker):
            made = redacted(data, [face])
        found.append(verdict(data, made, [face]))
    assert found.count("not_obscured") >= least * len(found)
    assert set(found) <= {"not_obscured", ""}


def test_colours_left_are_found() -> None:
    for data, face in labelled():
        with refusals.colours_left():
            made = redacted(data, [face])
        assert verdict(data, made, [face]) == "not_obscured"


def test_colours_left_in_a_file_of_pixels_are_found() -> None:
    grey = textured(160, 120, 1).astype(float)
    tint = 40 * np.sin(np.arange(160) / 3)[None, :, None] * np.array([1, 0, -1])
    before = np.clip(0.3 * grey[:, :, None] + 90 + tint, 0, 255).astype(np.uint8)
    boxes = [box(30, 20, 110, 100)]
    data = saved(before, "PNG")
    good = redacted(data, boxes)
    assert verdict(data, good, boxes) == ""
    after = redact_pixels(before, boxes, KEY).astype(float)
    change = (after - before).mean(axis=2, keepdims=True)
    left = np.clip(before + change, 0, 255).astype(np.uint8)
    info = inspect_image(data, ImageLimits())
    with pytest.raises(OutputRejected, match="keeps its detail"):
        check_output(data, info, saved(left, "PNG"), boxes, POLICY)


MIXES = [
    [{"mode": "pixelate", "noise": 20}, {"mode": "blur", "noise": 20, "feather": 0.5}],
    [{"mode": "pixelate", "noise": 0}, {"mode": "solid", "feather": 0}],
    [{"mode": "blur", "strength": 2}, {"mode": "pixelate", "strength": 0.1}],
    [{"mode": "solid"}, {"mode": "blur", "strength": 1, "noise": 0}],
]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("styles", MIXES)
def test_good_outputs_pass_where_styles_overlap(styles: list[dict[str, Any]], whole: bool) -> None:
    for data, face in labelled():
        first, second = shifted(face, [(0.1, 0), (0.4, -0.3)])
        boxes = [
            face,
            *(box(*b.area, **s) for b, s in zip((first, second), styles, strict=True)),
        ]
        assert verdict(data, redacted(data, boxes), boxes, whole=whole) == ""


def test_a_mosaic_at_the_border_passes() -> None:
    """Its blocks' edges fall on edges of the source."""
    path = DATA / "dev" / "plate_negatives" / "images" / "neg-0512.jpg"
    if not path.is_file():
        pytest.skip(f"no development data under {DATA} (set STREETBLUR_DATA)")
    data, boxes = path.read_bytes(), [box(-80, 84, 53, 217, mode="pixelate")]
    assert verdict(data, redacted(data, boxes), boxes, whole=True) == ""


def mixed_boxes() -> Iterator[list[RedactionBox]]:
    draw = random.Random(4)
    for _ in range(30):
        boxes = []
        for _ in range(draw.randint(1, 4)):
            x, y, side = draw.randint(-40, 180), draw.randint(-40, 130), draw.randint(6, 160)
            boxes.append(
                box(
                    x,
                    y,
                    x + side,
                    y + draw.randint(6, 160),
                    mode=draw.choice(["blur", "pixelate", "solid"]),
                    strength=draw.choice([0.1, 0.4, 1, 2]),
                    feather=draw.choice([0, 0.15, 0.5]),
                    noise=0,
                )
            )
        yield boxes


def test_what_is_expected_is_what_a_redaction_without_noise_gives() -> None:
    """Two codes that share nothing but the boxes."""
    before = textured(197, 131, 1)
    for boxes in mixed_boxes():
        aim = expected(
            Channel(before.astype(np.float32), 0, 0, 1, 1, (197, 131), shared=True),
            boxes,
            changed_pixels(boxes, (197, 131)),
        )
        after = redact_pixels(before, boxes, KEY)
        judged = aim.owner >= 0
        assert np.abs(aim.levels - after)[judged].max(initial=0) <= 1.5, boxes


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("mode", ["blur", "pixelate", "solid"])
def test_a_coder_s_padding_is_expected_as_it_is_redacted(mode: str, step: int) -> None:
    """It shares its blocks with the picture's last samples."""
    width, height = 197, 131
    coded = textured(208, 144, 1)[::step, ::step].copy()
    own = (-(-width // step), -(-height // step))
    for area in ((150, 90, 197, 131), (150, 90, 240, 170), (20, 90, 120, 131), (150, 20, 196, 60)):
        boxes = [box(*area, mode=mode, noise=0, strength=1.0, feather=0.1)]
        after = coded.copy()
        plane = Plane(coded, after, 0, 0, *own, step, step, None, step == 1)
        redact_planes([plane], boxes, KEY.field(), (width, height))
        channel = Channel(
            coded.astype(np.float32), 0, 0, step, step, (width, height), shared=step == 1
        )
        aim = expected(channel, boxes, changed_pixels(boxes, (width, height)))
        assert np.abs(aim.levels - after).max() <= 1.5, area


def refused_under(data: bytes, boxes: Sequence[RedactionBox], secrets: int = 20) -> int:
    """How many of ``secrets`` good outputs are refused."""
    info = inspect_image(data, ImageLimits())
    refused = 0
    for number in range(secrets):
        noise = NoiseKey(b"a secret of the operator %7d" % number, "street/1.jpg")
        made = redact_image(data, info, boxes, noise=noise, policy=POLICY)
        refused += verdict(data, made, boxes, whole=True) != ""
    return refused


@pytest.mark.parametrize("height", [281, 285, 289])
def test_good_outputs_pass_at_the_end_of_a_picture_that_is_padded(height: int) -> None:
    """What its padding comes to is not what is left in its last row."""
    before = textured(400, height) // 6 + 30
    before[-8:] += 150
    data = saved(before, "JPEG", quality=60, subsampling=2)
    boxes = [box(20, height - 16, 380, height, strength=2.0, feather=0, noise=8)]
    assert refused_under(data, boxes) == 0


def test_good_outputs_of_coarse_files_pass_beside_what_stays_sharp() -> None:
    """Where a block is half in a box, its ringing looks like the other half."""
    dots = np.where(textured(200, 160, 1, 1) > 150, 235, 40).astype(np.uint8)
    data = saved(np.dstack([dots] * 3), "JPEG", quality=5)
    assert refused_under(data, [box(42, 33, 92, 51, strength=2.0, feather=0, noise=8)]) == 0


@pytest.mark.parametrize("change", [8, 12, 20])
def test_good_outputs_pass_where_one_box_s_noise_fades_into_another_s(change: int) -> None:
    """The source's colours change over the same rows as the noise does."""
    rows = np.clip((np.arange(900) - 137) / 38, 0, 1) * change - change / 2 + 128
    colours = np.full((900, 700, 3), 128, np.uint8)
    colours[:, :, 1] = rows[:, None]
    file = io.BytesIO()
    Image.fromarray(colours, "YCbCr").save(file, "JPEG", quality=92, subsampling=2)
    style = {"strength": 2.0, "noise": 8, "feather": 0.07}
    boxes = [box(100, 175, 564, 794, **style), box(124, 137, 528, 597, **style)]
    assert refused_under(file.getvalue(), boxes) == 0


def test_the_check_does_not_redact_with_the_code_it_checks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, face = labelled()[0]
    made = redacted(data, [face])
    monkeypatch.setattr(redaction, "paint", None)
    monkeypatch.setattr(redaction, "redact_planes", None)
    assert verdict(data, made, [face]) == ""


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("wrong", [4, 32])
def test_cells_of_a_wrong_size_are_noticed(
    file_format: str, wrong: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in the number that security rests on, which writer and check must not share."""
    data = saved(textured(300, 240), file_format)
    boxes = [box(60, 40, 220, 200, strength=1.0)]
    monkeypatch.setattr(redaction, "_cell_px", lambda width, height, strength: wrong)
    made = redacted(data, boxes)
    assert verdict(data, made, boxes) == "not_obscured"
