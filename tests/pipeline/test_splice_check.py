"""Outputs that were spliced wrongly, by a bug or on purpose, are never published."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline import output_check
from pipeline.encode import RedactedImage, redact_image
from pipeline.errors import OutputRejected
from pipeline.images import ImageInfo, ImageLimits, inspect_image
from pipeline.jpeg import splice
from pipeline.jpeg.coverage import block_uses
from pipeline.jpeg.dct import DECODED
from pipeline.jpeg.frame import frame_of, scans_of
from pipeline.jpeg.segments import DHT, DQT, SOS, parse_jpeg
from pipeline.jpeg.sequential import SequentialScan
from pipeline.output_check import check_output, is_sampled
from pipeline.policy import CheckPolicy
from pipeline.redaction import RedactionBox
from tests.pipeline.jpegs import VARIANTS
from tests.pipeline.pictures import box, policy, saved, textured
from tests.pipeline.test_splice import KEY

POLICY = policy()
BOXES = [box(64, 40, 120, 96)]
ELSEWHERE = box(8, 100, 24, 116)
KINDS = ["simplejpeg-420", "simplejpeg-444", "opencv-restart", "pillow-grey", "libjpeg-moz"]
SIZE = (197, 131)


def inspect(data: bytes) -> ImageInfo:
    return inspect_image(data, ImageLimits())


def source(name: str) -> bytes:
    return VARIANTS[name](textured(*SIZE))


def redacted(data: bytes, boxes: list[RedactionBox] = BOXES) -> RedactedImage:
    return redact_image(data, inspect(data), boxes, noise=KEY, policy=POLICY)


def verdict(
    data: bytes, made: RedactedImage, output: bytes | None = None, *, whole: bool = False
) -> str:
    """Why the output would not be published; empty if it would."""
    try:
        check_output(
            data,
            inspect(data),
            made.data if output is None else output,
            BOXES,
            POLICY,
            spliced=made.spliced,
            whole=whole,
        )
    except OutputRejected as error:
        return error.reason
    return ""


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_good_output_passes(name: str, whole: bool) -> None:
    data = source(name)
    assert verdict(data, redacted(data), whole=whole) == ""


@pytest.mark.parametrize("name", KINDS)
def test_another_place_has_changed(name: str) -> None:
    data = source(name)
    assert verdict(data, redacted(data, [*BOXES, ELSEWHERE])) == "changed_outside"


@pytest.mark.parametrize("name", KINDS)
def test_a_neighbouring_block_has_changed(name: str) -> None:
    data = source(name)
    wider = [box(64, 40, 137, 96)]
    assert verdict(data, redacted(data, wider)) == "changed_outside"


@pytest.mark.parametrize("name", KINDS)
def test_a_box_was_forgotten(name: str) -> None:
    data = source(name)
    assert verdict(data, redacted(data, [box(64, 40, 66, 42)])) == "not_obscured"


@pytest.mark.parametrize("rows", [0, 1, 2, 4])
@pytest.mark.parametrize("strength", [0.2, 2.0])
def test_a_box_far_from_the_others_was_forgotten(rows: int, strength: float) -> None:
    """What the writer had no reason to read, between other restart markers, is judged all the same.

    The picture begins flat, so that nothing sharp would be found if that was taken for the box.
    """
    pixels = textured(640, 480)
    pixels[:40] = 230
    marks = {"restart_marker_rows": rows} if rows else {}
    data = saved(pixels, "JPEG", quality=90, **marks)
    near = box(20, 20, 60, 60, strength=strength)
    far = box(200, 300, 330, 430, strength=strength)
    made = redacted(data, [near])
    info = inspect_image(data, ImageLimits())
    check_output(data, info, made.data, [near], policy(), spliced=made.spliced)
    with pytest.raises(OutputRejected) as caught:
        check_output(data, info, made.data, [near, far], policy(), spliced=made.spliced)
    assert caught.value.reason == "not_obscured"


def test_units_between_restart_markers_that_were_not_read_are_not_made_up() -> None:
    data = saved(textured(64, 64), "JPEG", quality=90, restart_marker_rows=1)
    structure = parse_jpeg(data)
    (scan,) = scans_of(data, structure)
    some = SequentialScan(data, frame_of(data, structure), scan, np.array([0]))
    assert some.has(np.arange(4))
    assert not some.has(np.arange(5))
    with pytest.raises(ValueError, match="left unread"):
        some.read(np.array([0, 4]))


@pytest.mark.parametrize("name", KINDS)
def test_a_corner_is_left_sharp(name: str) -> None:
    data = source(name)
    assert verdict(data, redacted(data, [box(64, 40, 104, 96), box(64, 40, 120, 80)])) == (
        "not_obscured"
    )


@pytest.mark.parametrize("name", KINDS)
def test_the_source_itself(name: str) -> None:
    data = source(name)
    assert verdict(data, redacted(data), data) in ("changed_outside", "undecodable", "not_obscured")


def another_quantisation(data: bytes) -> bytes:
    (table, *_) = (s for s in parse_jpeg(data).segments if s.marker == DQT)
    return data[: table.start + 5] + bytes([data[table.start + 5] ^ 1]) + data[table.start + 6 :]


def another_huffman_table(data: bytes) -> bytes:
    """Two symbols of the first table change places."""
    (table, *_) = (s for s in parse_jpeg(data).segments if s.marker == DHT)
    at = table.start + 17
    return data[:at] + data[at : at + 2][::-1] + data[at + 2 :]


@pytest.mark.parametrize("change", [another_quantisation, another_huffman_table])
@pytest.mark.parametrize("name", KINDS)
def test_other_tables(name: str, change: Callable[[bytes], bytes]) -> None:
    data = source(name)
    made = redacted(data)
    assert verdict(data, made, change(made.data)) in ("changed_outside", "undecodable")


@pytest.mark.parametrize("name", KINDS)
def test_a_cut_off_output(name: str) -> None:
    data = source(name)
    made = redacted(data)
    cut = made.data[: len(made.data) * 3 // 4] + b"\xff\xd9"
    assert verdict(data, made, cut) in ("changed_outside", "undecodable")


def test_restart_stretches_that_changed_places() -> None:
    data = source("opencv-restart")
    made = redacted(data)
    first, second = (made.data.index(bytes([0xFF, code])) for code in (0xD0, 0xD1))
    (scan,) = (s for s in parse_jpeg(made.data).segments if s.marker == SOS)
    a, b = made.data[scan.stop : first], made.data[first + 2 : second]
    swapped = made.data[: scan.stop] + b + b"\xff\xd0" + a + made.data[second:]
    assert verdict(data, made, swapped) == "changed_outside"


@pytest.mark.parametrize("name", ["simplejpeg-420", "opencv-restart", "pillow-grey"])
def test_no_flipped_bit_outside_the_rewritten_stretches_passes(name: str) -> None:
    data = source(name)
    made = redacted(data)
    (scan,) = (s for s in parse_jpeg(made.data).segments if s.marker == SOS)
    coded, new = coded_data(data), made.data[scan.stop : scan.scan_stop]
    same = next(i for i, pair in enumerate(zip(coded, new, strict=False)) if pair[0] != pair[1])
    for at in range(0, same, max(same // 60, 1)):
        place = scan.stop + at
        flipped = made.data[:place] + bytes([made.data[place] ^ 0x10]) + made.data[place + 1 :]
        assert verdict(data, made, flipped), f"a bit flipped at {at}"


def coded_data(data: bytes) -> bytes:
    (scan,) = (s for s in parse_jpeg(data).segments if s.marker == SOS)
    return data[scan.stop : scan.scan_stop]


def test_what_the_writer_says_of_its_work_is_not_believed() -> None:
    """A writer that says it rewrote everything must still leave all other coefficients alone."""
    data = source("simplejpeg-420")
    made = redacted(data, [*BOXES, ELSEWHERE])
    assert made.spliced is not None
    assert made.spliced.spans is not None
    first, *_, last = made.spliced.spans
    joined = first._replace(
        last=last.last,
        source=(first.source[0], last.source[1]),
        output=(first.output[0], last.output[1]),
    )
    forged = dataclasses.replace(made.spliced, spans=(joined,))
    assert verdict(data, dataclasses.replace(made, spliced=forged)) == "changed_outside"


@pytest.mark.parametrize("shift", [-9, -1, 1, 9])
@pytest.mark.parametrize("field", ["source", "output"])
@pytest.mark.parametrize("end", [0, 1])
def test_stretches_that_are_elsewhere(field: str, end: int, shift: int) -> None:
    data = source("simplejpeg-420")
    made = redacted(data)
    assert made.spliced is not None
    assert made.spliced.spans is not None
    first, *rest = made.spliced.spans
    place = list(getattr(first, field))
    place[end] += shift
    moved = first._replace(**{field: tuple(place)})
    forged = dataclasses.replace(made.spliced, spans=(moved, *rest))
    assert verdict(data, dataclasses.replace(made, spliced=forged)) in (
        "changed_outside",
        "undecodable",
    )


@pytest.mark.parametrize("name", KINDS)
def test_the_whole_decode_needs_no_other_check(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the splicer's own reader is wrong, another decoder still sees what has changed."""
    data = source(name)
    made = redacted(data, [*BOXES, ELSEWHERE])
    monkeypatch.setattr(output_check, "check_spliced", lambda *args: None)
    assert verdict(data, made) == ""
    assert verdict(data, made, whole=True) == "changed_outside"


