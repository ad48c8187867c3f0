"""What is read, refused and decoded, in every format and mode."""

from __future__ import annotations

import io
import random
import struct
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.containers import png, webp
from pipeline.containers.ifd import Entry, write_directories
from pipeline.decode import decode_stored, decode_to_judge, decode_upright, full_level
from pipeline.encode import redact_image
from pipeline.errors import ImageRefused
from pipeline.images import CONTENT_TYPES, FORMAT_SUFFIXES, ImageLimits, inspect_image
from pipeline.noise import NoiseKey
from pipeline.orientation import box_to_stored, to_stored, to_upright, upright_size
from pipeline.output_check import check_output
from tests.pipeline.pictures import (
    KINDS,
    LADEN,
    box,
    camera_exif,
    deep_tiff,
    policy,
    saved,
    segment,
    textured,
)

# the preview index of the test pictures is no valid one, and Pillow says so
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
LIMITS = ImageLimits()
KEY = NoiseKey(b"secret", "a.jpg")


def reason_for(data: bytes, limits: ImageLimits = LIMITS) -> str:
    """The reason for which ``data`` is refused, by inspection or decoding."""
    with pytest.raises(ImageRefused) as caught:
        decode_upright(data, inspect_image(data, limits))
    return caught.value.reason


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(97, 61), (1, 1)])
def test_every_kind_decodes(kind: str, size: tuple[int, int]) -> None:
    data = KINDS[kind](*size)
    info = inspect_image(data, LIMITS)
    assert info.format == kind.split("-")[0]
    assert (info.width, info.height) == size
    assert info.bit_depth == (16 if "-16-" in kind else 8)
    pixels = decode_upright(data, info)
    assert pixels.shape == (size[1], size[0], 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("kind", [k for k in KINDS if k.startswith("jpeg")])
def test_jpeg_colours_agree_with_pillow(kind: str) -> None:
    data = KINDS[kind](80, 64)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    difference = np.abs(decode_upright(data, inspect_image(data, LIMITS)) - expected)
    assert difference.mean() < 1.5, "colours are off"


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_survive_decoding(channels: int) -> None:
    pixels = textured(40, 30, channels, depth=16)
    data = png.encode_png(pixels)
    assert np.array_equal(decode_stored(data, inspect_image(data, LIMITS)), pixels)
    if channels in (1, 3):
        data = deep_tiff(pixels)
        assert np.array_equal(decode_stored(data, inspect_image(data, LIMITS)), pixels)


def test_what_lies_under_transparency_is_seen() -> None:
    pixels = textured(40, 30, 4)
    pixels[:, :, 3] = 0
    lossless: dict[str, Any] = {"lossless": True, "exact": True}
    for file_format, options in (("PNG", {}), ("WEBP", lossless)):
        data = saved(pixels, file_format, **options)
        seen = decode_upright(data, inspect_image(data, LIMITS))
        assert np.array_equal(seen, pixels[:, :, :3])


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_fewer_bits_in_16_are_judged_as_bright_as_they_are(channels: int, bits: int) -> None:
    shallow = textured(60, 40, channels)
    if channels in (2, 4):
        shallow[..., -1] = 255
    pixels = shallow.astype(np.uint16) << (bits - 8)
    if channels in (2, 4):
        pixels[..., -1] = 65535
    seen, expected = (
        decode_to_judge(data, inspect_image(data, LIMITS))
        for data in (png.encode_png(pixels), png.encode_png(shallow))
    )
    assert np.abs(seen.astype(int) - expected).max() <= 1


def test_a_few_hot_pixels_do_not_darken_the_rest() -> None:
    pixels = textured(700, 500, 1).astype(np.uint16) * 4
    pixels[100, 100:103] = 65535
    info = inspect_image(png.encode_png(pixels), LIMITS)
    assert full_level(pixels, info) == 1023


def test_a_picture_that_is_black_beside_a_bright_spot_is_refused() -> None:
    pixels = textured(300, 200, 3).astype(np.uint16)
    pixels[:12, :12] = 65535
    data = png.encode_png(pixels)
    with pytest.raises(ImageRefused) as caught:
        decode_to_judge(data, inspect_image(data, LIMITS))
    assert caught.value.reason == "too_dark"
    pixels[:] = 0
    data = png.encode_png(pixels)
    assert not decode_to_judge(data, inspect_image(data, LIMITS)).any()


def dotted(alpha: Any) -> Any:
    return np.where(alpha > 127, 255, 0).astype(np.uint8)


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("change", [lambda alpha: alpha, dotted])
def test_a_picture_in_the_alpha_channel_is_refused(
    change: Callable[[Any], Any], channels: int
) -> None:
    pixels = textured(120, 90, channels)
    pixels[..., :-1] = 0
    pixels[..., -1] = change(pixels[..., -1])
    data = png.encode_png(pixels)
    with pytest.raises(ImageRefused) as caught:
        decode_to_judge(data, inspect_image(data, LIMITS))
    assert caught.value.reason == "alpha_detail"


def test_a_small_picture_in_a_large_alpha_channel_is_refused() -> None:
    pixels = np.full((1200, 1600, 4), 255, np.uint8)
    pixels[500:600, 700:800, 3] = textured(100, 100, 1)
    data = png.encode_png(pixels)
    with pytest.raises(ImageRefused, match="no plain mask"):
        decode_to_judge(data, inspect_image(data, LIMITS))


def test_a_mask_with_a_soft_rim_is_judged() -> None:
    pixels = textured(600, 400, 4)
    away = np.hypot(*np.mgrid[-200:200, -300:300]) - 150
    pixels[..., -1] = np.clip(128 + away * 25, 0, 255).astype(np.uint8)  # 10 pixels wide
    data = png.encode_png(pixels)
    seen = decode_to_judge(data, inspect_image(data, LIMITS))
    assert np.array_equal(seen, pixels[..., :3])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_picture_drawn_by_a_transparent_colour_is_refused(depth: int, channels: int) -> None:
    """Grey levels 2 and 3 look alike to the detectors; where 2 is transparent, everybody sees."""
    shape = (90, 120) if channels == 1 else (90, 120, channels)
    drawn = dotted(textured(120, 90, 1)) > 0
    pixels = np.full(shape, 3, np.uint8 if depth == 8 else np.uint16)
    pixels[drawn] = 2
    plain = png.parse_png(png.encode_png(pixels))
    chunks = list(plain.chunks)
    at = next(i for i, chunk in enumerate(chunks) if chunk[0] == b"IDAT")
    chunks.insert(at, (b"tRNS", struct.pack(f">{channels}H", *[2] * channels)))
    data = png.join_chunks(chunks)
    with pytest.raises(ImageRefused) as caught:
        decode_to_judge(data, inspect_image(data, LIMITS))
    assert caught.value.reason == "alpha_detail"


@pytest.mark.parametrize("value", [0, 100, 255])
def test_a_mask_or_an_even_alpha_channel_is_judged(value: int) -> None:
    pixels = textured(600, 400, 4)
    pixels[..., -1] = value
    for rows in (0, 130):
        pixels[:rows, 50:400, -1] = 255
        data = png.encode_png(pixels)
        seen = decode_to_judge(data, inspect_image(data, LIMITS))
        assert np.array_equal(seen, pixels[..., :3])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["jpeg", "png", "webp", "tiff"])
