"""What people would see and the detectors would not: steep colour data, pictures of two colours."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from pipeline.containers import png
from pipeline.decode import decode_to_judge
from pipeline.errors import ImageRefused
from pipeline.images import FORMAT_SUFFIXES, ImageLimits, inspect_image, raw_metadata
from pipeline.records import WorkItem
from pipeline.stages.envelope import Envelope, guarded, outcome_of
from pipeline.stages.fetch import Decode
from tests.pipeline import profiles
from tests.pipeline.pictures import DATA, Pixels, saved, srgb_profile, textured

LIMITS = ImageLimits()
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
SRGB = profiles.CURVES["srgb"]


def reason_for(data: bytes) -> str | None:
    """The reason for which ``data`` is refused to the detectors, or None."""
    try:
        decode_to_judge(data, inspect_image(data, LIMITS))
    except ImageRefused as refusal:
        return refusal.reason
    return None


def with_profile(icc: bytes, file_format: str = "PNG", channels: int = 3) -> bytes:
    mode = "CMYK" if channels == 4 else None
    pixels = textured(48, 40, min(channels, 3))
    return saved(pixels, file_format, mode, icc_profile=icc)


def with_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    plain = png.parse_png(saved(textured(48, 40), "PNG"))
    return png.join_chunks([plain.chunks[0], *chunks, *plain.chunks[1:]])


@pytest.mark.parametrize("white_at", [3, 4, 6, 8, 32])
@pytest.mark.parametrize("file_format", FORMATS)
def test_a_profile_that_lifts_the_dark_is_refused(file_format: str, white_at: int) -> None:
    steep = profiles.rgb_profile("srgb", profiles.lifted(white_at))
    assert reason_for(with_profile(steep, file_format)) == "tone_curve"


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF"])
def test_a_steep_grey_profile_is_refused(file_format: str) -> None:
    steep = profiles.grey_profile(profiles.lifted(8))
    assert reason_for(with_profile(steep, file_format, channels=1)) == "tone_curve"


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
@pytest.mark.parametrize(("curve", "reason"), [(SRGB, None), (profiles.lifted(8), "tone_curve")])
def test_inks_are_judged(file_format: str, curve: profiles.Curve, reason: str | None) -> None:
    data = with_profile(profiles.cmyk_profile(curve), file_format, channels=4)
    assert reason_for(data) == reason


@pytest.mark.parametrize("at", [40, 128, 240])
def test_a_step_anywhere_is_refused(at: int) -> None:
    curve = np.linspace(0, 0.4, 256) ** 2.2
    curve[at:] += 0.3
    assert reason_for(with_profile(profiles.rgb_profile("srgb", curve))) == "tone_curve"


def test_a_curve_that_comes_back_within_a_few_levels_is_refused() -> None:
    curve = np.linspace(0, 1, 256) ** 2.2
    curve[::4] = 1
    assert reason_for(with_profile(profiles.rgb_profile("srgb", curve))) == "tone_curve"


@pytest.mark.parametrize("primaries", profiles.PRIMARIES)
@pytest.mark.parametrize("curve", [name for name in profiles.CURVES if name != "gamma 1.0"])
def test_usual_profiles_pass(primaries: str, curve: str) -> None:
    icc = profiles.rgb_profile(primaries, profiles.CURVES[curve])
    assert reason_for(with_profile(icc)) is None
    assert reason_for(with_profile(icc, channels=1)) is None, "cameras write it for grey, too"


@pytest.mark.parametrize("curve", [name for name in profiles.CURVES if name != "gamma 1.0"])
def test_usual_grey_profiles_pass(curve: str) -> None:
    icc = profiles.grey_profile(profiles.CURVES[curve])
    assert reason_for(with_profile(icc, channels=1)) is None


@pytest.mark.parametrize("file_format", FORMATS)
def test_littlecms_own_srgb_passes(file_format: str) -> None:
    assert reason_for(with_profile(srgb_profile(), file_format)) is None


def test_linear_light_is_refused() -> None:
    linear = profiles.CURVES["gamma 1.0"]
    assert reason_for(with_profile(profiles.rgb_profile("srgb", linear))) == "tone_curve"
    assert reason_for(with_profile(profiles.grey_profile(linear), channels=1)) == "tone_curve"


def test_primaries_that_pull_colours_apart_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    apart = ((9.0, 0.2225, 0.0139), (-8.2, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
    monkeypatch.setitem(profiles.PRIMARIES, "apart", apart)
    assert reason_for(with_profile(profiles.rgb_profile("apart", SRGB))) == "tone_curve"


def test_tables_and_the_curves_beside_them_are_both_judged() -> None:
    gentle, steep = SRGB, profiles.lifted(8)
    for tables, curve, reason in (
        (np.linspace(0, 1, 256), gentle, None),
        (np.linspace(0, 1, 256), steep, "tone_curve"),
        (steep, gentle, "tone_curve"),
    ):
        icc = profiles.lab_profile(profiles.rgb_table(tables), curve)
        assert reason_for(with_profile(icc)) == reason


@pytest.mark.parametrize(("transfer", "reason"), [(13, None), (16, "tone_curve")])
def test_a_profile_that_says_it_is_video_is_judged_by_that(
    transfer: int, reason: str | None
) -> None:
    said = b"cicp\0\0\0\0" + bytes([9, transfer, 0, 1])
    assert reason_for(with_profile(profiles.rgb_profile("srgb", SRGB, cicp=said))) == reason


def test_a_profile_that_cannot_be_read_is_refused_where_it_would_stay() -> None:
    whole = profiles.rgb_profile("srgb", SRGB)
    assert reason_for(with_profile(whole.replace(b"rTRC", b"xTRC"))) == "tone_curve"
    assert reason_for(with_profile(whole[:-20])) is None, "this one is dropped from the output"


def test_a_profile_that_names_a_tag_twice_is_refused() -> None:
    """Readers differ in which of the two they take."""
    more = {"xTRC": profiles.coded(profiles.lifted(4))}
    twice = profiles.rgb_profile("srgb", SRGB, **more).replace(b"xTRC", b"rTRC")
    assert reason_for(with_profile(twice)) == "tone_curve"


@pytest.mark.parametrize("channels", [1, 3])
def test_a_profile_for_other_channels_is_refused(channels: int) -> None:
    other = profiles.cmyk_profile(SRGB) if channels == 1 else profiles.grey_profile(SRGB)
    assert reason_for(with_profile(other, "JPEG", channels)) == "tone_curve"


@pytest.mark.parametrize("gamma", [0, 1_000, 100_000, 200_000, 300_000])
def test_a_steep_gamma_is_refused(gamma: int) -> None:
    assert reason_for(with_chunks((b"gAMA", struct.pack(">I", gamma)))) == "tone_curve"


@pytest.mark.parametrize("gamma", [38_462, 45_455, 50_000, 55_556])
def test_a_usual_gamma_passes(gamma: int) -> None:
    assert reason_for(with_chunks((b"gAMA", struct.pack(">I", gamma)))) is None


ADOBE = (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (ADOBE, None),
        ((31270, 32900, 200_000, 33000, 30000, 60000, 15000, 6000), "tone_curve"),
        ((31270, 32900) * 4, "tone_curve"),
        ((0,) * 8, "tone_curve"),
        ((40000, 60000, *ADOBE[2:]), "tone_curve"),
    ],
)
def test_chromaticities_are_judged(points: tuple[int, ...], reason: str | None) -> None:
    assert reason_for(with_chunks((b"cHRM", struct.pack(">8I", *points)))) == reason


@pytest.mark.parametrize("transfer", [1, 4, 5, 6, 13, 14, 15])
def test_ordinary_video_passes(transfer: int) -> None:
    assert reason_for(with_chunks((b"cICP", bytes([1, transfer, 0, 1])))) is None


@pytest.mark.parametrize("transfer", [0, 2, 8, 9, 16, 17, 18])
def test_high_dynamic_range_and_linear_video_are_refused(transfer: int) -> None:
    assert reason_for(with_chunks((b"cICP", bytes([9, transfer, 0, 1])))) == "tone_curve"


@pytest.mark.parametrize("kind", [b"gAMA", b"cHRM", b"cICP"])
def test_colour_chunks_of_a_wrong_length_are_refused(kind: bytes) -> None:
    for payload in (b"", b"\1\1\1"):
        assert reason_for(with_chunks((kind, payload))) == "tone_curve"


def test_every_piece_of_colour_data_is_judged() -> None:
    gentle = (b"gAMA", struct.pack(">I", 45_455))
    assert reason_for(with_chunks(gentle, (b"cICP", bytes([9, 16, 0, 1])))) == "tone_curve"
    assert reason_for(with_chunks((b"cICP", bytes([1, 13, 0, 1])), gentle)) is None


def dithered(channels: int = 3) -> Pixels:
    grey = textured(120, 90, 1)
    drawn = grey > textured(120, 90, 1, seed=1)
    return np.where(drawn[..., None], 255, 0).repeat(channels, axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    ("file_format", "mode"),
    [(name, mode) for name in ("PNG", "TIFF") for mode in ("1", "L", "P", "RGB", "RGBA")]
    + [("WEBP", "RGB"), ("WEBP", "RGBA")],
)
def test_a_picture_of_two_colours_is_refused(file_format: str, mode: str) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = saved(dithered(), file_format, mode, **options)
    assert reason_for(data) == "bilevel"


def test_two_values_of_16_bits_are_refused() -> None:
    pixels = dithered(1)[..., 0].astype(np.uint16) * 257
    assert reason_for(png.encode_png(pixels)) == "bilevel"


def test_one_colour_and_three_colours_pass() -> None:
    even = np.full((90, 120, 3), 7, np.uint8)
    assert reason_for(saved(even, "PNG")) is None
    third = dithered()
    third[45, 61] = (200, 40, 40)
    assert reason_for(saved(third, "PNG")) is None


def test_a_mask_does_not_count_as_colour() -> None:
    pixels = dithered(4)
    pixels[..., 3] = 255
    pixels[:30, :40, 3] = 0
    assert reason_for(saved(pixels, "PNG")) == "bilevel"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (with_profile(profiles.rgb_profile("srgb", profiles.lifted(4)), "JPEG"), "tone_curve"),
        (saved(dithered(), "PNG", "1"), "bilevel"),
    ],
)
def test_it_is_quarantined_with_that_reason(data: bytes, reason: str) -> None:
    item = WorkItem("a.png", "etag", len(data), 0, 0, "identity")
    ended = guarded("decode", Decode(LIMITS), Envelope(item, data=data))
    outcome = outcome_of(ended, policy_digest="", models="")
    assert (outcome.status, outcome.reason) == ("quarantined", reason)
    assert ended.pixels is None


def test_the_profiles_of_real_pictures_pass() -> None:
    folders = [DATA / name for name in ("dev", "train") if (DATA / name).is_dir()]
    if not folders:
        pytest.skip(f"no pictures under {DATA} (set STREETBLUR_DATA)")
    seen: dict[bytes, Path] = {}
    for path in (path for folder in folders for path in sorted(folder.rglob("*.jp*g"))):
        data = path.read_bytes()
        icc = raw_metadata(data, FORMAT_SUFFIXES[path.suffix]).icc
        if icc is not None and seen.setdefault(icc, path) == path:
            assert reason_for(data) is None, path
    assert seen
