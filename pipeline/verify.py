"""Reconciles manifest, commits and the bucket itself."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.due import is_valid, row_identity
from pipeline.job import Revision
from pipeline.ledger import Ledger, OutcomeRow, Tally, tally
from pipeline.manifest import Row, Selection, list_pictures, sorted_rows
from pipeline.workspace import Workspace

SAMPLE = 20
"""Keys named for each kind of finding; all of them are counted."""


@dataclass(slots=True)
class Finding:
    """Keys of one kind: how many, and the first few by name."""

    count: int = 0
    sample: list[str] = field(default_factory=list)

    def add(self, key: str) -> None:
        """Count ``key``; remember it if it is among the first."""
        self.count += 1
        if len(self.sample) < SAMPLE:
            self.sample.append(key)


@dataclass(slots=True)
class Verification:
    """What reconciling found.

    Attributes:
        tally: outcomes in force.
        rows: manifest rows that count.
        due: rows without a valid outcome for their present identity (failed ones among them).
        missing: published, but no such object in the output.
        altered: the object in the output is not the one that was published.
        unaccounted: pictures in the output that no job has published.
        orphans: published before; the source is gone from the manifest.
        stale: outputs of an earlier source or rule, not yet replaced.
        damaged: (shard, row) of missing and altered outputs.
    """

    tally: Tally = field(default_factory=Tally)
    rows: int = 0
    due: Finding = field(default_factory=Finding)
    missing: Finding = field(default_factory=Finding)
    altered: Finding = field(default_factory=Finding)
    unaccounted: Finding = field(default_factory=Finding)
    orphans: Finding = field(default_factory=Finding)
    stale: Finding = field(default_factory=Finding)
    damaged: list[tuple[int, int]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether published + quarantined = manifest, and the bucket holds just that."""
        faults = (self.due, self.missing, self.altered, self.unaccounted)
        return not any(finding.count for finding in faults)

    def findings(self) -> dict[str, Finding]:
        """All findings by name, the grave ones first."""
        names = ("due", "missing", "altered", "unaccounted", "stale", "orphans")
        return {name: getattr(self, name) for name in names}


class Known(NamedTuple):
    """A manifest row with what became of it; ordered by key."""

    key: str
    etag: str
    shard: int
    row: int
    valid: bool
    status: str
    output_etag: str
    output_size: int


def verify(workspace: Workspace) -> Verification:
    """Compare the ledger with the output, both in key order, in flat memory.

    An object is identified by its ETag and size as recorded when it was written.
    """
    result = Verification()
    ledger = workspace.ledger
    known = _known(ledger, result)
    listing = sorted_rows(list_pictures(workspace.output, Selection()))
    unknown: dict[str, tuple[str, Finding]] = {}
    row = next(known, None)
    for item in listing:
        while row is not None and row.key < item.key:
            _without_output(row, result)
            row = next(known, None)
        if row is not None and row.key == item.key:
            if row.status == "quarantined":
                unknown[item.key] = (item.etag, result.stale)
            else:
                _with_output(row, item, result)
            row = next(known, None)
        else:
            unknown[item.key] = (item.etag, result.orphans)
    while row is not None:
        _without_output(row, result)
        row = next(known, None)
    _explain(unknown, workspace, result)
    return result


def _known(ledger: Ledger, result: Verification) -> Iterator[Known]:
    """Every live manifest row in key order, counted into ``result`` on the way."""
    for row in known_rows(
        ledger, ledger.current(), on_outcomes=lambda rows: result.tally.add(tally(rows))
    ):
        result.rows += 1
        if not row.valid:
            result.due.add(row.key)
        yield row


def known_rows(
    ledger: Ledger,
    rules: Revision,
    on_outcomes: Callable[[Collection[OutcomeRow]], None] = lambda rows: None,
) -> Iterator[Known]:
    """Every live manifest row in key order, with what became of it judged by ``rules``.

    Args:
        ledger: the job.
        rules: the revision (planned or supposed) whose rules an outcome must fit to be valid.
        on_outcomes: is given each shard's outcomes once.
    """

    def of(revision: Revision) -> Iterator[Known]:
        for entry in ledger.entries(revision):
            outcomes = {row["row"]: row for row in ledger.outcomes(entry.shard)}
            on_outcomes(outcomes.values())
            for row in ledger.rows(revision, entry):
                outcome: dict[str, Any] = outcomes.get(row.row, {})
                identity = row_identity(rules, row.key, row.etag)
                yield Known(
                    row.key,
                    row.etag,
                    row.shard,
                    row.row,
                    bool(outcome) and is_valid(outcome, identity),
                    outcome.get("status", ""),
                    outcome.get("output_etag", ""),
                    outcome.get("output_size", 0),
                )

    return heapq.merge(*(of(revision) for revision in ledger.revisions()))


def _without_output(row: Known, result: Verification) -> None:
    if row.status == "published":
        result.missing.add(row.key)
        result.damaged.append((row.shard, row.row))


def _explain(
    unknown: dict[str, tuple[str, Finding]], workspace: Workspace, result: Verification
) -> None:
    """Outputs without a published row: written by an earlier outcome, or by nobody we know."""
    if unknown:
        for key, etag in _published_before(workspace):
            if key in unknown and unknown[key][0] == etag:
                unknown.pop(key)[1].add(key)
    for key in unknown:
        result.unaccounted.add(key)


def _with_output(row: Known, item: Row, result: Verification) -> None:
    if row.status != "published":
        result.stale.add(row.key)
    elif (item.etag, item.size) != (row.output_etag, row.output_size):
        result.altered.add(row.key)
        result.damaged.append((row.shard, row.row))
    elif not row.valid:
        result.stale.add(row.key)


def _published_before(workspace: Workspace) -> Iterator[tuple[str, str]]:
    """Key and ETag of outputs that superseded rows or earlier jobs published."""
    for ledger in (workspace.ledger, *map(workspace.sibling, workspace.ledger.current().inherits)):
        for _, entry in ledger.shards():
            for row in ledger.outcomes(entry.shard, ("key", "status", "output_etag"), dead=True):
                if row["status"] == "published":
                    yield row["key"], row["output_etag"]
