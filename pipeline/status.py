"""Where a job stands, from its ledger alone."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.due import MIXED_RULES
from pipeline.identity import is_valid, row_identity
from pipeline.job import Revision, ShardEntry
from pipeline.ledger import Ledger, OutcomeRow, Tally, tally


@dataclass(frozen=True, slots=True)
class Status:
    """State of a job.

    Attributes:
        job: its name.
        images: manifest rows that count.
        shards: how many, and how many of them have a commit.
        due: images without a valid outcome (failed ones among them).
        tally: outcomes in force.
        details: input, output, policy, models, revision; of a job that is not planned yet, the
            places alone.
    """

    job: str
    images: int
    shards: int
    committed: int
    due: int
    tally: Tally
    details: dict[str, Any]


def job_status(ledger: Ledger, job: str) -> Status:
    """Add up the commits; outcomes are read only where a commit does not tell enough.

    That is where rows were replaced since, where rules are mixed, and where overrides changed.

    Raises:
        LedgerError: a record is damaged or missing.
    """
    record = ledger.job()
    places = {"input": record.input, "output": record.output} if record else {}
    if not ledger.revisions():  # planning was cut off, or refused
        return Status(job, 0, 0, 0, 0, Tally(), {**places, "planned": "not yet"})
    current = ledger.current()
    rules = current.rules_digest()
    overridden = {one.number: _differing(one, current) for one in ledger.revisions()}
    total, shards, committed, valid = Tally(), 0, 0, 0
    for _, entry in ledger.shards():
        shards += 1
        commit = ledger.commit(entry.shard)
        if commit is None:
            continue
        committed += 1
        changed = overridden.get(commit.revision)
        if (
            ledger.superseded(entry.shard)
            or commit.rules == MIXED_RULES
            or changed is None
            or _any_in(entry, changed)
        ):
            rows = ledger.outcomes(entry.shard)
            total.add(tally(rows))
            valid += _count_valid(rows, current)
            continue
        total.add(commit.tally)
        if commit.rules == rules:
            valid += commit.tally.published + commit.tally.quarantined
    return Status(
        job=job,
        images=current.live_rows,
        shards=shards,
        committed=committed,
        due=max(current.live_rows - valid, 0),
        tally=total,
        details={
            **places,
            "policy": f"{current.policy.name} ({current.policy_digest})",
            "models": current.models,
            **({"models_note": current.note} if current.note else {}),
            "revision": current.number,
            "planned": current.created,
            "not_selected": current.not_selected,
        },
    )


def _differing(a: Revision, b: Revision) -> list[str]:
    """Keys whose overrides differ between two revisions, sorted."""
    keys = a.overrides.keys() | b.overrides.keys()
    return sorted(key for key in keys if a.overrides.get(key) != b.overrides.get(key))


def _any_in(entry: ShardEntry, keys: Sequence[str]) -> bool:
    """Whether any of ``keys`` (sorted) lies in the key range of ``entry``."""
    position = bisect_left(keys, entry.first_key)
    return position < len(keys) and keys[position] <= entry.last_key


def _count_valid(rows: Iterable[OutcomeRow], rules: Revision) -> int:
    """How many outcomes stand under ``rules``."""
    return sum(is_valid(row, row_identity(rules, row["key"], row["source_etag"])) for row in rows)


def find_outcome(ledger: Ledger, key: str) -> tuple[bool, dict[str, Any] | None]:
    """Whether ``key`` is in the manifest, and its outcome if it has one."""
    for revision in reversed(ledger.revisions()):
        for entry in ledger.entries(revision):
            if not entry.first_key <= key <= entry.last_key:
                continue
            for row in ledger.rows(revision, entry):
                if row.key == key:
                    found = [o for o in ledger.outcomes(entry.shard) if o["row"] == row.row]
                    return True, found[0] if found else None
    return False, None
