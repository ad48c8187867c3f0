"""COCO JSON: one file with the pictures, the categories and the boxes of a data set.

Format: https://cocodataset.org/#format-data. Only pictures in its list ``images`` are labelled;
those without a box are labelled as empty.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.annotations import AnnotationError, finite_number, other_attributes
from evaluation.label_formats.conversion import coco_boxes
from evaluation.label_formats.pictures import checked_size, inside
from evaluation.label_formats.raw import RawBox, RawPicture, RawSet, flag, refuse_twice


def read_coco(folder: Path, source: Path) -> RawSet:
    """Read a label file whose pictures lie in ``folder``.

    ``iscrowd`` and ``ignore``, of an annotation or among its ``attributes``, make a box ignored;
    the rest of ``attributes`` is kept.

    Raises:
        AnnotationError: an unreadable or wrong file (the entry named), a missing picture.
        ConfigurationError: the library that reads it is missing.
    """
    data = _parse(source)
    names = _categories(data, source)
    images = {_identity(row, source, f"image {i}"): row for i, row in enumerate(data["images"])}
    if len(images) != len(data["images"]):
        raise AnnotationError("two images have the same id", where=str(source))
    rows: dict[Any, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for number, row in enumerate(data["annotations"]):
        where = f"{source}: annotation {_identity(row, source, f'annotation {number}')}"
        for key, known in (("image_id", images), ("category_id", names)):
            if not isinstance(row.get(key), int | str) or row[key] not in known:
                raise AnnotationError(f"{key} {row.get(key)!r} is not in the file", where=where)
        rows[row["image_id"]].append((where, row))
    pictures: dict[str, RawPicture] = {}
    for identity, image in images.items():
        where = f"{source}: image {identity}"
        path = _locate(folder, source, image, where)
        name = inside(folder, path, where)
        refuse_twice(pictures, name, where)
        size = checked_size(path, _declared_size(image, where), where)
        pictures[name] = RawPicture(name, *size, _boxes(rows[identity], names, size))
    return RawSet(source, tuple(names.values()), tuple(pictures.values()))


def _parse(source: Path) -> dict[str, Any]:
    try:
        data: Any = json.loads(source.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise AnnotationError(
            f"the label file cannot be read as JSON ({error})", where=str(source)
        ) from error
    for key in ("images", "annotations", "categories"):
        rows = data.get(key) if isinstance(data, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise AnnotationError(
                f"not COCO: field {key}: a list of objects is needed", where=str(source)
            )
    return dict(data)


def _categories(data: Mapping[str, Any], source: Path) -> dict[int | str, str]:
    names: dict[int | str, str] = {}
    for number, row in enumerate(data["categories"]):
        identity, name = _identity(row, source, f"category {number}"), row.get("name")
        where = f"{source}: category {identity}"
        if not isinstance(name, str) or not name:
            raise AnnotationError("field name: a non-empty text is needed", where=where)
        if identity in names:
            raise AnnotationError("two categories have the same id", where=where)
        names[identity] = name
    return names


def _identity(row: Mapping[str, Any], source: Path, entry: str) -> int | str:
    identity = row.get("id")
    if isinstance(identity, bool) or not isinstance(identity, int | str):
        raise AnnotationError(
            f"field id of {entry} (from 0): a number or text is needed", where=str(source)
        )
    return identity


def _declared_size(image: Mapping[str, Any], where: str) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    if width is None and height is None:
        return None
    return _pixels(width, where), _pixels(height, where)


def _pixels(value: Any, where: str) -> int:
    if not finite_number(value) or value <= 0 or value != int(value):
        raise AnnotationError("fields width and height: positive integers needed", where=where)
    return int(value)


def _locate(folder: Path, source: Path, image: Mapping[str, Any], where: str) -> Path:
    """The picture, in the places usual for the format; the first that has it."""
    name = image.get("file_name")
    if not isinstance(name, str) or not name or "\0" in name or Path(name).is_absolute():
        raise AnnotationError("field file_name: a relative path is needed", where=where)
    places = [folder, folder / "images"]
    if split := source.stem.partition("instances_")[2]:
        places += [folder / split, folder / "images" / split]
    beside, root = source.resolve().parent, folder.resolve()
    if beside.is_relative_to(root):
        places += [(beside_it := folder / beside.relative_to(root)), beside_it / "images"]
    for place in places:
        if (place / name).is_file():
            return place / name
    raise AnnotationError(
        f"the picture {name} is in none of {', '.join(str(place) for place in places)}",
        where=where,
        fix="Give the folder that its file_name is relative to",
    )


def _boxes(
    rows: list[tuple[str, dict[str, Any]]],
    names: Mapping[int | str, str],
    size: tuple[int, int],
) -> tuple[RawBox, ...]:
    places = [where for where, _ in rows]
    boxes = coco_boxes([_bbox(row, where) for where, row in rows], size, places)
    found = []
    for (where, row), box in zip(rows, boxes, strict=True):
        attributes = row.get("attributes") or {}
        if not isinstance(attributes, dict):
            raise AnnotationError("field attributes: a JSON object is needed", where=where)
        covered = attributes.get("occlusion")
        found.append(
            RawBox(
                names[row["category_id"]],
                box,
                ignore=any(
                    [
                        flag(row.get("iscrowd"), "iscrowd", where),
                        flag(row.get("ignore"), "ignore", where),
                        flag(attributes.get("ignore"), "attribute ignore", where),
                    ]
                ),
                occlusion=None if covered is None else str(covered),
                attrs=other_attributes(attributes),
            )
        )
    return tuple(found)


def _bbox(row: Mapping[str, Any], where: str) -> list[float]:
    bbox = row.get("bbox")
    if (
        not isinstance(bbox, list)
        or len(bbox) != 4
        or not all(finite_number(value) for value in bbox)
    ):
        raise AnnotationError("field bbox: four finite numbers needed", where=where)
    if bbox[2] <= 0 or bbox[3] <= 0:
        raise AnnotationError(f"the box {bbox} has no width or height", where=where)
    return [float(value) for value in bbox]
