"""``python -m evaluation.scenes.report SCENES REPORT [--outputs DIR]``: recall by variation.

SCENES is a folder that ``python -m evaluation.scenes`` made, REPORT what ``streetblur evaluate
SCENES --report REPORT --keep KEPT`` wrote. Prints Markdown: the share of boxes that are obscured by
variation and height, and how far it is from the same scenes by day. With ``--outputs`` (then
``KEPT/blurred/NAME`` with the name of SCENES) also how many of the negatives were touched by a
blur. Intervals resample scenes, not pictures: a scene in six variations is one. The same figures
are written to REPORT/scenes.json, which the page of another evaluation can show: ``streetblur
evaluate --scenes``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.markdown import table
from evaluation.scenes.figures import (
    COUNTED,
    DAY,
    SIZES,
    Estimate,
    SceneFigures,
    SceneRecall,
    figures_of,
)
from evaluation.verdicts import Verdicts
from pipeline.errors import StreetblurError
from serving.geometry import LABELS

FIGURES = "scenes.json"


def recall_rows(figures: SceneFigures, label: str) -> list[list[str]]:
    """Table of a class: a row a variation, a column a bin of height; its head first."""
    first, *others = SIZES
    rows = [[label, first, "against day", *others]]
    changes = {row.variation: row.change for row in figures.from_day if row.label == label}
    for variation in figures.variations(label):
        if figures.recall(label, variation, COUNTED) is None:
            continue
        cells = [_cell(figures.recall(label, variation, size)) for size in SIZES]
        change = changes.get(variation) if variation != DAY else None
        rows.append([variation, cells[0], _points(change), *cells[1:]])
    return rows


def _cell(row: SceneRecall | None) -> str:
    if row is None:
        return "-"
    told = f"{row.recall.value:.1%}"
    if row.recall.interval is not None:
        low, high = row.recall.interval
        told += f" ({100 * low:.1f}-{100 * high:.1f})"
    return f"{told} of {row.boxes}"


def _points(change: Estimate | None) -> str:
    if change is None:
        return "-"
    told = f"{100 * change.value:+.1f}"
    if change.interval is None:
        return told
    low, high = change.interval
    return f"{told} ({100 * low:+.1f} to {100 * high:+.1f})"


def negative_rows(figures: SceneFigures) -> list[list[str]]:
    """Table: a row a kind of negative, a column a variation; how many were touched by a blur."""
    variations = list(dict.fromkeys(row.variation for row in figures.negatives))
    counts = {(row.kind, row.variation): row for row in figures.negatives}
    rows = [["negatives", *variations]]
    for kind in dict.fromkeys(row.kind for row in figures.negatives):
        found = [counts.get((kind, variation)) for variation in variations]
        cells = [f"{one.touched} of {one.negatives}" if one else "0 of 0" for one in found]
        rows.append([kind, *cells])
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 on an error."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.scenes.report", description=__doc__)
    parser.add_argument("scenes", type=Path)
    parser.add_argument("report", type=Path)
    parser.add_argument("--outputs", type=Path, help="what was made of the scenes")
    parser.add_argument(
        "--json", type=Path, help=f"where the figures go; default: REPORT/{FIGURES}"
    )
    options = parser.parse_args(arguments)
    try:
        verdicts = Verdicts.read(options.report / "verdicts.json")
        figures = figures_of(options.scenes, verdicts, options.outputs)
    except StreetblurError as error:
        print(str(error), file=sys.stderr)
        return 1
    figures.write(options.json or options.report / FIGURES)
    tables = [*(recall_rows(figures, label) for label in LABELS), negative_rows(figures)]
    print("\n\n".join(table(rows) for rows in tables if len(rows) > 1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
