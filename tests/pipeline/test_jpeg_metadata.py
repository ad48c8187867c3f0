"""Metadata: what must go is gone, what may stay is exact; in every format."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageCms

from pipeline.containers import ifd, png, webp
from pipeline.embedded import find_pictures
from pipeline.encode import redact_image
from pipeline.errors import OutputRejected
from pipeline.images import ImageFormat, ImageLimits, inspect_image, raw_metadata
from pipeline.jpeg import exif, icc, xmp
from pipeline.jpeg.segments import parse_jpeg
from pipeline.noise import NoiseKey
from pipeline.output_check import check_output
from pipeline.remaining import remaining_pictures
from tests.pipeline.pictures import (
    LADEN,
    LATITUDE,
    XMP,
    box,
    camera_exif,
    exif_with_raw_thumbnail,
    policy,
    ratio,
    segment,
    srgb_profile,
    textured,
    thumbnail,
)

# the preview index of the test pictures is no valid one, and Pillow says so
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
KEY = NoiseKey(b"secret", "a.jpg")
FORMATS: list[ImageFormat] = ["jpeg", "png", "webp", "tiff"]
SECRETS = (b"Jane", b"SERIAL", b"AREASECRET", b"comment", b"8BIM", b"GImage", b"/9j/")


BOXES = [box(20, 20, 60, 60)]


def cleaned(data: bytes, keep: tuple[str, ...] | None = None, redacted: bool = False) -> bytes:
    info = inspect_image(data, ImageLimits())
    rules = policy() if keep is None else policy(keep)
    boxes = BOXES if redacted else []
    return redact_image(data, info, boxes, noise=KEY, policy=rules).data


@pytest.mark.parametrize("redacted", [False, True])
@pytest.mark.parametrize("file_format", FORMATS)
def test_nothing_hidden_survives(file_format: ImageFormat, redacted: bool) -> None:
    source = LADEN[file_format](textured(120, 90), 6)
    assert remaining_pictures(source), "the source must hold what the scanner looks for"
    output = cleaned(source, redacted=redacted)
    assert remaining_pictures(output) == []
    assert [secret for secret in SECRETS if secret in output] == []


def test_the_thumbnail_test_catches_a_copied_exif_block() -> None:
    """What copying tools do: the new picture with the old EXIF, unblurred thumbnail included."""
    source = LADEN["jpeg"](textured(120, 90))
    output = cleaned(source, redacted=True)
    copied = output[:2] + segment(0xE1, b"Exif\0\0" + camera_exif()) + output[2:]
    assert remaining_pictures(copied)
    info = inspect_image(source, ImageLimits())
    with pytest.raises(OutputRejected) as caught:
        check_output(source, info, copied, [], policy())
    assert caught.value.reason == "embedded_picture"


def with_exif(data: bytes, file_format: str, block: bytes) -> bytes:
    """``data``, a file without metadata, with ``block`` as its EXIF."""
    if file_format == "jpeg":
        return data[:2] + segment(0xE1, b"Exif\0\0" + block) + data[2:]
    if file_format == "png":
        chunks = png.parse_png(data).chunks
        return png.join_chunks([chunks[0], (b"eXIf", block), *chunks[1:]])
    chunks = webp.parse_webp(data).chunks
    return webp.join_chunks([*chunks, (b"EXIF", block)])


@pytest.mark.parametrize("redacted", [False, True])
@pytest.mark.parametrize("file_format", ["jpeg", "png", "webp"])
def test_an_uncompressed_thumbnail_is_found(file_format: str, redacted: bool) -> None:
    source = LADEN[file_format](textured(120, 90))
    plain = cleaned(source, keep=(), redacted=redacted)
    assert find_pictures(exif_with_raw_thumbnail()) == []
    output = with_exif(plain, file_format, exif_with_raw_thumbnail())
    info = inspect_image(source, ImageLimits())
    with pytest.raises(OutputRejected, match="thumbnail directory in EXIF") as caught:
        check_output(source, info, output, [], policy())
    assert caught.value.reason == "embedded_picture"
    kept = exif.write_exif(exif.read_exif(exif_with_raw_thumbnail()))
    assert kept is not None
    boxes = BOXES if redacted else []
    check_output(source, info, with_exif(plain, file_format, kept), boxes, policy())


@pytest.mark.parametrize("redacted", [False, True])
@pytest.mark.parametrize("file_format", FORMATS)
def test_what_may_stay_survives_exactly(file_format: ImageFormat, redacted: bool) -> None:
    source = LADEN[file_format](textured(120, 90), 6)
    output = cleaned(source, redacted=redacted)
    raw = raw_metadata(output, file_format)
    assert raw.orientation == 6
    assert raw.icc == srgb_profile()
    assert raw.xmp is not None
    assert xmp.read_properties(raw.xmp) == {
        "GPano:ProjectionType": "equirectangular",
        "GPano:PoseHeadingDegrees": "273.4",
        "GPano:FullPanoWidthPixels": "8000",
    }
    assert raw.exif is not None
    kept = exif.read_exif(raw.exif)
    assert kept.gps[0x02] == ratio(*LATITUDE)
    assert kept.gps[0x11] == ratio((27_345, 100))
    seen = Image.open(io.BytesIO(output)).getexif()
    assert float(seen.get_ifd(0x8825)[2][2]) == pytest.approx(29.999997)
    assert seen.get_ifd(0x8769)[0x9003] == "2026:03:01 12:00:00"
    assert seen[0x0110] == "EOS R5"


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_policy_may_keep_nothing(file_format: ImageFormat) -> None:
    output = cleaned(LADEN[file_format](textured(120, 90), 6), keep=())
    raw = raw_metadata(output, file_format)
    assert raw.orientation == 6, "without it the picture would lie on its side"
    assert raw.xmp is None
    assert raw.icc is None
    assert b"2026" not in output
    assert b"Canon" not in output
    assert dict(Image.open(io.BytesIO(output)).getexif().get_ifd(0x8825)) == {}


@pytest.mark.parametrize(
    ("keep", "tags"),
    [
        ("gps", {0x00, 0x01, 0x02, 0x03, 0x04}),
        ("time", {0x00, 0x07, 0x1D}),
        ("heading", {0x00, 0x10, 0x11}),
        ("camera", set()),
    ],
)
def test_each_item_keeps_its_own_gps_tags(keep: str, tags: set[int]) -> None:
    kept = exif.kept_exif(exif.read_exif(camera_exif()), [keep])  # type: ignore[list-item]
    assert set(kept.gps) == tags


@pytest.mark.parametrize("file_format", ["jpeg", "png", "webp"])
def test_without_boxes_the_coded_picture_stays_bit_for_bit(file_format: ImageFormat) -> None:
    source = LADEN[file_format](textured(120, 90), 3)
    output = cleaned(source)
    marks = {"jpeg": b"\xff\xda", "png": b"IDAT", "webp": b"VP8L"}
    start = source.rindex(marks[file_format]) if file_format != "jpeg" else _scan(source)[0]
    length = 400
    assert source[start : start + length] in output
    if file_format == "jpeg":
        first, last = _scan(source)
        assert source[first:last] in output
    before, after = (np.asarray(Image.open(io.BytesIO(d))) for d in (source, output))
    assert np.array_equal(before, after)


def _scan(data: bytes) -> tuple[int, int]:
    scan = next(s for s in parse_jpeg(data).segments if s.marker == 0xDA)
    return scan.start, scan.scan_stop


BROKEN: list[Callable[[], bytes]] = [
    lambda: segment(0xE1, b"Exif\0\0" + camera_exif()[:11]),
    lambda: segment(0xE1, b"Exif\0\0garbage garbage garbage"),
    lambda: segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta"),
    lambda: segment(
        0xE1, b"http://ns.adobe.com/xap/1.0/\0<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"
    ),
    lambda: segment(0xE2, b"ICC_PROFILE\0\1\1" + b"\0" * 200),
    lambda: segment(0xE2, b"ICC_PROFILE\0\1\3" + srgb_profile()),
]


@pytest.mark.parametrize("make", BROKEN)
def test_malformed_blocks_are_dropped_with_a_note(make: Callable[[], bytes]) -> None:
    plain = cleaned(LADEN["jpeg"](textured(60, 40)), keep=())
    source = plain[:2] + make() + plain[2:]
    info = inspect_image(source, ImageLimits())
    result = redact_image(source, info, [], noise=KEY, policy=policy())
    assert [note for note in result.notes if note.endswith("_malformed")]
    assert result.data == plain


def test_a_picture_smuggled_in_an_allowed_tag_is_dropped() -> None:
    hidden = thumbnail()
    block = ifd.write_directories("<", {0x0110: ifd.Entry(2, len(hidden), hidden)}, {})
    assert exif.kept_exif(exif.read_exif(block), ["camera"]).main == {}
    profile = bytearray(srgb_profile() + hidden)
    profile[:4] = struct.pack(">I", len(profile))
    assert not icc.is_profile(bytes(profile))
    assert icc.is_profile(srgb_profile())


def with_private_tag(profile: bytes, content: bytes, name: bytes = b"prVT") -> bytes:
    """``profile`` with one more tag, at its end."""
    count = int.from_bytes(profile[128:132], "big")
    table = [profile[at : at + 12] for at in range(132, 132 + 12 * count, 12)]
    moved = [
        entry[:4] + struct.pack(">I", int.from_bytes(entry[4:8], "big") + 12) + entry[8:]
        for entry in table
    ]
    size = len(profile) + 12 + len(content)
    entry = name + struct.pack(">II", len(profile) + 12, len(content))
    head = struct.pack(">I", size) + profile[4:128] + struct.pack(">I", count + 1)
    return head + b"".join([*moved, entry]) + profile[132 + 12 * count :] + content


def tag_values(profile: bytes) -> dict[bytes, bytes]:
    """Each tag's content."""
    values = {}
    for at in range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12):
        offset, size = struct.unpack_from(">II", profile, at + 4)
        values[profile[at : at + 4]] = profile[offset : offset + size]
    return values


