"""Where a job stands, from its ledger alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.ledger import Ledger, Tally, tally


@dataclass(frozen=True, slots=True)
class Status:
    """State of a job.

    Attributes:
        job: its name.
        images: manifest rows that count.
        shards: how many, and how many of them have a commit.
        due: images without a valid outcome (failed ones among them).
        tally: outcomes in force.
        details: input, output, policy, models, revision.
    """

    job: str
    images: int
    shards: int
    committed: int
    due: int
    tally: Tally
    details: dict[str, Any]

    @property
    def complete(self) -> bool:
        """Whether nothing is due."""
        return self.due == 0


def job_status(ledger: Ledger, job: str) -> Status:
    """Add up the commits; outcomes are read only where rows were replaced since.

    Raises:
        LedgerError: nothing has been planned.
    """
    current = ledger.current()
    record = ledger.job()
    rules = current.rules_digest()
    total, shards, committed, valid = Tally(), 0, 0, 0
    for _, entry in ledger.shards():
        shards += 1
        commit = ledger.commit(entry.shard)
        if commit is None:
            continue
        committed += 1
        part = commit.tally
        if ledger.superseded(entry.shard):
            part = tally(ledger.outcomes(entry.shard))
        total.add(part)
        if commit.rules == rules:
            valid += part.published + part.quarantined
    return Status(
        job=job,
        images=current.live_rows,
        shards=shards,
        committed=committed,
        due=max(current.live_rows - valid, 0),
        tally=total,
        details={
            "input": record.input if record else "",
            "output": record.output if record else "",
            "policy": f"{current.policy.name} ({current.policy_digest})",
            "models": current.models,
            "revision": current.number,
            "planned": current.created,
            "not_selected": current.not_selected,
        },
    )


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
