"""Labels as a data set gives them: pixel boxes, but still the data set's own class names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from evaluation.annotations import AnnotationError
from evaluation.attributes import Attributes
from serving.geometry import Box

_NO = ("", "0", "0.0", "false", "none", "unspecified")
_YES = ("1", "1.0", "true")


@dataclass(frozen=True, slots=True)
class RawBox:
    """One object; fields as in ``LabelledBox``, but ``name`` for the class."""

    name: str
    box: Box
    ignore: bool = False
    occlusion: str | None = None
    attrs: Attributes = field(default_factory=Attributes)


@dataclass(frozen=True, slots=True)
class RawPicture:
    """One picture; fields as in ``LabelledPicture``."""

    image: str
    width: int
    height: int
    boxes: tuple[RawBox, ...]


@dataclass(frozen=True, slots=True)
class RawSet:
    """All pictures of a data set.

    Attributes:
        source: the file or folder that names the classes.
        names: the classes that were labelled.
        pictures: in the order of the labels, each once.
    """

    source: Path
    names: tuple[str, ...]
    pictures: tuple[RawPicture, ...]


def flag(value: object, name: str, where: str) -> bool:
    """A yes or no of a label file; absent (None) is no.

    Raises:
        AnnotationError: neither of both.
    """
    text = str(value).strip().lower()
    if text in _YES or text in _NO:
        return text in _YES
    raise AnnotationError(f"{name} is {value!r}; 0, 1, true or false is needed", where=where)


def refuse_twice(pictures: Mapping[str, object], image: str, where: str) -> None:
    """Raise when ``image`` is among the pictures already."""
    if image in pictures:
        raise AnnotationError(f"{image} is labelled twice", where=where)
