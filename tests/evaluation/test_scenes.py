"""Scenes put together from labelled pictures: exact boxes, honest variations, the same bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from evaluation.annotations import LabelledBox, LabelledPicture, read_annotations
from evaluation.attributes import Attributes
from evaluation.demo.scenes import street
from evaluation.evaluate import evaluate_outputs
from evaluation.labelled_sets import find_sets
from evaluation.oracle import redact
from evaluation.picture import read_upright
from evaluation.scenes.__main__ import main
from evaluation.scenes.chance import chance
from evaluation.scenes.compose import Composition, blend, compose
from evaluation.scenes.figures import SceneFigures, figures_of, judged_scenes
from evaluation.scenes.folder import Wanted, make_scenes
from evaluation.scenes.layout import BINS, lay_out, sources_of, turn_of
from evaluation.scenes.light import Sensor, to_light, to_pixels
from evaluation.scenes.negatives import add_negatives
from evaluation.scenes.packing import Rect, place, without
from evaluation.scenes.parts import FEATHER_PX, Part, Source
from evaluation.scenes.report import main as report_main
from evaluation.scenes.report import negative_rows, recall_rows
from evaluation.scenes.variations import VARIATIONS, effects_of, render, washed_out
from evaluation.scenes.weather import Blur
from pipeline.errors import ConfigurationError, StreetblurError
from serving.geometry import Box

SIZE = (760, 640)
MARKER = np.array([0.3, 1.5, 0.3])  # what it makes of the grey it is drawn on
OTHERS = [name for name in VARIATIONS if name != "day"]


def texture(width: int, height: int, random: np.random.Generator) -> np.ndarray:
    """Grey, with detail: uint8 [height, width, 3]."""
    grey = cv2.GaussianBlur(random.normal(0, 60, (height, width)).astype(np.float32), (0, 0), 1.5)
    return np.repeat(np.clip(120 + grey, 60, 190).astype(np.uint8)[..., None], 3, axis=2)


def drawn_set(folder: Path, label: str, seed: int) -> None:
    """Twelve grey pictures with green rectangles where the labels are, far from one another."""
    random = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(12):
        width, height = int(random.integers(240, 700)), int(random.integers(200, 520))
        pixels = texture(width, height, random)
        boxes = []
        for left in range(30, width - 100, 150):
            for top in range(30, height - 100, 140):
                w, h = (int(value) for value in random.integers(13, 74, 2))
                box = [left, top, left + w, top + h]
                pixels[box[1] : box[3], box[0] : box[2]] = (
                    pixels[box[1] : box[3], box[0] : box[2]] * MARKER
                ).clip(0, 255)
                attrs = {"occlusion": "mask", "pose": "front"}
                boxes.append({"label": label, "xyxy": box, "text": "AB 12", "attrs": attrs})
        name = f"images/{number}.png"
        Image.fromarray(pixels).save(folder / name)
        size = {"width": width, "height": height}
        rows.append({"image": name, **size, "labelled_classes": [label], "boxes": boxes})
    (folder / "annotations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two labelled sets, one of faces and one of plates."""
    folder = tmp_path_factory.mktemp("data")
    drawn_set(folder / "people", "face", 1)
    drawn_set(folder / "openalpr_us", "plate", 2)
    return folder


@pytest.fixture(scope="module")
def textures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn pictures under the names of the photographs that scenes need."""
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(3)
    for name in ("brick.png", "gravel.png", "coffee.png", "chelsea.png", "rocket.jpg"):
        Image.fromarray(texture(256, 256, random)).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def scenes(data: Path, textures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of faces and one of plates, in every variation."""
    folder = tmp_path_factory.mktemp("scenes") / "street"
    make_scenes(find_sets(data), folder, Wanted(2, size=SIZE), photographs=textures)
    return folder


