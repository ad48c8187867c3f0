"""Contact sheets of what detectors propose and no label explains, for a person to look through.

``python -m evaluation.review_sheets --data ROOT --sets openalpr_us ... --output DIR``

Each tile shows one candidate in colour (faces yellow, plates green, its number in the corner),
labelled boxes in white, and ticks at tenths of the tile, by which a better box can be read off:
the CSV holds the area that each tile shows. What was found so lies in ``evaluation/reviewed``.
The sheets hold parts of real pictures: keep them where the pictures are.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from evaluation.annotations import LABEL_FILE, LabelledPicture, data_root, read_annotations
from evaluation.candidates import DEFAULT_CACHE, CandidateCache, open_cache
from evaluation.changed import GROWTH
from evaluation.fit import MATCH_IOU
from evaluation.picture import read_upright
from pipeline.errors import StreetblurError
from pipeline.policy import DEFAULT_POLICY, load_policy
from serving.geometry import Box, Candidate, Label

Pixels = NDArray[np.uint8]

LOWEST_SCORE: Mapping[Label, float] = {"face": 0.15, "plate": 0.05}
"""Somewhat below the default policy's thresholds, or as low as candidates are kept."""

COVERED = 0.5
SAME_IOU = 0.3
SAME_AREA = 4.0
TILE_PX = 240
COLUMNS, ROWS = 6, 5

_CONTEXT = 3.0
_LEAST_CONTEXT_PX = 56.0
_GAP = 4
_COLOURS: Mapping[Label, tuple[int, int, int]] = {"face": (255, 220, 0), "plate": (0, 255, 60)}
_WHITE = (255, 255, 255)
_HEAD = ["number", "sheet", "set", "image", "label", "score", "x1", "y1", "x2", "y2"]
_HEAD += ["shown_x1", "shown_y1", "shown_x2", "shown_y2"]


@dataclass(frozen=True, slots=True)
class Unexplained:
    """A candidate that no label explains.

    Attributes:
        picture: where it lies.
        candidate: what was proposed, the best of those that are one object.
        shown: the part of the picture on its tile; may reach beyond the picture.
    """

    picture: LabelledPicture
    candidate: Candidate
    shown: Box


def explained(box: Box, labelled: Iterable[Box]) -> bool:
    """Whether ``box`` overlaps a label, has its centre in a grown one or is half covered by one."""
    x, y = (box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2
    for other in labelled:
        shared = _shared(box, other)
        if shared > MATCH_IOU * (_area(box) + _area(other) - shared):
            return True
        if shared > COVERED * _area(box):
            return True
        margin_x, margin_y = GROWTH * other.width, GROWTH * other.height
        if (
            other.x1 - margin_x <= x < other.x2 + margin_x
            and other.y1 - margin_y <= y < other.y2 + margin_y
        ):
            return True
    return False


def unexplained(picture: LabelledPicture, candidates: Iterable[Candidate]) -> list[Unexplained]:
    """The candidates of one picture to look at: scored high enough, no label's, each object once.

    Labels of every class explain a candidate, whatever class it is of. Candidates of one class are
    one object when they overlap by an IoU of 0.3, or when one's centre lies in the other and
    neither is four times as large. From top to bottom.
    """
    labelled = [box.box for box in picture.boxes]
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: -c.score):
        if candidate.score < LOWEST_SCORE[candidate.label] or explained(candidate.box, labelled):
            continue
        if not any(_one_object(candidate, other) for other in kept):
            kept.append(candidate)
    kept.sort(key=lambda c: (c.box.y1, c.box.x1))
    return [Unexplained(picture, candidate, _context(candidate.box)) for candidate in kept]


def _one_object(a: Candidate, b: Candidate) -> bool:
    if a.label != b.label:
        return False
    shared = _shared(a.box, b.box)
    if shared > SAME_IOU * (_area(a.box) + _area(b.box) - shared):
        return True
    small, large = sorted((a.box, b.box), key=_area)
    x, y = (small.x1 + small.x2) / 2, (small.y1 + small.y2) / 2
    inside = large.x1 <= x < large.x2 and large.y1 <= y < large.y2
    return inside and _area(large) < SAME_AREA * _area(small)


def _area(box: Box) -> float:
    return max(box.width, 0.0) * max(box.height, 0.0)


def _shared(a: Box, b: Box) -> float:
    return _area(
        Box(max(a.x1, b.x1), max(a.y1, b.y1), min(a.x2, b.x2), min(a.y2, b.y2))
        if a.x1 < b.x2 and b.x1 < a.x2
        else Box(0, 0, 0, 0)
    )


def _context(box: Box) -> Box:
    """A square of whole pixels around ``box``, three times its longer side."""
    side = math.ceil(max(_CONTEXT * box.width, _CONTEXT * box.height, _LEAST_CONTEXT_PX))
    left = round((box.x1 + box.x2 - side) / 2)
    top = round((box.y1 + box.y2 - side) / 2)
    return Box(left, top, left + side, top + side)


