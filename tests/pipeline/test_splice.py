"""Only what lies under a mask changes: every encoder's files, judged by other libraries."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.encode import RedactedImage, redact_image
from pipeline.images import ImageInfo, ImageLimits, inspect_image
from pipeline.jpeg import sequential, splice, whole
from pipeline.jpeg.coverage import block_uses
from pipeline.jpeg.dct import DECODED
from pipeline.jpeg.frame import Frame, frame_of
from pipeline.jpeg.segments import SOS, parse_jpeg
from pipeline.noise import NoiseKey
from pipeline.output_check import check_output
from pipeline.redaction import RedactionBox, needed_area, redact_planes, touched_area
from tests.pipeline.jpegs import ARITHMETIC, VARIANTS, by_libjpeg, by_pillow, coefficients, decoded
from tests.pipeline.pictures import Pixels, box, policy, saved, segment, textured
from tests.pipeline.test_redaction import detail_gain

KEY = NoiseKey(b"a secret of the operator, 32 byte", "street/1.jpg")
POLICY = policy()
BOXES = [box(30, 22, 75, 70), box(60, 50, 90, 81, mode="pixelate"), box(150, 90, 230, 140)]
SIZE = (197, 131)


def inspect(data: bytes) -> ImageInfo:
    return inspect_image(data, ImageLimits())


def redacted(data: bytes, boxes: list[RedactionBox]) -> RedactedImage:
    """``data`` redacted, and its output checked in both ways."""
    info = inspect(data)
    made = redact_image(data, info, boxes, noise=KEY, policy=POLICY)
    check_output(data, info, made.data, boxes, POLICY, spliced=made.spliced)
    return made


def touched_blocks(data: bytes, boxes: list[RedactionBox]) -> list[np.ndarray[Any, Any]]:
    """For each component, which blocks a mask reaches: worked out pixel by pixel."""
    structure = parse_jpeg(data)
    frame = frame_of(data, structure)
    mask = np.zeros((frame.mcus_y * frame.mcu_height, frame.mcus_x * frame.mcu_width), bool)
    for one in boxes:
        area = touched_area(one, frame.width, frame.height)
        if area is not None:
            right = None if area[2] == frame.width else area[2]
            bottom = None if area[3] == frame.height else area[3]
            mask[area[1] : bottom, area[0] : right] = True
    out = []
    for grid in frame.components:
        down, across = 8 * grid.step_y, 8 * grid.step_x
        rows, columns = mask.shape[0] // down, mask.shape[1] // across
        out.append(mask.reshape(rows, down, columns, across).any(axis=(1, 3)))
    return out


def assert_only_touched_blocks_differ(data: bytes, output: bytes, boxes: list[Any]) -> None:
    masks = touched_blocks(data, boxes)
    for before, after, mask in zip(coefficients(data), coefficients(output), masks, strict=True):
        differ = (before != after).any(axis=(2, 3))
        assert not (differ & ~mask[: differ.shape[0], : differ.shape[1]]).any()


def assert_only_touched_pixels_differ(data: bytes, output: bytes, boxes: list[Any]) -> None:
    """Where colours are subsampled, decoders spill one pixel over a changed block's border."""
    before, after = decoded(data), decoded(output)
    allowed = np.zeros(before.shape[:2], bool)
    frame = frame_of(data, parse_jpeg(data))
    for mask, grid in zip(touched_blocks(data, boxes), frame.components, strict=True):
        down, across = 8 * grid.step_y, 8 * grid.step_x
        spill = int(grid.step_x > 1 or grid.step_y > 1)
        for row, column in np.argwhere(mask):
            top, left = max(row * down - spill, 0), max(column * across - spill, 0)
            allowed[top : (row + 1) * down + spill, left : (column + 1) * across + spill] = True
    assert not ((before != after).any(axis=2) & ~allowed).any()


@pytest.mark.parametrize("name", VARIANTS)
def test_coefficients_outside_the_touched_blocks_are_the_source_s(name: str) -> None:
    data = VARIANTS[name](textured(*SIZE))
    made = redacted(data, BOXES)
    assert made.route in ("spliced", "rewritten"), made.notes
    assert_only_touched_blocks_differ(data, made.data, BOXES)


@pytest.mark.parametrize("name", VARIANTS)
def test_decoded_pixels_outside_are_the_source_s(name: str) -> None:
    data = VARIANTS[name](textured(*SIZE))
    assert_only_touched_pixels_differ(data, redacted(data, BOXES).data, BOXES)


@pytest.mark.parametrize("name", VARIANTS)
def test_what_is_inside_is_gone(name: str) -> None:
    data = VARIANTS[name](textured(*SIZE))
    before, after = (np.squeeze(decoded(p)) for p in (data, redacted(data, BOXES).data))
    for one in BOXES[::2]:
        area = (one.x1, one.y1, min(one.x2, SIZE[0]), min(one.y2, SIZE[1]))
        assert detail_gain(before, after, area) < 0.35


