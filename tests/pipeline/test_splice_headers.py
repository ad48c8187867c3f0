"""Headers that say something unusual: what follows from them is the same before and after."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.decode import decode_to_judge
from pipeline.jpeg.segments import SOS, JpegStructure, Segment, parse_jpeg
from pipeline.jpeg.splice import splice_jpeg
from pipeline.jpeg.unspliceable import Unspliceable
from tests.pipeline.jpegs import by_pillow
from tests.pipeline.pictures import box, segment, textured
from tests.pipeline.test_splice import KEY, inspect, redacted

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
