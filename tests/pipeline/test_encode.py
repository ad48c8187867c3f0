"""Whole files: redacted, written again in the same format, checked."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.containers import png
from pipeline.decode import decode_stored, decode_upright
from pipeline.encode import redact_image, stored_boxes
from pipeline.errors import OutputRejected
from pipeline.images import ImageInfo, ImageLimits, inspect_image
from pipeline.jpeg.segments import parse_jpeg, quantisation_tables
from pipeline.noise import NoiseKey
from pipeline.output_check import check_output
from pipeline.redaction import RedactionBox
from pipeline.remaining import remaining_pictures
from serving.geometry import Box
from tests.pipeline.pictures import KINDS, LADEN, box, faces, policy, saved, segment, textured
from tests.pipeline.test_redaction import detail_gain, ellipse

KEY = NoiseKey(b"secret", "a.jpg")
POLICY = policy()
AREA = (24, 16, 72, 48)


def inspect(data: bytes) -> ImageInfo:
    return inspect_image(data, ImageLimits())


def redacted(data: bytes, boxes: list[RedactionBox], **changes: Any) -> bytes:
    return redact_image(data, inspect(data), boxes, noise=KEY, policy=policy(**changes)).data


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_redacted_in_its_own_format(kind: str) -> None:
    data = KINDS[kind](97, 61)
    info = inspect(data)
    boxes = [box(*AREA)]
    result = redact_image(data, info, boxes, noise=KEY, policy=POLICY)
    check_output(data, info, result.data, boxes, POLICY)
    after = inspect(result.data)
    assert (after.format, after.mode, after.bit_depth) == (info.format, info.mode, info.bit_depth)
    assert after.progressive == info.progressive
    before, after_pixels = decode_upright(data, info), decode_upright(result.data, after)
    assert detail_gain(before, after_pixels, AREA) < 0.35
    far = np.s_[:, 85:]
    error = np.abs(before[far].astype(int) - after_pixels[far]).mean()
    assert error == 0 if info.lossless else error < 6


@pytest.mark.parametrize("kind", KINDS)
def test_without_boxes_no_pixel_changes(kind: str) -> None:
    data = KINDS[kind](97, 61)
    info = inspect(data)
    result = redact_image(data, info, [], noise=KEY, policy=POLICY)
    check_output(data, info, result.data, [], POLICY)
    assert result.route == ("reencoded" if info.format == "tiff" else "metadata_only")
    again = inspect(result.data)
    assert np.array_equal(decode_stored(data, info), decode_stored(result.data, again))


@pytest.mark.parametrize("kind", ["jpeg-420", "jpeg-422", "jpeg-444", "jpeg-progressive"])
def test_jpeg_coding_follows_the_source(kind: str) -> None:
    data = KINDS[kind](97, 61)
    output = redacted(data, [box(*AREA)])
    before, after = parse_jpeg(data), parse_jpeg(output)
    assert quantisation_tables(output, after) == quantisation_tables(data, before)
    assert [(c.horizontal, c.vertical) for c in after.components] == [
        (c.horizontal, c.vertical) for c in before.components
    ]


def test_a_policy_may_choose_the_quality() -> None:
    data = KINDS["jpeg-420"](97, 61)
    coarse = redacted(data, [box(*AREA)], jpeg={"quality": 50})
    assert len(coarse) < len(redacted(data, [box(*AREA)]))


def test_same_input_same_bytes() -> None:
    for kind in ("jpeg-420", "png-rgb", "webp-lossy", "tiff-lzw"):
        data = KINDS[kind](97, 61)
        assert redacted(data, [box(*AREA)]) == redacted(data, [box(*AREA)])


def lands_on_the_face(data: bytes, info: ImageInfo, seen_as: ImageInfo) -> bool:
    """Whether redacting with ``seen_as`` obscures AREA of the upright picture."""
    boxes = [box(*AREA)]
    result = redact_image(data, seen_as, boxes, noise=KEY, policy=POLICY)
    after = decode_upright(result.data, info)
    return detail_gain(decode_upright(data, info), after, AREA) < 0.35


@pytest.mark.parametrize("file_format", sorted(LADEN))
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_blur_lands_on_the_face_in_every_orientation(
    file_format: str, orientation: int
) -> None:
    data = LADEN[file_format](textured(150, 120), orientation)
    info = inspect(data)
    assert lands_on_the_face(data, info, info)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_the_orientation_test_catches_an_ignored_tag(orientation: int) -> None:
    data = LADEN["jpeg"](textured(150, 120), orientation)
    info = inspect(data)
    assert not lands_on_the_face(data, info, dataclasses.replace(info, orientation=1))


def test_boxes_keep_their_style_when_turned() -> None:
    info = inspect(LADEN["jpeg"](textured(150, 120), 6))
    moved = stored_boxes([box(10, 20, 40, 80, mode="solid")], info)
    assert [b.style.mode for b in moved] == ["solid"]
    assert moved[0].area == (20, 80, 80, 110)


def rejection(source: bytes, output: bytes, boxes: list[RedactionBox]) -> str:
    with pytest.raises(OutputRejected) as caught:
        check_output(source, inspect(source), output, boxes, POLICY)
    return caught.value.reason


def test_an_output_that_is_wrong_is_rejected() -> None:
    pixels = textured(150, 120)
    source = saved(pixels, "JPEG", quality=90)
    boxes = [box(*AREA)]
    good = redacted(source, boxes)
    check_output(source, inspect(source), good, boxes, POLICY)
    assert rejection(source, source, boxes) == "not_obscured"
    assert rejection(source, redacted(source, [box(80, 60, 120, 100)]), boxes) == "not_obscured"
    assert rejection(source, good[: len(good) // 2], boxes) == "undecodable"
    assert rejection(source, good[:800] + b"\xff\xd9", boxes) == "undecodable"
    assert rejection(source, good + b"\0", boxes) == "embedded_picture"
    assert rejection(source, saved(pixels, "PNG"), boxes) == "format_changed"
    assert rejection(source, saved(pixels[1:], "JPEG"), boxes) == "size_changed"
    turned = Image.Exif()
    turned[0x0112] = 6
    tagged = good[:2] + segment(0xE1, turned.tobytes()) + good[2:]
    assert rejection(source, tagged, boxes) == "orientation_changed"


@pytest.mark.parametrize("orientation", [1, 6])
def test_an_output_whose_alpha_still_shows_the_face_is_rejected(orientation: int) -> None:
    pixels = np.dstack([textured(150, 120), np.full((120, 150), 255, np.uint8)])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = [b.area for b in stored_boxes([box(*AREA)], inspect(_png(pixels, exif)))]
    ((x1, y1, x2, y2),) = stored
    pixels[y1:y2, x1:x2, 3] = textured(x2 - x1, y2 - y1, 1, seed=1)
    source = _png(pixels, exif)
    good = redacted(source, [box(*AREA)])
    check_output(source, inspect(source), good, [box(*AREA)], POLICY)
    shown = decode_stored(good, inspect(good)).copy()
    shown[..., 3] = pixels[..., 3]
    assert rejection(source, _png(shown, exif), [box(*AREA)]) == "not_obscured"


def _png(pixels: np.ndarray, exif: Image.Exif) -> bytes:
    return saved(pixels, "PNG", exif=exif)


def _cut_jpeg(data: bytes) -> bytes:
    return data[: len(data) // 2] + b"\xff\xd9"


def _cut_png(data: bytes) -> bytes:
    chunks = png.parse_png(data).chunks
    return png.join_chunks((kind, part[:-40] if kind == b"IDAT" else part) for kind, part in chunks)


def _spoilt_tiff(data: bytes) -> bytes:
    return data[:-400] + b"\xff" * 400


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("jpeg-420", _cut_jpeg),
        ("png-rgb", _cut_png),
        ("tiff-lzw", _spoilt_tiff),
    ],
)
def test_an_output_without_boxes_is_rejected_if_it_does_not_decode(
    kind: str, spoil: Callable[[bytes], bytes]
) -> None:
    source = KINDS[kind](97, 61)
    good = redacted(source, [])
    check_output(source, inspect(source), good, [], POLICY)
    broken = spoil(good)
    inspect(broken)  # its structure says nothing
    assert remaining_pictures(broken) == []
    assert rejection(source, broken, []) == "undecodable"


def test_an_ellipse_is_rejected() -> None:
    pixels = textured(150, 120)
    source = saved(pixels, "PNG")
    area = [box(24, 16, 88, 80)]
    check_output(source, inspect(source), redacted(source, area), area, POLICY)
    broken = saved(ellipse(pixels, area, KEY), "PNG")
    assert rejection(source, broken, area) == "not_obscured"


@pytest.mark.parametrize("mode", ["blur", "pixelate", "solid"])
def test_flat_pictures_pass_the_check(mode: str) -> None:
    source = saved(np.full((90, 90, 3), 77, np.uint8), "PNG")
    boxes = [box(10, 10, 60, 60, mode=mode, noise=0)]
    check_output(source, inspect(source), redacted(source, boxes), boxes, POLICY)


@pytest.mark.parametrize("mode", ["blur", "pixelate", "solid"])
def test_photographed_faces(mode: str) -> None:
    for data, areas in faces(4):
        style = box(0, 0, 1, 1, mode=mode).style
        boxes = [RedactionBox.around(Box(*area), style, "face") for area in areas]
        info = inspect(data)
        result = redact_image(data, info, boxes, noise=KEY, policy=POLICY)
        check_output(data, info, result.data, boxes, POLICY)
        with pytest.raises(OutputRejected):
            check_output(data, info, _coded_again(data), boxes, POLICY)


def _coded_again(data: bytes) -> bytes:
    """The same picture at a low quality: changed everywhere, obscured nowhere."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").save(buffer, "JPEG", quality=40)
    return buffer.getvalue()
