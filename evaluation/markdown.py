"""Scores as a page for docs/benchmarks: one row a set, with what they were measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version

from evaluation.summary import COUNTED_FROM_PX, HEIGHT_BINS, Recall, SetScore, Share

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
        f"{lines}\n\n{more_figures(scores)}\n\n{conditions(scores[-1])}\n\n"
        + ("Pictures that were not compared: " + "; ".join(counts) if counts else "All compared.")
        + "\n"
    )


def more_figures(scores: Sequence[SetScore]) -> str:
    """What else is measured of each set and class, with intervals."""
    counted = f">={COUNTED_FROM_PX} px"
    head = ["set", "class", "pixels obscured", "IoU 0.3", "IoU 0.5"]
    rows = [[*head, "of all changed pixels outside", "false areas a picture"]]
    for score in scores:
        per_set = [_interval(score.changed_in_vain), _plain(score.false_regions)]
        own = [row for row in score.recalls if row.group == counted]
        for row in own:
            seen = [_interval(share) for share in (row.pixels, *row.found)]
            rows.append([score.name, row.label, *seen, *per_set])
        if not own:
            rows.append([score.name, "-", "-", "-", "-", *per_set])
    return table(rows, texts=2)


def conditions(total: SetScore) -> str:
    """Recall by every condition, of boxes of any height."""
    plain = {"all", f">={COUNTED_FROM_PX} px", *(name for _, _, name in HEIGHT_BINS)}
    rows = [["class", f"condition, {total.name}", "boxes", "obscured"]]
    rows += [
        [
            row.label,
            row.group.replace("=", ": ", 1),
            str(row.boxes),
            _interval(Share(row.recall, row.low, row.high)),
        ]
        for row in total.recalls
        if row.group not in plain
    ]
    return table(rows, texts=2)


def _interval(share: Share) -> str:
    return f"{share.value:.1%} ({share.low:.1%} - {share.high:.1%})"


def _plain(share: Share) -> str:
    return f"{share.value:.2f} ({share.low:.2f} - {share.high:.2f})"


def table(rows: Sequence[Sequence[str]], *, texts: int = 1) -> str:
    """A Markdown table; the first row is its head, all columns after ``texts`` are numbers."""
    head, *body = rows
    rule = ["---"] * texts + ["---:"] * (len(head) - texts)
    return "\n".join(map(_line, [head, rule, *body]))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _share(row: Recall | None) -> str:
    return "-" if row is None else f"{row.recall:.1%} of {row.boxes}"
