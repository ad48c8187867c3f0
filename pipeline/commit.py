"""The record that a shard is done: where it stands, and what it holds."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from pipeline.errors import LedgerError
from pipeline.ledger_records import RUN_AGAIN, get_hashed, get_model
from pipeline.manifest import to_parquet
from pipeline.records import outcomes_table
from pipeline.storage import ObjectStore
from pipeline.tally import OutcomeRow, Tally, tally

_COMMIT = re.compile(r"commits/(\d{6,})/(\d{4,})-(\d{8,})\.json")


class CommitRef(NamedTuple):
    """Where a commit stands; later revisions and epochs are newer."""

    revision: int
    attempt: int

    @property
    def name(self) -> str:
        """File stem, ``<revision>-<attempt>``."""
        return f"{self.revision:04d}-{self.attempt:08d}"


class Commit(BaseModel):
    """``commits/<shard>/<revision>-<attempt>.json``: a shard whose rows all have an outcome."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    shard: int
    revision: int
    attempt: int
    rules: str
    outcomes: str
    outcomes_sha256: str
    tally: Tally
    finished_at: str


class CommitLog:
    """Reads and writes the commits of one job; the newest of a shard is in force."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._history: dict[int, list[CommitRef]] | None = None

    def refresh(self) -> None:
        """Forget what was listed; other runs may have committed."""
        self._history = None

    def refs(self) -> dict[int, list[CommitRef]]:
        """Every commit by shard, the newest first; a single listing."""
        if self._history is None:
            found: defaultdict[int, list[CommitRef]] = defaultdict(list)
            for item in self._store.list("commits/"):
                match = _COMMIT.fullmatch(item.key)
                if match is not None:
                    shard, revision, attempt = map(int, match.groups())
                    found[shard].append(CommitRef(revision, attempt))
            for refs in found.values():
                refs.sort(reverse=True)
            self._history = dict(found)
        return self._history

    def read(self, shard: int, ref: CommitRef) -> Commit:
        """One commit's record.

        Raises:
            LedgerError: it is damaged or missing.
        """
        name = f"commits/{shard:06d}/{ref.name}.json"
        where = f"{self._store.uri}/{name}"
        commit = get_model(self._store, name, Commit, RUN_AGAIN)
        if (commit.shard, commit.revision, commit.attempt) != (shard, *ref):
            raise LedgerError("this is the commit of something else", where=where, fix=RUN_AGAIN)
        return commit

    def rows(
        self, shard: int, ref: CommitRef, columns: Sequence[str] | None
    ) -> list[dict[str, Any]]:
        """All outcome rows of one commit.

        Raises:
            LedgerError: the commit or its outcomes are damaged or missing.
        """
        commit = self.read(shard, ref)
        what = "the outcomes are not those that were committed"
        table = get_hashed(
            self._store, commit.outcomes, commit.outcomes_sha256, what=what, fix=RUN_AGAIN
        )
        if columns is not None:
            table = table.select([*dict.fromkeys([*columns, "row"])])
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows

    def write(
        self,
        shard: int,
        ref: CommitRef,
        rows: Sequence[OutcomeRow],
        *,
        rules: str,
        finished_at: str,
        fence: Callable[[], None],
    ) -> Commit:
        """Commit a shard: outcomes first, then the commit by conditional create.

        Args:
            shard: its number.
            ref: revision and attempt (the lease epoch, so that a late writer never wins).
            rows: one outcome row for each live row.
            rules: digest of the revision's rules.
            finished_at: UTC time.
            fence: raises when the lease is lost; called last before the commit.

        Raises:
            LedgerError: the same attempt committed something else.
        """
        name = f"commits/{shard:06d}/{ref.name}.json"
        data = to_parquet(outcomes_table(rows))
        commit = Commit(
            shard=shard,
            revision=ref.revision,
            attempt=ref.attempt,
            rules=rules,
            outcomes=f"outcomes/{shard:06d}/{ref.name}.parquet",
            outcomes_sha256=hashlib.sha256(data).hexdigest(),
            tally=tally(rows),
            finished_at=finished_at,
        )
        self._store.put(commit.outcomes, data)
        fence()
        if not self._store.create(name, commit.model_dump_json(indent=2).encode()):
            raise LedgerError("this commit exists already", where=f"{self._store.uri}/{name}")
        if self._history is not None:
            self._history[shard] = sorted([ref, *self._history.get(shard, [])], reverse=True)
        return commit
