"""``python -m evaluation.scenes.report SCENES REPORT [--outputs DIR]``: recall by variation.

SCENES is a folder that ``python -m evaluation.scenes`` made, REPORT what ``streetblur evaluate
SCENES --report REPORT --keep KEPT`` wrote. Prints Markdown: the share of boxes that are obscured by
variation and height, and how far it is from the same scenes by day. With ``--outputs`` (then
``KEPT/blurred/NAME`` with the name of SCENES) also how many of the negatives were touched by a
blur. Intervals resample scenes, not pictures: a scene in six variations is one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.annotations import AnnotationError
from evaluation.changed import changed_map
from evaluation.judge import JudgedBox, JudgedPicture
from evaluation.markdown import table
from evaluation.picture import read_upright
from evaluation.scenes.folder import NEGATIVES_FILE, SCENES_FILE
from evaluation.summary import COUNTED_FROM_PX, HEIGHT_BINS, pooled_ratio, proportion, resamples
from evaluation.verdicts import Verdicts
from pipeline.errors import StreetblurError
from serving.geometry import LABELS, Label

DAY = "day"

# A negative is touched when so many of its pixels changed: less is the rim of a blur beside it.
_TOUCHED_SHARE = 0.1
# Of fewer scenes, drawing them again tells too little for an interval.
_LEAST_SCENES = 5


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict on a picture, and which it is."""

    seed: int
    variation: str
    verdict: JudgedPicture


def judged_scenes(scenes: Path, verdicts: Verdicts) -> tuple[Judged, ...]:
    """The verdicts on the pictures of ``scenes``.

    Raises:
        AnnotationError: the folder is none of scenes, or the verdicts are not of its pictures.
    """
    known = {row["image"]: row for row in _rows(scenes / SCENES_FILE)}
    found = tuple(
        Judged(known[one.image]["seed"], known[one.image]["variation"], one)
        for pictures in verdicts.sets.values()
        for one in pictures
        if one.image in known
    )
    if len(found) < len(known):
        raise AnnotationError(
            f"there are verdicts on {len(found)} of {len(known)} pictures",
            where=str(scenes),
            fix="Give the report of `streetblur evaluate` on this folder",
        )
    return found


def recall_rows(pictures: Sequence[Judged], label: Label) -> list[list[str]]:
    """Table of a class: a row a variation, a column a bin of height; its head first."""
    counted = f">={COUNTED_FROM_PX} px"
    bins = [(low, high, name) for low, high, name in HEIGHT_BINS if low >= COUNTED_FROM_PX]
    rows = [[label, counted, "against day", *(name for _, _, name in bins)]]
    for variation in dict.fromkeys(one.variation for one in pictures):
        sums = _sums(pictures, variation, label, COUNTED_FROM_PX, float("inf"))
        if not sums[1].sum():
            continue
        cells = [_sums(pictures, variation, label, low, high) for low, high, _ in bins]
        from_day = "-" if variation == DAY else difference(pictures, variation, label)
        rows.append([variation, _cell(sums), from_day, *(_cell(each) for each in cells)])
    return rows


