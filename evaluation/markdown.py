"""Scores as a page for docs/benchmarks: one row a set, with what they were measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version

from evaluation.summary import COUNTED_FROM_PX, HEIGHT_BINS, Recall, SetScore

PACKAGES = ("streetblur", "onnxruntime", "numpy", "opencv-python-headless", "pillow")


def scores_page(scores: Sequence[SetScore], *, title: str, command: str) -> str:
    """A Markdown page: recall by set and by box height, changed outside, machine, versions."""
    counted = f">={COUNTED_FROM_PX} px"
    bins = [name for low, _, name in HEIGHT_BINS if low >= COUNTED_FROM_PX]
    head = ["set", "class", "boxes", f"obscured {counted}", "95 % interval", *bins]
    head += ["outside, mean", "pooled", "95 % interval"]
    rows = [head, ["---"] * 2 + ["---:"] * (len(head) - 2)]
    for score in scores:
        labels = sorted({row.label for row in score.recalls})
        outside = [
            f"{score.changed_outside_mean:.2%}",
            f"{score.changed_outside_pooled:.2%}",
            f"{score.changed_outside_low:.2%} - {score.changed_outside_high:.2%}",
        ]
        for label in labels or [""]:
            row = score.recall(label, counted)
            heights = [_share(score.recall(label, name)) for name in bins]
            found = ["0", "-", "-"]
            if row is not None:
                found = [str(row.boxes), f"{row.recall:.1%}", f"{row.low:.1%} - {row.high:.1%}"]
            rows.append([score.name, label or "-", *found, *heights, *outside])
    lines = "\n".join(map(_line, rows))
    counts = [
        f"{score.name}: {score.not_published} not published, {len(score.unrelated)} unrelated"
        for score in scores
        if score.not_published or score.unrelated
    ]
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"# {title}\n\n"
        f"Command: `{command}`  \n"
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}  \n"
        f"Versions: {versions}\n\n"
        f"{lines}\n\n"
        + ("Pictures that were not compared: " + "; ".join(counts) if counts else "All compared.")
        + "\n"
    )


def table(rows: Sequence[Sequence[str]], *, texts: int = 1) -> str:
    """A Markdown table; the first row is its head, all columns after ``texts`` are numbers."""
    head, *body = rows
    rule = ["---"] * texts + ["---:"] * (len(head) - texts)
    return "\n".join(map(_line, [head, rule, *body]))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _share(row: Recall | None) -> str:
    return "-" if row is None else f"{row.recall:.1%} of {row.boxes}"
