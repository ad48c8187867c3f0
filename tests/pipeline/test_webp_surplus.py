"""What hides behind a WebP's coded picture, inside the picture's own chunk, never survives."""

from __future__ import annotations

import base64
from collections.abc import Callable

import numpy as np
import pytest

from pipeline.containers import webp_stream
from pipeline.containers.webp import Chunk, join_chunks, parse_webp
from pipeline.decode import decode_stored
from pipeline.encode import redact_image
from pipeline.errors import OutputRejected
from pipeline.images import ImageInfo, ImageLimits, inspect_image
from pipeline.noise import NoiseKey
from pipeline.output_check import check_output
from tests.pipeline.pictures import box, policy, saved, textured, thumbnail

KEY = NoiseKey(b"secret", "a.webp")
POLICY = policy()
# Pillow cannot write several partitions: 16 x 128 pixels by libwebp with 8, made for this test.
EIGHT_PARTITIONS = base64.b64decode(
    "UklGRhYCAABXRUJQVlA4IAoCAAAQCACdASoQAIAAPzmKuVavKSUjsBgIAeDnCWxMG8aV8deU1TqDkB/6RNmMJGGkCV3p"
    "iBGrgHof23vPJekTeRN5sC1t4u6QFCoAAEcAACAAAEsAAEgAACkAAEQAACMAAPs/wc/335KyFoe/k76xI/Yh5NV8Z+a8"
    "wkbdfbrPcsPwwsMJCKmRaxir+6OgV6bcmID4I2/k169sPOJptShs8vVaG3u8swAAl/+cuBxO2fOnwFWgDmqPNwbq8DOo"
    "l1VGpvattWU9AAD8zPMYjPmMccypJ/y0Wfc1vFNwRSt/EYgBA5qMEfeuorJl+D+3F6IZEmnTaG8liMW+kyCpmUHNZx6p"
    "ap9vKRGnclo/Avz0ZWzIAAD+h/sZABX7//1ad2b4A3ZfxkoIxpoRap+0F6eX6fR8CMF2hq+t3AhrqsxjpgwAJOaHGJn8"
    "OgL7YBITEEn6DOwpSx30p4bSgAC6utnBD+qK60UFVFtIcnZyITYDwXq42Ouw67gh8BS2JUt16Y96wjoAAJfybTJ+6Pnx"
    "3/KMdtPcTg2eUX+6ocQRjk4tO9ppE9gPuJMxYr4m2kFzablIz3d/31mzoEXdQs4d70h7RXw2TtR6KCwA9D4d5VWoNv12"
    "NXm5B8GsGmwdnZeINu2tTMqmxzYeqDBMcACX+43EFE2/ifxNf10vqErzJYmuJnoDHccTzfJQfWh14AA="
)
KINDS: dict[str, Callable[[], bytes]] = {
    "lossy": lambda: saved(textured(97, 61), "WEBP", quality=85),
    "lossless": lambda: saved(textured(97, 61), "WEBP", lossless=True),
    "lossless-alpha": lambda: saved(textured(97, 61, 4), "WEBP", lossless=True, exact=True),
    "lossy-alpha": lambda: saved(textured(97, 61, 4), "WEBP", quality=85),
    "partitions": lambda: EIGHT_PARTITIONS,
}
CODED = (b"VP8 ", b"VP8L", b"ALPH")
PLACES = [
    ("lossy", b"VP8 "),
    ("lossless", b"VP8L"),
    ("lossless-alpha", b"VP8L"),
    ("lossy-alpha", b"VP8 "),
    ("lossy-alpha", b"ALPH"),
    ("partitions", b"VP8 "),
]


def inspect(data: bytes) -> ImageInfo:
    return inspect_image(data, ImageLimits())


def changed(data: bytes, change: Callable[[Chunk], Chunk]) -> bytes:
    return join_chunks(change(chunk) for chunk in parse_webp(data).chunks)


def laden(data: bytes, place: bytes, more: bytes) -> bytes:
    """``data`` with ``more`` behind the picture inside the chunk ``place``."""
    return changed(data, lambda chunk: (chunk[0], chunk[1] + more * (chunk[0] == place)))


def with_partition(data: bytes, number: int, more: bytes) -> bytes:
    """``data`` with ``more`` at the end of one of the frame's partitions."""
    frame = parse_webp(data).first(b"VP8 ") or b""
    tag = int.from_bytes(frame[:3], "little")
    first = frame[10 : 10 + (tag >> 5)]
    count = webp_stream._partition_count(first)
    parts = [first, *(webp_stream._partitions(frame[10 + len(first) :], count) or [])]
    parts[number] += more
    return join_chunks([(b"VP8 ", webp_stream._frame(tag, frame[3:10], parts))])


