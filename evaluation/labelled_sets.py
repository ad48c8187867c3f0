"""Labelled sets to be evaluated: found in folders, with the regions that a review has added."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from evaluation.annotations import AnnotationError, LabelledBox, LabelledPicture
from evaluation.label_formats.discover import LOOKED_FOR, FormatName, labels_in
from evaluation.labels import read_labels
from pipeline.errors import ConfigurationError
from serving.geometry import LABELS, Box, Label

AnyFormat = Literal["auto", "native", "coco", "voc", "yolo"]
UNSURE = "unsure"
REVIEWED = Path(__file__).parent / "reviewed"


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """One labelled set.

    Attributes:
        name: of its folder.
        folder: that the pictures' paths are relative to.
        pictures: the labels.
    """

    name: str
    folder: Path
    pictures: tuple[LabelledPicture, ...]


def find_sets(
    data: Path,
    names: Sequence[str] = (),
    *,
    format: AnyFormat = "auto",
    classes: Mapping[str, Label | None] | None = None,
    reviewed: Path | None = REVIEWED,
) -> tuple[LabelledSet, ...]:
    """The labelled folder ``data``, or those that lie in it.

    Args:
        data: a folder with labels, or one that holds such folders.
        names: of the folders wanted; all by default.
        format: of the labels, see :func:`evaluation.labels.read_labels`.
        classes: likewise.
        reviewed: folder of reviewed regions, see :func:`with_reviewed`; None for no such.

    Raises:
        ConfigurationError: there are no such labels.
        AnnotationError: wrong labels.
    """
    folders = _labelled_folders(data.resolve(), None if format == "auto" else format)
    known = [folder.name for folder in folders]
    missing = [name for name in names if name not in known]
    if missing or not folders:
        raise ConfigurationError(
            f"no labelled folder {', '.join(missing)}" if missing else "no labelled folder",
            where=str(data),
            fix=f"There are {', '.join(known)}" if known else f"Looked for: {LOOKED_FOR}",
        )
    found = []
    for folder in folders:
        if not names or folder.name in names:
            pictures = read_labels(folder, format=format, classes=classes)
            if reviewed is not None:
                pictures = with_reviewed(pictures, reviewed / f"{folder.name}.jsonl")
            found.append(LabelledSet(folder.name, folder, pictures))
    return tuple(found)


def _labelled_folders(data: Path, format_name: FormatName | None) -> list[Path]:
    if not data.is_dir():
        return []
    if labels_in(data, format_name):
        return [data]
    inner = sorted(path for path in data.iterdir() if path.is_dir())
    return [folder for folder in inner if labels_in(folder, format_name)]


def with_reviewed(pictures: Iterable[LabelledPicture], file: Path) -> tuple[LabelledPicture, ...]:
    """``pictures`` with the regions of ``file`` to be ignored: true objects without a label.

    Args:
        pictures: the labels.
        file: one JSON object a line: ``image``, ``label``, ``xyxy``, ``kind``; need not be there.
            What is ``unsure`` is left out. A file that names none of ``pictures`` is of another
            set of the same name, and changes nothing.

    Raises:
        AnnotationError: a line is wrong, or names a picture that has no labels.
    """
    known = {picture.image: picture for picture in pictures}
    lines = file.read_text("utf-8").splitlines() if file.is_file() else []
    rows = [_region(line, f"{file}:{number}") for number, line in enumerate(lines, start=1)]
    if not any(image in known for image, _, _ in rows):
        return tuple(known.values())
    for number, (image, region, kind) in enumerate(rows, start=1):
        if image not in known:
            raise AnnotationError(f"{image} has no labels", where=f"{file}:{number}")
        if kind != UNSURE:
            picture = known[image]
            known[image] = replace(picture, boxes=(*picture.boxes, region))
    return tuple(known.values())


def _region(line: str, where: str) -> tuple[str, LabelledBox, str | None]:
    """Picture, region and kind of one line."""
    try:
        row = json.loads(line)
        label = next(label for label in LABELS if label == row["label"])
        box = Box(*(float(value) for value in row["xyxy"]))
        return str(row["image"]), LabelledBox(label, box, ignore=True), row.get("kind")
    except (ValueError, TypeError, KeyError, StopIteration) as error:
        raise AnnotationError(
            f"this is no reviewed region ({type(error).__name__}: {error})", where=where
        ) from error