@pytest.fixture(scope="module")
def composed(data: Path, textures: Path) -> Composition:
    sources = sources_of(find_sets(data))["face"]
    return compose(sources, "face", textures, seed=4, size=SIZE)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_same_seed_gives_the_same_bytes(
    data: Path, textures: Path, scenes: Path, tmp_path: Path
) -> None:
    make_scenes(find_sets(data), tmp_path / "again", Wanted(2, size=SIZE), photographs=textures)
    assert contents(tmp_path / "again") == contents(scenes)


def test_a_picture_does_not_depend_on_what_else_is_made(
    data: Path, textures: Path, scenes: Path, tmp_path: Path
) -> None:
    wanted = Wanted(1, seed=1, variations=("rain",), size=SIZE)
    make_scenes(find_sets(data), tmp_path / "one", wanted, photographs=textures)
    made = contents(tmp_path / "one")
    images = [name for name in made if name.startswith("images/")]
    assert images == ["images/00001-rain.jpg"]
    assert made[images[0]] == (scenes / images[0]).read_bytes()


def test_another_seed_gives_another_scene(scenes: Path) -> None:
    first, second = (
        [box.box for box in picture.boxes]
        for picture in read_annotations(scenes / "annotations.jsonl")
        if picture.image.endswith("-day.jpg")
    )
    assert first != second


def test_every_variation_has_the_same_labels_but_its_name(scenes: Path) -> None:
    by_scene: dict[str, list[LabelledPicture]] = {}
    for picture in read_annotations(scenes / "annotations.jsonl"):
        by_scene.setdefault(picture.image.split("-")[0], []).append(picture)
    for pictures in by_scene.values():
        assert [one.image.split("-")[1].removesuffix(".jpg") for one in pictures] == list(
            VARIATIONS
        )
        places = {tuple(box.box for box in one.boxes) for one in pictures}
        assert len(places) == 1
        for one, variation in zip(pictures, VARIATIONS, strict=True):
            assert {box.attrs["variation"] for box in one.boxes} == {variation}


def test_labels_are_carried_with_what_is_known_of_them(scenes: Path) -> None:
    faces, plates = (
        picture
        for picture in read_annotations(scenes / "annotations.jsonl")
        if picture.image.endswith("-day.jpg")
    )
    assert (faces.labelled_classes, plates.labelled_classes) == (("face",), ("plate",))
    assert (faces.width, faces.height) == SIZE
    face, plate = faces.boxes[0], plates.boxes[0]
    assert (face.occlusion, face.text, face.attrs["pose"]) == ("mask", "AB 12", "front")
    assert (face.attrs["source"], plate.attrs["source"]) == ("people", "openalpr_us")
    assert "region" not in face.attrs
    assert plate.attrs["region"] == "us"


def edges(greenness: np.ndarray) -> tuple[float, float, float] | None:
    """Where a profile first and last passes half its rise, and the rise; None without one."""
    low, high = np.median(greenness[[0, 1, -2, -1]]), np.percentile(greenness, 80)
    above = np.flatnonzero(greenness > (low + high) / 2)
    return (above[0], above[-1] + 1, high - low) if len(above) else None


def misplaced(pixels: np.ndarray, box: Box, around: int = 6) -> float | None:
    """By how many pixels the marker's edges miss the box; None where it cannot be made out."""
    x1, y1, x2, y2 = (round(value) for value in box.as_tuple())
    if min(x1, y1) < around or x2 + around > SIZE[0] or y2 + around > SIZE[1]:
        return None
    near = pixels[y1 - around : y2 + around, x1 - around : x2 + around].astype(float)
    green = near[..., 1] - (near[..., 0] + near[..., 2]) / 2
    worst = 0.0
    for profile, length in (
        (green[around:-around].mean(axis=0), box.width),
        (green[:, around:-around].mean(axis=1), box.height),
    ):
        found = edges(profile)
        if found is None or found[2] < 12:
            return None
        worst = max(worst, abs(found[0] - around), abs(found[1] - around - length))
    return worst