@pytest.mark.parametrize("name", [n for n in VARIANTS if "restart" in n])
def test_restart_markers_stay(name: str) -> None:
    data = VARIANTS[name](textured(*SIZE))
    output = redacted(data, BOXES).data

    def markers(one: bytes) -> int:
        return sum(one.count(bytes([0xFF, 0xD0 + i])) for i in range(8))

    assert markers(output) == markers(data) > 0


def test_files_of_one_scan_are_spliced_and_others_are_rewritten() -> None:
    routes = {name: redacted(make(textured(*SIZE)), BOXES).route for name, make in VARIANTS.items()}
    several = {name for name in VARIANTS if "progressive" in name} | {
        "libjpeg-moz",
        "libjpeg-moz-444",
    }
    assert {name for name, route in routes.items() if route == "rewritten"} == several


def test_bits_outside_the_touched_units_are_the_source_s() -> None:
    """A box in the middle: the file begins and ends with the source's very bytes."""
    data = VARIANTS["opencv-restart"](textured(*SIZE))
    output = redacted(data, [box(90, 60, 110, 80)]).data
    (before,) = (s for s in parse_jpeg(data).segments if s.marker == SOS)
    (after,) = (s for s in parse_jpeg(output).segments if s.marker == SOS)
    coded, new = data[before.stop : before.scan_stop], output[after.stop : after.scan_stop]
    assert coded != new
    assert coded[: len(coded) // 4] == new[: len(coded) // 4]
    assert coded[-len(coded) // 4 :] == new[-len(coded) // 4 :]


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_coding_is_coded_again_and_says_so(name: str) -> None:
    data = ARITHMETIC[name](textured(*SIZE))
    made = redacted(data, BOXES)
    assert (made.route, made.notes) == ("reencoded", ("not_spliced_arithmetic",))
    assert redacted(data, []).route == "metadata_only"


def test_progressive_files_full_of_restart_markers_are_coded_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each stretch of each scan takes time of its own: 20 s for 2 megapixels."""
    data = saved(textured(*SIZE), "JPEG", progressive=True, restart_marker_blocks=1)
    assert redacted(data, BOXES).route == "rewritten"
    monkeypatch.setattr(whole, "_MOST_STRETCHES", 300)
    made = redacted(data, BOXES)
    assert (made.route, made.notes) == ("reencoded", ("not_spliced_restarts",))


def test_scans_of_one_component_each_are_rewritten() -> None:
    """As cameras of the nineties wrote them; here made from a file of one scan."""
    data = one_scan_a_component(VARIANTS["libjpeg-6b"](textured(*SIZE)))
    assert parse_jpeg(data).scans == 3
    made = redacted(data, BOXES)
    assert made.route == "rewritten"
    assert_only_touched_blocks_differ(data, made.data, BOXES)


def one_scan_a_component(data: bytes) -> bytes:
    """The same coefficients in three sequential scans."""
    from dataclasses import replace

    from pipeline.jpeg.frame import scans_of
    from pipeline.jpeg.whole import WholePicture

    structure = parse_jpeg(data)
    frame = frame_of(data, structure)
    (scan,) = scans_of(data, structure)
    whole = WholePicture(data, structure, frame, [scan])
    parts = [s.whole(data) for s in structure.segments if s.marker not in (SOS, 0xC4)]
    out = b"\xff\xd8" + b"".join(parts)
    for number, component in enumerate(structure.components):
        table = int(number > 0)
        header = bytes([1, component.identifier, table << 4 | table, 0, 63, 0])
        own = replace(
            scan,
            components=(number,),
            dc=(scan.dc[number],),
            ac=(scan.ac[number],),
            dc_numbers=(table,),
            ac_numbers=(table,),
        )
        pieces = list(whole._written_scan(own, whole.coefficients))
        pieces[1] = segment(SOS, header)
        out += b"".join(pieces)
    return out + b"\xff\xd9"


def flat_but_for_a_spot() -> Pixels:
    pixels = np.full((96, 128, 3), 90, np.uint8)
    pixels[8:16, 8:16] = textured(8, 8)
    return pixels


def test_tables_that_lack_a_code_are_made_anew() -> None:
    """A black and white board of single blocks has DC differences of 0 and one size alone."""
    board = np.kron(np.indices((8, 8)).sum(axis=0) % 2, np.ones((8, 8))).astype(np.uint8) * 255
    data = by_pillow("L", quality=50, optimize=True)(np.repeat(board[:, :, None], 3, axis=2))
    boxes = [box(13, 13, 51, 51, noise=0)]
    made = redacted(data, boxes)
    assert made.route == "rewritten"
    assert_only_touched_blocks_differ(data, made.data, boxes)


def test_visible_coefficients_without_a_code_get_new_tables() -> None:
    data = by_libjpeg("turbo210", 90, ("+OPTIMIZE_CODING",), None)(flat_but_for_a_spot())
    boxes = [box(60, 30, 110, 80)]
    made = redacted(data, boxes)
    assert made.route == "rewritten"
    assert_only_touched_blocks_differ(data, made.data, boxes)


def test_faint_coefficients_without_a_code_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of a picture that is half textured lack a code for little of the noise elsewhere."""
    pixels = np.full((96, 128, 3), 90, np.uint8)
    pixels[:, :64] = textured(64, 96)
    data = by_libjpeg("turbo210", 90, ("+OPTIMIZE_CODING",), None)(pixels)
    boxes = [box(60, 30, 110, 80)]
    made = redacted(data, boxes)
    assert made.route == "spliced"
    assert_only_touched_blocks_differ(data, made.data, boxes)
    monkeypatch.setattr(sequential, "FAINT", 0)
    assert redacted(data, boxes).route == "rewritten"


@pytest.mark.parametrize(
    "size", [(1, 1), (7, 9), (8, 8), (16, 16), (17, 15), (33, 1), (1, 33), (64, 48)]
)
@pytest.mark.parametrize("name", ["simplejpeg-420", "simplejpeg-411", "pillow-grey", "libjpeg-moz"])
def test_small_and_odd_sizes(name: str, size: tuple[int, int]) -> None:
    data = VARIANTS[name](textured(*size))
    boxes = [box(-3, -3, max(size[0] // 2, 1), max(size[1] // 2, 1))]
    made = redacted(data, boxes)
    assert made.route in ("spliced", "rewritten")
    assert_only_touched_blocks_differ(data, made.data, boxes)


@pytest.mark.parametrize(
    ("name", "padded"), [("simplejpeg-420", 64), ("simplejpeg-444", 56), ("pillow-grey", 56)]
)
def test_padding_behind_the_border_does_not_show_what_was_there(name: str, padded: int) -> None:
    """Encoders repeat the last column in the padding; whoever enlarges the frame would see it."""
    data = VARIANTS[name](textured(49, 49))
    boxes = [box(20, 20, 49, 49)]
    output = redacted(data, boxes).data
    shown = (np.squeeze(decoded(enlarged(one, padded))) for one in (data, output))
    before, after = shown
    padding = (49, 24, padded, 48)
    assert detail_gain(before, after, padding) < 0.35
    assert detail_gain(before, before, padding) == pytest.approx(1)


def enlarged(data: bytes, side: int) -> bytes:
    """The file with another size in its frame header: shows the padding of the last blocks."""
    at = next(i for i in range(len(data)) if data[i : i + 2] in (b"\xff\xc0", b"\xff\xc2"))
    return data[: at + 5] + 2 * side.to_bytes(2, "big") + data[at + 9 :]


@pytest.mark.parametrize(
    "name", ["simplejpeg-420", "simplejpeg-444", "opencv-restart", "pillow-grey"]
)
def test_blocks_that_are_not_decoded_make_no_difference(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Averages from DC values and blocks replaced unseen, against every block decoded."""
    data = VARIANTS[name](textured(*SIZE))
    boxes = [box(20, 18, 117, 110, noise=0), box(120, 40, 170, 90, noise=0)]
    made: dict[str, list[Any]] = {"quick": [], "slow": []}

    def quickly(planes: Any, *rest: Any) -> None:
        redact_planes(planes, *rest)
        made["quick"] += planes

    def slowly(planes: Any, *rest: Any) -> None:
        alone = [dataclasses.replace(p, averages=NOTHING) for p in planes]
        redact_planes(alone, *rest)
        made["slow"] += alone

    def everything(*arguments: Any) -> list[Any]:
        return [np.full_like(uses, DECODED) for uses in block_uses(*arguments)]

    def whole_cells(frame: Frame, one: RedactionBox) -> Any:
        return needed_area(one, frame.width, frame.height)

    monkeypatch.setattr(splice, "redact_planes", quickly)
    quick = decoded(redacted(data, boxes).data).astype(int)
    monkeypatch.setattr(splice, "block_uses", everything)
    monkeypatch.setattr(splice, "coded_area", whole_cells)
    monkeypatch.setattr(splice, "redact_planes", slowly)
    slow = decoded(redacted(data, boxes).data).astype(int)
    for area in [b.area for b in boxes]:
        pair = [[part for p in made[way] if (part := within(p, area))] for way in ("quick", "slow")]
        assert pair[0]
        for (channel, one), (other_channel, other) in zip(*pair, strict=True):
            assert channel == other_channel
            assert np.abs(one - other).max() <= 1
    assert np.abs(quick - slow).mean() < 0.5, "a quantisation step here and there"


def within(plane: Any, area: tuple[int, int, int, int]) -> tuple[int | None, Any] | None:
    """What became of ``area``, if the plane holds all of it."""
    left, right = (x // plane.step_x - plane.left for x in area[::2])
    top, bottom = (y // plane.step_y - plane.top for y in area[1::2])
    if min(left, top) < 0 or right > plane.out.shape[1] or bottom > plane.out.shape[0]:
        return None
    return plane.channel, plane.out[top:bottom, left:right].astype(int)


NOTHING = np.empty((0, 0), np.int32)


@st.composite
def cases(draw: st.DrawFn) -> tuple[bytes, list[RedactionBox]]:
    width, height = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    name = draw(st.sampled_from([n for n in VARIANTS if not n.startswith("libjpeg")]))
    corner, side = st.integers(-30, 100), st.integers(0, 110)
    boxes = []
    for _ in range(draw(st.integers(1, 5))):
        x, y = draw(corner), draw(corner)
        style = {
            "mode": draw(st.sampled_from(["blur", "pixelate", "solid"])),
            "strength": draw(st.sampled_from([0.1, 0.25, 1.0])),
            "feather": draw(st.sampled_from([0.0, 0.15, 1.0])),
            "noise": draw(st.sampled_from([0.0, 6.0, 64.0])),
        }
        boxes.append(box(x, y, x + draw(side), y + draw(side), **style))
    return VARIANTS[name](textured(width, height, seed=draw(st.integers(0, 9)))), boxes


@given(case=cases())
@settings(max_examples=150, deadline=None)
def test_any_size_and_boxes(case: tuple[bytes, list[RedactionBox]]) -> None:
    data, boxes = case
    info = inspect(data)
    made = redact_image(data, info, boxes, noise=KEY, policy=POLICY)
    assert made.route != "reencoded", made.notes
    assert_only_touched_blocks_differ(data, made.data, boxes)
    assert_only_touched_pixels_differ(data, made.data, boxes)


def test_a_quality_of_its_own_codes_the_picture_again() -> None:
    data = VARIANTS["pillow"](textured(*SIZE))
    made = redact_image(data, inspect(data), BOXES, noise=KEY, policy=policy(jpeg={"quality": 80}))
    assert (made.route, made.spliced) == ("reencoded", None)


@pytest.mark.parametrize("mode", ["blur", "pixelate"])
def test_padding_adds_nothing_to_an_average(mode: str) -> None:
    """At the end of the picture a block is one pixel and its copies: it counts as one pixel."""
    before = textured(129, 129, 1)
    changed = before.copy()
    changed[128, 128] ^= 0x80
    boxes = [box(40, 20, 160, 160, mode=mode, strength=0.1, noise=0)]
    a, b = (
        decoded(redacted(saved(pixels, "JPEG", quality=100), boxes).data).astype(int)
        for pixels in (before, changed)
    )
    assert np.abs(a - b).max() <= 2


@pytest.mark.parametrize("mode", ["blur", "pixelate"])
def test_averages_of_colours_have_noise(mode: str) -> None:
    """Two secrets: what they share of an average is what an attacker would know exactly."""
    data = VARIANTS["simplejpeg-420"](textured(*SIZE))
    boxes = [box(16, 16, 112, 112, mode=mode, strength=0.15)]
    keys = [NoiseKey(bytes([number]) * 32, "street/1.jpg") for number in (1, 2)]
    outputs = [redact_image(data, inspect(data), boxes, noise=key, policy=POLICY) for key in keys]
    for a, b in zip(*(coefficients(one.data) for one in outputs), strict=True):
        assert (a != b).any(axis=(2, 3)).any(), "a component without noise"


def test_same_box_same_bytes_in_any_order() -> None:
    data = VARIANTS["simplejpeg-420"](textured(*SIZE))
    assert redacted(data, BOXES).data == redacted(data, BOXES[::-1]).data


def test_the_bytes_are_the_same_on_every_machine() -> None:
    """Golden: recompute only with a new redaction version."""
    levels = (np.arange(64 * 96).reshape(64, 96) * 7 % 251).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "JPEG", quality=90)
    coded = redacted(buffer.getvalue(), [box(20, 10, 70, 50)]).data
    (scan,) = (s for s in parse_jpeg(coded).segments if s.marker == SOS)
    blocks = coefficients(coded)[0][2:5, 3:8].astype(int)
    found = (scan.scan_stop - scan.stop, int(blocks.sum()), blocks[1, 2, 0].tolist())
    assert found == GOLDEN


GOLDEN = (2611, -102, [-9, 3, 1, 0, 1, 0, 0, 0])