def test_orientation_is_applied_as_pillow_does(file_format: str, orientation: int) -> None:
    from PIL import ImageOps

    data = LADEN[file_format](textured(60, 40), orientation)
    info = inspect_image(data, LIMITS)
    assert info.orientation == orientation
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    seen = decode_upright(data, info)
    assert seen.shape[:2][::-1] == info.upright_size
    assert np.abs(seen.astype(int) - expected).mean() < 1.5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_with_the_pixels(orientation: int) -> None:
    upright = np.zeros((30, 50) if orientation < 5 else (50, 30), np.uint8)
    upright[3:9, 11:25] = 1
    stored = to_stored(upright, orientation)
    size = (upright.shape[1], upright.shape[0])
    x1, y1, x2, y2 = box_to_stored((11, 3, 25, 9), orientation, size)
    assert stored[y1:y2, x1:x2].all()
    assert stored.sum() == (x2 - x1) * (y2 - y1)
    assert np.array_equal(to_upright(stored, orientation), upright)
    assert upright_size(stored.shape[1], stored.shape[0], orientation) == size


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_files_are_refused_at_any_cut(kind: str) -> None:
    data = KINDS[kind](48, 40)
    cuts = {1, 2, 8, 20, len(data) // 2, len(data) - 40, len(data) - 9, len(data) - 1}
    for cut in sorted(c for c in cuts if 0 < c < len(data)):
        assert reason_for(data[:cut]) in ("truncated", "corrupt", "unknown_format"), cut


@pytest.mark.parametrize("kind", ["jpeg-420", "jpeg-progressive"])
def test_a_jpeg_cut_short_but_closed_properly_is_refused(kind: str) -> None:
    data = KINDS[kind](200, 160)
    cut = data[: len(data) // 2] + b"\xff\xd9"
    Image.open(io.BytesIO(cut)).load()  # Pillow says nothing
    assert reason_for(cut) == "corrupt"


def test_data_hidden_behind_the_pixels_is_refused() -> None:
    jpeg = KINDS["jpeg-420"](64, 64)
    assert reason_for(jpeg[:-2] + b"\x12" * 500 + b"\xff\xd9") == "corrupt"
    plain = png.parse_png(KINDS["png-rgb"](8, 8))
    raw = zlib.decompress(plain.first(b"IDAT") or b"") + b"hidden"
    stuffed = png.join_chunks([plain.chunks[0], (b"IDAT", zlib.compress(raw)), (b"IEND", b"")])
    assert reason_for(stuffed) == "corrupt"


def _jpeg_bomb() -> bytes:
    data = bytearray(KINDS["jpeg-420"](16, 16))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, 30000, 30000)
    return bytes(data)


def _png_bomb() -> bytes:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return png.join_chunks([(b"IHDR", header), (b"IDAT", b"x"), (b"IEND", b"")])


def _webp_bomb(kind: bytes) -> bytes:
    coded = b"\x2f" + struct.pack("<I", 16383 | 16383 << 14)
    if kind == b"VP8 ":
        coded = b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", 16383, 16383)
    return webp.join_chunks([(kind, coded)])


def _tiff_bomb() -> bytes:
    page = {tag: Entry(4, 1, struct.pack(">I", 60000)) for tag in (0x0100, 0x0101)}
    page |= {tag: Entry(4, 1, struct.pack(">I", 8)) for tag in (0x0102, 0x0111, 0x0117)}
    page[0x0106] = Entry(3, 1, struct.pack(">H", 1))
    return write_directories(">", page, {})


@pytest.mark.parametrize(
    "make",
    [
        _jpeg_bomb,
        _png_bomb,
        lambda: _webp_bomb(b"VP8 "),
        lambda: _webp_bomb(b"VP8L"),
        _tiff_bomb,
    ],
    ids=["jpeg", "png", "webp-lossy", "webp-lossless", "tiff"],
)
def test_a_bomb_is_refused_by_its_header(make: Callable[[], bytes]) -> None:
    bomb = make()
    with pytest.raises(ImageRefused) as caught:
        inspect_image(bomb, LIMITS)
    assert caught.value.reason == "too_many_pixels"
    assert inspect_image(bomb, ImageLimits(max_pixels=2**40)).width >= 16383


def test_files_beyond_the_limit_are_not_looked_into() -> None:
    assert reason_for(b"\xff\xd8\xff" * 40, ImageLimits(max_bytes=100)) == "too_large_bytes"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_held_against_the_limit_of_pixels(kind: str) -> None:
    data = KINDS[kind](48, 40)
    assert reason_for(data, ImageLimits(max_pixels=48 * 40 - 1)) == "too_many_pixels"
    inspect_image(data, ImageLimits(max_pixels=48 * 40))


def test_many_scans_are_refused() -> None:
    data = saved(textured(32, 32), "JPEG", progressive=True)
    start = data.index(b"\xff\xda")
    scan = data[start : data.index(b"\xff", start + 14)]
    assert reason_for(data[:start] + scan * 100 + data[start:]) == "too_many_scans"


def _without_header_bits(bits: int) -> bytes:
    data = bytearray(KINDS["jpeg-420"](16, 16))
    data[data.index(b"\xff\xc0") + 4] = bits
    return bytes(data)


def _with_frame_marker(marker: int) -> bytes:
    data = bytearray(KINDS["jpeg-420"](16, 16))
    data[data.index(b"\xff\xc0") + 1] = marker
    return bytes(data)


def _pages(file_format: str) -> bytes:
    first, second = Image.fromarray(textured(16, 16)), Image.fromarray(textured(16, 16, seed=1))
    buffer = io.BytesIO()
    first.save(buffer, file_format, save_all=True, append_images=[second])
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: b"", "empty"),
        (lambda: b"GIF89a" + b"\0" * 40, "unknown_format"),
        (lambda: b"<html>", "unknown_format"),
        (lambda: b"\xff\xd8", "truncated"),
        (lambda: _without_header_bits(12), "unsupported_jpeg_precision"),
        (lambda: _with_frame_marker(0xC3), "unsupported_jpeg_lossless"),
        (lambda: _pages("TIFF"), "unsupported_frames"),
        (lambda: _pages("PNG"), "unsupported_animation"),
        (lambda: _pages("WEBP"), "unsupported_animation"),
        (lambda: b"II+\0" + b"\0" * 40, "unsupported_bigtiff"),
        (lambda: saved(np.zeros((8, 8), np.float32), "TIFF"), "unsupported_tiff_depth"),
    ],
)
def test_refusals_have_stable_reasons(make: object, reason: str) -> None:
    assert callable(make)
    assert reason_for(make()) == reason


