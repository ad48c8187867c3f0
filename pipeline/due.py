"""What is due: the rows of a shard without a valid outcome for their present identity."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pipeline.cut_off import Suspicion, since, unrecorded, unrecorded_elsewhere
from pipeline.errors import LedgerError
from pipeline.identity import is_valid, row_identity
from pipeline.job import Revision, ShardEntry
from pipeline.ledger import Ledger
from pipeline.ledger_records import RESTORE
from pipeline.manifest import LiveRow
from pipeline.overrides import named
from pipeline.records import NamedBox, WorkItem, kept_boxes

log = logging.getLogger(__name__)

MIXED_RULES = "mixed"
"""Stands in a commit for the digest of the rules, when some of its rows were judged by others."""


class Rows(Protocol):
    """Tells of a (shard, row) whether it is one of them."""

    def __contains__(self, item: tuple[int, int], /) -> bool:
        """Whether ``item`` is one of them."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rows a run works on.

    Attributes:
        which: ``due``; or only ``failed``, only ``quarantined``, or ``all`` rows.
        shard: one shard only.
        damaged: (shard, row) whose output is missing or altered; due in any case.
        unrecorded: (shard, row) whose output no outcome accounts for: a run was cut off.
    """

    which: Literal["due", "failed", "quarantined", "all"] = "due"
    shard: int | None = None
    damaged: Rows = frozenset()
    unrecorded: Rows = frozenset()


@dataclass(slots=True)
class ShardWork:
    """One shard: what to do, and what stays as it is.

    Attributes:
        entry: the shard.
        items: what to do.
        live: rows that count.
        carried: how many of them keep the outcome they have.
        done: outcomes of ``items`` so far.
    """

    entry: ShardEntry
    items: list[WorkItem] = field(default_factory=list)
    live: int = 0
    carried: int = 0
    done: list[dict[str, Any]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether each row that counts has an outcome."""
        return self.carried + len(self.done) == self.live