@pytest.mark.parametrize("variation", VARIATIONS)
def test_markers_lie_where_the_labels_say(scenes: Path, variation: str) -> None:
    misses, counted = [], 0
    for picture in read_annotations(scenes / "annotations.jsonl"):
        if not picture.image.endswith(f"-{variation}.jpg"):
            continue
        pixels = read_upright(scenes / picture.image)
        for item in picture.boxes:
            if not item.ignore:
                counted += 1
                miss = misplaced(pixels, item.box)
                misses += [] if miss is None else [miss]
    assert len(misses) >= 0.7 * counted > 10
    assert np.percentile(misses, 90) <= (1.5 if variation == "day" else 3)
    assert variation != "day" or max(misses) <= 2


def test_counted_boxes_show_their_source_pixel_for_pixel(composed: Composition) -> None:
    pixels, _ = blend(np.zeros((SIZE[1], SIZE[0], 3), np.uint8), composed.parts)
    seen = 0
    for part in composed.parts:
        source = part.pixels()
        for item in part.boxes(("face",)):
            if not item.ignore:
                x1, y1, x2, y2 = (round(value) for value in item.box.as_tuple())
                own = source[y1 - part.y : y2 - part.y, x1 - part.x : x2 - part.x]
                assert np.array_equal(pixels[y1:y2, x1:x2], own)
                seen += 1
    assert seen == sum(not item.ignore for item in composed.boxes) > 10


def test_nothing_is_enlarged(composed: Composition) -> None:
    for part in composed.parts:
        width, height = part.source.sized(part.scale)
        assert part.scale <= 1
        assert Rect(0, 0, width, height).holds(part.window)
        assert part.pixels().shape == (part.window.height, part.window.width, 3)
    assert {item.attrs["scale"] for item in composed.boxes} == {"native", "shrunk"}


def test_native_boxes_keep_their_size_exactly(composed: Composition) -> None:
    for part in composed.parts:
        sizes = {(item.box.width, item.box.height) for item in part.source.picture.boxes}
        for item in part.boxes(("face",)):
            if part.scale == 1 and not item.ignore:
                assert (item.box.width, item.box.height) in sizes


BOXES = (
    LabelledBox("face", Box(2, 60, 20, 80)),
    LabelledBox("face", Box(30, 60, 60, 80)),
    LabelledBox("face", Box(180, 60, 205, 80)),
    LabelledBox("face", Box(210, 60, 230, 80)),
    LabelledBox("plate", Box(80, 60, 100, 80)),
    LabelledBox("face", Box(110, 60, 130, 80), ignore=True),
)
PICTURE = LabelledPicture("images/a.png", 300, 200, ("face", "plate"), BOXES)


@pytest.mark.parametrize(("x", "kept"), [(100, [(130, 160)]), (0, [(2, 20), (30, 60)])])
def test_no_box_is_cut_in_silence(x: int, kept: list[tuple[int, int]]) -> None:
    """The window ends at 200, the seam is 24 px wide where the scene does not end."""
    part = Part(Source("a", Path(), PICTURE), 1.0, Rect(0, 0, 200, 200), x, 300, SIZE)
    carried = part.boxes(("face",))
    assert [(b.box.x1, b.box.x2) for b in carried if not b.ignore] == kept
    assert len(carried) == 5  # all but the one that lies beyond the window
    assert all(part.extent.holds(Rect(*map(round, b.box.as_tuple()))) for b in carried)


def test_a_box_at_the_far_edge_of_the_scene_counts() -> None:
    part = Part(Source("a", Path(), PICTURE), 1.0, Rect(0, 0, 300, 200), 460, 300, SIZE)
    assert [b.box.x1 - 460 for b in part.boxes(("face", "plate")) if not b.ignore] == [
        30,
        180,
        210,
        80,
    ]


