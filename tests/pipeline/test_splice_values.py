"""Coefficients beyond what 8-bit samples have, coded data that goes on, and stretches that lie."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import pytest

from pipeline.decode import decode_to_judge
from pipeline.errors import ImageRefused, OutputRejected
from pipeline.jpeg.frame import frame_of, scans_of
from pipeline.jpeg.segments import SOS, Segment, parse_jpeg
from pipeline.jpeg.sequential import SequentialScan
from pipeline.jpeg.splice import Spliced, splice_jpeg
from pipeline.jpeg.unspliceable import Unspliceable
from pipeline.splice_check import check_spliced
from tests.pipeline.jpegs import VARIANTS, by_pillow
from tests.pipeline.pictures import box, textured
from tests.pipeline.test_splice import KEY, POLICY, inspect, redacted

BOXES = [box(64, 40, 120, 96)]
SIZE = (64, 64)


def the_scan(data: bytes) -> Segment:
    (scan,) = (one for one in parse_jpeg(data).segments if one.marker == SOS)
    return scan


def coded(bits: str) -> bytes:
    """``bits`` filled up with ones, stuffed."""
    bits += "1" * (-len(bits) % 8)
    raw = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return raw.replace(b"\xff", b"\xff\0")


def flat_blocks(differences: Sequence[int]) -> bytes:
    """A grey JPEG of 64 blocks, each even; ``differences`` are those of their DC values."""
    data = by_pillow("L")(textured(*SIZE))
    (scan,) = scans_of(data, parse_jpeg(data))
    (dc,), (ac,) = scan.dc, scan.ac
    assert dc is not None
    assert ac is not None
    end = f"{ac.write[0] >> 5:0{ac.write[0] & 31}b}"
    bits = ""
    for difference in differences:
        size = abs(difference).bit_length()
        entry = int(dc.write[size])
        bits += f"{entry >> 5:0{entry & 31}b}"
        if size:
            value = difference if difference > 0 else difference + (1 << size) - 1
            bits += f"{value:0{size}b}"
        bits += end
    place = the_scan(data)
    return data[: place.stop] + coded(bits) + data[place.scan_stop :]


def test_dc_values_that_no_table_may_code_the_differences_of() -> None:
    """Up in steps of 11 bits each; from a redacted block to them it would be a step of 14."""
    data = flat_blocks([2047] * 6 + [0] * 58)
    decode_to_judge(data, inspect(data))  # nothing else refuses it
    made = redacted(data, [box(10, 10, 40, 40)])
    assert (made.route, made.notes[0]) == ("reencoded", "not_spliced_codes")


def bits_of(data: bytes) -> tuple[SequentialScan, str]:
    """The places of a JPEG's units, and all bits of its one stretch."""
    structure = parse_jpeg(data)
    source = SequentialScan(data, frame_of(data, structure), scans_of(data, structure)[0])
    raw = source.raw.replace(b"\xff\0", b"\xff")
    return source, f"{int.from_bytes(raw, 'big'):0{8 * len(raw)}b}"


@pytest.mark.parametrize("name", ["simplejpeg-420", "simplejpeg-444", "pillow-grey"])
def test_a_stretch_that_leaves_the_units_behind_it_off_by_something(name: str) -> None:
    """All bits outside the stretch are the source's, but begin at another DC value."""
    data = VARIANTS[name](textured(197, 131))
    made = redacted(data, BOXES)
    assert made.spliced is not None
    assert made.spliced.spans is not None
    place = the_scan(made.data)
    (before, old), (after, new) = bits_of(data), bits_of(made.data)
    span = made.spliced.spans[-1]
    last = span.last - 1  # the unit whose DC differences are mended
    first, second = int(before.places[last]), int(after.places[last])
    assert (before.dc[last] != after.dc[last]).any()
    rest = old[first : int(before.ends[0])]
    output = made.data[: place.stop] + coded(new[:second] + rest) + made.data[place.scan_stop :]
    unmended = span._replace(
        last=last, source=(span.source[0], first), output=(span.output[0], second)
    )
    spans = (*made.spliced.spans[:-1], unmended)
    forged = dataclasses.replace(made.spliced, spans=spans)
    assert verdict(data, output, forged) == "changed_outside"


def verdict(data: bytes, output: bytes, spliced: Spliced | None) -> str:
    """Why coded data alone would keep ``output`` from being published; empty if nothing would."""
    assert spliced is not None
    try:
        check_spliced(data, output, spliced, BOXES, POLICY.check.max_detail_gain)
    except OutputRejected as error:
        return error.reason
    return ""


@pytest.mark.parametrize("name", ["simplejpeg-420", "opencv-restart", "pillow-grey"])
@pytest.mark.parametrize("more", [b"\x55", bytes(range(64))])
def test_data_behind_the_last_block_of_an_output(name: str, more: bytes) -> None:
    data = VARIANTS[name](textured(197, 131))
    made = redacted(data, BOXES)
    output = made.data[:-2] + more + made.data[-2:]
    assert verdict(data, made.data, made.spliced) == ""
    assert verdict(data, output, made.spliced) == "changed_outside"


@pytest.mark.parametrize("more", [b"\x55", bytes(range(64))])
def test_data_behind_the_last_block_of_a_rewritten_stretch(more: bytes) -> None:
    data = VARIANTS["opencv-restart-each"](textured(197, 131))
    made = redacted(data, BOXES)
    assert made.spliced is not None
    assert made.spliced.spans
    number = made.spliced.spans[0].segment
    place = the_scan(made.data)
    at = -1
    for _ in range(number + 1):
        at = re.compile(rb"\xff[\xd0-\xd7]").search(made.data, max(at + 1, place.stop)).start()  # type: ignore[union-attr]
    output = made.data[:at] + more + made.data[at:]
    assert verdict(data, output, made.spliced) == "changed_outside"


@pytest.mark.parametrize("name", ["simplejpeg-420", "opencv-progressive", "opencv-restart"])
def test_a_source_with_data_behind_its_last_block_is_not_followed(name: str) -> None:
    """It would be spliced along. Stretches that no box reaches are left to strict decoding."""
    data = VARIANTS[name](textured(197, 131))
    laden = data[:-2] + bytes(range(64)) + data[-2:]
    with pytest.raises(ImageRefused):
        decode_to_judge(laden, inspect(laden))
    with pytest.raises(Unspliceable) as caught:
        splice_jpeg(laden, parse_jpeg(laden), [box(150, 90, 230, 140)], KEY)
    assert caught.value.reason == "scan"


def test_a_source_with_data_behind_a_stretch_is_not_followed() -> None:
    data = VARIANTS["opencv-restart-each"](textured(197, 131))
    at = data.index(b"\xff\xd0", the_scan(data).stop)
    laden = data[:at] + bytes(range(64)) + data[at:]
    with pytest.raises(Unspliceable) as caught:
        splice_jpeg(laden, parse_jpeg(laden), [box(0, 0, 40, 40)], KEY)
    assert caught.value.reason == "scan"
