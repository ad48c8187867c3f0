"""A fairness report as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.fairness.group_view import LOWER
from evaluation.fairness.report import FairnessReport
from evaluation.fairness.spread import GOAL, LEAST_PEOPLE
from evaluation.markdown import table
from evaluation.summary import Share

PLAIN = "normal"
_ALPHA = 0.05
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
    f"{100 * GOAL:.0f} points, `missed` when the interval begins above and p < 0.05, else `open`. "
    "Under all conditions {} spreads were looked at, {} with p < 0.05; about {} would be by "
    "chance if there were no differences."
)


def page(report: FairnessReport) -> str:
    """The whole page."""
    sections = [
        _head(report),
        "## All faces\n\n" + _overall(report),
        "## Spread between groups, normal light, nothing worn\n\n" + _spreads(report),
        "## Recall by group, normal light, nothing worn\n\n" + _groups(report),
        "## Spread under other conditions\n\n" + _others(report),
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
        f"Machine: {about.machine}; {about.runtime}  ",
        f"Versions: {versions}  ",
        f"Made: {about.created}, policy {about.policy}",
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


def _overall(report: FairnessReport) -> str:
    sizes = _sizes(report)
    rows = [["condition", *(f"{size} px" for size in sizes)]]
    for name in dict.fromkeys(one.condition for one in report.overall):
        own = {one.size: one.recall for one in report.overall if one.condition == name}
        rows.append([name, *(_share(own[size]) for size in sizes)])
    return table(rows)


def _spreads(report: FairnessReport) -> str:
    head = ["by", "size", "worst", "best", "spread, points", "by lot", "p", "detectable", "goal"]
    rows = [head]
    for one in report.spreads:
        if one.condition == PLAIN:
            found = one.spread
            rows.append(
                [
                    one.dimension,
                    f"{one.size} px",
                    found.worst,
                    found.best,
                    _points(found.spread),
                    f"{100 * found.by_chance:.1f}",
                    f"{found.p:.3f}",
                    f"{100 * found.detectable:.1f}",
                    found.verdict,
                ]
            )
    least = sum(one.spread.p < _ALPHA for one in report.spreads)
    chance = round(len(report.spreads) * _ALPHA)
    return f"{table(rows, texts=4)}\n\n{SPREADS.format(len(report.spreads), least, chance)}"


def _groups(report: FairnessReport) -> str:
    sizes = _sizes(report)
    rows = [["by", "group", "people", *(f"{size} px" for size in sizes)]]
    for dimension in dict.fromkeys(one.dimension for one in report.spreads):
        own = {
            one.size: {group.name: group for group in one.spread.groups}
            for one in report.spreads
            if (one.dimension, one.condition) == (dimension, PLAIN)
        }
        for name, group in next(iter(own.values())).items():
            shares = [_share(own[size][name].recall) for size in sizes]
            rows.append([dimension, name, str(group.people), *shares])
    return table(rows, texts=2)


def _others(report: FairnessReport) -> str:
    rows = [["by", "condition", *(f"{size} px" for size in _sizes(report))]]
    for dimension in dict.fromkeys(one.dimension for one in report.spreads):
        for name in dict.fromkeys(one.condition for one in report.spreads):
            if name != PLAIN:
                cells = []
                for size in _sizes(report):
                    found = report.spread(dimension, size, name)
                    cells.append(
                        "-"
                        if found is None
                        else f"{found.worst} {_points(found.spread)}, p {found.p:.3f}"
                    )
                rows.append([dimension, name, *cells])
    return "Worst group, spread in points with its interval, p.\n\n" + table(rows, texts=2)


def _pairs(report: FairnessReport) -> str:
    rows = [["condition", "size", "recall", "against normal, points", "detectable"]]
    rows += [
        [
            one.name,
            f"{one.size} px",
            _share(one.recall),
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
                _share(one.raw),
                _share(one.matched),
                _share(one.bare),
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
            [one.set_name, threshold, _share(one.point.recall), _share(one.point.outside, 2)]
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
        gap = _points(one.spread.spread)
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


def _sizes(report: FairnessReport) -> Sequence[int]:
    return sorted(report.about.places)


def _share(share: Share | None, digits: int = 1) -> str:
    if share is None:
        return "-"
    return f"{share.value:.{digits}%} ({100 * share.low:.{digits}f}-{100 * share.high:.{digits}f})"


def _points(share: Share) -> str:
    return f"{100 * share.value:.1f} ({100 * share.low:.1f}-{100 * share.high:.1f})"


def _signed(share: Share) -> str:
    return f"{100 * share.value:+.1f} ({100 * share.low:+.1f} to {100 * share.high:+.1f})"
