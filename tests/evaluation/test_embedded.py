"""The scanner finds every hidden picture, nothing else, and nothing that the pipeline publishes."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError

from evaluation.annotations import data_root
from evaluation.embedded import Finding, UnreadableImage, embedded_pictures
from pipeline.decode import decode_to_judge
from pipeline.encode import redact_image
from pipeline.errors import ImageRefused
from pipeline.images import ImageLimits, inspect_image
from pipeline.noise import NoiseKey
from pipeline.redaction import RedactionBox
from tests.evaluation.embedded_corpus import CASES
from tests.evaluation.embedded_jpeg import comment, jpeg, plain_jpeg
from tests.evaluation.embedded_parts import PICTURES, harmless, octets
from tests.evaluation.embedded_png import chunk, png
from tests.evaluation.embedded_tiff import tiff
from tests.evaluation.embedded_webp import webp
from tests.pipeline.jpegs import ARITHMETIC
from tests.pipeline.pictures import KINDS, LADEN, box, policy, saved, segment, textured, thumbnail

# the index of further pictures in some of the files is no valid one, and Pillow says so
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
KEY = NoiseKey(b"secret", "a.jpg")
BOXES = [box(24, 16, 72, 48)]
REFUSED = [name for name, case in CASES.items() if case.refused]
TAKEN = [name for name in CASES if name not in REFUSED]
# one in so many of the development photographs, about 60
EVERY = 17
SIGNATURES = [
    b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    b"\xff\xc0\0\x11\x08",
    b"\x89PNG\r\n\x1a\n",
    b"RIFF",
    b"GIF89a",
    b"BM",
    b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08",
    b"ftypisom",
    b"PK\3\4",
    b"\x78\x9c",
    b"\x1f\x8b\x08\0",
    b"Exif\0\0",
    b"8BIM",
    b"/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQ",
    b"iVBORw0KGgoAAAANSUhEUgAA",
]


def kinds(data: bytes) -> set[str]:
    return {finding.kind for finding in embedded_pictures(data)}


def redacted(data: bytes, boxes: list[RedactionBox]) -> bytes:
    """What the pipeline makes of a picture: it decodes it strictly before anything else."""
    info = inspect_image(data, ImageLimits())
    decode_to_judge(data, info)
    return redact_image(data, info, boxes, noise=KEY, policy=policy()).data


@pytest.mark.parametrize("name", CASES)
def test_each_kind_is_found(name: str) -> None:
    assert CASES[name].finds in kinds(CASES[name].laden())


@pytest.mark.parametrize("name", CASES)
def test_its_harmless_twin_is_silent(name: str) -> None:
    assert embedded_pictures(CASES[name].clean()) == []


@pytest.mark.parametrize("boxes", [[], BOXES], ids=["copied", "blurred"])
@pytest.mark.parametrize("name", TAKEN)
def test_redaction_leaves_nothing_of_it(name: str, boxes: list[RedactionBox]) -> None:
    assert embedded_pictures(redacted(CASES[name].laden(), boxes)) == []


@pytest.mark.parametrize("name", REFUSED)
def test_the_pipeline_does_not_take_it(name: str) -> None:
    with pytest.raises(ImageRefused):
        redacted(CASES[name].laden(), [])


@pytest.mark.parametrize("boxes", [[], BOXES], ids=["copied", "blurred"])
@pytest.mark.parametrize("file_format", LADEN)
def test_redaction_leaves_nothing_of_all_at_once(
    file_format: str, boxes: list[RedactionBox]
) -> None:
    source = LADEN[file_format](textured(120, 90), 6)
    assert len(embedded_pictures(source)) > 4
    assert embedded_pictures(redacted(source, boxes)) == []


@pytest.mark.parametrize("boxes", [None, [], BOXES], ids=["source", "copied", "blurred"])
@pytest.mark.parametrize("kind", KINDS)
def test_plain_pictures_are_silent(kind: str, boxes: list[RedactionBox] | None) -> None:
    data = KINDS[kind](97, 61)
    if boxes is not None:
        info = inspect_image(data, ImageLimits())
        data = redact_image(data, info, boxes, noise=KEY, policy=policy()).data
    assert embedded_pictures(data) == []


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_coding_replaces_nothing(name: str) -> None:
    assert embedded_pictures(ARITHMETIC[name](textured(97, 61))) == []


@pytest.mark.parametrize("name", PICTURES)
def test_every_format_is_recognised(name: str) -> None:
    kind, make = PICTURES[name]
    assert kind in kinds(comment(b"12345" + make()))


@pytest.mark.parametrize("name", PICTURES)
def test_every_format_is_recognised_in_base64(name: str) -> None:
    kind, make = PICTURES[name]
    assert kind in kinds(png(chunk(b"tEXt", b"a\0word " + base64.encodebytes(make()))))


@pytest.mark.parametrize("signature", SIGNATURES)
def test_a_signature_alone_is_no_picture(signature: bytes) -> None:
    noise = harmless(400)
    files = [
        comment(noise + signature + noise),
        png(chunk(b"prVw", signature + noise)),
        webp((b"PREV", noise + signature)),
        tiff(tags={0xC634: octets(noise + signature)}),
    ]
    assert [embedded_pictures(data) for data in files] == [[]] * 4


def test_chance_makes_no_picture() -> None:
    parts = np.random.default_rng(1).bytes(8 << 20)
    size = 60_000
    noise = [segment(0xE9, parts[i : i + size]) for i in range(0, len(parts), size)]
    assert embedded_pictures(jpeg(*noise)) == []


def test_a_find_says_where() -> None:
    data = comment(b"12345" + thumbnail())
    assert embedded_pictures(data) == [Finding("JPEG", "comment, byte 163")]
    assert data[data.index(b"12345") + 163 :].startswith(b"\xff\xc0")


@pytest.fixture(scope="module")
def development() -> list[bytes]:
    """One in seventeen of the development photographs."""
    dev = data_root() / "dev"
    if not dev.is_dir():
        pytest.skip("no development data: set STREETBLUR_DATA to a folder that holds dev/")
    return [path.read_bytes() for path in sorted(dev.rglob("*.jpg"))[::EVERY]]


def second_pictures(data: bytes) -> int:
    """How many pictures a decoder sees in ``data`` besides the first."""
    count = 0
    at = data.find(b"\xff\xd8\xff", 2)
    while at >= 0:
        try:
            with Image.open(io.BytesIO(data[at:])) as picture:
                picture.load()
            count += 1
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
            pass
        at = data.find(b"\xff\xd8\xff", at + 2)
    return count


def test_photographs_hold_what_a_decoder_sees_in_them(development: list[bytes]) -> None:
    found = [sum(f.kind == "JPEG" for f in embedded_pictures(data)) for data in development]
    assert found == [second_pictures(data) for data in development]
    assert any(found)


def test_photographs_without_a_second_picture_are_silent(development: list[bytes]) -> None:
    plain = [data for data in development if second_pictures(data) == 0]
    assert [embedded_pictures(data) for data in plain] == [[]] * len(plain)


@pytest.mark.parametrize("boxes", [[], BOXES], ids=["copied", "blurred"])
def test_redacted_photographs_are_silent(
    development: list[bytes], boxes: list[RedactionBox]
) -> None:
    outputs = [redacted(data, boxes) for data in development]
    assert [embedded_pictures(data) for data in outputs] == [[]] * len(outputs)


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"quality": 80}),
        ("WEBP", {"lossless": True, "quality": 0}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"compression": "jpeg"}),
        ("JPEG", {"progressive": True}),
    ],
)
def test_photographs_coded_in_other_ways_are_silent(
    development: list[bytes], file_format: str, options: dict[str, Any]
) -> None:
    pixels = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in development[::6]]
    files = [saved(picture, file_format, **options) for picture in pixels]
    assert [embedded_pictures(data) for data in files] == [[]] * len(files)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A file of the corpus with some bytes changed, cut out or put in."""
    case = CASES[draw(st.sampled_from(sorted(CASES)))]
    data = bytearray(case.laden())
    for _ in range(draw(st.integers(1, 8))):
        # headers are where most can go wrong
        at = draw(st.integers(0, min(len(data), draw(st.sampled_from([64, 700, 1 << 30])))))
        new = draw(
            st.sampled_from([b"\xff", b"\0", b"\xff\xff\xff\xff", b"\0\0\0\0"])
            | st.binary(max_size=8)
        )
        data[at : at + draw(st.integers(0, 8))] = new
    return bytes(data[: draw(st.sampled_from([1 << 30, len(data) // 2, len(data) - 1]))])


@pytest.mark.timeout(300)
@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(damaged())
def test_damaged_files_are_looked_through_or_refused(data: bytes) -> None:
    try:
        found = embedded_pictures(data)
    except UnreadableImage as error:
        found = list(error.findings)
    assert all(isinstance(finding, Finding) for finding in found)


@pytest.mark.parametrize("data", [b"", b"text", thumbnail()[2:], b"\x89PNG", bytes(99)])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableImage, match="no JPEG, PNG, WebP or classic TIFF"):
        embedded_pictures(data)


def test_a_file_that_is_cut_off_is_refused_with_what_was_found() -> None:
    data = comment(thumbnail())
    with pytest.raises(UnreadableImage, match="ends before its end marker") as caught:
        embedded_pictures(data[:-2])
    assert [finding.kind for finding in caught.value.findings] == ["JPEG"]


@pytest.mark.timeout(120)
def test_a_bomb_is_given_up() -> None:
    bomb = zlib.compress(zlib.compress(bytes(400 << 20), 9), 9)
    with pytest.raises(UnreadableImage, match="more than may be looked through"):
        embedded_pictures(png(chunk(b"zTXt", b"a\0\0" + bomb)))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "hostile",
    [
        b"\x78\x9c" * (1 << 19),
        b"Exif\0\0MM\0*\0\0\0\x08" * (1 << 16),
        b"A" * (1 << 20),
        b"\xff\xc0\0\x0b\x08\0\x10\0\x10\1\1\x11\0" * (1 << 16),
        b"<a:b " * (1 << 18),
        b"\\" * (1 << 20),
        b"acsp" * (1 << 18),
        b"8BIM\4\x0c" * (1 << 17),
        b'"' + b" " * (1 << 20),
        b":Data " * (1 << 18),
        b"<x:Data>" * (1 << 17),
        b"xmlns:a='http://ns.google.com/photos/1.0/image/' " * (1 << 14) + b":Data='" * (1 << 16),
        b"PK\3\4\x14\0\0\0\0\0" * (1 << 16),
        b"\0\0\3\xfcftypmp42" * (1 << 16),
    ],
    ids=lambda hostile: hostile[:12].hex(),
)
def test_hostile_files_take_no_endless_time(hostile: bytes) -> None:
    try:
        found = embedded_pictures(plain_jpeg() + hostile)
    except UnreadableImage as error:
        found = list(error.findings)
    assert found, "whatever it is, it stands behind the end of the picture"


def test_it_shares_no_code_with_the_pipeline() -> None:
    """Its mistakes must be its own."""
    shared = "[m for m in sys.modules if m.partition('.')[0] in ('pipeline', 'serving')]"
    code = f"import sys, evaluation.embedded.__main__; print({shared})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
