"""A run that has lost its lease commits nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.commit import Commit, CommitRef
from pipeline.errors import LeaseError, LedgerError
from pipeline.job import Revision
from pipeline.ledger import Ledger
from pipeline.policy import DEFAULT_POLICY, load_policy
from pipeline.records import Outcome
from pipeline.storage import StorageSettings, open_store

ROWS = [Outcome("a.jpg", 0, 0, "quarantined", "truncated", "id", "etag", 9).as_row()]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    store = open_store(str(tmp_path), settings=StorageSettings())
    store.ensure_root()
    found = Ledger(store)
    found._revisions = [revision()]
    return found


def revision() -> Revision:
    rules = load_policy(DEFAULT_POLICY)
    return Revision(
        number=0,
        epoch=1,
        created="2026-11-21T00:00:00+00:00",
        policy=rules,
        policy_digest=rules.digest(),
        models={},
        redaction_version=1,
        shard_first=0,
        shard_count=1,
        rows=1,
        live_rows=1,
        added=1,
        changed=0,
        gone=0,
        unchanged=0,
        bytes=9,
    )


def commit(ledger: Ledger, fence: object) -> Commit:
    return ledger.commit_log.write(
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


def test_who_was_followed_makes_no_revision(ledger: Ledger) -> None:
    """The fence is asked when all that the revision needs is there."""

    def lost() -> None:
        written = [item.key for item in ledger.store.list("manifest/")]
        assert sorted(name.rsplit("/", 1)[1] for name in written) == [
            "index.parquet",
            "superseded.parquet",
        ]
        raise LeaseError("another run owns the output")

    with pytest.raises(LeaseError):
        ledger.write_revision(revision(), [], [], fence=lost)
    assert list(ledger.store.list("revisions/")) == []


def test_a_revision_of_another_run_is_not_taken_for_one_s_own(ledger: Ledger) -> None:
    def another_is_first() -> None:
        ledger.store.put("revisions/0000.json", b"{}")

    with pytest.raises(LedgerError, match="written by another run"):
        ledger.write_revision(revision(), [], [], fence=another_is_first)