class WorkFinder:
    """Finds the work in one shard after the other.

    Args:
        ledger: the job.
        siblings: ledgers of the other jobs over the same output.
        rules: the newest revision.
        choice: which rows.
        allow_unblur: forget what earlier runs blurred.
    """

    def __init__(
        self,
        ledger: Ledger,
        siblings: Sequence[Ledger],
        rules: Revision,
        choice: Choice,
        *,
        allow_unblur: bool,
    ) -> None:
        self._ledger = ledger
        self._siblings = siblings
        self._rules = rules
        self._choice = choice
        self._allow_unblur = allow_unblur

    @property
    def unrecorded(self) -> Rows:
        """(shard, row) whose output no outcome accounts for."""
        return self._choice.unrecorded

    def find(self, revision: Revision, entry: ShardEntry) -> ShardWork:
        """The work in ``entry``, a shard that ``revision`` added."""
        rows = self._ledger.rows(revision, entry)
        outcomes = {row["row"]: row for row in self._ledger.outcomes(entry.shard)}
        work = ShardWork(entry, live=len(rows))
        wanted: list[tuple[LiveRow, str]] = []
        for row in rows:
            identity = row_identity(self._rules, row.key, row.etag)
            before = outcomes.get(row.row)
            if before is not None and before["key"] != row.key:
                raise LedgerError(
                    f"the outcomes of shard {row.shard} are of other pictures than its manifest",
                    where=self._ledger.store.uri,
                    fix=RESTORE,
                )
            if self._is_wanted(row, before, identity):
                wanted.append((row, identity))
            elif before is not None:
                work.carried += 1
        if not wanted:
            return work
        due = [row for row, _ in wanted]
        priors, doubts = {}, {}
        if not self._allow_unblur:
            doubts = self._doubts(revision, due, outcomes)
            priors = self._priors(due, outcomes, doubts)
        for row, identity in wanted:
            work.items.append(
                WorkItem(
                    key=row.key,
                    etag=row.etag,
                    size=row.size,
                    shard=row.shard,
                    row=row.row,
                    identity=identity,
                    priors=priors.get(row.key, ()),
                    overrides=named(self._rules.overrides, row.key),
                    past=tuple(sorted(doubts[row.key].policies)) if row.key in doubts else (),
                )
            )
        return work

    def _is_wanted(self, row: LiveRow, before: Mapping[str, Any] | None, identity: str) -> bool:
        choice = self._choice
        if choice.shard is not None and row.shard != choice.shard:
            return False
        if choice.which == "all":
            return True
        if choice.which == "failed":
            return before is not None and before["status"] == "failed"
        if choice.which == "quarantined":
            return before is not None and before["status"] == "quarantined"
        return (
            before is None
            or not is_valid(before, identity)
            or (row.shard, row.row) in choice.damaged
        )

    def _doubts(
        self, added: Revision, rows: Sequence[LiveRow], outcomes: Mapping[int, Mapping[str, Any]]
    ) -> dict[str, Suspicion]:
        """What runs that were cut off may have blurred in ``rows``, by key."""
        revisions = since(self._ledger, added)
        doubts: dict[str, Suspicion] = {}
        etags: dict[str, str] = {}
        for row in rows:
            if (row.shard, row.row) in self._choice.unrecorded:
                late = unrecorded(revisions, row, outcomes.get(row.row))
                doubts[row.key] = Suspicion.of(late, self._rules, row.key)
                etags[row.key] = row.etag
        for sibling in self._siblings if etags else ():
            around = shards_around(sibling, sorted(etags))
            for key, more in unrecorded_elsewhere(sibling, around, etags, self._rules):
                doubts[key] |= more
        return doubts

    def _priors(
        self,
        rows: Sequence[LiveRow],
        outcomes: Mapping[int, Mapping[str, Any]],
        doubts: Mapping[str, Suspicion],
    ) -> dict[str, tuple[NamedBox, ...]]:
        """Boxes that any earlier outcome over the same source kept, by key.

        Outcomes that did not end in ``published`` count too: a PUT that failed may have landed.
        """
        etags = {row.key: row.etag for row in rows}
        found: defaultdict[str, set[NamedBox]] = defaultdict(set)
        for row in rows:
            if row.key in doubts:
                found[row.key].update(doubts[row.key].boxes)
            before = outcomes.get(row.row)
            if before is not None:
                found[row.key].update(kept_boxes(before))
        for outcome in self._earlier(sorted(etags)):
            if etags.get(outcome["key"]) == outcome["source_etag"]:
                found[outcome["key"]].update(kept_boxes(outcome))
        return {key: tuple(sorted(boxes, key=_order)) for key, boxes in found.items()}

    def _earlier(self, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Outcomes of replaced rows, and of other jobs, in the shards that may hold ``keys``."""
        for _, entry in shards_around(self._ledger, keys):
            yield from _newest(self._ledger, entry, self._ledger.superseded(entry.shard))
        for sibling in self._siblings:
            for _, entry in shards_around(sibling, keys):
                yield from _newest(sibling, entry, range(entry.rows))


def _newest(ledger: Ledger, entry: ShardEntry, rows: Iterable[int]) -> Iterator[dict[str, Any]]:
    """The newest outcome of each of ``rows``, also of those that count no longer.

    It names what the row's earlier outcomes kept, unless a run was told to forget that. Commits
    are read from the newest on, and no more of them than it takes.
    """
    left, outcome = set(rows), None
    if not left:
        return
    for outcome in ledger.outcomes_ever(entry.shard, ("key", "source_etag", "detections")):
        if outcome["row"] in left:
            left.remove(outcome["row"])
            yield outcome
            if not left:
                return
    if outcome is None and entry.shard in ledger.commits():
        where = ledger.store.uri
        log.warning("%s: what shard %d blurred is not known: no sound commit", where, entry.shard)


def _order(box: NamedBox) -> tuple[str, int, int, int, int]:
    return box.label, box.x1, box.y1, box.x2, box.y2


def shards_around(ledger: Ledger, keys: Sequence[str]) -> Iterator[tuple[Revision, ShardEntry]]:
    """Shards whose key range holds one of ``keys`` (sorted), with the revision that added each.

    The shards of one revision follow each other in key order.
    """
    for revision in ledger.revisions() if keys else ():
        entries = ledger.entries(revision)
        start = bisect_left(entries, keys[0], key=lambda entry: entry.last_key)
        for position in range(start, len(entries)):
            entry = entries[position]
            if entry.first_key > keys[-1]:
                break
            if keys[bisect_left(keys, entry.first_key)] <= entry.last_key:
                yield revision, entry