@pytest.mark.parametrize("name", [b"prVT", b"meta", b"desc", b"meas", b"gamt", b"B2A0"])
def test_a_profile_keeps_its_colours_alone(name: bytes) -> None:
    """Deflated, a picture has no signature that gives it away."""
    hidden = zlib.compress(thumbnail())
    laden = with_private_tag(srgb_profile(), hidden, name)
    assert icc.is_profile(laden)
    kept = icc.kept_profile(laden)
    assert kept is not None
    assert hidden[:40] not in kept
    assert icc.is_profile(kept)
    assert tag_values(kept) == tag_values(srgb_profile())
    assert ImageCms.ImageCmsProfile(io.BytesIO(kept)).profile.is_matrix_shaper


def test_a_profile_keeps_nothing_between_its_tags() -> None:
    hidden = zlib.compress(thumbnail())
    laden = bytearray(srgb_profile() + hidden)
    laden[:4] = struct.pack(">I", len(laden))
    kept = icc.kept_profile(bytes(laden))
    assert kept is not None
    assert hidden[:40] not in kept
    assert tag_values(kept) == tag_values(srgb_profile())


def test_a_profile_of_known_tags_stays_byte_for_byte() -> None:
    assert icc.kept_profile(srgb_profile()) == srgb_profile()


