"""What a JPEG codes and then replaces by something else is not published."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from pipeline.decode import decode_stored, decode_to_judge
from pipeline.encode import redact_image
from pipeline.errors import OutputRejected
from pipeline.images import ImageInfo, ImageLimits, inspect_image
from pipeline.jpeg.replaced import replaced
from pipeline.jpeg.segments import DQT, SOS, parse_jpeg
from pipeline.noise import NoiseKey
from pipeline.output_check import check_output
from pipeline.redaction import RedactionBox
from tests.pipeline.pictures import (
    KINDS,
    Pixels,
    box,
    faces,
    policy,
    saved,
    segment,
    textured,
    thumbnail,
)

KEY = NoiseKey(b"secret", "a.jpg")
SIZE = (97, 61)


def in_single_scans(planes: list[tuple[int, Pixels]]) -> bytes:
    """A JPEG with a scan for each of ``planes``: number of the component (1 to 3), grey pixels.

    The scan of one component is that of a grey picture of the same size and tables.
    """
    grey = saved(planes[0][1], "JPEG", quality=90)
    frame, scan = grey.index(b"\xff\xc0"), grey.index(b"\xff\xda")
    height, width = planes[0][1].shape
    header = struct.pack(">BHHB", 8, height, width, 3) + b"\1\x11\0\2\x11\0\3\x11\0"
    parts = [b"\xff\xd8", grey[20:frame], segment(0xC0, header), grey[frame + 13 : scan]]
    for component, pixels in planes:
        coded = saved(pixels, "JPEG", quality=90)
        coded = coded[coded.index(b"\xff\xda") + 10 : -2]
        parts += [segment(0xDA, bytes([1, component, 0, 0, 63, 0])), coded]
    return b"".join([*parts, b"\xff\xd9"])


def planes(*seeds: int) -> list[tuple[int, Pixels]]:
    """Brightness and colours of a picture."""
    return [(n, textured(*SIZE, 1, seed=seed)) for n, seed in enumerate(seeds, start=1)]


def with_tables(contents: list[bytes]) -> bytes:
    """A JPEG that defines quantisation table 3, which it does not use, again and again."""
    data = KINDS["jpeg-420"](*SIZE)
    return data[:2] + b"".join(segment(0xDB, b"\3" + part) for part in contents) + data[2:]


def table_sized(hidden: bytes) -> list[bytes]:
    """``hidden`` in pieces of 64 bytes, without the 0 that no table may have."""
    whole = hidden.replace(b"\0", b"\1")
    return [whole[i : i + 64] for i in range(0, len(whole) // 64 * 64, 64)]


def inspect(data: bytes) -> ImageInfo:
    return inspect_image(data, ImageLimits())


def with_late_tables(contents: list[bytes]) -> bytes:
    """A progressive JPEG that defines a table again before later scans: libjpeg keeps the first."""
    data = KINDS["jpeg-progressive"](*SIZE)
    later = [one.start - 4 for one in parse_jpeg(data).segments if one.marker == SOS][1:]
    for place, content in zip(reversed(later), contents, strict=False):
        data = data[:place] + segment(0xDB, b"\0" + content) + data[place:]
    return data


def first_table() -> bytes:
    """Table 0 of that JPEG."""
    data = KINDS["jpeg-progressive"](*SIZE)
    (table, *_) = (one for one in parse_jpeg(data).segments if one.marker == DQT)
    return data[table.start + 1 : table.start + 65]


HIDDEN = textured(*SIZE, 1, seed=9)
SCANS = in_single_scans([(1, HIDDEN), *planes(0, 1, 2)])
LATE = with_late_tables(table_sized(thumbnail()))


def with_settings_of_arithmetic_coding() -> bytes:
    """A JPEG without any: its pairs of index and value are the bytes of a thumbnail."""
    data = KINDS["jpeg-420"](*SIZE)
    pairs = b"".join(bytes([16, value]) for value in thumbnail())
    return data[:2] + segment(0xCC, pairs) + data[2:]


def with_restart_markers_behind_the_end(count: int, fill: bytes = b"") -> bytes:
    """Each of them tells three bits."""
    draw = np.random.default_rng(1)
    markers = b"".join(fill + bytes([0xFF, 0xD0 + one]) for one in draw.integers(0, 8, count))
    return KINDS["jpeg-420"](*SIZE)[:-2] + markers + fill + b"\xff\xd9"


LADEN = [
    SCANS,
    with_tables(table_sized(thumbnail())),
    LATE,
    with_settings_of_arithmetic_coding(),
    with_restart_markers_behind_the_end(3000),
    with_restart_markers_behind_the_end(3000, b"\xff"),
]


def test_the_replaced_scan_is_a_whole_picture() -> None:
    """Without the scan that replaces it, everybody sees it."""
    shown = np.asarray(Image.open(io.BytesIO(SCANS)).convert("L"), int)
    cut = in_single_scans([(1, HIDDEN), *planes(0, 1, 2)[1:]])
    seen = np.asarray(Image.open(io.BytesIO(cut)).convert("L"), int)
    assert np.abs(seen - HIDDEN).mean() < 8
    assert np.abs(shown - HIDDEN).mean() > 20


@pytest.mark.parametrize("source", LADEN)
def test_what_is_replaced_is_not_published(source: bytes) -> None:
    info = inspect(source)
    decode_to_judge(source, info)  # nothing else refuses it
    result = redact_image(source, info, [], noise=KEY, policy=policy())
    assert (result.route, "surplus_dropped" in result.notes) == ("reencoded", True)
    assert replaced(result.data, parse_jpeg(result.data)) == []
    check_output(source, info, result.data, [], policy())
    before, after = (decode_stored(d, inspect(d)).astype(int) for d in (source, result.data))
    assert np.abs(before - after).mean() < 8


@pytest.mark.parametrize("output", LADEN)
def test_an_output_with_something_replaced_is_rejected(output: bytes) -> None:
    with pytest.raises(OutputRejected, match=r"replaced|unused|behind") as caught:
        check_output(output, inspect(output), output, [], policy())
    assert caught.value.reason == "embedded_picture"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("jpeg")])
def test_encoders_replace_nothing(kind: str) -> None:
    data = KINDS[kind](*SIZE)
    assert replaced(data, parse_jpeg(data)) == []


def test_a_single_restart_marker_behind_the_end_is_an_encoders_habit() -> None:
    data = with_restart_markers_behind_the_end(1)
    assert replaced(data, parse_jpeg(data)) == []


def test_a_scan_for_each_component_replaces_nothing() -> None:
    data = in_single_scans(planes(0, 1, 2))
    assert replaced(data, parse_jpeg(data)) == []


def test_the_same_table_twice_is_no_other_one() -> None:
    data = with_tables([b"\7" * 64] * 3)
    assert replaced(data, parse_jpeg(data)) == []


def test_tables_behind_the_first_scan_change_nothing_that_libjpeg_shows() -> None:
    """So whatever stands in them is seen by nobody."""
    plain = KINDS["jpeg-progressive"](*SIZE)
    assert (decode_stored(LATE, inspect(LATE)) == decode_stored(plain, inspect(plain))).all()


@pytest.mark.parametrize("boxes", [[], [box(10, 10, 40, 40)]])
def test_not_even_the_last_table_is_published(boxes: list[RedactionBox]) -> None:
    hidden = bytes(range(1, 65))
    data = with_late_tables([hidden])
    assert hidden in data
    made = redact_image(data, inspect(data), boxes, noise=KEY, policy=policy())
    assert (made.route, made.notes) == ("reencoded", ("surplus_dropped",))
    assert hidden not in made.data


def test_the_same_table_again_behind_a_scan_is_no_other_one() -> None:
    data = with_late_tables([first_table()] * 9)
    assert replaced(data, parse_jpeg(data)) == []


def test_photographs_replace_nothing() -> None:
    for data, _ in faces(9):
        assert replaced(data, parse_jpeg(data)) == []


def test_what_is_replaced_is_not_spliced_along() -> None:
    """Splicing keeps every header: a file that hides something in one has to be coded again."""
    data = with_tables([bytes(range(1, 65)), bytes(range(2, 66))])
    info = inspect_image(data, ImageLimits())
    made = redact_image(data, info, [box(10, 10, 40, 40)], noise=KEY, policy=policy())
    assert (made.route, made.notes) == ("reencoded", ("surplus_dropped",))
    assert replaced(made.data, parse_jpeg(made.data)) == []
