"""Pascal VOC: one XML file a picture.

Format: section 1 of the development kit's documentation,
http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html. Only pictures with an XML
file are labelled; one without ``object`` labels its picture as empty.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from defusedxml import ElementTree

from evaluation.annotations import AnnotationError
from evaluation.attributes import Attributes
from evaluation.label_formats.conversion import voc_boxes
from evaluation.label_formats.pictures import checked_size, inside, pictures_in
from evaluation.label_formats.raw import RawBox, RawPicture, RawSet, flag, refuse_twice

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_KEPT = ("pose", "truncated", "occluded")


def read_voc(folder: Path, source: Path) -> RawSet:
    """Read the XML files directly in ``source``, whose pictures lie in ``folder``.

    A picture has its XML file's name, else the one that ``filename`` says; it lies beside it, in
    ``folder``, or in its ``JPEGImages`` or ``images``. ``difficult`` makes a box ignored.

    Raises:
        AnnotationError: an unreadable or wrong file (file and object named), a missing picture.
        ConfigurationError: the library that reads it is missing.
    """
    files = sorted(source.glob("*.xml"))
    if not files:
        raise AnnotationError("there are no XML files in it", where=str(source))
    usual = (source, folder, folder / "JPEGImages", folder / "images")
    places = {place.resolve(): place for place in usual}
    candidates = [picture for place in places.values() for picture in pictures_in(place)]
    by_stem: dict[str, list[Path]] = {}
    for picture in candidates:
        by_stem.setdefault(picture.stem, []).append(picture)
    pictures: dict[str, RawPicture] = {}
    for file in files:
        root = _parse(file)
        path = _locate(file, root, by_stem)
        name = inside(folder, path, str(file))
        refuse_twice(pictures, name, str(file))
        size = checked_size(path, _declared_size(root, str(file)), str(file))
        pictures[name] = RawPicture(name, *size, _boxes(root, size, str(file)))
    names = sorted({box.name for picture in pictures.values() for box in picture.boxes})
    return RawSet(source, tuple(names), tuple(pictures.values()))


def _parse(file: Path) -> Element:
    try:
        root = ElementTree.fromstring(file.read_bytes())
    except ParseError as error:
        raise AnnotationError(
            f"not valid XML ({error})", where=f"{file}:{error.position[0]}"
        ) from error
    except (OSError, ValueError, LookupError) as error:
        raise AnnotationError(
            f"the label file cannot be read as XML ({error})", where=str(file)
        ) from error
    if root.tag != "annotation":
        raise AnnotationError(
            f"not VOC: its element is {root.tag}, annotation is needed", where=str(file)
        )
    return root


def _locate(file: Path, root: Element, by_stem: dict[str, list[Path]]) -> Path:
    named = Path((root.findtext("filename") or "").strip())
    found = by_stem.get(file.stem) or by_stem.get(named.stem) or by_stem.get(named.name, [])
    if len(found) > 1:
        found = [path for path in found if path.name == named.name] or found
    if len(found) == 1:
        return found[0]
    if found:
        raise AnnotationError(
            f"several pictures have its name: {', '.join(str(path) for path in found)}",
            where=str(file),
        )
    raise AnnotationError(
        f"there is no picture {file.stem} of a known type",
        where=str(file),
        fix="Put it beside the label file, in the labelled folder or in its images",
    )


def _declared_size(root: Element, where: str) -> tuple[int, int] | None:
    """The ``size``; None where it is left out or 0, as some tools write it."""
    declared = []
    for field in ("width", "height"):
        text = (root.findtext(f"size/{field}") or "0").strip()
        if not text.isdecimal():
            raise AnnotationError(f"field size/{field}: {text!r} is no size", where=where)
        declared.append(int(text))
    return (declared[0], declared[1]) if all(declared) else None


def _boxes(root: Element, size: tuple[int, int], where: str) -> tuple[RawBox, ...]:
    objects = root.findall("object")
    for number, item in enumerate(objects, start=1):
        _check(item, f"{where}, object {number}")
        for polygon in item.findall("polygon"):  # a mask of the picture's size would be drawn
            item.remove(polygon)
    found = []
    for number, (item, box) in enumerate(
        zip(objects, voc_boxes(root, size, where), strict=True), start=1
    ):
        kept = {field: (item.findtext(field) or "").strip() for field in _KEPT}
        found.append(
            RawBox(
                (item.findtext("name") or "").strip(),
                box,
                ignore=flag(item.findtext("difficult"), "difficult", f"{where}, object {number}"),
                attrs=Attributes((k, v) for k, v in kept.items() if v not in ("", "Unspecified")),
            )
        )
    return tuple(found)


def _check(item: Element, where: str) -> None:
    """What the library would mend or not name: corners the wrong way round, no class, no box."""
    if not (item.findtext("name") or "").strip():
        raise AnnotationError("field name: a non-empty text is needed", where=where)
    corners = []
    for field in ("xmin", "ymin", "xmax", "ymax"):
        text = (item.findtext(f"bndbox/{field}") or "").strip()
        try:
            corners.append(float(text))
        except ValueError:
            corners.append(math.nan)
        if not math.isfinite(corners[-1]):
            raise AnnotationError(f"field bndbox/{field}: {text!r} is no number", where=where)
    x1, y1, x2, y2 = corners
    if x2 < x1 or y2 < y1:
        raise AnnotationError(f"the box {tuple(corners)} is inverted", where=where)