def test_negatives_keep_off_labels(scenes: Path) -> None:
    labels = {one.image: one for one in read_annotations(scenes / "annotations.jsonl")}
    rows = [json.loads(line) for line in (scenes / "negatives.jsonl").read_text().splitlines()]
    assert len(rows) >= len(labels)
    for row in rows:
        negative = Rect(*row["xyxy"])
        assert Rect(0, 0, *SIZE).holds(negative)
        for item in labels[row["image"]].boxes:
            x1, y1, x2, y2 = item.box.as_tuple()
            assert not negative.meets(Rect(int(x1), int(y1), int(np.ceil(x2)), int(np.ceil(y2))))


def test_negatives_find_the_one_free_place(textures: Path) -> None:
    """Labels everywhere but in the lower right quarter: with their margin they fill the rest."""
    pixels = np.full((640, 760, 3), 90, np.uint8)
    taken = [
        Box(x, y, x + 20, y + 20)
        for x in range(0, 740, 40)
        for y in range(0, 620, 40)
        if x < 380 or y < 320
    ]
    for seed in range(5):
        made, negatives = add_negatives(
            pixels, np.zeros((640, 760), np.float32), taken, textures, np.random.default_rng(seed)
        )
        assert all(one.place.x1 >= 370 and one.place.y1 >= 310 for one in negatives)
        assert (made[:310] == 90).all()


def test_each_scene_has_weather_of_its_own(scenes: Path) -> None:
    rows = [json.loads(line) for line in (scenes / "scenes.jsonl").read_text().splitlines()]
    for variation in OTHERS:
        first, second = (row["effects"] for row in rows if row["variation"] == variation)
        assert [one["name"] for one in first] == [one["name"] for one in second]
        assert first != second


def test_nothing_but_the_negatives_is_drawn_over(composed: Composition, textures: Path) -> None:
    ground = street(textures, SIZE, composed.seed, cars=0, posters=0).pixels
    blended, _ = blend(ground, composed.parts)
    differs = (blended != composed.pixels).any(axis=2)
    assert composed.negatives
    for negative in composed.negatives:
        at = np.s_[negative.place.y1 : negative.place.y2, negative.place.x1 : negative.place.x2]
        assert differs[at].mean() > 0.3
        differs[at] = False
    assert not differs.any()


def sharpness(pixels: np.ndarray) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


def coarse_contrast(pixels: np.ndarray) -> float:
    return float(cv2.resize(pixels, (64, 54), interpolation=cv2.INTER_AREA).std())


@pytest.mark.parametrize("seed", range(3))
def test_variations_do_what_they_say(composed: Composition, seed: int) -> None:
    day = composed.pixels
    made = {}
    for name in VARIATIONS:
        random = chance(seed, name)
        made[name] = render(day, effects_of(name, random), random)
    assert made["day"] is day
    mean = {name: float(pixels.mean()) for name, pixels in made.items()}
    assert mean["night"] < 0.6 * mean["day"]
    red, _, blue = made["night"].reshape(-1, 3).mean(axis=0)
    assert blue < 0.9 * red
    assert mean["overexposed"] > 1.3 * mean["day"]
    assert (made["overexposed"] == 255).mean() > (day == 255).mean()
    assert mean["glare"] > mean["day"]
    assert made["glare"].min() > day.min()
    assert sharpness(made["blur"]) < 0.3 * sharpness(day)
    assert mean["blur"] == pytest.approx(mean["day"], abs=3)
    assert coarse_contrast(made["rain"]) < 0.85 * coarse_contrast(day)
    assert {pixels.shape for pixels in made.values()} == {day.shape}


@pytest.mark.parametrize(
    ("by_day", "now", "gone"), [(120, 255, True), (120, 249, False), (255, 255, False)]
)
def test_what_is_lost_in_white_is_ignored(by_day: int, now: int, gone: bool) -> None:
    day = np.full((40, 40, 3), by_day, np.uint8)
    varied = np.full((40, 40, 3), 120, np.uint8)
    varied[10:30, 10:30] = now
    assert washed_out(day, varied, Box(10.4, 10.4, 29.6, 29.6)) is gone
    assert not washed_out(day, varied, Box(20, 10, 36, 30))


