"""Small pictures of the worst misses and false blurs, in which nobody can be recognised.

A missed face is plain to see in the output, too. So a thumbnail shows averages of a coarse grid
unless originals are asked for.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.changed import changes
from evaluation.judge import JudgedBox, JudgedPicture, locate
from evaluation.labelled_sets import LabelledSet
from evaluation.picture import PictureUnreadable, read_upright
from serving.geometry import Box

Pixels = NDArray[np.uint8]

SIDE = 180
# Cells a side of a thumbnail that hides people: of a face, four by four at most.
CELLS = 12
_CONTEXT = 1.0
_MISSED, _FALSE, _FOUND = (213, 94, 0), (204, 121, 167), (0, 114, 178)


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """One picture of the report.

    Attributes:
        title: set and picture.
        caption: what is seen.
        data: JPEG as a ``data:`` URI.
    """

    title: str
    caption: str
    data: str


def worst_misses(
    judged: Mapping[str, Sequence[JudgedPicture]],
    sets: Sequence[LabelledSet],
    *,
    most: int = 24,
    show: bool = False,
) -> list[Thumbnail]:
    """The largest boxes that count as missed, the least obscured first among equals.

    Args:
        judged: by set.
        sets: where their originals lie.
        most: how many at most.
        show: whether originals are shown.
    """
    missed = [
        (one, picture, box)
        for one in sets
        for picture in judged.get(one.name, ())
        for box in picture.boxes
        if not box.obscured and box.box is not None and picture.status != "not_published"
    ]
    missed.sort(key=lambda found: (-found[2].height * (1 - found[2].share), found[1].image))
    out = []
    for one, picture, box in missed[:most]:
        pixels = _original(one, picture)
        if pixels is not None and box.box is not None:
            others = [(item.box, _FOUND) for item in picture.boxes if item.box and item.obscured]
            part = _part(pixels, box.box, [*others, (box.box, _MISSED)], show=show)
            out.append(Thumbnail(f"{one.name}/{picture.image}", _of_miss(box, picture), part))
    return out


def worst_false_blurs(
    judged: Mapping[str, Sequence[JudgedPicture]],
    sets: Sequence[LabelledSet],
    outputs: Mapping[str, Path],
    *,
    most: int = 24,
    show: bool = False,
) -> list[Thumbnail]:
    """The largest areas that changed and touch no labelled box, one a picture.

    Args:
        judged: by set.
        sets: where their originals lie.
        outputs: where the outputs lie, by set.
        most: how many at most.
        show: whether originals are shown.
    """
    worst = [
        (picture.changed.share, one, picture)
        for one in sets
        for picture in judged.get(one.name, ())
        if picture.changed is not None and picture.false_regions
    ]
    worst.sort(key=lambda found: (-found[0], found[2].image))
    out = []
    for share, one, picture in worst[:most]:
        pixels = _original(one, picture)
        path = locate(outputs[one.name], picture.image) if one.name in outputs else None
        if pixels is None or path is None:
            continue
        labels = next(p for p in one.pictures if p.image == picture.image)
        boxes = [item.box for item in labels.boxes]
        found = changes(pixels, read_upright(path), boxes)
        false = [region for region in found.regions if not _touches(region, boxes)]
        if not false:
            continue
        region = max(false, key=lambda box: box.width * box.height)
        part = _part(pixels, region, [(region, _FALSE)], show=show)
        caption = f"{share:.1%} of the pixels outside changed in this picture"
        out.append(Thumbnail(f"{one.name}/{picture.image}", caption, part))
    return out


def _of_miss(box: JudgedBox, picture: JudgedPicture) -> str:
    if picture.status == "unrelated":
        return f"{box.label}, {box.height:.0f} px high; the output shows something else"
    told = f"{box.label}, {box.height:.0f} px high, {box.share:.0%} of it obscured"
    conditions = [value for name, value in box.groups if name in ("occlusion", "lighting")]
    return f"{told}; {', '.join(conditions)}" if conditions else told


def _touches(region: Box, boxes: Sequence[Box]) -> bool:
    return any(
        region.x1 < box.x2 and box.x1 < region.x2 and region.y1 < box.y2 and box.y1 < region.y2
        for box in boxes
    )


def _original(one: LabelledSet, picture: JudgedPicture) -> Pixels | None:
    path = locate(one.folder, picture.image)
    try:
        return None if path is None else read_upright(path)
    except PictureUnreadable:
        return None


def _part(
    pixels: Pixels, box: Box, marks: Sequence[tuple[Box, tuple[int, int, int]]], *, show: bool
) -> str:
    """A square around ``box`` with boxes drawn; averages of cells alone unless ``show``."""
    height, width = pixels.shape[:2]
    side = (1 + 2 * _CONTEXT) * max(box.width, box.height, 8.0)
    left, top = (box.x1 + box.x2 - side) / 2, (box.y1 + box.y2 - side) / 2
    rows = np.clip(np.floor(top + (np.arange(SIDE) + 0.5) * side / SIDE), 0, height - 1)
    columns = np.clip(np.floor(left + (np.arange(SIDE) + 0.5) * side / SIDE), 0, width - 1)
    x1, x2 = math.floor(max(left, 0)), math.ceil(min(left + side, width))
    y1, y2 = math.floor(max(top, 0)), math.ceil(min(top + side, height))
    if show:
        out = pixels[np.ix_(rows.astype(np.int64), columns.astype(np.int64))].copy()
    else:
        # where the picture ends before the square does, fewer cells of the same size
        cells = tuple(max(1, round(CELLS * length / side)) for length in (x2 - x1, y2 - y1))
        small = cv2.resize(
            np.ascontiguousarray(pixels[y1:y2, x1:x2]), cells, interpolation=cv2.INTER_AREA
        )
        out = np.asarray(cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.uint8)
        left, top = float(x1), float(y1)
    across, down = (SIDE / side, SIDE / side) if show else (SIDE / (x2 - x1), SIDE / (y2 - y1))
    for mark, colour in marks:
        corners = (
            (round((mark.x1 - left) * across), round((mark.y1 - top) * down)),
            (round((mark.x2 - left) * across), round((mark.y2 - top) * down)),
        )
        cv2.rectangle(out, *corners, colour, 2)
    coded = cv2.imencode(".jpg", out[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode()
