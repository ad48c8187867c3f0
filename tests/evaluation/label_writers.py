"""Writers of label files for the tests: by the rules of each format, and by the library's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from evaluation.annotations import LabelledPicture

NAMES = ("face", "plate")

Writer = Callable[[Path, Sequence[LabelledPicture]], None]


def draw(folder: Path, *names: str, size: tuple[int, int] = (40, 30), orientation: int = 1) -> None:
    """Small grey pictures of the stored size ``size`` at ``names`` below ``folder``."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.new("RGB", size, "grey").save(folder / name, exif=exif)


def write_native(folder: Path, pictures: Sequence[LabelledPicture]) -> None:
    """``annotations.jsonl``."""
    rows = [
        {
            "image": picture.image,
            "width": picture.width,
            "height": picture.height,
            "labelled_classes": list(picture.labelled_classes),
            "boxes": [
                {"label": box.label, "xyxy": list(box.box.as_tuple()), "attrs": dict(box.attrs)}
                for box in picture.boxes
            ],
        }
        for picture in pictures
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "annotations.jsonl").write_text(text)


def write_coco(folder: Path, pictures: Sequence[LabelledPicture]) -> None:
    """``_annotations.coco.json``, with category ids that have a gap."""
    images = [
        {"id": 7 + i, "file_name": p.image, "width": p.width, "height": p.height}
        for i, p in enumerate(pictures)
    ]
    rows = [
        {
            "image_id": 7 + i,
            "category_id": {"face": 3, "plate": 9}[item.label],
            "bbox": [item.box.x1, item.box.y1, item.box.width, item.box.height],
            "attributes": dict(item.attrs),
        }
        for i, picture in enumerate(pictures)
        for item in picture.boxes
    ]
    coco(folder / "_annotations.coco.json", images, rows, {3: "face", 9: "plate"})


def coco(
    path: Path,
    images: Iterable[dict[str, object]],
    annotations: Iterable[dict[str, object]],
    categories: dict[int, str],
) -> None:
    """A COCO file; annotations are numbered from 1."""
    data = {
        "images": list(images),
        "annotations": [{"id": i, **row} for i, row in enumerate(annotations, start=1)],
        "categories": [{"id": i, "name": name} for i, name in categories.items()],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def write_voc(folder: Path, pictures: Sequence[LabelledPicture]) -> None:
    """``Annotations/*.xml``; boxes must be of whole pixels."""
    for picture in pictures:
        objects = [voc_object(item.label, item.box.as_tuple()) for item in picture.boxes]
        size = (picture.width, picture.height)
        voc(folder / "Annotations" / f"{Path(picture.image).stem}.xml", objects, size)


def voc_object(name: str, corners: Sequence[float], more: str = "") -> str:
    """An ``object`` for a box with exclusive x2/y2: pixels count from 1, maxima belong to it."""
    x1, y1, x2, y2 = (f"{value:g}" for value in np.add(corners, [1, 1, 0, 0]))
    return (
        f"<object><name>{name}</name>{more}<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
    )


def voc(path: Path, objects: Iterable[str], size: tuple[int, int] | None, name: str = "") -> None:
    """A VOC file."""
    declared = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"<annotation><filename>{name}</filename>{declared}{''.join(objects)}</annotation>"
    )


def write_yolo(folder: Path, pictures: Sequence[LabelledPicture]) -> None:
    """``labels/*.txt`` and ``data.yaml``; no file for pictures without a box."""
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "data.yaml").write_text("names: [face, plate]\n")
    for picture in pictures:
        lines = [
            yolo_line(NAMES.index(item.label), item.box.as_tuple(), picture)
            for item in picture.boxes
        ]
        if lines:
            path = folder / "labels" / f"{Path(picture.image).stem}.txt"
            path.write_text("\n".join(lines) + "\n")


def yolo_line(number: int, corners: Sequence[float], picture: LabelledPicture) -> str:
    """A line of six decimals: class, centre, width and height as shares of the picture."""
    x1, y1, x2, y2 = corners
    w, h = picture.width, picture.height
    centre_x, centre_y = (x1 + x2) / 2 / w, (y1 + y2) / 2 / h
    return f"{number} {centre_x:.6f} {centre_y:.6f} {(x2 - x1) / w:.6f} {(y2 - y1) / h:.6f}"


def supervision_coco(folder: Path, pictures: Sequence[LabelledPicture]) -> None:
    """COCO as the library writes it."""
    _dataset(folder, pictures).as_coco(annotations_path=str(folder / "annotations" / "set.json"))


def supervision_voc(folder: Path, pictures: Sequence[LabelledPicture]) -> None:
    """VOC as the library writes it."""
    _dataset(folder, pictures).as_pascal_voc(annotations_directory_path=str(folder / "annotations"))


def supervision_yolo(folder: Path, pictures: Sequence[LabelledPicture]) -> None:
    """YOLO as the library writes it."""
    _dataset(folder, pictures).as_yolo(
        annotations_directory_path=str(folder / "labels"), data_yaml_path=str(folder / "data.yaml")
    )


def _dataset(folder: Path, pictures: Sequence[LabelledPicture]):  # type: ignore[no-untyped-def]
    from supervision import DetectionDataset, Detections

    annotations = {
        str(folder / picture.image): Detections(
            xyxy=np.array(
                [item.box.as_tuple() for item in picture.boxes], dtype=np.float32
            ).reshape(-1, 4),
            class_id=np.array([NAMES.index(item.label) for item in picture.boxes], dtype=int),
        )
        for picture in pictures
    }
    return DetectionDataset(list(NAMES), list(annotations), annotations)
