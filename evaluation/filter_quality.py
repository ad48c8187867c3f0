"""How well the post-processor's probability tells true candidates from false ones.

``python -m evaluation.filter_quality --sets facemask_kaggle [--data DIR] [--least 0.05 0.2]``

A candidate is true if it overlaps a labelled box of its class with IoU 0.3 or more, and false
otherwise: boxes that the annotators left out count as false, so the figures are lower bounds and
compare scores with each other. Only labelled classes count, and candidates on boxes to be ignored
do not.

The area under the receiver operating curve is given for the detector's score alone and for the
probability, among candidates whose score is at least ``--least``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from evaluation.annotations import LABEL_FILE, LabelledPicture, data_root, read_annotations
from evaluation.candidates import DEFAULT_CACHE, CandidateCache, open_cache
from evaluation.roc import area_under_curve
from pipeline.errors import StreetblurError
from pipeline.policy import load_policy
from serving.geometry import Candidate, FloatArray, Label, pairwise_iou

TRUE_IOU = 0.3


def judged(
    picture: LabelledPicture, candidates: Sequence[Candidate], label: Label
) -> tuple[FloatArray, FloatArray]:
    """Score, probability and truth of the candidates of ``label``.

    Returns:
        float32 [n, 2]: score, probability; float32 [n]: 1 for true, 0 for false.
    """
    own = [c for c in candidates if c.label == label]
    boxes = np.array([c.box.as_tuple() for c in own], np.float32).reshape(-1, 4)
    best = {
        ignore: pairwise_iou(boxes, _labelled(picture, label, ignore)).max(axis=1, initial=0)
        for ignore in (False, True)
    }
    true = best[False] >= TRUE_IOU
    counts = true | (best[True] < TRUE_IOU)
    values = np.array([(c.score, c.probability) for c in own], np.float32).reshape(-1, 2)
    return values[counts], true[counts].astype(np.float32)


def _labelled(picture: LabelledPicture, label: Label, ignore: bool) -> FloatArray:
    rows = [b.box.as_tuple() for b in picture.boxes if b.label == label and b.ignore == ignore]
    return np.array(rows, np.float32).reshape(-1, 4)


def quality(folder: Path, cached: CandidateCache, least: float) -> dict[str, object]:
    """One line of figures for each labelled class of ``folder``."""
    pictures = read_annotations(folder / LABEL_FILE)
    lines: dict[str, object] = {}
    for label in sorted({name for picture in pictures for name in picture.labelled_classes}):
        parts = [
            judged(picture, cached.candidates(folder / picture.image), label)
            for picture in pictures
            if label in picture.labelled_classes
        ]
        values = np.concatenate([part[0] for part in parts])
        true = np.concatenate([part[1] for part in parts]) > 0
        wanted = values[:, 0] >= least
        yes, no = values[wanted & true], values[wanted & ~true]
        lines[label] = {
            "true": len(yes),
            "false": len(no),
            "auc_score": round(area_under_curve(yes[:, 0], no[:, 0]), 3),
            "auc_probability": round(area_under_curve(yes[:, 1], no[:, 1]), 3),
        }
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", required=True, help="labelled folders")
    parser.add_argument("--data", type=Path, help="their root (default: the train data)")
    parser.add_argument("--least", type=float, nargs="+", default=[0.05, 0.2])
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 8))
    given = parser.parse_args(arguments)
    try:
        folders = [(given.data or data_root() / "train") / name for name in given.sets]
        cached = open_cache(given.cache, load_policy("default"))
        paths = [f / p.image for f in folders for p in read_annotations(f / LABEL_FILE)]
        cached.fill(paths, given.processes)
        for folder in folders:
            for least in given.least:
                lines = quality(folder, cached, least)
                print(f"{folder.name}, scores from {least}: {json.dumps(lines)}")
    except StreetblurError as error:
        Console(stderr=True).print(str(error), style="red", markup=False)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
