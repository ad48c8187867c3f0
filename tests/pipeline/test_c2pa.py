"""C2PA manifests speak of the source's bytes: they never stay, and a note says so."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from pipeline.containers import png, webp
from pipeline.containers.ifd import Entry, read_directory, read_header, write_directories
from pipeline.encode import RedactedImage, redact_image
from pipeline.images import ImageLimits, inspect_image
from pipeline.jpeg.segments import SOS, parse_jpeg
from pipeline.noise import NoiseKey
from pipeline.output_check import check_output
from tests.pipeline.pictures import KINDS, LADEN, box, policy, segment, textured

POLICY = policy()
BOXES = [[], [box(20, 16, 60, 48)]]
# The content type of a C2PA manifest store.
STORE = b"c2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71"
OTHER = b"\x40\xcb\x0c\x32\xbb\x8a\x48\x9d\xa7\x0b\x2a\xd6\xf4\x7f\x43\x69"


def superbox(kind: bytes, label: bytes) -> bytes:
    """A JUMBF superbox with a description and some content."""
    described = kind + b"\3" + label + b"\0"
    body = struct.pack(">I4s", len(described) + 8, b"jumd") + described + b"signed claim" * 30
    return struct.pack(">I4s", len(body) + 8, b"jumb") + body


MANIFEST = superbox(STORE, b"c2pa")


def in_app11(content: bytes, part: int = 60_000) -> bytes:
    """``content``, a box, in as many segments as it takes; each repeats the box's head."""
    head, body = content[:8], content[8:]
    return b"".join(
        segment(0xEB, b"JP" + struct.pack(">HI", 1, number) + head + body[i : i + part])
        for number, i in enumerate(range(0, len(body), part), start=1)
    )


def jpeg(more: bytes) -> bytes:
    plain = KINDS["jpeg-420"](97, 61)
    return plain[:2] + more + plain[2:]


def jpeg_before_scan(more: bytes) -> bytes:
    plain = KINDS["jpeg-progressive"](97, 61)
    last = [one for one in parse_jpeg(plain).segments if one.marker == SOS][-1].start - 4
    return plain[:last] + more + plain[last:]


def with_chunk(kind: bytes) -> bytes:
    found = png.parse_png(KINDS["png-rgb"](97, 61))
    return png.join_chunks([found.chunks[0], (kind, MANIFEST), *found.chunks[1:]])


def with_riff_chunk(kind: bytes) -> bytes:
    found = webp.parse_webp(KINDS["webp-lossless"](97, 61))
    return webp.join_chunks([*found.chunks, (kind, MANIFEST)])


def with_tag(tag: int) -> bytes:
    plain = KINDS["tiff-rgb"](97, 61)
    order, offset = read_header(plain)
    page, _ = read_directory(plain, order, offset)
    raw = textured(97, 61).tobytes()
    page[tag] = Entry(7, len(MANIFEST), MANIFEST)
    for one, value in ((0x0111, 0), (0x0116, 61), (0x0117, len(raw))):
        page[one] = Entry(4, 1, struct.pack(f"{order}I", value))
    page[0x0111] = Entry(4, 1, struct.pack(f"{order}I", len(write_directories(order, page, {}))))
    return write_directories(order, page, {}) + raw


def redacted(source: bytes, boxes: list) -> RedactedImage:
    info = inspect_image(source, ImageLimits())
    key = NoiseKey(b"secret", "a")
    made = redact_image(source, info, boxes, noise=key, policy=POLICY)
    check_output(source, info, made.data, boxes, POLICY, spliced=made.spliced)
    return made


SIGNED: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: jpeg(in_app11(MANIFEST)),
    "jpeg, in parts": lambda: jpeg(in_app11(MANIFEST, 40)),
    "jpeg, by its label": lambda: jpeg(in_app11(superbox(OTHER, b"c2pa"))),
    "jpeg, before the last scan": lambda: jpeg_before_scan(in_app11(MANIFEST)),
    "png": lambda: with_chunk(b"caBX"),
    "webp": lambda: with_riff_chunk(b"C2PA"),
    "tiff": lambda: with_tag(0xCD41),
}
UNSIGNED: dict[str, Callable[[], bytes]] = {
    **{f"{name}, laden": lambda make=make: make(textured(97, 61)) for name, make in LADEN.items()},
    "jpeg, other box": lambda: jpeg(in_app11(superbox(OTHER, b"depth"))),
    "jpeg, no box": lambda: jpeg(segment(0xEB, b"JP\0\1\0\0\0\1 of c2pa")),
    "jpeg, other segment": lambda: jpeg(in_app11(MANIFEST).replace(b"\xff\xeb", b"\xff\xe7")),
    "png, other chunk": lambda: with_chunk(b"caBY"),
    "webp, other chunk": lambda: with_riff_chunk(b"C2PB"),
    "tiff, other tag": lambda: with_tag(0xCD42),
}


@pytest.mark.parametrize("boxes", BOXES, ids=["nothing to blur", "a box"])
@pytest.mark.parametrize("kind", SIGNED)
def test_a_manifest_is_dropped_with_a_note(kind: str, boxes: list) -> None:
    source = SIGNED[kind]()
    made = redacted(source, boxes)
    assert made.notes.count("c2pa_dropped") == 1
    assert (b"signed claim" in source, b"signed claim" in made.data) == (True, False)
    assert b"c2pa" not in made.data


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("boxes", BOXES, ids=["nothing to blur", "a box"])
@pytest.mark.parametrize("kind", UNSIGNED)
def test_without_a_manifest_there_is_no_note(kind: str, boxes: list) -> None:
    assert "c2pa_dropped" not in redacted(UNSIGNED[kind](), boxes).notes
