"""Properties that the features have for any box, and golden values on the canary."""

import dataclasses
import json
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.canary import FOLDER, canary_pixels
from serving.colour import BINS, face_colour_table
from serving.contracts import FEATURES
from serving.crops import colour_crops
from serving.errors import InvalidInput
from serving.features import crops, features
from serving.geometry import LABELS, Box, Candidate

HEIGHT, WIDTH = 90, 120
SIGNED = {"score_logit", "centre_x", "centre_y", "top", "bottom", "log_aspect", "log_width"}
SIGNED |= {"log_height", "log_height_seen", "saturation_contrast", "grey_contrast"}
MOST = {"centre_x": 2, "centre_y": 2, "top": 2, "bottom": 2, "width": 2, "height": 2}
MOST |= {"log_width": 1.25, "log_height": 1.25, "log_height_seen": 1.25, "colourfulness": 1.84}
FLAGS = {"is_face", "is_plate", "pass_native", "pass_upscaled", "pass_low", "support_other_pass"}
FLAGS |= {name for name in FEATURES if name.endswith("_known")}
FACE = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))
PLATE = ((0, 0.1), (1, 0), (1, 0.9), (0, 1))


def street() -> np.ndarray:
    """A picture with colours and edges, uint8 [90, 120, 3]."""
    draw = np.random.default_rng(3)
    coarse = draw.integers(0, 256, (9, 12, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    noise = draw.integers(-20, 20, smooth.shape)
    return np.clip(smooth.astype(int) + noise, 0, 255).astype(np.uint8)


PICTURE = street()


def candidate(box, label="face", score=0.5, source="native", marks=None):
    x1, y1, x2, y2 = map(float, box)
    points = () if marks is None else [(x1 + u * (x2 - x1), y1 + v * (y2 - y1)) for u, v in marks]
    flat = tuple(float(value) for point in points for value in point)
    return Candidate(label, Box(x1, y1, x2, y2), score, 0.0, source, flat)


def named(rows):
    return {name: rows[:, column] for column, name in enumerate(FEATURES)}


def one(box, picture=PICTURE, **options):
    extra = {k: options.pop(k) for k in ("camera", "vehicles", "secondary") if k in options}
    row = features(picture, [candidate(box, **options)], **extra)
    return {name: float(value[0]) for name, value in named(row).items()}


numbers = st.floats(-300, 300, width=32)
sides = st.one_of(st.floats(2**-10, 400, width=32), st.sampled_from([0.01, 1, 64, 1e5]))
points = st.one_of(
    st.just(()),
    *(st.lists(st.floats(-1e6, 1e6, width=32), min_size=n, max_size=n).map(tuple) for n in (8, 10)),
)


@st.composite
def any_candidate(draw):
    x1, y1 = draw(numbers), draw(numbers)
    x2, y2 = np.float32(x1) + np.float32(draw(sides)), np.float32(y1) + np.float32(draw(sides))
    box = Box(x1, y1, float(x2), float(y2))
    return Candidate(
        draw(st.sampled_from(["face", "plate"])),
        box,
        draw(st.floats(0, 1)),
        0.0,
        draw(st.sampled_from(["native", "x2", "long=480", "long=10240", "stub", "", "long="])),
        draw(points),
    )


many = st.lists(any_candidate(), min_size=1, max_size=6).map(
    lambda found: [c for c in found if c.box.x2 > c.box.x1 and c.box.y2 > c.box.y1]
)
pictures = st.sampled_from(
    [PICTURE, PICTURE[:1, :1], PICTURE[:, :1], PICTURE * 0, PICTURE * 0 + 255]
)


@settings(max_examples=200, deadline=None)
@given(
    pixels=pictures,
    found=many,
    camera=st.one_of(st.none(), st.integers(0, 99)),
    known=st.booleans(),
)
def test_every_feature_is_finite_and_within_its_range(pixels, found, camera, known):
    secondary = np.float32([[0.5, np.nan]] * len(found)).reshape(-1, 2) if known else None
    vehicles = np.float32([[0, 0, 50, 50], [3, 3, 3, 3]]) if known else None
    rows = features(pixels, found, camera=camera, vehicles=vehicles, secondary=secondary)
    assert rows.shape == (len(found), len(FEATURES))
    assert rows.dtype == np.float32
    for name, values in named(rows).items():
        assert np.isfinite(values).all(), name
        assert (values >= (-1 if name in SIGNED else 0)).all(), (name, values)
        assert (values <= MOST.get(name, 1) + 1e-6).all(), (name, values)
        assert name not in FLAGS or np.isin(values, (0, 1)).all(), (name, values)
    assert crops(pixels, found).shape == (len(found), 64, 64, 1)


@settings(max_examples=60, deadline=None)
@given(found=many, order=st.randoms(use_true_random=False))
def test_the_order_of_the_candidates_does_not_matter(found, order):
    places = list(range(len(found)))
    order.shuffle(places)
    shuffled = features(PICTURE, [found[i] for i in places])
    np.testing.assert_array_equal(shuffled, features(PICTURE, found)[places])


@settings(max_examples=60, deadline=None)
@given(
    corner=st.tuples(st.integers(16, 50), st.integers(16, 40)),
    size=st.tuples(st.floats(2, 20), st.floats(2, 20)),
    shift=st.tuples(st.integers(0, 20), st.integers(0, 10)),
)
def test_a_moved_object_looks_the_same(corner, size, shift):
    """Only where it lies changes: the picture is moved under the box, its edge far away."""
    box = (*corner, corner[0] + size[0], corner[1] + size[1])
    moved = tuple(b + s for b, s in zip(box, shift * 2, strict=True))
    wide = np.pad(PICTURE, ((0, shift[1]), (0, shift[0]), (0, 0)), mode="edge")
    other = np.roll(wide, shift[::-1], axis=(0, 1))
    before, after = one(box, wide, marks=FACE), one(moved, other, marks=FACE)
    placed = {"centre_x", "centre_y", "top", "bottom", "height_to_bottom", "touches_border"}
    for name in set(FEATURES) - placed:
        assert after[name] == pytest.approx(before[name], abs=0.01), name


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(0, 80, width=32),
    y=st.floats(0, 60, width=32),
    w=st.floats(4, 40),
    h=st.floats(4, 30),
)
def test_a_mirrored_picture_has_the_same_features(x, y, w, h):
    box, mirrored = (x, y, x + w, y + h), (WIDTH - x - w, y, WIDTH - x, y + h)
    before = one(box, marks=FACE)
    after = one(mirrored, np.ascontiguousarray(PICTURE[:, ::-1]), marks=FACE)
    assert after["centre_x"] == pytest.approx(1 - before["centre_x"], abs=1e-3)
    for name in set(FEATURES) - {"centre_x"}:
        assert after[name] == pytest.approx(before[name], abs=0.02), name


def test_no_box_means_no_work(monkeypatch):
    monkeypatch.setattr("serving.crops.cv2", None)
    assert features(PICTURE, []).shape == (0, len(FEATURES))
    assert crops(PICTURE, []).shape == (0, 64, 64, 1)


@pytest.mark.parametrize(
    ("box", "share"),
    [
        ((40, 30, 60, 50), 0),
        ((0, 30, 20, 50), 0.25),
        ((0, 0, 20, 20), 0.5),
        ((100, 70, 120, 90), 0.5),
        ((0, 0, 120, 90), 1),
        ((-30, 20, 150, 40), 0.5),
    ],
)
def test_boxes_at_the_border_are_told(box, share):
    assert one(box)["touches_border"] == share


@pytest.mark.parametrize(
    ("box", "ratio"), [((10, 0, 20, 30), 1), ((10, 30, 20, 60), 2), ((10, 56, 20, 64), 8)]
)
def test_the_height_to_bottom_ratio(box, ratio):
    assert one(box)["height_to_bottom"] == pytest.approx(math.log2(ratio) / 10)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("native", (1, 0, 0, 16)),
        ("x2", (0, 1, 0, 32)),
        ("long=60", (0, 0, 1, 8)),
        ("stub", (0, 0, 0, 16)),
    ],
)
def test_the_pass_is_told(source, expected):
    row = one((10, 10, 26, 26), source=source)
    passes = tuple(row[f"pass_{name}"] for name in ("native", "upscaled", "low"))
    assert passes == expected[:3]
    assert 2 ** (16 * row["log_height_seen"]) == pytest.approx(expected[3], rel=1e-5)


