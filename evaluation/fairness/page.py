"""A fairness report as Markdown."""

from __future__ import annotations

from evaluation.fairness.group_view import LOWER
from evaluation.fairness.report import FairnessReport
from evaluation.fairness.spread import GOAL, LEAST_PEOPLE
from evaluation.fairness.tables import (
    group_rows,
    looked_at,
    other_rows,
    overall_rows,
    points_text,
    share_text,
    spread_rows,
)
from evaluation.markdown import table
from evaluation.summary import Share

TRAINING = (
    "The face detector's weights were trained by others, on WIDER FACE as its paper says "
    "(model_repository/face_detector/MODEL_CARD.md). That set labels pose, occlusion, light and "
    "blur of its web photographs, but no skin tone, age or gender, and neither do our own train "
    "sets. So it cannot be said whether a group had too few examples, too uniform ones, or whether "
    "the model is too small: only scores, light, contrast and size can be compared."
)
SPREADS = (
    f"Groups of fewer than {LEAST_PEOPLE} people are left out. The largest of several noisy values "
    "is too large: *by lot* is the mean spread if people were put into groups by lot, p the share "
    "of 4,000 such lots with at least the spread found. *Detectable* is the smallest shortfall of "
    "the smallest group that would be found with 80 % power (z test at 5 % over the number of "
    "groups). *Goal*: `met` when both the interval's end and what is detectable lie below "
    f"{100 * GOAL:.0f} points, `missed` when the interval turned about the spread begins above "
    "and p < 0.05, else `open`. "
    "Under all conditions {} spreads were looked at, {} with p < 0.05; about {} would be by "
    "chance if there were no differences."
)
OTHERS = "Worst group, spread in points with its interval, p.\n\n"


def page(report: FairnessReport) -> str:
    """The whole page."""
    sections = [
        _head(report),
        "## All faces\n\n" + table(overall_rows(report)),
        "## Spread between groups, normal light, nothing worn\n\n" + _spreads(report),
        "## Recall by group, normal light, nothing worn\n\n" + table(group_rows(report), texts=2),
        "## Spread under other conditions\n\n" + OTHERS + table(other_rows(report), texts=2),
        "## The same people at the same places\n\n" + _pairs(report),
    ]
    if report.photographs:
        sections.append("## Photographs: bare faces and masks\n\n" + _photographs(report))
    if report.costs:
        sections.append("## What lower thresholds cost\n\n" + _costs(report))
    sections.append("## What goes along with recall\n\n" + _associations(report))
    sections.append("## Worst groups, and what can be told of why\n\n" + _causes(report))
    return "\n\n".join(sections) + "\n"


def _head(report: FairnessReport) -> str:
    about = report.about
    versions = ", ".join(f"{name} {number}" for name, number in about.versions.items())
    places = ", ".join(f"{count} at {size} px" for size, count in about.places.items())
    lines = [
        "# Are all faces obscured alike?",
        "",
        f"Command: `{about.command}`  ",
        f"Machine: {about.machine}; {about.origin.runtime}  ",
        f"Versions: {versions}  ",
        f"Made: {about.created}, policy {about.policy} ({about.origin.policy})  ",
        f"Models: {about.origin.models}; digest of the data: {about.origin.data}",
        "",
        f"{about.people} people, each at the same places ({places}) under every condition; "
        f"{about.scenes} scenes on {', '.join(about.backgrounds)}. Intervals are 95 %, resampling "
        "people.",
    ]
    if report.check is not None:
        check = report.check
        lines += [
            "",
            f"Verdicts are made from candidates. {check.scenes} scenes with {check.faces} faces "
            f"were also redacted and judged from the output: {check.agreement:.1%} of verdicts "
            "agree, "
            f"{check.only_candidates} faces are obscured by the candidates alone, "
            f"{check.only_output} by the output alone.",
        ]
    return "\n".join(lines)


def _spreads(report: FairnessReport) -> str:
    return f"{table(spread_rows(report), texts=4)}\n\n{SPREADS.format(*looked_at(report))}"


def _pairs(report: FairnessReport) -> str:
    rows = [["condition", "size", "recall", "against normal, points", "detectable"]]
    rows += [
        [
            one.name,
            f"{one.size} px",
            share_text(one.recall),
            _signed(one.difference),
            f"{100 * one.detectable:.1f}",
        ]
        for one in report.pairs
    ]
    return table(rows, texts=2)


def _photographs(report: FairnessReport) -> str:
    head = ["set", "occlusion", "heights matched", "boxes", "recall"]
    rows = [[*head, "matched", "bare, matched", "difference, points"]]
    for one in report.photographs:
        rows.append(
            [
                one.set_name,
                one.occlusion,
                ", ".join(one.bins) or "-",
                str(one.boxes),
                share_text(one.raw),
                share_text(one.matched),
                share_text(one.bare),
                "-" if one.difference is None else _signed(one.difference),
            ]
        )
    return (
        table(rows, texts=3)
        + "\n\nBoxes of at least 12 px; other people, not the same ones; intervals resample "
        "pictures."
    )


def _costs(report: FairnessReport) -> str:
    rows = [["set", "face threshold", "recall", "outside, pooled"]]
    for one in report.costs:
        threshold = "as the policy has it" if one.threshold is None else f"{one.threshold:g}"
        rows.append(
            [
                one.set_name,
                threshold,
                share_text(one.point.recall),
                share_text(one.point.outside, 2),
            ]
        )
    return table(rows, texts=2)


def _associations(report: FairnessReport) -> str:
    rows = [["size", "measured on the crop", "rank correlation with recall"]]
    rows += [
        [
            f"{one.size} px",
            one.measure,
            f"{one.rho.value:+.2f} ({one.rho.low:+.2f} to {one.rho.high:+.2f})",
        ]
        for one in report.associations
    ]
    return table(rows, texts=2)


def _causes(report: FairnessReport) -> str:
    parts = [TRAINING]
    for one in report.causes:
        gap = points_text(one.spread.spread)
        at = ", ".join(
            f"{value:g}: {one.worst.recall_at[value]:.1%} and {one.best.recall_at[value]:.1%}"
            for value in LOWER
        )
        parts.append(
            f"**{one.dimension}, {one.condition}, {one.size} px: {one.worst.name}** "
            f"({gap} points behind {one.best.name}). {one.reading[0].upper()}{one.reading[1:]} "
            f"Recall of the two at thresholds {at}. To try: {one.proposal}."
        )
    return "\n\n".join(parts)


def _signed(share: Share) -> str:
    return f"{100 * share.value:+.1f} ({100 * share.low:+.1f} to {100 * share.high:+.1f})"
