"""Reconciles manifest, commits and the bucket itself."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

from pipeline.errors import LedgerError, nested_outputs
from pipeline.findings import SAMPLE as SAMPLE
from pipeline.findings import Finding as Finding
from pipeline.findings import RowSet as RowSet
from pipeline.findings import Verification as Verification
from pipeline.identity import is_valid, row_identity
from pipeline.job import Revision
from pipeline.lease_record import LEASE_FOLDER
from pipeline.ledger import Ledger, OutcomeRow, tally
from pipeline.ledger_records import NEW_JOB
from pipeline.manifest import Row, sorted_rows
from pipeline.storage import ListingReport
from pipeline.workspace import Workspace

log = logging.getLogger(__name__)

BLOCK = 50_000
"""Objects without a published row that are looked up in the history at a time."""


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

    An object is identified by its ETag and size as recorded when it was written. Everything in
    the output outside the workspace is compared, whatever its suffix.
    """
    result = Verification()
    known = _known(workspace.ledger, result)
    report = ListingReport()
    strangers = _Strangers(workspace, result)
    row = next(known, None)
    for item in _objects(workspace, report):
        while row is not None and row.key < item.key:
            _without_output(row, result)
            row = next(known, None)
        if row is None or row.key != item.key:
            strangers.add(item, None, result.orphans)
            continue
        if row.status != "published":
            strangers.add(item, row, result.stale)
        elif (item.etag, item.size) != (row.output_etag, row.output_size):
            result.altered.add(row.key)
            result.damaged.add(row.shard, row.row)
            strangers.add(item, row, None)
        elif not row.valid:
            result.stale.add(row.key)
        row = next(known, None)
    while row is not None:
        _without_output(row, result)
        row = next(known, None)
    strangers.explain()
    _add_passed_over(report, result.unaccounted)
    planned = workspace.ledger.current().live_rows
    if result.rows != planned:
        raise LedgerError(
            f"the manifest has {result.rows} pictures, but {planned} were planned",
            where=workspace.ledger.store.uri,
            fix=NEW_JOB,
        )
    return result


def _objects(workspace: Workspace, report: ListingReport) -> Iterator[Row]:
    """Every object of the output in key order, once; records of jobs left aside.

    Raises:
        ConfigurationError: another output lies within this one.
    """
    listing = workspace.output.list(exclude=workspace.record_prefixes(), report=report)
    last: str | None = None
    for row in sorted_rows(Row(item.key, item.etag, item.size) for item in listing):
        if f"/{LEASE_FOLDER}" in row.key:
            inner = row.key.partition(f"/{LEASE_FOLDER}")[0]
            raise nested_outputs(f"{workspace.output.uri}/{inner}", workspace.output.uri)
        if row.key != last:
            yield row
        last = row.key


def _add_passed_over(report: ListingReport, finding: Finding) -> None:
    """Links, devices and the like: nobody publishes those. Empty folder markers hold nothing."""
    for kind, count in sorted(report.counts.items()):
        if kind == "marker":
            continue
        examples = sorted(report.examples.get(kind, []))
        for key in examples:
            finding.add(key)
        finding.count += count - len(examples)


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
        result.damaged.add(row.shard, row.row)


class _Strangers:
    """Objects without a published row: written by an earlier outcome, or by nobody we know.

    They come in key order and are looked up in blocks, each against the shards of its key range,
    so that memory is that of one block and no shard is read more than about once.
    """

    def __init__(self, workspace: Workspace, result: Verification) -> None:
        self._workspace = workspace
        self._result = result
        self._ledgers: list[Ledger] | None = None
        self._block: dict[str, tuple[Row, Known | None, Finding | None]] = {}

    def add(self, item: Row, row: Known | None, if_published: Finding | None) -> None:
        """Take one object in.

        Args:
            item: the object.
            row: the manifest row under its key, if there is one.
            if_published: where it belongs if any job has published it; None for an altered output,
                which is counted already.
        """
        self._block[item.key] = (item, row, if_published)
        if len(self._block) >= BLOCK:
            self.explain()

    def explain(self) -> None:
        """Sort what was taken in into the findings."""
        ever, in_force = self._published() if self._block else (set(), set())
        for key, (_, row, finding) in self._block.items():
            if row is not None and key not in in_force:
                self._result.unrecorded.add(row.shard, row.row)
                if not row.valid:
                    self._result.cut_off.add(row.shard, row.row)
            if finding is not None:
                (finding if key in ever else self._result.unaccounted).add(key)
        self._block = {}

    def _published(self) -> tuple[set[str], set[str]]:
        """Keys of the block under which lies what any outcome of any job published.

        Returns:
            Those that any outcome published, and those that the newest one which published under
            that key, of this or another job, did: a run that was cut off may have written what an
            older outcome tells of.
        """
        ever: set[str] = set()
        in_force: set[str] = set()
        for outcome, newest in self._history(min(self._block), max(self._block)):
            if outcome["key"] not in self._block:
                continue
            item = self._block[outcome["key"]][0]
            if (item.etag, item.size) == (outcome["output_etag"], outcome["output_size"]):
                ever.add(item.key)
                if newest:
                    in_force.add(item.key)
                    if len(in_force) == len(self._block):
                        break
        return ever, in_force

    def _history(self, first: str, last: str) -> Iterator[tuple[OutcomeRow, bool]]:
        """Every published outcome of this and other jobs in shards that touch the range.

        With each, whether it is the newest of its row.
        """
        columns = ("key", "row", "status", "output_etag", "output_size")
        if self._ledgers is None:
            others = self._workspace.other_jobs()
            self._ledgers = [self._workspace.ledger, *map(self._workspace.sibling, others)]
        for ledger in self._ledgers:
            try:
                for _, entry in ledger.shards():
                    if entry.first_key > last or entry.last_key < first:
                        continue
                    seen: set[int] = set()
                    for outcome in ledger.outcomes_ever(entry.shard, columns):
                        if outcome["status"] == "published":
                            yield outcome, outcome["row"] not in seen
                            seen.add(outcome["row"])
            except LedgerError as error:
                log.warning("what this job published is not known: %s", error)