def test_what_is_not_known_is_said():
    row = one((10, 10, 30, 30))
    for name in ("camera", "vehicle", "landmarks", "secondary_1", "secondary_2"):
        assert row[f"{name}_known"] == 0, name
    asked = np.float32([[0, 0.7]])
    none = np.zeros((0, 4), np.float32)
    row = one((10, 10, 30, 30), camera=4, vehicles=none, secondary=asked, marks=FACE)
    for name in ("camera", "vehicle", "landmarks", "secondary_1", "secondary_2"):
        assert row[f"{name}_known"] == 1, name
    values = [row[name] for name in ("camera", "vehicle_overlap", "secondary_1", "secondary_2")]
    assert values == pytest.approx([0.25, 0, 0, 0.7])


def test_the_overlap_with_a_vehicle_is_a_share_of_the_box():
    vehicles = np.float32([[0, 0, 5, 5], [20, 0, 120, 90]])
    row = one((10, 10, 30, 30), label="plate", vehicles=vehicles)
    assert row["vehicle_overlap"] == pytest.approx(0.5)


def test_neighbours_support_each_other_within_their_label():
    found = [
        candidate((10, 10, 30, 30)),
        candidate((10, 10, 30, 40), source="x2"),
        candidate((10, 20, 30, 40)),
        candidate((10, 10, 30, 30), label="plate"),
        candidate((90, 10, 110, 30)),
    ]
    row = named(features(PICTURE, found))
    assert (2 ** (8 * row["support"]) - 1).round() == pytest.approx([2, 2, 2, 0, 0])
    assert row["support_other_pass"].tolist() == [1, 1, 1, 0, 0]
    assert row["best_overlap"] == pytest.approx([2 / 3, 2 / 3, 2 / 3, 0, 0], abs=1e-6)
    assert row["other_label_overlap"] == pytest.approx([1, 2 / 3, 0.5, 1, 0], abs=1e-6)


