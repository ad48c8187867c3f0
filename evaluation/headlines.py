"""The figures that decide, one line a set and class, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from evaluation.summary import COUNTED_FROM_PX, SetScore, Share
from evaluation.tune import TunedPolicy

_GROUP = f">={COUNTED_FROM_PX} px"


def print_headlines(scores: Sequence[SetScore], console: Console) -> None:
    """Print recall of boxes of at least 12 px, false blurs of each set, and what was left out."""
    table = Table(caption=f"boxes of at least {COUNTED_FROM_PX} px; 95 % intervals by picture")
    for heading in ("set", "class", "boxes", "obscured", "pixels", "outside", "false areas"):
        table.add_column(
            heading, justify="left" if heading in ("set", "class") else "right", overflow="fold"
        )
    for score in scores:
        outside = Share(
            score.changed_outside_pooled, score.changed_outside_low, score.changed_outside_high
        )
        per_set = (percent(outside, 2), f"{score.false_regions.value:.2f}")
        rows = [row for row in score.recalls if row.group == _GROUP]
        for row in rows:
            recall = percent(Share(row.recall, row.low, row.high), 1)
            seen = (str(row.boxes), recall, f"{row.pixels.value:.1%}")
            table.add_row(score.name, row.label, *seen, *per_set)
        if not rows:
            table.add_row(score.name, "-", "0", "-", "-", *per_set)
    console.print(table)
    for score in scores:
        if score.not_published:
            console.print(
                f"{score.name}: {score.not_published} pictures with {score.boxes_not_published} "
                "boxes have no output; they count nowhere",
                style="yellow",
                markup=False,
            )
        if score.unrelated:
            console.print(
                f"{score.name}: {len(score.unrelated)} outputs show something else; their boxes "
                "count as missed",
                style="red",
                markup=False,
            )


def percent(share: Share, decimals: int) -> str:
    """A share and its interval, in per cent."""
    value, low, high = (f"{100 * one:.{decimals}f}" for one in (share.value, share.low, share.high))
    return f"{value} % ({low}-{high})"


def print_tuned(found: TunedPolicy, console: Console) -> None:
    """Print the chosen thresholds and what they give where."""
    for label, tuned in found.classes.items():
        steps = ", ".join(
            f"{at} px: {value:g}" for at, value in tuned.thresholds.as_mapping().items()
        )
        console.print(f"{label}: {'targets met' if tuned.met else 'targets missed'}; {steps}")
        table = Table(caption="estimated from detections, not from output pictures")
        for heading in ("pictures", "boxes", "obscured", "outside, mean", "outside"):
            words = heading == "pictures"
            table.add_column(heading, justify="left" if words else "right", overflow="fold")
        rows = [("chosen on all", tuned.point)]
        rows += [(f"chosen on {name}", point) for name, point in tuned.sets.items()]
        rows += [(f"held out: {one.name}", one.point) for one in tuned.held_out]
        rows += [(f"reported on {name}", point) for name, point in found.report[label].items()]
        for name, point in rows:
            seen = percent(point.recall, 1) if point.boxes else "-"
            outside = (f"{point.outside_mean:.2%}", percent(point.outside, 2))
            table.add_row(name, str(point.boxes), seen, *outside)
        console.print(table)