def draw_tile(pixels: Pixels, number: int, item: Unexplained) -> Pixels:
    """One candidate with what surrounds it.

    Args:
        pixels: uint8 [H, W, 3] RGB, the whole picture upright.
        number: what the tile is called.
        item: the candidate.

    Returns:
        uint8 [TILE_PX, TILE_PX, 3] RGB.
    """
    x1, y1, x2, y2 = (int(value) for value in item.shown.as_tuple())
    height, width = pixels.shape[:2]
    part = cv2.copyMakeBorder(
        pixels[max(y1, 0) : min(y2, height), max(x1, 0) : min(x2, width)],
        max(-y1, 0),
        max(y2 - height, 0),
        max(-x1, 0),
        max(x2 - width, 0),
        cv2.BORDER_CONSTANT,
        value=(90, 90, 90),
    )
    scale = TILE_PX / item.shown.width
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    tile = np.ascontiguousarray(cv2.resize(part, (TILE_PX, TILE_PX), interpolation=method))

    def outline(box: Box, colour: tuple[int, int, int]) -> None:
        corners = ((box.x1 - x1, box.y1 - y1), (box.x2 - x1, box.y2 - y1))
        first, second = ((round(x * scale), round(y * scale)) for x, y in corners)
        cv2.rectangle(tile, first, second, colour, 1)

    for label in item.picture.boxes:
        outline(label.box, _WHITE)
    colour = _COLOURS[item.candidate.label]
    outline(item.candidate.box, colour)
    for tenth in range(1, 10):
        at, length = tenth * TILE_PX // 10, 9 if tenth == 5 else 5
        cv2.line(tile, (at, TILE_PX - length), (at, TILE_PX), _WHITE, 1)
        cv2.line(tile, (TILE_PX - length, at), (TILE_PX, at), _WHITE, 1)
    for thickness, ink in ((3, (0, 0, 0)), (1, colour)):
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(tile, str(number), (3, 15), font, 0.5, ink, thickness, cv2.LINE_AA)
    return np.asarray(tile, dtype=np.uint8)


def write_sheets(folder: Path, items: Sequence[Unexplained], output: Path) -> int:
    """Write ``<set>-NN.png`` and ``<set>.csv`` into ``output``; returns how many sheets.

    Args:
        folder: the labelled folder; its name is the set's.
        items: the candidates, those of one picture together; numbered from 1.
        output: made when missing.

    Raises:
        PictureUnreadable: a picture is missing or damaged.
    """
    output.mkdir(parents=True, exist_ok=True)
    per_sheet = COLUMNS * ROWS
    step = TILE_PX + _GAP
    with (output / f"{folder.name}.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(_HEAD)
        shown, pixels = "", np.zeros((0, 0, 3), dtype=np.uint8)
        for start in range(0, len(items), per_sheet):
            part = items[start : start + per_sheet]
            name = f"{folder.name}-{start // per_sheet + 1:02d}.png"
            rows = -(-len(part) // COLUMNS)
            sheet = np.full((rows * step, COLUMNS * step, 3), 255, dtype=np.uint8)
            for place, item in enumerate(part):
                if item.picture.image != shown:
                    shown, pixels = item.picture.image, read_upright(folder / item.picture.image)
                number = start + place + 1
                y, x = (step * index for index in divmod(place, COLUMNS))
                sheet[y : y + TILE_PX, x : x + TILE_PX] = draw_tile(pixels, number, item)
                found = item.candidate
                corners = [f"{value:.1f}" for value in found.box.as_tuple()]
                row = [number, name, folder.name, shown, found.label, f"{found.score:.3f}"]
                table.writerow([*row, *corners, *map(int, item.shown.as_tuple())])
            cv2.imwrite(str(output / name), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    return -(-len(items) // per_sheet)


def review_items(folder: Path, cached: CandidateCache) -> list[Unexplained]:
    """What to look at in one labelled folder whose candidates are known, picture by picture."""
    pictures = sorted(read_annotations(folder / LABEL_FILE), key=lambda picture: picture.image)
    return [
        item
        for picture in pictures
        for item in unexplained(picture, cached.candidates(folder / picture.image))
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.review_sheets", description=__doc__)
    parser.add_argument("--sets", nargs="+", required=True, help="labelled folders")
    parser.add_argument("--data", type=Path, help="their root (default: the dev data)")
    parser.add_argument("--output", type=Path, required=True, help="folder of sheets and CSV")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 8))
    given = parser.parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    try:
        root = given.data or data_root() / "dev"
        cached = open_cache(given.cache, load_policy(DEFAULT_POLICY))
        for folder in (root / name for name in given.sets):
            pictures = read_annotations(folder / LABEL_FILE)
            cached.fill([folder / picture.image for picture in pictures], given.processes)
            items = review_items(folder, cached)
            sheets = write_sheets(folder, items, given.output)
            console.print(f"{folder.name}: {len(items)} candidates on {sheets} sheets")
    except StreetblurError as error:
        Console(stderr=True).print(str(error), style="red", markup=False)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