def turned(marks, degrees, aspect=1.0):
    turn = math.radians(degrees)
    moved = [(aspect * (u - 0.5), v - 0.5) for u, v in marks]
    moved = [
        (x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn))
        for x, y in moved
    ]
    low, high = np.min(moved, axis=0), np.max(moved, axis=0)
    return [tuple((np.array(point) - low) / (high - low)) for point in moved]


@pytest.mark.parametrize(
    ("label", "good", "worse"),
    [
        ("face", FACE, [(u, 1 - v) for u, v in FACE]),
        ("face", FACE, [(1 - u, v) for u, v in FACE]),
        ("face", FACE, [(u + 1, v) for u, v in FACE]),
        ("face", FACE, [(0.5, 0.5)] * 5),
        ("plate", PLATE, [PLATE[i] for i in (0, 2, 1, 3)]),
        ("plate", PLATE, [(u / 4, v / 4) for u, v in PLATE]),
        ("plate", PLATE, [(u, v + 1) for u, v in PLATE]),
        ("plate", turned(PLATE, 15, 4.6), [(u, 0.5) for u, v in PLATE]),
    ],
)
def test_implausible_points_score_lower(label, good, worse):
    box = (20, 20, 60, 40)
    best = one(box, label=label, marks=good)["landmarks"]
    assert best > 0.85
    assert one(box, label=label, marks=worse)["landmarks"] < 0.65 * best


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("step", [1, -1])
def test_a_plates_corners_may_start_anywhere(start, step):
    marks = [PLATE[(start + step * i) % 4] for i in range(4)]
    assert one((20, 20, 60, 40), label="plate", marks=marks)["landmarks"] == pytest.approx(1)


def test_points_of_the_other_label_or_without_a_number_are_not_known():
    assert one((20, 20, 60, 40), label="plate", marks=FACE)["landmarks_known"] == 0
    spoilt = dataclasses.replace(candidate((20, 20, 60, 40)), points=(math.nan,) * 10)
    assert named(features(PICTURE, [spoilt]))["landmarks_known"].tolist() == [0]


def test_a_poster_is_more_colourful_than_a_wall():
    wall = np.full((60, 60, 3), 128, np.uint8)
    poster = np.zeros((60, 60, 3), np.uint8)
    poster[:, :30], poster[:, 30:] = (255, 0, 0), (0, 255, 255)
    box = (10, 10, 50, 50)
    plain, printed = one(box, wall), one(box, poster)
    for name in ("saturation_mean", "colourfulness", "hue_concentration", "entropy", "sharpness"):
        assert plain[name] == 0, name
    assert printed["saturation_mean"] == pytest.approx(1, abs=0.01)
    assert printed["colourfulness"] > 0.5
    assert printed["hue_concentration"] < 0.2
    assert printed["entropy"] == pytest.approx(0.2, abs=0.05)


