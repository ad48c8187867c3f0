"""The workspace of a job: revisions, commits and what follows from them.

Layout below ``<workspace>/<job>/``::

    job.json
    revisions/0000.json                  written last: it makes the revision valid
    manifest/0000-<epoch>/000000.parquet shards; index.parquet; superseded.parquet
    outcomes/000000/0000-<epoch>.parquet one row an image
    commits/000000/0000-<epoch>.json     created once, names the outcomes; the newest wins

A damaged or missing commit or outcomes file costs work, never the job: its shard is due again.
Manifests cannot be made again, so a damaged one is an error that says what to do.
"""

from __future__ import annotations

import heapq
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.commit import Commit, CommitLog, CommitRef
from pipeline.errors import LedgerError
from pipeline.job import JobRecord, Revision, ShardEntry
from pipeline.ledger_records import (
    NEW_JOB,
    RESTORE,
    MissingRecord,
    get_hashed,
    get_model,
    get_table,
    revision_name,
)
from pipeline.manifest import LiveRow, create_once, to_parquet
from pipeline.marks import highest_epoch_kept
from pipeline.storage import ObjectStore
from pipeline.tally import OutcomeRow as OutcomeRow
from pipeline.tally import Tally as Tally
from pipeline.tally import tally as tally

log = logging.getLogger(__name__)

_MANIFEST = re.compile(r"manifest/\d{4,}-(\d{8,})/")