def _sums(
    pictures: Sequence[Judged], variation: str, label: Label, low: float, high: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Obscured boxes and all boxes of each scene, in the order of their seeds."""
    seeds = sorted(
        {one.seed for one in pictures if any(box.label == label for box in one.verdict.boxes)}
    )
    hits, total = np.zeros(len(seeds)), np.zeros(len(seeds))
    for one in pictures:
        if one.variation == variation and one.seed in seeds:
            boxes = [b for b in one.verdict.boxes if b.label == label and low <= b.height < high]
            hits[seeds.index(one.seed)] += sum(box.obscured for box in boxes)
            total[seeds.index(one.seed)] += len(boxes)
    return hits, total


def _cell(sums: tuple[NDArray[np.float64], NDArray[np.float64]]) -> str:
    hits, total = sums
    if not total.sum():
        return "-"
    of = f"of {int(total.sum())}"
    if np.count_nonzero(total) < _LEAST_SCENES:
        return f"{hits.sum() / total.sum():.1%} {of}"
    share = proportion(hits, total, resamples(len(total)))
    return f"{share.value:.1%} ({share.low:.1%} - {share.high:.1%}) {of}"


def difference(pictures: Sequence[Judged], variation: str, label: Label) -> str:
    """Points from day to ``variation``, of boxes that count in both, with a 95 % interval."""
    day, other = (
        {
            one.seed: {box.box: box.obscured for box in one.verdict.boxes if _counts(box, label)}
            for one in pictures
            if one.variation == name
        }
        for name in (DAY, variation)
    )
    pairs = [
        [(there[box], by_day) for box, by_day in day.get(seed, {}).items() if box in there]
        for seed, there in sorted(other.items())
    ]
    pairs = [one for one in pairs if one]
    if not pairs:
        return "-"
    total = np.array([len(one) for one in pairs], dtype=float)
    gained = np.array([sum(now - before for now, before in one) for one in pairs], dtype=float)
    points = f"{100 * gained.sum() / total.sum():+.1f}"
    if len(pairs) < _LEAST_SCENES:
        return points
    share = pooled_ratio(gained, total, resamples(len(pairs)))
    return f"{points} ({100 * share.low:+.1f} to {100 * share.high:+.1f})"


def _counts(box: JudgedBox, label: Label) -> bool:
    return box.label == label and box.height >= COUNTED_FROM_PX


def negative_rows(scenes: Path, outputs: Path) -> list[list[str]]:
    """Table: a row a kind of negative, a column a variation; how many were touched by a blur.

    Raises:
        StreetblurError: a file is missing or damaged.
    """
    variation_of = {row["image"]: row["variation"] for row in _rows(scenes / SCENES_FILE)}
    negatives: dict[str, list[tuple[str, list[int]]]] = {}
    for row in _rows(scenes / NEGATIVES_FILE):
        negatives.setdefault(row["image"], []).append((row["kind"], row["xyxy"]))
    touched: dict[tuple[str, str], list[bool]] = {}
    for image, items in negatives.items():
        changed = changed_map(read_upright(scenes / image), read_upright(outputs / image))
        for kind, (x1, y1, x2, y2) in items:
            hit = bool(changed[y1:y2, x1:x2].mean() >= _TOUCHED_SHARE)
            touched.setdefault((kind, variation_of[image]), []).append(hit)
            touched.setdefault(("all", variation_of[image]), []).append(hit)
    variations = list(dict.fromkeys(variation_of.values()))
    kinds = sorted({kind for kind, _ in touched}, key=lambda kind: (kind != "all", kind))
    rows = [["negatives", *variations]]
    for kind in kinds:
        hits = [touched.get((kind, variation), []) for variation in variations]
        rows.append([kind, *(f"{sum(one)} of {len(one)}" for one in hits)])
    return rows


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise AnnotationError(
            f"cannot be read ({error})",
            where=str(path),
            fix="Give a folder that `python -m evaluation.scenes` made",
        ) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 on an error."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.scenes.report", description=__doc__)
    parser.add_argument("scenes", type=Path)
    parser.add_argument("report", type=Path)
    parser.add_argument("--outputs", type=Path, help="what was made of the scenes")
    options = parser.parse_args(arguments)
    try:
        verdicts = Verdicts.read(options.report / "verdicts.json")
        pictures = judged_scenes(options.scenes, verdicts)
        tables = [recall_rows(pictures, label) for label in LABELS]
        if options.outputs:
            tables.append(negative_rows(options.scenes, options.outputs))
    except StreetblurError as error:
        print(str(error), file=sys.stderr)
        return 1
    print("\n\n".join(table(rows) for rows in tables if len(rows) > 1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
