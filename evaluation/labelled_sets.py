"""Labelled sets to be evaluated: found in folders, with the regions that a review has added."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evaluation.annotations import AnnotationError, LabelledBox, LabelledPicture, read_annotations
from pipeline.errors import ConfigurationError
from serving.geometry import LABELS, Box

LABEL_FILE = "annotations.jsonl"
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
    data: Path, names: Sequence[str] = (), *, reviewed: Path | None = REVIEWED
) -> tuple[LabelledSet, ...]:
    """The labelled folder ``data``, or those that lie in it.

    Args:
        data: a folder with labels, or one that holds such folders.
        names: of the folders wanted; all by default.
        reviewed: folder of reviewed regions, see :func:`with_reviewed`; None for no such.

    Raises:
        ConfigurationError: there are no such labels.
        AnnotationError: wrong labels.
    """
    if (data / LABEL_FILE).is_file():
        folders = [data.resolve()]
    else:
        folders = sorted(path.parent for path in data.glob(f"*/{LABEL_FILE}"))
    known = [folder.name for folder in folders]
    missing = [name for name in names if name not in known]
    if missing or not folders:
        raise ConfigurationError(
            f"no labelled folder {', '.join(missing)}" if missing else "no labelled folder",
            where=str(data),
            fix=f"There are {', '.join(known)}" if known else f"Each holds an {LABEL_FILE}",
        )
    found = []
    for folder in folders:
        if not names or folder.name in names:
            pictures = read_annotations(folder / LABEL_FILE)
            if reviewed is not None:
                pictures = with_reviewed(pictures, reviewed / f"{folder.name}.jsonl")
            found.append(LabelledSet(folder.name, folder, pictures))
    return tuple(found)


def with_reviewed(pictures: Iterable[LabelledPicture], file: Path) -> tuple[LabelledPicture, ...]:
    """``pictures`` with the regions of ``file`` to be ignored: true objects without a label.

    Args:
        pictures: the labels.
        file: one JSON object a line: ``image``, ``label``, ``xyxy``; need not be there.

    Raises:
        AnnotationError: a line is wrong, or names a picture that has no labels.
    """
    known = {picture.image: picture for picture in pictures}
    if not file.is_file():
        return tuple(known.values())
    for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
        where = f"{file}:{number}"
        try:
            row = json.loads(line)
            label = next(label for label in LABELS if label == row["label"])
            box = Box(*(float(value) for value in row["xyxy"]))
            picture = known[row["image"]]
        except (ValueError, TypeError, KeyError, StopIteration) as error:
            raise AnnotationError(
                f"no reviewed region of a labelled picture ({type(error).__name__}: {error})",
                where=where,
            ) from error
        region = LabelledBox(label, box, ignore=True)
        known[picture.image] = replace(picture, boxes=(*picture.boxes, region))
    return tuple(known.values())
