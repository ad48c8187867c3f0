"""Headers that say something unusual: what follows from them is the same before and after."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from pipeline.decode import decode_to_judge
from pipeline.errors import ImageRefused, OutputRejected
from pipeline.jpeg.colours import shared_components
from pipeline.jpeg.rewrite import read_metadata
from pipeline.jpeg.segments import SOS, JpegStructure, Segment, parse_jpeg
from pipeline.jpeg.splice import splice_jpeg
from pipeline.jpeg.stretches import without_fill
from pipeline.jpeg.unspliceable import Unspliceable
from pipeline.output_check import check_output
from tests.pipeline.jpegs import ARITHMETIC, VARIANTS, Factors, by_libjpeg, by_pillow, decoded
from tests.pipeline.pictures import box, segment, srgb_profile, textured
from tests.pipeline.test_splice import (
    KEY,
    POLICY,
    assert_only_touched_pixels_differ,
    inspect,
    redacted,
)

SIZE = (203, 171)
BOXES = [box(50, 40, 120, 110)]
SOF0 = 0xC0


def first(structure: JpegStructure, marker: int) -> Segment:
    return next(one for one in structure.segments if one.marker == marker)


def more_components_than_coded() -> bytes:
    """A frame of three components whose only scan codes the first."""
    data = by_pillow("L")(textured(*SIZE))
    frame = first(parse_jpeg(data), SOF0)
    header = bytearray(frame.payload(data))
    header[5] = 3
    wider = segment(SOF0, bytes(header) + b"\2\x11\0\3\x11\0")
    return data[: frame.start - 4] + wider + data[frame.stop :]


def scan_in_another_order() -> bytes:
    data = by_pillow(subsampling="4:4:4")(textured(*SIZE))
    scan = first(parse_jpeg(data), SOS)
    names = [data[scan.start + 1 + i : scan.start + 3 + i] for i in (0, 2, 4)]
    turned = names[2] + names[0] + names[1]
    return data[: scan.start + 1] + turned + data[scan.start + 7 :]


def test_a_component_without_a_scan_is_not_spliced() -> None:
    """Strict decoders accept the file; places in it are not those that the frame gives."""
    data = more_components_than_coded()
    decode_to_judge(data, inspect(data))
    made = redacted(data, BOXES)
    assert (made.route, made.notes[0]) == ("reencoded", "not_spliced_scan")


@pytest.mark.parametrize("make", [more_components_than_coded, scan_in_another_order])
def test_a_scan_of_other_components_than_the_frame_is_not_followed(
    make: Callable[[], bytes],
) -> None:
    data = make()
    with pytest.raises(Unspliceable, match="components") as caught:
        splice_jpeg(data, parse_jpeg(data), BOXES, KEY)
    assert caught.value.reason == "scan"


def adobe(transform: int) -> bytes:
    return segment(0xEE, b"Adobe" + bytes([0, 100, 0, 0, 0, 0, transform]))


JFIF = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")


def without_jfif(**options: object) -> bytes:
    """Three components that are YCbCr because nothing says otherwise."""
    data = by_pillow(quality=90, **options)(textured(*SIZE))
    return data[:2] + data[4 + int.from_bytes(data[4:6], "big") :]


def between_scans(inserted: bytes, first: bytes = b"") -> bytes:
    data = without_jfif(progressive=True)
    second = [one for one in parse_jpeg(data).segments if one.marker == SOS][1].start - 4
    return data[:2] + first + data[2:second] + inserted + data[second:]


def in_front(*inserted: bytes) -> bytes:
    data = without_jfif()
    return data[:2] + b"".join(inserted) + data[2:]


COLOURS = {
    "adobe 1, 0": lambda: in_front(adobe(1), adobe(0)),
    "adobe 0, 1": lambda: in_front(adobe(0), adobe(1)),
    "adobe 0 between scans": lambda: between_scans(adobe(0)),
    "adobe 0, JFIF between scans": lambda: (data := between_scans(JFIF))[:2] + adobe(0) + data[2:],
    "adobe 0 and JFIF": lambda: in_front(JFIF, adobe(0)),
    "profile between scans": lambda: between_scans(
        segment(0xE2, b"ICC_PROFILE\0\1\1" + srgb_profile())
    ),
}


@pytest.mark.parametrize("name", COLOURS)
def test_colours_are_read_from_the_segments_that_libjpeg_goes_by(name: str) -> None:
    data = COLOURS[name]()
    made = redacted(data, BOXES)
    assert made.route in ("spliced", "rewritten")
    assert_only_touched_pixels_differ(data, made.data, BOXES)
    cleaned = redacted(data, [])
    assert cleaned.route == "metadata_only"
    assert (decoded(cleaned.data) == decoded(data)).all()


def test_a_profile_behind_the_first_scan_is_none() -> None:
    """Nobody applies it there; in front of the picture, everybody would."""
    data = COLOURS["profile between scans"]()
    assert read_metadata(data, parse_jpeg(data)).icc is None


COMPONENTS = {
    "pillow": (True, False, False),
    "pillow-rgb": (True, True, True),
    "pillow-grey": (True,),
    "pillow-cmyk": (True, True, True, True),
    "ycck": (True, False, False, True),
}


@pytest.mark.parametrize("name", COMPONENTS)
def test_which_components_carry_brightness(name: str) -> None:
    data = VARIANTS[name](textured(40, 40))
    assert shared_components(data, parse_jpeg(data)) == COMPONENTS[name]


def another_transform(data: bytes) -> bytes:
    return data[:2] + adobe(2) + no_adobe(data)[2:]


def no_adobe(data: bytes) -> bytes:
    at = data.find(b"\xff\xee")
    return data if at < 0 else data[:at] + data[at + 16 :]


def with_jfif(data: bytes) -> bytes:
    return data[:2] + JFIF + data[2:]


@pytest.mark.parametrize("forge", [another_transform, no_adobe, with_jfif])
@pytest.mark.parametrize("make", [lambda: in_front(adobe(0)), lambda: between_scans(b"", adobe(0))])
def test_an_output_of_other_colours_is_not_published(
    make: Callable[[], bytes], forge: Callable[[bytes], bytes]
) -> None:
    data = make()
    made = redacted(data, BOXES)
    with pytest.raises(OutputRejected) as caught:
        check_output(
            data,
            inspect(data),
            forge(made.data),
            BOXES,
            POLICY,
            spliced=made.spliced,
            whole=False,
        )
    assert caught.value.reason == "changed_outside"


@pytest.mark.parametrize("forge", [another_transform, no_adobe, with_jfif])
def test_a_cleaned_file_of_other_colours_is_not_published(forge: Callable[[bytes], bytes]) -> None:
    data = in_front(adobe(0))
    cleaned = redacted(data, []).data
    with pytest.raises(OutputRejected) as caught:
        check_output(data, inspect(data), forge(cleaned), [], POLICY)
    assert caught.value.reason == "changed_outside"


def with_fill_before_the_end(data: bytes) -> bytes:
    return data[:-2] + b"\xff\xff" + data[-2:]


def with_fill_before_restarts(data: bytes) -> bytes:
    return data.replace(b"\xff\xd1", b"\xff\xff\xff\xd1").replace(b"\xff\xd0", b"\xff\xff\xd0")


def with_a_restart_at_the_end(data: bytes) -> bytes:
    count = sum(data.count(bytes([0xFF, 0xD0 + i])) for i in range(8))
    return data[:-2] + bytes([0xFF, 0xD0 + count % 8]) + data[-2:]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("simplejpeg-420", with_fill_before_the_end),
        ("simplejpeg-420", with_a_restart_at_the_end),
        ("opencv-restart", with_fill_before_the_end),
        ("opencv-restart", with_fill_before_restarts),
        ("opencv-restart", with_a_restart_at_the_end),
        ("opencv-restart-progressive", with_fill_before_restarts),
        ("opencv-restart-progressive", with_fill_before_the_end),
        ("opencv-progressive", with_a_restart_at_the_end),
    ],
)
def test_fill_bytes_and_needless_restart_markers_do_not_stop_splicing(
    name: str, change: Callable[[bytes], bytes]
) -> None:
    """Both are legal (T.81, B.1.1.2), or nothing that a decoder minds."""
    plain = VARIANTS[name](textured(*SIZE))
    data = change(plain)
    assert data != plain
    decode_to_judge(data, inspect(data))
    made = redacted(data, BOXES)
    assert made.route == redacted(plain, BOXES).route
    assert made.data == redacted(plain, BOXES).data
    assert_only_touched_pixels_differ(data, made.data, BOXES)


def test_long_runs_of_fill_bytes_take_no_time() -> None:
    raw = b"\xff" * 3_000_000
    begin = time.process_time()
    assert without_fill(raw + b"\0") == raw + b"\0"
    assert without_fill(raw + b"\xd0\1") == b"\xff\xd0\1"
    assert without_fill(b"\1" + raw + b"\xff\xd1" * 1_000_000) == b"\1"
    assert time.process_time() - begin < 2


UNUSUAL: dict[str, Factors] = {
    "4:1:0": ((2, 4), (1, 1), (1, 1)),
    "three pixels a sample": ((1, 3), (1, 1), (1, 1)),
    "colours apart": ((2, 2), (1, 2), (1, 1)),
    "colours finer": ((1, 1), (2, 2), (2, 2)),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_sampling_is_refused_by_its_name(name: str) -> None:
    """Other viewers show these files, so they are not corrupt."""
    data = by_libjpeg("turbo210", 85, (), UNUSUAL[name])(textured(*SIZE))
    with pytest.raises(ImageRefused, match="4:2:0") as caught:
        decode_to_judge(data, inspect(data))
    assert caught.value.reason == "unsupported_jpeg_sampling"


EVEN: dict[str, Factors] = {
    "all 1 x 2": ((1, 2), (1, 2), (1, 2)),
    "4:2:2 of more blocks": ((2, 2), (2, 1), (2, 1)),
}


@pytest.mark.parametrize("name", EVEN)
def test_usual_sampling_in_unusual_factors_is_spliced(name: str) -> None:
    data = by_libjpeg("turbo210", 85, (), EVEN[name])(textured(*SIZE))
    decode_to_judge(data, inspect(data))
    assert redacted(data, BOXES).route == "spliced"


def test_what_a_decoder_cannot_read_for_another_reason_is_corrupt() -> None:
    data = scan_in_another_order()
    with pytest.raises(ImageRefused) as caught:
        decode_to_judge(data, inspect(data))
    assert caught.value.reason == "corrupt"


def test_rgb_with_fewer_samples_of_some_colours_is_coded_again() -> None:
    """The encoder writes RGB with as many samples of each only."""
    data = ARITHMETIC["sequential"](textured(*SIZE))
    data = data[:2] + adobe(0) + data[4 + int.from_bytes(data[4:6], "big") :]
    decode_to_judge(data, inspect(data))
    made = redacted(data, BOXES)
    assert made.route == "reencoded"
    assert "jpeg_subsampling_444" in made.notes


@pytest.mark.parametrize("name", ["opencv-progressive", "pillow-grey-progressive"])
def test_unfinished_progressive_files_are_coded_again(name: str) -> None:
    """Where fine coefficients are missing, decoders guess them from the blocks around."""
    data = VARIANTS[name](textured(*SIZE))
    scans = [one for one in parse_jpeg(data).segments if one.marker == SOS]
    data = data[: scans[-3].start - 4] + b"\xff\xd9"
    decode_to_judge(data, inspect(data))
    made = redacted(data, BOXES)
    assert (made.route, made.notes[0]) == ("reencoded", "not_spliced_scan")
