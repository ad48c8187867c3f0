"""Which label format a folder holds, by what lies in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from evaluation.annotations import AnnotationError
from evaluation.label_formats.yolo import label_folders

FormatName = Literal["native", "coco", "voc", "yolo"]

LOOKED_FOR = (
    "annotations.jsonl; a COCO file *.json or annotations/*.json; VOC files *.xml or "
    "Annotations/*.xml; or data.yaml beside labels/"
)

_USUAL_COCO_STARTS = ("_annotations.coco", "annotations", "instances_")
_HEAD_BYTES = 4096


def discover(folder: Path, format_name: FormatName | None) -> tuple[FormatName, Path]:
    """The folder's label format and its source: a label file, for VOC a folder of them.

    Args:
        folder: the labelled folder.
        format_name: look for this format only; None for all.

    Raises:
        AnnotationError: no such folder, nothing fits, or more than one fits.
    """
    if not folder.is_dir():
        raise AnnotationError("there is no such folder", where=str(folder))
    found = labels_in(folder, format_name)
    if len(found) == 1:
        return found[0]
    if not found:
        wanted = "labels of a known format" if format_name is None else f"{format_name} labels"
        raise AnnotationError(
            f"there are no {wanted}", where=str(folder), fix=f"Looked for: {LOOKED_FOR}"
        )
    listed = ", ".join(f"{source.relative_to(folder)} ({name})" for name, source in found)
    raise AnnotationError(
        f"the folder holds several labels: {listed}",
        where=str(folder),
        fix="Name the format and the label file to use",
    )


def labels_in(folder: Path, format_name: FormatName | None) -> list[tuple[FormatName, Path]]:
    """All label sources that lie in ``folder``, see :func:`discover`."""
    return [
        (name, source)
        for name, look in _FINDERS.items()
        if format_name in (None, name)
        for source in look(folder)
    ]


def _native(folder: Path) -> list[Path]:
    return [p for p in (folder / "annotations.jsonl",) if p.is_file()]


def _coco(folder: Path) -> list[Path]:
    places = (folder, *_annotation_folders(folder))
    return [p for place in places for p in sorted(place.glob("*.json")) if _is_coco(p)]


def _voc(folder: Path) -> list[Path]:
    places = (folder, *_annotation_folders(folder))
    return [place for place in places if _any_voc(place.glob("*.xml"))]


def _yolo(folder: Path) -> list[Path]:
    if not label_folders(folder):
        return []
    names = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
    return [folder / name for name in names if (folder / name).is_file()]


_FINDERS: dict[FormatName, Callable[[Path], list[Path]]] = {
    "native": _native,
    "coco": _coco,
    "voc": _voc,
    "yolo": _yolo,
}


def _annotation_folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.name.lower() == "annotations" and p.is_dir())


def _is_coco(path: Path) -> bool:
    """Whether the file is COCO JSON, or a damaged one of a usual name: its reader says how."""
    try:
        data: Any = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return path.name.lower().startswith(_USUAL_COCO_STARTS)
    return isinstance(data, dict) and {"images", "annotations"} <= data.keys()


def _any_voc(files: Iterable[Path]) -> bool:
    for path in sorted(files):
        with path.open("rb") as file:
            if b"<annotation" in file.read(_HEAD_BYTES):
                return True
    return False
