"""The peers' figures as one table, as a page, and for machines."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evaluation.markdown import table
from evaluation.peers.ours import Ours
from evaluation.peers.run import PeerRun
from evaluation.peers.tools import Peer
from evaluation.summary import COUNTED_FROM_PX, SetScore

COUNTED = f">={COUNTED_FROM_PX} px"
HEAD = (
    "tool",
    "set",
    "class",
    "pictures",
    "not published",
    "unrelated",
    f"boxes {COUNTED}",
    "obscured",
    "95 % interval",
    "outside, mean",
    "pooled",
    "CPU s a picture",
)


@dataclass(frozen=True, slots=True)
class PeerScore:
    """A tool on a set: what it did, and how its outputs were judged."""

    peer: Peer | Ours
    score: SetScore
    run: PeerRun


def rows(scores: Sequence[PeerScore]) -> list[list[str]]:
    """The table's rows, head included; one for each peer and set."""
    lines = [list(HEAD)]
    for one in scores:
        found = one.score.recall(one.peer.label, COUNTED)
        boxes = ["0", "-", "-"]
        if found is not None:
            interval = f"{found.low:.1%} - {found.high:.1%}"
            boxes = [str(found.boxes), f"{found.recall:.1%}", interval]
        outside = (one.score.changed_outside_mean, one.score.changed_outside_pooled)
        lines.append(
            [
                one.peer.name,
                one.score.name,
                one.peer.label,
                str(one.score.pictures),
                f"{one.score.not_published} ({one.score.boxes_not_published} boxes)",
                str(len(one.score.unrelated)),
                *boxes,
                *(f"{share:.2%}" if one.score.judged else "-" for share in outside),
                f"{one.run.cpu_s_a_picture:.2f}",
            ]
        )
    return lines


def remarks(scores: Sequence[PeerScore], broken: Sequence[str]) -> list[str]:
    """A line for each picture without an output or with one of something else, and each failure."""
    lines = []
    for one in scores:
        where = f"{one.peer.name}, {one.score.name}"
        lines += [f"{where}: {image} not published ({said})" for image, said in one.run.failed]
        lines += [f"{where}: the output of {image} is unrelated" for image in one.score.unrelated]
    return [*lines, *broken]


def page(scores: Sequence[PeerScore], broken: Sequence[str], *, called: str) -> str:
    """A Markdown page: the table, what was left out, command, machine and versions."""
    said = remarks(scores, broken)
    used: dict[tuple[str, ...], list[str]] = {}
    for one in scores:
        names = used.setdefault(one.peer.packages, [])
        if one.peer.name not in names:
            names.append(one.peer.name)
    return "\n".join(
        [
            "# Other tools by the same rule",
            "",
            f"Command: `{called}`  ",
            f"Machine: {platform.machine()}, {os.cpu_count()} cores, Python "
            f"{platform.python_version()}  ",
            *(f"{', '.join(names)}: {', '.join(packages)}  " for packages, names in used.items()),
            "",
            table(rows(scores), texts=3),
            "",
            *([f"- {line}" for line in said] or ["Every picture has an output of its scene."]),
            "",
        ]
    )


def as_json(scores: Sequence[PeerScore], broken: Sequence[str]) -> dict[str, Any]:
    """All figures of all rows."""
    return {
        "rows": [
            {
                "tool": one.peer.name,
                "class": one.peer.label,
                "command": list(one.peer.command),
                "packages": list(one.peer.packages),
                "score": asdict(one.score),
                "run": asdict(one.run) | {"cpu_s_a_picture": one.run.cpu_s_a_picture},
            }
            for one in scores
        ],
        "broken": list(broken),
    }
