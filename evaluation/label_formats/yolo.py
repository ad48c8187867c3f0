"""YOLO text: a line an object, a file a picture, and ``data.yaml`` with the class names.

Format: https://docs.ultralytics.com/datasets/detect/. By its convention a picture without a text
file shows no object of the classes: it is taken for labelled, and empty.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from evaluation.annotations import AnnotationError
from evaluation.label_formats.conversion import yolo_box
from evaluation.label_formats.pictures import inside, pictures_in, upright_size
from evaluation.label_formats.raw import RawBox, RawPicture, RawSet

# How far beyond 0..1 a number may be by the rounding of the tool that wrote it.
_ROUNDING = 1e-6


def label_folders(folder: Path) -> list[Path]:
    """The folders ``labels`` and ``*/labels`` (train, valid, test) of ``folder``, by name."""
    return sorted(p for p in (*folder.glob("labels"), *folder.glob("*/labels")) if p.is_dir())


def read_yolo(folder: Path, source: Path) -> RawSet:
    """Read all ``labels`` folders of ``folder``, each with the ``images`` folder beside it.

    Subfolders correspond (``images/train/x.jpg``, ``labels/train/x.txt``); one of pictures that
    has none of labels was not labelled, and is left out. The paths in ``data.yaml`` are not used:
    they are of the machine that trained.

    Args:
        folder: the labelled folder.
        source: its ``data.yaml``.

    Raises:
        AnnotationError: an unreadable or wrong file (file and line named), a text file without
            a picture.
        ConfigurationError: the library that reads it is missing.
    """
    names, keypoint_values = _parse_yaml(source)
    pictures: list[RawPicture] = []
    for labels in label_folders(folder):
        for path, file in _pairs(labels):
            size = upright_size(path)
            boxes = _boxes(file, names, size, keypoint_values) if file.is_file() else ()
            pictures.append(RawPicture(inside(folder, path, str(file)), *size, boxes))
    return RawSet(source, tuple(names.values()), tuple(pictures))


def _pairs(labels: Path) -> list[tuple[Path, Path]]:
    """The pictures of a folder of labels, each with the text file that it has or would have."""
    images = labels.parent / "images"
    pairs: dict[Path, Path] = {}
    for place in (labels, *sorted(p for p in labels.rglob("*") if p.is_dir())):
        for path in pictures_in(images / place.relative_to(labels)):
            file = place / f"{path.stem}.txt"
            if file in pairs:
                raise AnnotationError(
                    f"it would label both {pairs[file].name} and {path.name}", where=str(file)
                )
            pairs[file] = path
    # some labelling tools put their list of classes there, too
    files = {p for p in labels.rglob("*.txt") if p != labels / "classes.txt"}
    if lonely := sorted(files - pairs.keys()):
        raise AnnotationError(
            f"there is no picture for it in {images} ({len(lonely)} such files)",
            where=str(lonely[0]),
        )
    return [(path, file) for file, path in pairs.items()]


def _parse_yaml(source: Path) -> tuple[dict[int, str], int]:
    """The class names by number, and how many numbers of keypoints follow a box."""
    try:
        data: Any = yaml.safe_load(source.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise AnnotationError(
            f"the file of class names cannot be read ({error})", where=str(source)
        ) from error
    names = data.get("names") if isinstance(data, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(
        isinstance(number, int) and isinstance(name, str | int) for number, name in names.items()
    ):
        raise AnnotationError(
            "field names: a list of class names, or names by number, is needed", where=str(source)
        )
    shape = data.get("kpt_shape", [0, 0])
    if not (isinstance(shape, list) and len(shape) == 2 and all(type(n) is int for n in shape)):
        raise AnnotationError("field kpt_shape: two integers needed", where=str(source))
    return {number: str(name) for number, name in names.items()}, shape[0] * shape[1]


def _boxes(
    file: Path, names: dict[int, str], size: tuple[int, int], keypoint_values: int
) -> tuple[RawBox, ...]:
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(
            f"the label file cannot be read ({error})", where=str(file)
        ) from error
    boxes = []
    for number, line in enumerate(lines, start=1):
        values = line.split()
        if not values:
            continue
        where = f"{file}:{number}"
        if keypoint_values and len(values) == 5 + keypoint_values:
            values = values[:5]
        name = names.get(_check(values, where))
        if name is None:
            raise AnnotationError(f"class {values[0]} is not in data.yaml", where=where)
        boxes.append(RawBox(name, yolo_box(" ".join(values), size, where)))
    return tuple(boxes)


def _check(values: list[str], where: str) -> int:
    """The class number of a line whose numbers are within bounds."""
    if len(values) < 5:
        raise AnnotationError("a class and at least four numbers are needed", where=where)
    try:
        label, *numbers = (float(value) for value in values)
    except ValueError as error:
        raise AnnotationError(f"not a number ({error})", where=where) from error
    # a confidence or track number may follow a box or a polygon
    shares = numbers[:4] if len(numbers) == 5 else numbers[: len(numbers) // 2 * 2]
    if outside := [v for v in shares if not -_ROUNDING <= v <= 1 + _ROUNDING]:
        raise AnnotationError(f"{outside[0]:g} is outside 0..1", where=where)
    if not label.is_integer():
        raise AnnotationError(f"{values[0]} is no class number", where=where)
    return int(label)
