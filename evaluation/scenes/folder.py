"""The folder of scenes: pictures, labels, and what is in them besides."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import simplejpeg

from evaluation.annotations import LabelledBox
from evaluation.demo.sources import fetch_photographs
from evaluation.labelled_sets import LabelledSet
from evaluation.scenes.chance import chance
from evaluation.scenes.compose import HEIGHT, WIDTH, Composition, compose
from evaluation.scenes.layout import sources_of, turn_of
from evaluation.scenes.light import Pixels
from evaluation.scenes.variations import VARIATIONS, Effects, effects_of, render, washed_out
from pipeline.errors import ConfigurationError

LABELS_FILE, NEGATIVES_FILE, SCENES_FILE = "annotations.jsonl", "negatives.jsonl", "scenes.jsonl"

_QUALITY, _SUBSAMPLING = 90, "420"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which scenes to make.

    Attributes:
        count: of scenes, each in every variation; classes take turns.
        seed: of the first scene; the next have the next numbers.
        variations: names of ``variations.VARIATIONS``.
        size: width and height in pixels.
    """

    count: int
    seed: int = 0
    variations: tuple[str, ...] = tuple(VARIATIONS)
    size: tuple[int, int] = (WIDTH, HEIGHT)


def make_scenes(
    sets: Sequence[LabelledSet],
    folder: Path,
    wanted: Wanted,
    *,
    photographs: Path | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> int:
    """Write the scenes and their label file; the same bytes for the same sets and ``wanted``.

    Args:
        sets: what scenes are made of.
        folder: for the scenes; must be empty or not be there.
        wanted: which scenes.
        photographs: see ``evaluation.demo.sources``; fetched by default.
        log: is told of each scene.

    Returns:
        How many pictures were written.

    Raises:
        ConfigurationError: a count below 1, a negative seed, an unknown or no variation, a folder
            with other files, or no usable pictures.
        StreetblurError: a picture is missing, damaged or labelled for another size.
        FetchFailed: the photographs cannot be fetched.
    """
    _check(wanted, folder)
    by_class = sources_of(sets)
    photographs = photographs or fetch_photographs(log=log)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for seed in range(wanted.seed, wanted.seed + wanted.count):
        turn, which = divmod(seed, len(by_class))
        label = list(by_class)[which]
        sources = turn_of(by_class[label], turn)
        scene = compose(sources, label, photographs, seed, wanted.size)
        log(f"scene {seed}: {label}, {len(scene.parts)} parts, {len(scene.boxes)} boxes")
        for variation in wanted.variations:
            _write_variation(scene, variation, folder, rows)
    # The labels come last: a folder without them is not a whole one.
    for name in (NEGATIVES_FILE, SCENES_FILE, LABELS_FILE):
        text = "".join(json.dumps(row) + "\n" for row in rows.get(name, ()))
        (folder / name).write_text(text, encoding="utf-8")
    return len(rows[LABELS_FILE])


def _check(wanted: Wanted, folder: Path) -> None:
    if wanted.count < 1:
        raise ConfigurationError(f"{wanted.count} scenes: at least 1 is needed", where="--count")
    if wanted.seed < 0:
        raise ConfigurationError(f"{wanted.seed} is below 0", where="--seed")
    if not wanted.variations:
        raise ConfigurationError("no variation is named", where="--variation")
    for variation in wanted.variations:
        effects_of(variation, chance(0, variation))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(
            "something is there already", where=str(folder), fix="Name a new or an empty folder"
        )


def _write_variation(
    scene: Composition, variation: str, folder: Path, rows: dict[str, list[Mapping[str, Any]]]
) -> None:
    random = chance(scene.seed, variation)
    effects = effects_of(variation, random)
    pixels = render(scene.pixels, effects, random)
    image = f"images/{scene.seed:05d}-{variation}.jpg"
    coded = simplejpeg.encode_jpeg(pixels, _QUALITY, "RGB", _SUBSAMPLING)
    (folder / image).write_bytes(coded)
    rows.setdefault(LABELS_FILE, []).append(_labels(scene, pixels, image, variation))
    rows.setdefault(SCENES_FILE, []).append(_account(scene, image, variation, effects))
    rows.setdefault(NEGATIVES_FILE, []).extend(
        {"image": image, "kind": one.kind, "xyxy": _corners(one.place)} for one in scene.negatives
    )


def _labels(scene: Composition, pixels: Pixels, image: str, variation: str) -> dict[str, Any]:
    height, width = pixels.shape[:2]
    boxes = [
        replace(item, ignore=item.ignore or washed_out(scene.pixels, pixels, item.box))
        for item in scene.boxes
    ]
    return {
        "image": image,
        "width": width,
        "height": height,
        "labelled_classes": list(scene.labelled_classes),
        "boxes": [_box(item, variation) for item in boxes],
    }


def _box(item: LabelledBox, variation: str) -> dict[str, Any]:
    attributes: dict[str, Any] = {**item.attrs, "variation": variation}
    if item.occlusion is not None:
        attributes["occlusion"] = item.occlusion
    if item.ignore:
        attributes["ignore"] = True
    row: dict[str, Any] = {"label": item.label, "xyxy": list(item.box.as_tuple())}
    if item.text is not None:
        row["text"] = item.text
    return {**row, "attrs": attributes}


def _account(scene: Composition, image: str, variation: str, effects: Effects) -> dict[str, Any]:
    """What the picture was made of, and how."""
    return {
        "image": image,
        "seed": scene.seed,
        "variation": variation,
        "effects": [{"name": type(one).__name__, **asdict(one)} for one in effects],
        "parts": [
            {
                "set": part.source.set_name,
                "image": part.source.picture.image,
                "scale": part.scale,
                "window": _corners(part.window),
                "xyxy": _corners(part.extent),
            }
            for part in scene.parts
        ],
    }


def _corners(place: Any) -> list[int]:
    return [place.x1, place.y1, place.x2, place.y2]
