"""Labelled folders of any format, read into the same values.

Four formats are known: ``annotations.jsonl`` (``native``), COCO JSON, Pascal VOC and YOLO text.
Of all of them:

- Boxes are in pixels of the upright picture, ``x2``/``y2`` exclusive. Labels are taken as drawn
  on the picture as its EXIF orientation turns it; a label file that states another size is
  refused.
- Pictures that are labelled and have no box stay: what is found on them is wrong. Pictures that
  are not labelled are left out. COCO labels those in its list ``images``; VOC those with an XML
  file; YOLO, by its convention, every picture in a folder ``images`` that corresponds to one of
  ``labels``, with a text file or not.
- COCO ``iscrowd`` and ``ignore`` and VOC ``difficult`` make a box ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from evaluation.annotations import (
    AnnotationError,
    LabelledBox,
    LabelledPicture,
    read_annotations,
)
from evaluation.label_formats.classes import occlusion, resolve
from evaluation.label_formats.coco import read_coco
from evaluation.label_formats.discover import FormatName, discover
from evaluation.label_formats.raw import RawBox, RawSet
from evaluation.label_formats.voc import read_voc
from evaluation.label_formats.yolo import read_yolo
from pipeline.errors import ConfigurationError
from serving.geometry import LABELS, Label

_READERS: dict[FormatName, Callable[[Path, Path], RawSet]] = {
    "coco": read_coco,
    "voc": read_voc,
    "yolo": read_yolo,
}
_BY_SUFFIX: dict[str, FormatName] = {
    ".jsonl": "native",
    ".json": "coco",
    ".yaml": "yolo",
    ".yml": "yolo",
}


def read_labels(
    folder: Path,
    *,
    format: Literal["auto", "native", "coco", "voc", "yolo"] = "auto",
    annotations: Path | None = None,
    classes: Mapping[str, Label | None] | None = None,
    labelled_classes: Sequence[Label] | None = None,
) -> tuple[LabelledPicture, ...]:
    """Read the labels of a folder of pictures.

    Args:
        folder: the labelled folder; the pictures' paths are relative to it.
        format: of the labels; ``auto`` finds out by what lies in the folder.
        annotations: the label file where it is not to be looked for in the folder: for VOC the
            folder of XML files, for YOLO its ``data.yaml``. ``auto`` goes by its kind then.
        classes: the data set's class names and what they are, None for those whose boxes are
            left out. Goes before ``label_formats.classes.USUAL_NAMES``; case, spaces, ``-`` and
            ``_`` do not matter. The native format has no names of its own.
        labelled_classes: the classes that were labelled at all, where that is not what the
            native format says or the class list of the others holds.

    Raises:
        AnnotationError: no labels, several, or wrong ones; a missing picture; class names that
            are neither usual nor in ``classes``.
        ConfigurationError: arguments that do not fit together, or a library that is missing.
    """
    name, source = _choose(folder, format, annotations)
    if name == "native":
        pictures = read_annotations(source)
    else:
        pictures = _classified(_READERS[name](folder, source), classes, labelled_classes)
    if labelled_classes is None:
        return pictures
    labelled = _known(labelled_classes)
    return tuple(replace(picture, labelled_classes=labelled) for picture in pictures)


def _choose(folder: Path, format_name: str, annotations: Path | None) -> tuple[FormatName, Path]:
    for name in ("native", *_READERS):
        if name == format_name:
            return (name, annotations) if annotations is not None else discover(folder, name)
    if format_name != "auto":
        raise ConfigurationError(
            f"{format_name!r} is no label format; known: auto, native, {', '.join(_READERS)}"
        )
    return discover(folder, None) if annotations is None else (_kind(annotations), annotations)


def _kind(annotations: Path) -> FormatName:
    if annotations.is_dir():
        return "voc"
    if kind := _BY_SUFFIX.get(annotations.suffix.lower()):
        return kind
    raise ConfigurationError(
        "the format of this label file cannot be told by its name",
        where=str(annotations),
        fix=f"Say which it is: native, {', '.join(_READERS)}",
    )


def _classified(
    raw: RawSet,
    classes: Mapping[str, Label | None] | None,
    labelled_classes: Sequence[Label] | None,
) -> tuple[LabelledPicture, ...]:
    labels = resolve(raw.names, classes, str(raw.source))
    labelled = tuple(label for label in LABELS if label in labels.values())
    if not labelled and labelled_classes is None:
        raise AnnotationError(
            "none of its classes is a face or a plate, so nothing says what was labelled",
            where=str(raw.source),
            fix="Say which classes were labelled",
        )
    return tuple(
        LabelledPicture(
            picture.image,
            picture.width,
            picture.height,
            labelled,
            tuple(
                _labelled(box, label)
                for box in picture.boxes
                if (label := labels[box.name]) is not None
            ),
        )
        for picture in raw.pictures
    )


def _labelled(box: RawBox, label: Label) -> LabelledBox:
    covered = occlusion(box) if label == "face" else box.occlusion
    return LabelledBox(label, box.box, box.ignore, covered, attrs=box.attrs)


def _known(labels: Sequence[Label]) -> tuple[Label, ...]:
    if wrong := [label for label in labels if label not in LABELS]:
        raise ConfigurationError(
            f"{', '.join(wrong)}: no class; known: {', '.join(LABELS)}", where="labelled classes"
        )
    return tuple(label for label in LABELS if label in labels)
