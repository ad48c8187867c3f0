"""Labelled pictures, and the ``annotations.jsonl`` format of the development data.

``evaluation.labels`` reads them from other formats as well.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

from evaluation.attributes import Attributes
from pipeline.errors import StreetblurError
from serving.geometry import LABELS, Box, Label

LABEL_FILE = "annotations.jsonl"


class AnnotationError(StreetblurError):
    """A label file is missing or a line of it is wrong."""


@dataclass(frozen=True, slots=True)
class LabelledBox:
    """One true object.

    Attributes:
        label: its class.
        box: in pixels of the upright picture, ``x2``/``y2`` exclusive.
        ignore: neither counted when found nor when missed.
        occlusion: ``none``, ``mask``, ``mask_incorrect`` or None where not annotated.
        text: the plate's text where known.
        attrs: whatever else is annotated (``region``, ``pose``), as text.
    """

    label: Label
    box: Box
    ignore: bool = False
    occlusion: str | None = None
    text: str | None = None
    attrs: Attributes = field(default_factory=Attributes)


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """One picture and its true objects.

    Attributes:
        image: path relative to the labelled folder, with forward slashes.
        width: of the upright picture, in pixels.
        height: of the upright picture, in pixels.
        labelled_classes: the classes that were annotated at all.
        boxes: the objects.
    """

    image: str
    width: int
    height: int
    labelled_classes: tuple[Label, ...]
    boxes: tuple[LabelledBox, ...]


def data_root() -> Path:
    """The development data: ``STREETBLUR_DATA``, else ``shared/data`` beside the repository.

    The folder need not exist; tests skip and commands fail with a message when it does not.
    """
    if own := os.environ.get("STREETBLUR_DATA"):
        return Path(own)
    beside_repository = Path(__file__).resolve().parents[2] / "shared" / "data"
    return beside_repository if beside_repository.is_dir() else Path("..") / "shared" / "data"


def read_annotations(path: Path) -> tuple[LabelledPicture, ...]:
    """Read a label file, one JSON object a line; blank lines are skipped.

    Raises:
        AnnotationError: unreadable file, a wrong line (file and line named), a picture twice.
    """
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(
            f"the label file cannot be read ({error})",
            where=str(path),
            fix="Check the path; each labelled folder holds an annotations.jsonl",
        ) from error
    pictures: dict[str, LabelledPicture] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        picture = _parse_picture(line, where)
        if picture.image in pictures:
            raise AnnotationError(f"{picture.image} is labelled twice", where=where)
        pictures[picture.image] = picture
    return tuple(pictures.values())


def _parse_picture(line: str, where: str) -> LabelledPicture:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"not valid JSON ({error})", where=where) from error
    if not isinstance(row, dict):
        raise AnnotationError("a line must be a JSON object", where=where)
    image, width, height = row.get("image"), row.get("width"), row.get("height")
    if not isinstance(image, str) or not image:
        raise AnnotationError("field image: a non-empty path is needed", where=where)
    path = PurePosixPath(image)
    if path.is_absolute() or ".." in path.parts or path.as_posix() != image:
        raise AnnotationError(
            f"field image: {image} is no plain path inside the labelled folder", where=where
        )
    if not _positive_int(width) or not _positive_int(height):
        raise AnnotationError("fields width and height: positive integers needed", where=where)
    boxes, classes = row.get("boxes"), row.get("labelled_classes")
    if not isinstance(boxes, list) or not isinstance(classes, list):
        raise AnnotationError("fields boxes and labelled_classes: lists needed", where=where)
    return LabelledPicture(
        image=image,
        width=width,
        height=height,
        labelled_classes=tuple(_parse_label(name, where) for name in classes),
        boxes=tuple(
            _parse_box(box, (width, height), f"{where}, box {i}") for i, box in enumerate(boxes)
        ),
    )


def _parse_box(row: Any, size: tuple[int, int], where: str) -> LabelledBox:
    if not isinstance(row, dict):
        raise AnnotationError("a box must be a JSON object", where=where)
    corners = row.get("xyxy")
    if (
        not isinstance(corners, list)
        or len(corners) != 4
        or not all(finite_number(value) for value in corners)
    ):
        raise AnnotationError("field xyxy: four finite numbers needed", where=where)
    box = Box(*(float(value) for value in corners))
    if box.width <= 0 or box.height <= 0:
        raise AnnotationError(f"the box {box.as_tuple()} is empty or inverted", where=where)
    if box.x1 >= size[0] or box.y1 >= size[1] or box.x2 <= 0 or box.y2 <= 0:
        raise AnnotationError(f"the box {box.as_tuple()} lies outside the picture", where=where)
    attributes = row.get("attrs") or {}
    if not isinstance(attributes, dict):
        raise AnnotationError("field attrs: a JSON object is needed", where=where)
    ignore = attributes.get("ignore")
    if ignore not in (None, False, True):
        raise AnnotationError("field ignore: true or false is needed", where=where)
    texts = {"occlusion": attributes.get("occlusion"), "text": row.get("text")}
    if wrong := [name for name, value in texts.items() if not isinstance(value, str | None)]:
        raise AnnotationError(f"field {wrong[0]}: a text is needed", where=where)
    return LabelledBox(
        label=_parse_label(row.get("label"), where),
        box=box,
        ignore=bool(ignore),
        occlusion=texts["occlusion"],
        text=texts["text"],
        attrs=other_attributes(attributes),
    )


def other_attributes(attributes: Mapping[str, object]) -> Attributes:
    """Those that have no field of their own in ``LabelledBox``."""
    own_fields = ("ignore", "occlusion")
    return Attributes.of_scalars({k: v for k, v in attributes.items() if k not in own_fields})


def _parse_label(name: Any, where: str) -> Label:
    for label in LABELS:
        if name == label:
            return label
    raise AnnotationError(f"{name!r} is no class; known: {', '.join(LABELS)}", where=where)


def _positive_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def finite_number(value: Any) -> TypeGuard[int | float]:
    """Whether a JSON value is a number that a float can hold."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond floats
        return False