def test_unreadable_exif_means_upright() -> None:
    data = KINDS["jpeg-420"](16, 16)
    broken = data[:2] + segment(0xE1, b"Exif\0\0" + camera_exif(6)[:9]) + data[2:]
    assert inspect_image(broken, LIMITS).orientation == 1


def test_every_suffix_has_a_content_type() -> None:
    assert set(FORMAT_SUFFIXES.values()) == set(CONTENT_TYPES)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """``data`` with a few bytes changed, cut out or put in; PNG checksums mended."""
    out = bytearray(data)
    for _ in range(chance.choice([1, 2, 8])):
        at = chance.randrange(len(out) if chance.random() < 0.5 else min(len(out), 200))
        kind = chance.randrange(4)
        if kind < 2:
            out[at] = chance.choice([0, 1, 127, 255, chance.randrange(256)])
        elif kind == 2 and len(out) > 40:
            del out[at : at + chance.randrange(1, 20)]
        else:
            out[at : at + 4] = chance.choice([b"\xff" * 4, b"\0" * 4, b"\0\0\0\1"])
    at = 8
    while out[:8] == png.SIGNATURE and at + 12 <= len(out):
        length = int.from_bytes(out[at : at + 4], "big")
        crc = zlib.crc32(out[at + 4 : at + 8 + length])
        out[at + 8 + length : at + 12 + length] = crc.to_bytes(4, "big")
        at += 12 + length
    return bytes(out)


def run_all(data: bytes) -> None:
    """Everything that happens to a file."""
    info = inspect_image(data, ImageLimits(max_pixels=4_000_000))
    decode_upright(data, info)
    boxes = [box(5, 5, 30, 30, mode="solid")]
    for chosen in ([], boxes):
        result = redact_image(data, info, chosen, noise=KEY, policy=policy())
        check_output(data, info, result.data, chosen, policy(), spliced=result.spliced)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_are_refused_and_nothing_else(seed: int) -> None:
    chance = random.Random(seed)
    files = [make(40, 32) for make in KINDS.values()]
    files += [make(textured(40, 32), 6) for make in LADEN.values()]
    slowest = 0.0
    for _ in range(300):
        started = time.process_time()
        with suppress(ImageRefused):
            run_all(mutated(chance.choice(files), chance))
        slowest = max(slowest, time.process_time() - started)
    assert slowest < 5, "a damaged file must not cost more than seconds"