def test_a_profile_whose_tags_overlap_to_more_than_it_may_hold_is_dropped() -> None:
    names = [*icc._CURVES.encode().split(), b"prVT"]
    end = 132 + 12 * len(names)
    size = icc.MAX_PROFILE_BYTES // 8
    entries = [struct.pack(">4sII", name, end + i, size - i) for i, name in enumerate(names)]
    head = struct.pack(">I", end + size) + srgb_profile()[4:128] + struct.pack(">I", len(names))
    profile = head + b"".join(entries) + bytes(size)
    assert icc.is_profile(profile)
    assert icc.kept_profile(profile) is None


@pytest.mark.parametrize(
    ("pointer", "tag", "one", "most"),
    [
        (None, 0x010F, ifd.Entry(2, 1, b"a"), 64),
        (None, 0x0132, ifd.Entry(2, 1, b"2"), 20),
        (None, 0x0128, ifd.Entry(3, 1, b"\0\2"), 1),
        (0x8769, 0x9000, ifd.Entry(7, 1, b"2"), 4),
        (0x8769, 0xA434, ifd.Entry(2, 1, b"a"), 64),
        (0x8825, 0x02, ratio((48, 1)), 3),
        (0x8825, 0x1D, ifd.Entry(2, 1, b"2"), 11),
    ],
)
def test_a_tag_with_more_values_than_it_should_have_or_none_is_dropped(
    pointer: int | None, tag: int, one: ifd.Entry, most: int
) -> None:
    def kept(count: int) -> bool:
        tags = {tag: ifd.Entry(one.kind, count, one.raw * count)}
        main, children = (tags, {}) if pointer is None else ({}, {pointer: tags})
        found = exif.read_exif(ifd.write_directories(">", main, children))
        clean = exif.kept_exif(found, ["gps", "time", "camera"])
        return any(tag in directory for directory in (clean.main, clean.exif, clean.gps))

    assert [kept(count) for count in (0, 1, most, most + 1)] == [False, True, True, False]