def test_labels_say_what_is_lost_in_white(data: Path, textures: Path, tmp_path: Path) -> None:
    (one,) = find_sets(data, ["people"])
    white = Sensor(gain=1e6, full_well_e=1e6, read_noise_e=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VARIATIONS, "overexposed", lambda random: (white,))
        wanted = Wanted(1, variations=("day", "overexposed"), size=SIZE)
        make_scenes([one], tmp_path / "out", wanted, photographs=textures)
    day, lost = read_annotations(tmp_path / "out" / "annotations.jsonl")
    assert not all(item.ignore for item in day.boxes)
    assert all(item.ignore for item in lost.boxes)


@pytest.mark.parametrize(("count", "slices"), [(3, 1), (99, 1), (100, 2), (234, 4), (9999, 4)])
def test_neighbouring_scenes_share_no_picture_of_many(count: int, slices: int) -> None:
    every = [Source("a", Path(), replace(PICTURE, image=f"{n}.png")) for n in range(count)]
    turns = [turn_of(every, turn) for turn in range(slices)]
    assert sorted(s.picture.image for t in turns for s in t) == sorted(
        s.picture.image for s in every
    )
    assert turn_of(every, slices) == turns[0]


@pytest.mark.parametrize("variation", VARIATIONS)
def test_light_meets_the_scene_first_and_the_sensor_last(variation: str) -> None:
    effects = effects_of(variation, chance(0, variation))
    stages = [effect.stage for effect in effects]
    assert stages == sorted(stages, key=["scene", "air", "lens", "sensor"].index)
    assert variation == "day" or stages[-1] == "sensor"


def test_effects_out_of_order_are_refused() -> None:
    effects = (Sensor(1, 1000, 1), Blur(4, 0, 1))
    with pytest.raises(ValueError, match="out of order"):
        render(np.zeros((8, 8, 3), np.uint8), effects, np.random.default_rng(0))


def test_light_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_pixels(to_light(levels)), levels)
    assert to_light(levels)[[0, 255]].tolist() == [0, 1]


def test_noise_is_that_of_counted_photons() -> None:
    grey = np.full((200, 200, 3), 0.25, np.float32)
    seen = Sensor(2.0, 1000, 10).apply(grey, np.random.default_rng(0))
    assert seen.mean() == pytest.approx(0.5, abs=1e-3)
    assert seen.std() == pytest.approx(np.sqrt(0.5 / 1000 + (10 / 1000) ** 2), rel=0.02)


