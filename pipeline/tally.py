"""Counts over outcomes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

OutcomeRow = Mapping[str, Any]


class Tally(BaseModel):
    """Counts over outcomes; tallies of shards add up to the job's."""

    model_config = ConfigDict(extra="ignore")
    rows: int = 0
    published: int = 0
    quarantined: int = 0
    failed: int = 0
    with_detections: int = 0
    kept: dict[str, int] = {}
    dropped: dict[str, int] = {}
    reasons: dict[str, int] = {}
    bytes_in: int = 0
    bytes_out: int = 0
    milliseconds: dict[str, float] = {}

    def add(self, other: Tally) -> None:
        """Add ``other`` to this tally."""
        for name in (
            "rows",
            "published",
            "quarantined",
            "failed",
            "with_detections",
            "bytes_in",
            "bytes_out",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("kept", "dropped", "reasons", "milliseconds"):
            mine: dict[str, Any] = dict(getattr(self, name))
            for key, value in getattr(other, name).items():
                mine[key] = mine.get(key, 0) + value
            setattr(self, name, mine)


def tally(rows: Iterable[OutcomeRow]) -> Tally:
    """Count ``rows``; detections count for published images only."""
    result = Tally()
    statuses: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    spent: defaultdict[str, float] = defaultdict(float)
    for row in rows:
        result.rows += 1
        statuses[row["status"]] += 1
        result.bytes_in += row["source_size"]
        for name, value in row.items():
            if name.startswith("ms_"):
                spent[name[3:]] += value or 0.0
        if row["status"] != "published":
            reasons[f"{row['status']}: {row['reason']}"] += 1
            continue
        result.bytes_out += row["output_size"]
        result.with_detections += bool(row["kept"])
        for item in row["detections"] or ():
            (kept if item["kept"] else dropped)[item["label"]] += 1
    for status in ("published", "quarantined", "failed"):
        setattr(result, status, statuses[status])
    result.reasons, result.kept, result.dropped = dict(reasons), dict(kept), dict(dropped)
    result.milliseconds = {name: round(value, 1) for name, value in sorted(spent.items())}
    return result
