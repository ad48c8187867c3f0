"""A run that has lost its lease commits nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.commit import Commit, CommitRef
from pipeline.errors import LeaseError, LedgerError
from pipeline.ledger import Ledger
from pipeline.records import Outcome
from pipeline.storage import StorageSettings, open_store

ROWS = [Outcome("a.jpg", 0, 0, "quarantined", "truncated", "id", "etag", 9).as_row()]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    store = open_store(str(tmp_path), settings=StorageSettings())
    store.ensure_root()
    return Ledger(store)


def commit(ledger: Ledger, fence: object) -> Commit:
    return ledger.write_commit(
        0,
        CommitRef(0, 1),
        ROWS,
        rules="rules",
        finished_at="2026-11-21T00:00:00+00:00",
        fence=fence,  # type: ignore[arg-type]
    )


def commits(ledger: Ledger) -> list[str]:
    return [item.key for item in ledger.store.list("commits/")]


def test_who_lost_the_lease_commits_nothing(ledger: Ledger) -> None:
    def lost() -> None:
        raise LeaseError("another run owns the output")

    assert ledger.commits() == {}
    with pytest.raises(LeaseError):
        commit(ledger, lost)
    assert commits(ledger) == []
    assert ledger.commits() == {}
    assert ledger.outcomes(0) == []


def test_the_fence_is_asked_last_before_the_commit(ledger: Ledger) -> None:
    seen: list[tuple[int, int]] = []

    def look() -> None:
        written = [item.key for item in ledger.store.list("outcomes/")]
        seen.append((len(written), len(commits(ledger))))

    commit(ledger, look)
    assert seen == [(1, 0)]
    assert len(commits(ledger)) == 1
    assert [row["key"] for row in ledger.outcomes(0)] == ["a.jpg"]
    with pytest.raises(LedgerError, match="exists already"):
        commit(ledger, look)
