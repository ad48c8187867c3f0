"""The demo's input folder: photographs and street scenes in several formats, always the same."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from evaluation.annotations import LABEL_FILE, LabelledPicture
from evaluation.demo.exif import exif_block
from evaluation.demo.scenes import POSTERS, Scene, portrait, street
from serving.geometry import LABELS

_THUMBNAIL_SIDE = 160


@dataclass(frozen=True, slots=True)
class _Item:
    path: str
    scene: Scene
    save: dict[str, Any] = field(default_factory=dict)
    mode: str = "RGB"
    sideways: bool = False


def make_folder(folder: Path, photographs: Path) -> tuple[LabelledPicture, ...]:
    """Write the demo pictures to ``folder``; their labels to ``annotations.jsonl`` beside it.

    Args:
        folder: created; files of the same names are replaced.
        photographs: folder of the sources, see ``sources.fetch_photographs``.

    Returns:
        The labels; ``image`` is relative to the label file.
    """
    labels: list[LabelledPicture] = []
    folder.mkdir(parents=True, exist_ok=True)
    label_file(folder).touch()  # the folder is known as ours, also when this is interrupted
    for item in _items(photographs):
        path = folder / item.path
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = item.scene.pixels.shape[:2]
        _write(item, path)
        image = (Path(folder.name) / item.path).as_posix()
        labels.append(LabelledPicture(image, width, height, LABELS, item.scene.boxes))
    label_file(folder).write_text(
        "".join(json.dumps(_row(label)) + "\n" for label in labels), encoding="utf-8"
    )
    return tuple(labels)


def label_file(folder: Path) -> Path:
    """Where the labels of ``folder`` are: beside it, for a job's input holds pictures only."""
    return folder.resolve().parent / LABEL_FILE


def _items(photographs: Path) -> Iterator[_Item]:
    coding: dict[str, Any] = {"quality": 90, "subsampling": "4:2:0"}
    streets: tuple[tuple[str, tuple[int, int], int, int, dict[str, Any]], ...] = (
        ("2448x2048", (2448, 2048), 2, 5, {}),
        ("2048x1536", (2048, 1536), 2, 4, {"progressive": True}),
        ("1920x1080", (1920, 1080), 3, 5, {"subsampling": "4:4:4"}),
        ("1600x1200", (1600, 1200), 1, 2, {"subsampling": "4:2:2", "quality": 95}),
        ("2400x1000", (2400, 1000), 5, 7, {"optimize": True}),
        ("1280x960", (1280, 960), 2, 3, {"quality": 80}),
    )
    for seed, (name, size, cars, posters, extra) in enumerate(streets):
        yield _Item(
            f"streets/{name}.jpg",
            street(photographs, size, seed, cars, posters),
            {**coding, **extra},
        )
    for seed, size in enumerate(((1280, 720), (1024, 768), (901, 601), (1500, 1500)), start=20):
        scene = street(photographs, size, seed, 1 + seed % 2, 0)
        yield _Item(f"parking/lot-{seed - 19}/car.jpg", scene, coding)
    for name, scale in (("astronaut.png", 1.0), ("grace_hopper.jpg", 1.0), ("astronaut.png", 2.4)):
        stem = Path(name).stem if scale == 1 else f"{Path(name).stem}-large"
        yield _Item(f"portraits/{stem}.jpg", portrait(photographs, name, scale), coding)
    for name in POSTERS:
        scene = portrait(photographs, name)
        yield _Item(f"without-people/{Path(name).stem}.jpg", scene, coding)
    yield _Item("formats/grey.jpg", portrait(photographs, "camera.png"), {"quality": 92}, mode="L")
    yield _Item("formats/scene.png", street(photographs, (800, 600), 31, 1, 2))
    yield _Item("formats/scene.webp", street(photographs, (1200, 900), 32, 1, 2), {"quality": 90})
    sideways = street(photographs, (1200, 1600), 33, 1, 2)
    yield _Item("formats/sideways-with-gps.jpg", sideways, coding, sideways=True)


def _write(item: _Item, path: Path) -> None:
    upright = Image.fromarray(item.scene.pixels).convert(item.mode)
    if not item.sideways:
        upright.save(path, **item.save)
        return
    # Orientation 6: the viewer turns the stored pixels by 90 degrees clockwise.
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    small = stored.copy()
    small.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    preview = io.BytesIO()
    small.save(preview, "JPEG", quality=85)
    exif = exif_block(6, 59.3293, 18.0686, 142.5, preview.getvalue())
    stored.save(path, exif=exif, **item.save)


def _row(label: LabelledPicture) -> dict[str, Any]:
    return {
        "image": label.image,
        "width": label.width,
        "height": label.height,
        "labelled_classes": list(label.labelled_classes),
        "boxes": [
            {
                "label": box.label,
                "xyxy": list(box.box.as_tuple()),
                **({"text": box.text} if box.text else {}),
            }
            for box in label.boxes
        ],
    }
