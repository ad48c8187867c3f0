"""Tables of a fairness report, as texts: for Markdown and for the page of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.fairness.report import FairnessReport
from evaluation.summary import Share

PLAIN = "normal"
_ALPHA = 0.05


def overall_rows(report: FairnessReport) -> list[list[str]]:
    """Recall of all faces: a row a condition, a column a size; its head first."""
    sizes = _sizes(report)
    rows = [["condition", *(f"{size} px" for size in sizes)]]
    for name in dict.fromkeys(one.condition for one in report.overall):
        own = {one.size: one.recall for one in report.overall if one.condition == name}
        rows.append([name, *(share_text(own.get(size)) for size in sizes)])
    return rows


def spread_rows(report: FairnessReport) -> list[list[str]]:
    """Spreads in normal light with nothing worn, a row a dimension and size; their head first."""
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
                    points_text(found.spread),
                    f"{100 * found.by_chance:.1f}",
                    p_text(found.p),
                    f"{100 * found.detectable:.1f}",
                    found.verdict,
                ]
            )
    return rows


def looked_at(report: FairnessReport) -> tuple[int, int, int]:
    """Spreads under all conditions, those with p < 0.05, and how many chance alone would give."""
    small = sum(one.spread.p < _ALPHA for one in report.spreads)
    return len(report.spreads), small, round(len(report.spreads) * _ALPHA)


def group_rows(report: FairnessReport) -> list[list[str]]:
    """Recall by group likewise, a column a size; their head first."""
    sizes = _sizes(report)
    rows = [["by", "group", "people", *(f"{size} px" for size in sizes)]]
    for dimension in dict.fromkeys(one.dimension for one in report.spreads):
        own = {
            one.size: {group.name: group for group in one.spread.groups}
            for one in report.spreads
            if (one.dimension, one.condition) == (dimension, PLAIN)
        }
        people = {name: group.people for groups in own.values() for name, group in groups.items()}
        for name, count in people.items():
            found = [own.get(size, {}).get(name) for size in sizes]
            shares = [share_text(group.recall if group else None) for group in found]
            rows.append([dimension, name, str(count), *shares])
    return rows


def other_rows(report: FairnessReport) -> list[list[str]]:
    """Worst group and spread under all other conditions, a column a size; their head first."""
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
                        else f"{found.worst} {points_text(found.spread)}, p {p_text(found.p)}"
                    )
                rows.append([dimension, name, *cells])
    return rows


def share_text(share: Share | None, digits: int = 1) -> str:
    """A share and its interval in per cent; a dash for None."""
    if share is None:
        return "-"
    return f"{share.value:.{digits}%} ({100 * share.low:.{digits}f}-{100 * share.high:.{digits}f})"


def points_text(share: Share) -> str:
    """A difference and its interval, in points."""
    return f"{100 * share.value:.1f} ({100 * share.low:.1f}-{100 * share.high:.1f})"


def p_text(p: float) -> str:
    """A p value, three digits; it is never said to be zero."""
    return "<0.001" if p < 0.0005 else f"{p:.3f}"


def _sizes(report: FairnessReport) -> Sequence[int]:
    return sorted(report.about.places)