def test_xmp_keeps_no_long_or_unknown_values() -> None:
    long = XMP.replace(b"equirectangular", b"A" * 65)
    assert "GPano:ProjectionType" not in xmp.read_properties(long)
    with pytest.raises(xmp.MalformedXmp):
        xmp.read_properties(b" " * (xmp.MAX_PACKET_BYTES + 1))


def test_directories_survive_a_round_trip() -> None:
    block = exif.write_exif(exif.kept_exif(exif.read_exif(camera_exif(3)), ["gps", "time"]))
    assert block is not None
    again = exif.read_exif(block)
    assert again.orientation == 3
    assert again.order == ">"
    assert exif.write_exif(exif.kept_exif(again, ["gps", "time"])) == block


@pytest.mark.parametrize("hidden", [thumbnail(), b"\x89PNG\r\n\x1a\n", b"RIFF1234WEBP", b"GIF89a"])
def test_pictures_are_found_anywhere(hidden: bytes) -> None:
    assert find_pictures(b"12345" + hidden + b"67890")
    assert not find_pictures(b"12345\xff\xd8\xff\xe0\x01\x0067890" + b"." * 400)


def damaged(block: bytes, rng: random.Random) -> bytes:
    data = bytearray(block)
    how = rng.randrange(3)
    if how == 0:
        for _ in range(rng.choice((1, 1, 2, 4))):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif how == 1:
        del data[rng.randrange(8, len(data)) :]
    else:
        at = rng.randrange(8, 150)
        data[at : at + 4] = rng.randbytes(4)
    return bytes(data)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_damaged_block_turns_the_picture_as_viewers_do() -> None:
    """An orientation that is lost shows the detectors the picture lying on its side."""
    rng = random.Random(7)
    turned = 0
    for _ in range(4000):
        block = damaged(camera_exif(rng.choice((3, 6, 8))), rng)
        seen = Image.Exif()
        try:
            seen.load(b"Exif\0\0" + block)
        except (SyntaxError, struct.error, OSError, ValueError, OverflowError, TypeError):
            continue
        expected = seen.get(0x0112)
        if isinstance(expected, int) and 2 <= expected <= 8:
            turned += 1
            assert exif.read_exif(block).orientation == expected, block.hex()
    assert turned > 2000


def test_one_bad_tag_takes_nothing_else_with_it() -> None:
    block = camera_exif(6)
    at = block.index(struct.pack(">HH", 0x010F, 2)) + 8
    bad = block[:at] + struct.pack(">I", 999_999) + block[at + 4 :]
    plain = cleaned(LADEN["jpeg"](textured(60, 40)), keep=())
    source = plain[:2] + segment(0xE1, b"Exif\0\0" + bad) + plain[2:]
    info = inspect_image(source, ImageLimits())
    assert info.orientation == 6
    result = redact_image(source, info, [], noise=KEY, policy=policy())
    assert "exif_malformed" in result.notes
    output = Image.open(io.BytesIO(result.data)).getexif()
    assert output[0x0112] == 6
    assert output.get_ifd(0x8825)[2] == pytest.approx([above / below for above, below in LATITUDE])


@pytest.mark.parametrize(("more", "count"), [(0, 2), (600, 1)])
def test_an_odd_directory_turns_the_picture_as_viewers_do(more: int, count: int) -> None:
    entries = {tag: ifd.Entry(3, 1, b"\0\0") for tag in range(0x9C00, 0x9C00 + more)}
    entries[0x0112] = ifd.Entry(3, count, struct.pack("<H", 6) * count)
    block = ifd.write_directories("<", entries, {})
    seen = Image.Exif()
    seen.load(b"Exif\0\0" + block)
    assert np.ravel(seen[0x0112])[0] == 6
    assert exif.read_exif(block).orientation == 6