def mixed_with_grey(share: float, monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, RedactedImage]:
    """An output that keeps ``share`` of the source's detail in the box, and all outside it."""
    data = source("simplejpeg-420")

    def barely(planes: Any, *_: Any) -> None:
        for plane in planes:
            x1, y1, x2, y2 = BOXES[0].area
            left, right = x1 // plane.step_x - plane.left, x2 // plane.step_x - plane.left
            top, bottom = y1 // plane.step_y - plane.top, y2 // plane.step_y - plane.top
            inside = plane.source[top:bottom, left:right].astype(float)
            plane.out[top:bottom, left:right] = np.rint(inside * share + 128 * (1 - share))

    def decoded(*arguments: Any) -> list[Any]:
        return [np.full_like(uses, DECODED) for uses in block_uses(*arguments)]

    monkeypatch.setattr(splice, "block_uses", decoded)
    monkeypatch.setattr(splice, "redact_planes", barely)
    return data, redacted(data)


def test_a_weak_blur_is_not_published(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdict(*mixed_with_grey(0.8, monkeypatch)) == "not_obscured"


def test_a_negative_is_not_published(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdict(*mixed_with_grey(-0.8, monkeypatch)) == "not_obscured"


def test_a_policy_may_ask_for_less_detail(monkeypatch: pytest.MonkeyPatch) -> None:
    data, made = mixed_with_grey(0.2, monkeypatch)
    assert verdict(data, made) == ""
    strict = POLICY.model_copy(update={"check": CheckPolicy(max_detail_gain=0.1)})
    assert strict.digest() == POLICY.digest()
    with pytest.raises(OutputRejected, match="keeps its detail"):
        check_output(
            data, inspect(data), made.data, BOXES, strict, spliced=made.spliced, whole=False
        )


def test_a_share_of_all_keys_is_sampled() -> None:
    keys = [f"street/{number}.jpg" for number in range(20_000)]
    sampled = [key for key in keys if is_sampled(key, 0.01)]
    assert 140 <= len(sampled) <= 260
    assert all(is_sampled(key, 0.02) for key in sampled)
    assert all(is_sampled(key, 1.0) for key in keys[:100])
    assert not any(is_sampled(key, 0.0) for key in keys)