class Ledger:
    """Reads and writes one job's workspace; needs neither Ray nor any model.

    Attributes:
        store: the job's folder.
        commit_log: its commits.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self._revisions: list[Revision] | None = None
        self._superseded: dict[int, set[int]] | None = None
        self._entries: dict[int, list[ShardEntry]] = {}
        self.commit_log = CommitLog(store)
        self._warned: set[str] = set()

    def refresh(self) -> None:
        """Forget what was read; other runs may have added to the workspace."""
        self._revisions = self._superseded = None
        self.commit_log.refresh()

    def job(self) -> JobRecord | None:
        """The job's record, or None when the workspace is empty."""
        try:
            return get_model(self.store, "job.json", JobRecord, RESTORE)
        except MissingRecord:
            return None

    def create_job(
        self, record: JobRecord, *, moved_here: Callable[[], bool] = lambda: False
    ) -> JobRecord:
        """Write ``job.json`` once; returns the record in force.

        Args:
            record: what to write.
            moved_here: see ``job_for``.

        Raises:
            LedgerError: the job exists with another input or output.
        """
        self.store.create("job.json", record.model_dump_json(indent=2).encode())
        return self.job_for(record.input, record.output, moved_here=moved_here) or record

    def job_for(
        self, source: str, output: str, *, moved_here: Callable[[], bool] = lambda: False
    ) -> JobRecord | None:
        """The job's record, or None when the workspace is empty.

        Args:
            source: address of the input.
            output: address of the output.
            moved_here: whether it is the same output at another address.

        Raises:
            LedgerError: the job has another input or output.
        """
        record = self.job()
        for name, wanted in (("input", source), ("output", output)):
            if record is None or getattr(record, name) == wanted:
                continue
            if name == "input" or not moved_here():
                raise LedgerError(
                    f"this job already exists with another {name}: {getattr(record, name)}",
                    where=f"job {record.job}",
                    fix="Choose another job name with --job; what was blurred stays blurred in "
                    "sources with the same ETag",
                )
        return record

    def revisions(self) -> list[Revision]:
        """All revisions, oldest first.

        Raises:
            LedgerError: one is damaged or missing.
        """
        if self._revisions is None:
            names = sorted(
                item.key for item in self.store.list("revisions/") if item.key.endswith(".json")
            )
            for number, name in enumerate(names):
                if name != revision_name(number):
                    raise LedgerError(
                        "this revision is missing, though later ones are there",
                        where=f"{self.store.uri}/{revision_name(number)}",
                        fix=RESTORE,
                    )
            self._revisions = [get_model(self.store, name, Revision, RESTORE) for name in names]
        return self._revisions

    def current(self) -> Revision:
        """The newest revision.

        Raises:
            LedgerError: nothing has been planned yet.
        """
        revisions = self.revisions()
        if not revisions:
            raise LedgerError(
                "nothing has been planned in this workspace",
                where=self.store.uri,
                fix="Run `streetblur run` first, or name the right job with --job",
            )
        return revisions[-1]

    def write_revision(
        self,
        revision: Revision,
        entries: Sequence[ShardEntry],
        superseded: Sequence[int],
        *,
        fence: Callable[[], None],
    ) -> None:
        """Make a planned revision valid; its shards are already written.

        Args:
            revision: the revision.
            entries: its shards.
            superseded: flat shard, row, shard, row, ... of rows that no longer count.
            fence: raises when the lease is lost; called last before the revision is made valid.

        Raises:
            LedgerError: another run has written something else in its place.
        """
        index = pa.Table.from_pylist(
            [entry.model_dump() for entry in entries], schema=_INDEX_SCHEMA
        )
        pairs = np.asarray(superseded, dtype=np.int32).reshape(-1, 2)
        gone = pa.table([pairs[:, 0], pairs[:, 1]], schema=_SUPERSEDED_SCHEMA)
        create_once(self.store, f"{revision.folder}/index.parquet", to_parquet(index))
        create_once(self.store, f"{revision.folder}/superseded.parquet", to_parquet(gone))
        fence()
        name = revision_name(revision.number)
        if not self.store.create(name, revision.model_dump_json(indent=2).encode()):
            raise LedgerError(
                "this revision has been written by another run",
                where=f"{self.store.uri}/{name}",
                fix="Run again when the other run has ended",
            )
        self.refresh()

    def entries(self, revision: Revision) -> list[ShardEntry]:
        """The shards that ``revision`` added, in order.

        Raises:
            LedgerError: the index is damaged or missing.
        """
        if revision.number not in self._entries:
            rows = get_table(
                self.store, f"{revision.folder}/index.parquet", _INDEX_SCHEMA, RESTORE
            ).to_pylist()
            self._entries[revision.number] = [ShardEntry(**row) for row in rows]
        return self._entries[revision.number]

    def shards(self) -> Iterator[tuple[Revision, ShardEntry]]:
        """Every shard of every revision, in order."""
        for revision in self.revisions():
            for entry in self.entries(revision):
                yield revision, entry

    def superseded(self, shard: int) -> set[int]:
        """Rows of ``shard`` that a later revision replaced or removed.

        Raises:
            LedgerError: a revision's record of them is damaged or missing.
        """
        if self._superseded is None:
            found: defaultdict[int, set[int]] = defaultdict(set)
            for revision in self.revisions()[1:]:
                table = get_table(
                    self.store, f"{revision.folder}/superseded.parquet", _SUPERSEDED_SCHEMA, RESTORE
                )
                for number, row in zip(
                    table["shard"].to_pylist(), table["row"].to_pylist(), strict=True
                ):
                    found[number].add(row)
            self._superseded = found
        return self._superseded.get(shard, set())

    def rows(self, revision: Revision, entry: ShardEntry) -> list[LiveRow]:
        """The rows of one shard that still count.

        Raises:
            LedgerError: the shard file is missing, or not what the index says.
        """
        name = f"{revision.folder}/{entry.shard:06d}.parquet"
        what = "the manifest shard is not the one that was planned"
        table = get_hashed(self.store, name, entry.sha256, what=what, fix=NEW_JOB)
        dead = self.superseded(entry.shard)
        columns = [table[name].to_pylist() for name in ("key", "etag", "size")]
        return [
            LiveRow(key, etag, size, entry.shard, number)
            for number, (key, etag, size) in enumerate(zip(*columns, strict=True))
            if number not in dead
        ]

    def live_rows(self) -> Iterator[LiveRow]:
        """All rows that count, in key order, one shard a revision in memory."""
        return heapq.merge(*(self._revision_rows(revision) for revision in self.revisions()))

    def _revision_rows(self, revision: Revision) -> Iterator[LiveRow]:
        for entry in self.entries(revision):
            yield from self.rows(revision, entry)

    def highest_epoch(self) -> int:
        """Highest lease epoch that any record of this job names, 0 without any.

        Should the output's lease objects be lost, a lower one must not be taken again: its
        files would be met, and taken for those of the new run.
        """
        folders = (_MANIFEST.fullmatch(name) for name in self.store.list_dirs("manifest/"))
        attempts = [ref.attempt for refs in self._commit_refs().values() for ref in refs]
        planned = [int(folder[1]) for folder in folders if folder]
        return max([*attempts, *planned, highest_epoch_kept(self.store)])

    def commits(self) -> dict[int, CommitRef]:
        """The newest commit of each shard that has one, sound or not; a single listing."""
        return {shard: refs[0] for shard, refs in self._commit_refs().items()}

    def _commit_refs(self) -> dict[int, list[CommitRef]]:
        """Every commit by shard, the newest first.

        Raises:
            LedgerError: a revision that a commit names is missing.
        """
        found = self.commit_log.refs()
        planned = len(self.revisions())
        for ref in (refs[0] for refs in found.values()):
            if ref.revision >= planned:
                raise LedgerError(
                    "this revision is missing, though commits name it",
                    where=f"{self.store.uri}/{revision_name(ref.revision)}",
                    fix=RESTORE,
                )
        return found

    def commit(self, shard: int) -> Commit | None:
        """The commit in force for ``shard``; None, with a warning, if its record is damaged."""
        refs = self._commit_refs().get(shard, [])
        try:
            return self.commit_log.read(shard, refs[0]) if refs else None
        except LedgerError as error:
            self._warn(error, shard)
            return None

    def outcomes(self, shard: int, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Outcome rows of ``shard`` that still count; empty without a commit.

        When the newest commit or its outcomes are damaged or missing, a warning names them and
        the newest sound ones stand in, without an identity: so every row is due again, and yet
        the boxes that they kept stay blurred.
        """
        hidden = self.superseded(shard)
        for age, ref in enumerate(self._commit_refs().get(shard, [])):
            try:
                rows = self.commit_log.rows(shard, ref, columns)
            except LedgerError as error:
                self._warn(error, shard)
                continue
            if age and (columns is None or "identity" in columns):
                rows = [{**row, "identity": ""} for row in rows]
            return [row for row in rows if row["row"] not in hidden]
        return []

    def outcomes_ever(self, shard: int, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Outcome rows of every sound commit of ``shard``, replaced rows too, the newest first."""
        for age, ref in enumerate(self._commit_refs().get(shard, [])):
            try:
                yield from self.commit_log.rows(shard, ref, columns)
            except LedgerError as error:
                if not age:  # of an older one, all that counts stands in the newest
                    self._warn(error, shard)

    def _warn(self, error: LedgerError, shard: int) -> None:
        if error.where not in self._warned:
            self._warned.add(error.where)
            log.warning("%s: %s; shard %d is due again", error.where, error.what, shard)


_INDEX_SCHEMA = pa.schema(
    [
        ("shard", pa.int32()),
        ("rows", pa.int32()),
        ("first_key", pa.string()),
        ("last_key", pa.string()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
    ]
)


_SUPERSEDED_SCHEMA = pa.schema([("shard", pa.int32()), ("row", pa.int32())])
