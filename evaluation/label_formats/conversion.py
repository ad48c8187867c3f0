"""From the numbers of a label file to pixel corners, by the library ``supervision``.

Its converters of one picture are used, not its loaders of whole data sets: these decode every
picture, draw a mask for every polygon, take pictures without a VOC file for empty ones, and do
not say which line is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from evaluation.annotations import AnnotationError
from pipeline.errors import ConfigurationError
from serving.geometry import Box

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

Size = tuple[int, int]

# The library computes in float32, which holds pixel coordinates to at least this many decimals:
# rounding gives back what a label file says.
_DECIMALS = 3


def coco_boxes(bboxes: Sequence[Sequence[float]], size: Size, where: Sequence[str]) -> list[Box]:
    """Boxes of one picture from COCO's ``bbox``: left, top, width, height in pixels."""
    with _library():
        from supervision.dataset.formats.coco import coco_annotations_to_detections
    rows: list[dict[str, Any]] = [
        {"bbox": list(b), "category_id": 0, "id": i} for i, b in enumerate(bboxes)
    ]
    with _its_errors(where[0] if where else ""):
        found = coco_annotations_to_detections(rows, size, with_masks=False, use_iscrowd=False)
    return [_box(corners, size, place) for corners, place in zip(found.xyxy, where, strict=True)]


def voc_boxes(root: Element, size: Size, where: str) -> list[Box]:
    """Boxes of one picture from VOC's ``object`` elements, in their order.

    VOC counts pixels from 1 and its maxima are inclusive: 1..10 becomes 0..10. Files counted
    from 0 have boxes that start at -1 then: these are cut to the picture.
    """
    with _library():
        from supervision.dataset.formats.pascal_voc import detections_from_xml_obj
    with _its_errors(where):
        found, _ = detections_from_xml_obj(root, [], size)
    return [
        _box([max(x1, 0), max(y1, 0), x2, y2], size, f"{where}, object {number}")
        for number, (x1, y1, x2, y2) in enumerate(found.xyxy, start=1)
    ]


def yolo_box(line: str, size: Size, where: str) -> Box:
    """Box of one YOLO line: class, then centre, width and height, or the corners of a polygon.

    All are shares of the picture's size.
    """
    with _library():
        from supervision.dataset.formats.yolo import yolo_annotations_to_detections
    with _its_errors(where):
        found = yolo_annotations_to_detections([line], size, with_masks=False)
    return _box(found.xyxy[0], size, where)


def _box(corners: Sequence[float] | Any, size: Size, where: str) -> Box:
    box = Box(*(round(float(value), _DECIMALS) for value in corners))
    if not (box.width > 0 and box.height > 0):
        raise AnnotationError(f"the box {box.as_tuple()} is empty or inverted", where=where)
    if box.x1 >= size[0] or box.y1 >= size[1] or box.x2 <= 0 or box.y2 <= 0:
        raise AnnotationError(
            f"the box {box.as_tuple()} lies outside the picture of {size[0]}x{size[1]} pixels",
            where=where,
        )
    return box


@contextmanager
def _library() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise ConfigurationError(
            f"COCO, VOC and YOLO labels are read by a library that is missing ({error})",
            where="supervision",
            fix="Install it: pip install 'streetblur[evaluate]'",
        ) from error


@contextmanager
def _its_errors(where: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, OverflowError) as error:
        raise AnnotationError(f"the labels cannot be converted ({error})", where=where) from error
