"""The study's results as Markdown."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version

from evaluation.irreversibility.bounds import Area
from evaluation.irreversibility.results import FaceRow, PlateRow, Results, SizeRow
from evaluation.markdown import table

_PACKAGES = ("streetblur", "numpy", "scikit-learn", "scikit-image", "torch", "dlib-bin")


def page(results: Results) -> str:
    """All results: what was attacked with one effort never stands among what was with another."""
    parts = [
        f"Machine: {platform.machine()}, Python {platform.python_version()}; "
        + ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    ]
    sections: tuple[tuple[str, Sequence[FaceRow]], ...] = (
        ("Faces", results.faces),
        ("Sizes", results.sizes),
    )
    for heading, found in sections:
        for people, effort in dict.fromkeys((row.people, row.effort) for row in found):
            own = [row for row in found if (row.people, row.effort) == (people, effort)]
            parts.append(f"## {heading}: {people}{_tried(effort)}\n\n{_face_table(own)}")
    for effort in dict.fromkeys(row.effort for row in results.plates):
        read = [row for row in results.plates if row.effort == effort]
        parts.append(f"## Plates{_tried(effort)}\n\n{_plate_table(read)}")
    return "\n\n".join(parts)


def _tried(effort: str) -> str:
    return {"full": "", "little": ", little effort"}.get(effort, f", {effort}")


def _face_table(rows: Sequence[FaceRow]) -> str:
    head = [
        "treatment",
        "attacker",
        "copies",
        "rank-1",
        "on mean colour",
        "difference, 95 %",
        "detectable, points",
        "probes",
        "verification (AUC), 95 %",
    ]
    lines = [head]
    for row in rows:
        rank1 = row.rank1
        line = [
            row.treatment,
            row.attacker,
            row.copies,
            f"{rank1.rate:.1%}",
            f"{rank1.base:.1%}",
            f"{100 * rank1.low:+.1f} to {100 * rank1.high:+.1f}",
            f"{100 * rank1.detectable:.1f}",
            str(rank1.probes),
            _verified(row.verification),
        ]
        if isinstance(row, SizeRow):
            line.insert(1, f"{row.size} px")
        lines.append(line)
    if isinstance(rows[0], SizeRow):
        head.insert(1, "size")
    return table(lines)


def _verified(area: Area | float) -> str:
    """Older rows have no interval."""
    if isinstance(area, float):
        return f"{area:.2f}"
    return f"{area.value:.2f}, {area.low:.2f} to {area.high:.2f}"


def _plate_table(rows: Sequence[PlateRow]) -> str:
    lines = [["treatment", "attacker", "what", "copies", "exact", "95 %", "symbols"]]
    lines += [
        [
            row.treatment,
            row.attacker,
            row.what,
            str(row.copies),
            f"{row.exact} of {row.plates}",
            f"{row.low:.1%} to {row.high:.1%}",
            f"{row.symbols:.1%}",
        ]
        for row in rows
    ]
    return table(lines)
