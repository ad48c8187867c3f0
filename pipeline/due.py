"""What is due: the rows of a shard without a valid outcome for their present identity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.job import Revision, ShardEntry
from pipeline.ledger import Ledger
from pipeline.manifest import LiveRow
from pipeline.overrides import named
from pipeline.records import NamedBox, WorkItem, kept_boxes, result_identity


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rows a run works on.

    Attributes:
        which: ``due``; or only ``failed``, only ``quarantined``, or ``all`` rows.
        shard: one shard only.
        damaged: (shard, row) whose output is missing or altered; due in any case.
    """

    which: Literal["due", "failed", "quarantined", "all"] = "due"
    shard: int | None = None
    damaged: frozenset[tuple[int, int]] = frozenset()


@dataclass(slots=True)
class ShardWork:
    """One shard: what to do, and the outcomes that stay as they are."""

    entry: ShardEntry
    items: list[WorkItem] = field(default_factory=list)
    carried: list[dict[str, Any]] = field(default_factory=list)
    live: int = 0


def row_identity(revision: Revision, key: str, etag: str) -> str:
    """Identity that a result for ``key`` must carry under ``revision``'s rules."""
    return result_identity(
        etag,
        policy_digest=revision.policy_digest,
        models=revision.models,
        overrides=named(revision.overrides, key),
        redaction_version=revision.redaction_version,
    )


def is_valid(row: Mapping[str, Any], identity: str) -> bool:
    """Whether an outcome row still stands; a failure never does."""
    return row["status"] in {"published", "quarantined"} and row["identity"] == identity


class WorkFinder:
    """Finds the work in one shard after the other.

    Args:
        ledger: the job.
        siblings: ledgers of earlier jobs over the same output, newest first.
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

    def find(self, revision: Revision, entry: ShardEntry) -> ShardWork:
        """The work in ``entry``, a shard that ``revision`` added."""
        rows = self._ledger.rows(revision, entry)
        outcomes = {row["row"]: row for row in self._ledger.outcomes(entry.shard)}
        work = ShardWork(entry, live=len(rows))
        wanted: list[tuple[LiveRow, str]] = []
        for row in rows:
            identity = row_identity(self._rules, row.key, row.etag)
            before = outcomes.get(row.row)
            if self._is_wanted(row, before, identity):
                wanted.append((row, identity))
            elif before is not None:
                work.carried.append(before)
        if not wanted:
            return work
        priors = {} if self._allow_unblur else self._priors([row for row, _ in wanted], outcomes)
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

    def _priors(
        self, rows: Iterable[LiveRow], outcomes: Mapping[int, Mapping[str, Any]]
    ) -> dict[str, tuple[NamedBox, ...]]:
        """Boxes that the latest outcome over the same source kept, by key."""
        found: dict[str, tuple[NamedBox, ...]] = {}
        missing: dict[str, str] = {}
        for row in rows:
            before = outcomes.get(row.row)
            if before is not None:
                found[row.key] = kept_boxes(before)
            else:
                missing[row.key] = row.etag
        for sibling in self._siblings:
            if not missing:
                break
            for outcome in _outcomes_between(sibling, min(missing), max(missing)):
                if missing.get(outcome["key"]) == outcome["source_etag"]:
                    found[outcome["key"]] = kept_boxes(outcome)
                    del missing[outcome["key"]]
        return found


def _outcomes_between(ledger: Ledger, first: str, last: str) -> Iterable[dict[str, Any]]:
    for _, entry in ledger.shards():
        if entry.first_key <= last and entry.last_key >= first:
            yield from ledger.outcomes(entry.shard, ("key", "source_etag", "detections"))