def test_blur_lowers_sharpness():
    blurred = np.ascontiguousarray(cv2.GaussianBlur(PICTURE, (0, 0), 3))
    box = (20, 20, 70, 70)
    assert one(box, blurred)["sharpness"] < one(box)["sharpness"] / 2


@pytest.mark.parametrize("light", [1.0, 0.7, 0.5, 0.35])
def test_the_face_colours_cover_light_and_dark_skin(light):
    """One skin hue at several lights (values of the Monk scale's middle); blue is none."""
    skin = (np.array([215, 160, 120]) * light).astype(np.uint8)
    assert one((10, 10, 50, 50), np.full((60, 60, 3), skin, np.uint8))["face_colour"] > 0.6
    blue = (np.array([60, 90, 220]) * light).astype(np.uint8)
    assert one((10, 10, 50, 50), np.full((60, 60, 3), blue, np.uint8))["face_colour"] < 0.3


def test_the_table_is_a_probability():
    table = face_colour_table()
    assert table.shape == BINS
    assert 0 <= table.min() < 0.2 < 0.8 < table.max() <= 1


def test_a_crop_holds_the_box_and_a_quarter_on_each_side():
    picture = np.zeros((90, 120, 3), np.uint8)
    picture[30:60, 40:80] = 255
    (crop,) = crops(picture, [candidate((40, 30, 80, 60))])[..., 0]
    assert (crop[12:52, 12:52] == 255).all()
    assert (crop[:9] == 0).all()
    assert (crop[:, 55:] == 0).all()


def test_a_crop_repeats_the_pictures_edge():
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:, :20] = 200
    (crop,) = crops(picture, [candidate((-100, 5, -60, 30))])[..., 0]
    assert (crop == 200).all()


@pytest.mark.parametrize("side", [1.5, 3, 30, 300, 1500])
def test_a_crop_is_resampled_by_area(side):
    """Fine noise averages out in a large box, and its mean stays."""
    noise = np.random.default_rng(0).integers(0, 2, (2000, 2000, 1)).astype(np.uint8) * 255
    picture = np.repeat(noise, 3, axis=2)
    box = np.float32([[250, 250, 250 + side, 250 + side]])
    crop = colour_crops(picture, box)[0].astype(float)
    pixels_averaged = max(1, (1.5 * side / 64) ** 2)
    assert crop.std() < 2.5 * 127.5 / math.sqrt(pixels_averaged)
    assert side < 30 or abs(crop.mean() - 127.5) < 8


@pytest.mark.parametrize(
    "box",
    [
        (5, 5, 5, 9),
        (9, 5, 5, 9),
        (math.nan, 5, 9, 9),
        (5, 5, math.inf, 9),
        (5, 5, 2e6, 9),
    ],
)
def test_boxes_without_an_area_are_refused(box):
    with pytest.raises(InvalidInput, match="no box"):
        features(PICTURE, [candidate((1, 1, 9, 9)), candidate(box)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"camera": -1},
        {"vehicles": np.zeros(4, np.float32)},
        {"secondary": np.zeros((1, 3), np.float32)},
    ],
)
def test_other_context_is_refused(wrong):
    with pytest.raises(InvalidInput):
        features(PICTURE, [candidate((1, 1, 9, 9))], **wrong)


GOLDEN = {
    "score_logit": (0.203, 0.270),
    "centre_x": (0.435, 0.233),
    "bottom": (0.347, 0.911),
    "log_aspect": (-0.040, 0.229),
    "height_to_bottom": (0.066, 0.377),
    "face_colour": (0.707, 0.115),
    "face_colour_context": (0.622, 0.458),
    "saturation_mean": (0.330, 0.569),
    "saturation_std": (0.135, 0.251),
    "saturation_contrast": (-0.096, 0.507),
    "hue_concentration": (0.994, 1.000),
    "colourfulness": (0.103, 0.224),
    "grey_mean": (0.626, 0.448),
    "grey_std": (0.191, 0.227),
    "grey_contrast": (0.244, -0.078),
    "entropy": (0.882, 0.761),
    "sharpness": (0.134, 0.226),
}
"""Of the canary's known face and plate; a new canary or table needs new ones, looked at."""


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_values_on_the_canary(name):
    known = json.loads((FOLDER / "canary.json").read_text())
    found = [candidate(known[k]["xyxy"], k, known[k]["score"]) for k in LABELS]
    values = named(features(canary_pixels(), found))[name]
    assert values.tolist() == pytest.approx(GOLDEN[name], abs=0.01)