@pytest.mark.parametrize("angle", [0, 30, 90])
def test_blur_moves_no_object(angle: float) -> None:
    point = np.zeros((41, 41, 3), np.float32)
    point[20, 20] = 1
    spread = Blur(9, angle, 1.5).apply(point, np.random.default_rng(0))[..., 0]
    rows, columns = np.indices(spread.shape)
    assert spread.sum() == pytest.approx(1, abs=1e-4)
    assert (spread * rows).sum() == pytest.approx(20, abs=0.05)
    assert (spread * columns).sum() == pytest.approx(20, abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "0"], "at least 1"),
        (["--seed", "-1"], "below 0"),
        (["--variation", "snow"], "'snow' is no variation"),
        (["--set", "nobody"], "no labelled folder nobody"),
        (["--data", "nowhere"], "no labelled folder"),
    ],
)
def test_what_cannot_be_made_is_said(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    output = tmp_path / "out"
    assert main([str(output), "--data", str(data), *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not output.exists()


def test_a_folder_with_files_is_left_alone(data: Path, scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="something is there already"):
        make_scenes(find_sets(data), tmp_path, Wanted(1, size=SIZE))
    with pytest.raises(ConfigurationError, match="no variation"):
        make_scenes(find_sets(data), tmp_path / "new", Wanted(1, variations=()))


def test_pictures_without_objects_make_no_scene(tmp_path: Path) -> None:
    row = {"image": "a.png", "width": 9, "height": 9, "labelled_classes": ["face"], "boxes": []}
    (tmp_path / "annotations.jsonl").write_text(json.dumps(row))
    with pytest.raises(ConfigurationError, match="no labelled picture shows"):
        sources_of(find_sets(tmp_path))


@pytest.mark.parametrize("fault", ["missing", "other size"])
def test_a_wrong_source_is_named(data: Path, textures: Path, tmp_path: Path, fault: str) -> None:
    (one,) = find_sets(data, ["people"])
    if fault == "other size":
        (tmp_path / "images").mkdir()
        for picture in one.pictures:
            Image.new("RGB", (5, 5)).save(tmp_path / picture.image)
    sources = [Source("people", tmp_path, picture) for picture in one.pictures]
    with pytest.raises(StreetblurError, match=r"images.*png"):
        compose(sources, "face", textures, 0, SIZE)


RECTS = st.builds(
    lambda x, y, w, h: Rect(x, y, x + w, y + h),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(1, 20),
    st.integers(1, 20),
)


@given(st.lists(RECTS, max_size=6))
def test_free_space_is_all_that_is_not_taken(taken: list[Rect]) -> None:
    free: Sequence[Rect] = (Rect(0, 0, 40, 40),)
    expected = np.ones((40, 40), bool)
    for one in taken:
        free = without(free, one)
        expected[one.y1 : one.y2, one.x1 : one.x2] = False
    found = np.zeros((40, 40), bool)
    for one in free:
        found[one.y1 : one.y2, one.x1 : one.x2] = True
    assert np.array_equal(found, expected)


@given(st.lists(RECTS, max_size=4), st.integers(1, 40), st.integers(1, 40))
def test_what_is_placed_lies_in_free_space(free: list[Rect], width: int, height: int) -> None:
    found = place(free, width, height)
    if found is None:
        assert not any(one.width >= width and one.height >= height for one in free)
    else:
        assert (found.width, found.height) == (width, height)
        assert any(one.holds(found) for one in free)


@st.composite
def sources(draw: st.DrawFn) -> list[Source]:
    found = []
    for number in range(draw(st.integers(1, 12))):
        width, height = draw(st.integers(60, 900)), draw(st.integers(60, 900))
        boxes = []
        for _ in range(draw(st.integers(1, 4))):
            x, y = draw(st.integers(-5, width - 6)), draw(st.integers(-5, height - 6))
            w, h = draw(st.integers(5, 200)), draw(st.integers(5, 200))
            boxes.append(LabelledBox("face", Box(x, y, x + w, y + h), attrs=Attributes()))
        picture = LabelledPicture(f"{number}.png", width, height, ("face",), tuple(boxes))
        found.append(Source("drawn", Path(), picture))
    return found


@settings(max_examples=60, deadline=None)
@given(sources(), st.integers(0, 99))
def test_parts_keep_off_what_counts_in_others(drawn: list[Source], seed: int) -> None:
    parts = lay_out(drawn, "face", (800, 600), np.random.default_rng(seed))
    canvas = Rect(0, 0, 800, 600)
    cover = np.zeros((600, 800))
    for part in parts:
        at = part.extent
        cover[at.y1 : at.y2, at.x1 : at.x2] += part.weight()
    assert len({part.source.picture.image for part in parts}) == len(parts)
    for part in parts:
        assert canvas.holds(part.extent)
        assert part.scale <= 1
        counted = [item.box for item in part.boxes(("face",)) if not item.ignore]
        assert counted
        for box in counted:
            whole = Rect(
                int(np.floor(box.x1)),
                int(np.floor(box.y1)),
                int(np.ceil(box.x2)),
                int(np.ceil(box.y2)),
            )
            assert part.extent.holds(whole)
        assert cover[part.extent.y1 : part.extent.y2, part.extent.x1 : part.extent.x2].max() < 1.001
        core = part.core
        if core.width > 0 and core.height > 0:
            assert not any(core.meets(other.extent) for other in parts if other is not part)


def test_neighbours_fade_into_one_another() -> None:
    picture = LabelledPicture("a.png", 400, 400, ("face",), ())
    window = Rect(0, 0, 200, 200)
    left, right = (
        Part(Source("a", Path(), picture), 1.0, window, x, 100, SIZE)
        for x in (100, 300 - FEATHER_PX)
    )
    both = left.weight()[100, -FEATHER_PX:] + right.weight()[100, :FEATHER_PX]
    assert both == pytest.approx(np.ones(FEATHER_PX))


def test_scenes_have_objects_of_every_height(composed: Composition) -> None:
    heights = [item.box.height for item in composed.boxes if not item.ignore]
    for low, high in BINS:
        assert any(low <= height < high for height in heights), (low, high)


def test_the_report_tells_variations_apart(scenes: Path, tmp_path: Path) -> None:
    """By day all is obscured, and so is one negative; otherwise nothing is."""
    (one,) = find_sets(scenes)
    negatives = [json.loads(x) for x in (scenes / "negatives.jsonl").read_text().splitlines()]
    (tmp_path / "images").mkdir()
    for picture in one.pictures:
        pixels = read_upright(scenes / picture.image)
        if "-day" in picture.image:
            first = next(row for row in negatives if row["image"] == picture.image)
            boxes = [item.box for item in picture.boxes]
            pixels = redact(pixels, [*boxes, Box(*first["xyxy"])])
        Image.fromarray(pixels).save(tmp_path / picture.image, "BMP")
    verdicts = evaluate_outputs([one], tmp_path, name="oracle", command="", processes=1)
    figures = figures_of(scenes, verdicts, tmp_path)
    assert (figures.about.scenes, figures.about.pictures) == (2, 2 * len(VARIATIONS))
    assert figures.about.origin == verdicts.about.origin
    for label in ("face", "plate"):
        head, *rows = recall_rows(figures, label)
        assert [row[0] for row in rows] == list(VARIATIONS)
        assert head[:3] == [label, ">=12 px", "against day"]
        assert rows[0][1].startswith("100.0% of")
        assert rows[0][2] == "-"
        assert all(row[1].startswith("0.0% of") and row[2] == "-100.0" for row in rows[1:])
    head, total, *_ = negative_rows(figures)
    assert head == ["negatives", *VARIATIONS]
    assert total[0] == "all"
    assert int(total[1].split()[0]) >= 2
    assert all(cell.startswith("0 of") for cell in total[2:])


def test_the_report_command_writes_the_figures_that_it_prints(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Originals as outputs: nothing is obscured."""
    (one,) = find_sets(scenes)
    verdicts = evaluate_outputs([one], scenes, name="nothing", command="a command", processes=1)
    verdicts.write(tmp_path / "verdicts.json")
    assert report_main([str(scenes), str(tmp_path), "--outputs", str(scenes)]) == 0
    printed = capsys.readouterr().out
    stored = SceneFigures.read(tmp_path / "scenes.json")
    assert stored == figures_of(scenes, verdicts, scenes)
    for row in [*recall_rows(stored, "face"), *negative_rows(stored)]:
        assert f"| {' | '.join(row)} |" in printed
    other = tmp_path / "other.json"
    assert report_main([str(scenes), str(tmp_path), "--json", str(other)]) == 0
    assert SceneFigures.read(other) == replace(stored, negatives=())
    assert report_main([str(scenes), str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_a_report_on_other_pictures_is_refused(scenes: Path, data: Path) -> None:
    sets = find_sets(data, ["people"])
    verdicts = evaluate_outputs(sets, data, name="none", command="", processes=1)
    with pytest.raises(StreetblurError, match="there are verdicts on 0 of 12"):
        judged_scenes(scenes, verdicts)
    with pytest.raises(StreetblurError, match=r"scenes\.jsonl"):
        judged_scenes(data, verdicts)
