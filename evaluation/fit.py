"""How candidates fit the labels: what each side lacks, and which scores true objects have.

``python -m evaluation.fit --sets facemask_kaggle facemask_ilc2021 --label face``

The figures behind the policies' dilation and thresholds (docs/benchmarks/thresholds.md). Like
``evaluation.sweep`` it looks at ``train/`` by default.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from evaluation.annotations import LABEL_FILE, LabelledPicture, data_root, read_annotations
from evaluation.candidates import DEFAULT_CACHE, CandidateCache, open_cache
from pipeline.errors import StreetblurError
from pipeline.policy import load_policy
from serving.geometry import Candidate, Label, pairwise_iou

MATCH_IOU = 0.2
SCORES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 1.01)
SIDES = ("left", "top", "right", "bottom")
_Floats = NDArray[np.float64]


def lacking(boxes: _Floats, labels: _Floats, scores: _Floats, threshold: float) -> _Floats:
    """By how much the best fitting detection of each label must grow to cover it.

    Args:
        boxes: [n, 4] detections ``x1, y1, x2, y2``.
        labels: [m, 4].
        scores: [n]; detections below ``threshold`` do not count.
        threshold: of the score.

    Returns:
        [k, 4] for left, top, right, bottom, as shares of the detection's width or height;
        negative where it reaches beyond. Labels without a detection (IoU 0.2) are left out.
    """
    boxes = boxes[scores >= threshold]
    if len(boxes) == 0 or len(labels) == 0:
        return np.zeros((0, 4))
    overlap = pairwise_iou(labels.astype(np.float32), boxes.astype(np.float32))
    matched = overlap.max(axis=1) > MATCH_IOU
    ours, theirs = boxes[overlap.argmax(axis=1)][matched], labels[matched]
    size = ours[:, 2:] - ours[:, :2]
    gaps = np.concatenate([ours[:, :2] - theirs[:, :2], theirs[:, 2:] - ours[:, 2:]], axis=1)
    return np.asarray(gaps / np.concatenate([size, size], axis=1))


def score_counts(
    boxes: _Floats, labels: _Floats, scores: _Floats, heights: Sequence[float]
) -> tuple[_Floats, _Floats]:
    """Labels by the score of their best detection, and the pixels of false ones by theirs.

    Returns:
        Two arrays [height bins, score bins]; labels never found count in the first score bin
        of the first array.
    """
    found, false = (np.zeros((len(heights) - 1, len(SCORES))) for _ in range(2))
    overlap = pairwise_iou(labels.astype(np.float32), boxes.astype(np.float32))
    same = overlap > MATCH_IOU
    best = np.where(same, scores[None, :], 0).max(axis=1, initial=0)
    rows = np.digitize(labels[:, 3] - labels[:, 1], heights) - 1
    np.add.at(found, (rows, np.digitize(best, SCORES)), 1)
    alone = ~same.any(axis=0)
    sizes = boxes[alone, 2:] - boxes[alone, :2]
    rows = np.digitize(sizes[:, 1], heights) - 1
    np.add.at(false, (rows, np.digitize(scores[alone], SCORES)), sizes.prod(axis=1))
    return found, false


def report(
    folder: Path,
    label: Label,
    cached: CandidateCache,
    threshold: float,
    heights: Sequence[float],
    console: Console,
) -> None:
    """Print both tables for one labelled folder."""
    gaps = []
    found, false = (np.zeros((len(heights) - 1, len(SCORES))) for _ in range(2))
    pixels = 0
    for picture in read_annotations(folder / LABEL_FILE):
        boxes, scores = _candidates(cached.candidates(folder / picture.image), label)
        labels = _labels(picture, label)
        high = labels[(labels[:, 3] - labels[:, 1]) >= 12]
        gaps.append(lacking(boxes, high, scores, threshold))
        more_found, more_false = score_counts(boxes, labels, scores, heights)
        found, false = found + more_found, false + more_false
        pixels += picture.width * picture.height
    lacks = np.concatenate(gaps)
    table = Table(title=f"{folder.name}: what {len(lacks)} matched {label} boxes lack")
    for heading in ("side", "median", "75th", "90th percentile"):
        table.add_column(heading)
    for side, values in zip(SIDES, lacks.T, strict=True):
        table.add_row(side, *(f"{np.percentile(values, p):.2f}" for p in (50, 75, 90)))
    console.print(table)
    _print_scores(f"{folder.name}: labels by best score", found, heights, "{:.0f}", console)
    title = f"{folder.name}: pixels of false boxes by score, % of all"
    _print_scores(title, 100 * false / pixels, heights, "{:.2f}", console)


def _print_scores(
    title: str, counts: _Floats, heights: Sequence[float], form: str, console: Console
) -> None:
    table = Table(title=title)
    for heading in ("height", "none", *(f"{score:g}-" for score in SCORES[:-1])):
        table.add_column(heading, justify="right")
    for low, high, row in zip(heights[:-1], heights[1:], counts, strict=True):
        table.add_row(f"{low:g}-{high:g}", *(form.format(value) for value in row))
    console.print(table)


def _candidates(found: Iterable[Candidate], label: Label) -> tuple[_Floats, _Floats]:
    kept = [candidate for candidate in found if candidate.label == label]
    boxes = np.array([[c.box.x1, c.box.y1, c.box.x2, c.box.y2] for c in kept], dtype=float)
    return boxes.reshape(-1, 4), np.array([c.score for c in kept], dtype=float)


def _labels(picture: LabelledPicture, label: Label) -> _Floats:
    boxes = [item.box for item in picture.boxes if item.label == label and not item.ignore]
    return np.array([[b.x1, b.y1, b.x2, b.y2] for b in boxes], dtype=float).reshape(-1, 4)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.fit", description=__doc__)
    parser.add_argument("--sets", nargs="+", required=True, help="labelled folders")
    parser.add_argument("--label", choices=("face", "plate"), required=True)
    parser.add_argument("--data", type=Path, help="their root (default: the train data)")
    parser.add_argument("--policy", default="default", help="whose thresholds and models apply")
    parser.add_argument("--heights", type=float, nargs="+", default=[0, 12, 24, 48, 64, 96, 1e5])
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 8))
    given = parser.parse_args(arguments)
    console = Console()
    try:
        folders = [(given.data or data_root() / "train") / name for name in given.sets]
        policy = load_policy(given.policy)
        cached = open_cache(given.cache, policy)
        paths = [f / p.image for f in folders for p in read_annotations(f / LABEL_FILE)]
        cached.fill(paths, given.processes)
        for folder in folders:
            threshold = policy.for_label(given.label).lowest_threshold
            report(folder, given.label, cached, threshold, given.heights, console)
    except StreetblurError as error:
        Console(stderr=True).print(str(error), style="red", markup=False)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