def assert_cleaned(source: bytes, hidden: bytes) -> None:
    """The source's twin without surplus is published; the source as it is, is not."""
    assert hidden in source
    info = inspect(source)
    result = redact_image(source, info, [], noise=KEY, policy=POLICY)
    check_output(source, info, result.data, [], POLICY)
    assert (result.route, "surplus_dropped" in result.notes) == ("reencoded", True)
    assert hidden not in result.data
    assert hidden[:12] not in result.data
    before, after = (decode_stored(d, inspect(d)) for d in (source, result.data))
    if info.lossless:
        assert np.array_equal(before, after)
    else:
        assert np.abs(before.astype(int) - after).mean() < 8
    with pytest.raises(OutputRejected) as caught:
        check_output(source, info, source, [], POLICY)
    assert caught.value.reason == "embedded_picture"


@pytest.mark.parametrize("hidden", [thumbnail(), thumbnail()[:400], b"plain" * 20])
@pytest.mark.parametrize(("kind", "place"), PLACES)
def test_data_behind_the_picture_does_not_survive(kind: str, place: bytes, hidden: bytes) -> None:
    assert_cleaned(laden(KINDS[kind](), place, hidden), hidden)


@pytest.mark.parametrize("number", range(9))
def test_data_behind_any_partition_does_not_survive(number: int) -> None:
    hidden = thumbnail()
    assert_cleaned(with_partition(EIGHT_PARTITIONS, number, hidden), hidden)


def test_chunks_that_no_decoder_reads_count_as_surplus() -> None:
    hidden = (b"ALPH", b"\1" + thumbnail())
    lossless = parse_webp(KINDS["lossless"]()).chunks
    twice = parse_webp(KINDS["lossy-alpha"]()).chunks
    for chunks in ((hidden, *lossless), (*lossless, hidden), (*twice, hidden)):
        data = join_chunks(chunks)
        assert webp_stream.surplus(parse_webp(data)) != []
        with pytest.raises(OutputRejected, match="surplus"):
            check_output(data, inspect(data), data, [], POLICY)


def test_raw_alpha_is_measured() -> None:
    raw = b"\0" + bytes(97 * 61)
    data = changed(KINDS["lossy-alpha"](), lambda c: (c[0], raw if c[0] == b"ALPH" else c[1]))
    assert webp_stream.surplus(parse_webp(data)) == []
    assert_cleaned(laden(data, b"ALPH", thumbnail()), thumbnail())


@pytest.mark.parametrize("kind", KINDS)
def test_what_encoders_write_stays_bit_for_bit(kind: str) -> None:
    data = KINDS[kind]()
    info = inspect(data)
    result = redact_image(data, info, [], noise=KEY, policy=POLICY)
    assert result.route == "metadata_only"
    check_output(data, info, result.data, [], POLICY)
    coded = [[c for c in parse_webp(d).chunks if c[0] in CODED] for d in (data, result.data)]
    assert coded[0] == coded[1]


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (33, 250), (320, 240)])
@pytest.mark.parametrize("quality", [5, 50, 100])
def test_encoders_leave_no_surplus(size: tuple[int, int], quality: int) -> None:
    width, height = size
    half = textured(width, height)
    half[: height // 2] = 200
    flat = np.full((height, width, 3), 77, np.uint8)
    clear = np.dstack([half, flat[:, :, 0]])
    for pixels in (textured(width, height), half, half[::-1], flat, clear):
        for lossless in (False, True):
            data = saved(pixels, "WEBP", quality=quality, lossless=lossless)
            assert webp_stream.surplus(parse_webp(data)) == []


def test_a_redacted_picture_drops_it_as_well() -> None:
    data = laden(KINDS["lossy"](), b"VP8 ", thumbnail())
    info, boxes = inspect(data), [box(24, 16, 72, 48)]
    result = redact_image(data, info, boxes, noise=KEY, policy=POLICY)
    check_output(data, info, result.data, boxes, POLICY)
    assert thumbnail()[:40] not in result.data


def test_a_picture_within_the_coded_data_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webp_stream, "surplus", lambda structure: [])
    data = laden(KINDS["lossy"](), b"VP8 ", thumbnail())
    with pytest.raises(OutputRejected, match="jpeg in chunk VP8"):
        check_output(data, inspect(data), data, [], POLICY)
