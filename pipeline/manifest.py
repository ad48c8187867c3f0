"""List once, in flat memory, into immutable shards; list again into a delta revision."""

from __future__ import annotations

import hashlib
import heapq
import io
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import LedgerError
from pipeline.images import FORMAT_SUFFIXES
from pipeline.job import WORKSPACE_FOLDER, ShardEntry
from pipeline.records import MANIFEST_SCHEMA
from pipeline.scratch import scratch_folder
from pipeline.storage import AccessDenied, ListingReport, ObjectInfo, ObjectStore, RefusedKey

RESERVED = f"(reserved: {WORKSPACE_FOLDER}/)"
"""Counts what lies in an input's workspace folder: kept for records, so never selected."""

RUN_ROWS = 100_000
"""Rows sorted in memory at a time; longer listings are merged from sorted files."""


class Row(NamedTuple):
    """One selected object; ordered by key."""

    key: str
    etag: str
    size: int


class LiveRow(NamedTuple):
    """A manifest row that no later revision has replaced, and where it stands."""

    key: str
    etag: str
    size: int
    shard: int
    row: int


@dataclass(slots=True)
class Selection:
    """Counts of what a listing held besides pictures."""

    suffixes: Counter[str] = field(default_factory=Counter)
    passed_over: ListingReport = field(default_factory=ListingReport)

    def counts(self) -> dict[str, int]:
        """Objects that were not selected: by suffix, and in brackets by kind (links, ...)."""
        kinds = {f"({kind})": number for kind, number in self.passed_over.counts.items()}
        return dict(sorted({**self.suffixes, **kinds}.items()))

    def select(self, objects: Iterable[ObjectInfo]) -> Iterator[Row]:
        """Pictures as rows; everything else is counted by suffix."""
        for item in objects:
            suffix = PurePosixPath(item.key).suffix.lower()
            if suffix in FORMAT_SUFFIXES:
                yield Row(item.key, item.etag, item.size)
            else:
                self.suffixes[suffix or "(no suffix)"] += 1


def list_pictures(store: ObjectStore, selection: Selection) -> Iterator[Row]:
    """All pictures of ``store``, in any order; what a workspace folder holds is only counted."""
    folder = f"{WORKSPACE_FOLDER}/"
    yield from selection.select(store.list(exclude=(folder,), report=selection.passed_over))
    try:
        for _ in store.list(folder):
            selection.suffixes[RESERVED] += 1
    except AccessDenied:  # somebody else's records, perhaps
        selection.suffixes[RESERVED] += 1
    except RefusedKey:  # a link, counted as such
        return


def sorted_rows(rows: Iterable[Row], *, run_rows: int = RUN_ROWS) -> Iterator[Row]:
    """``rows`` sorted by key, by external merge sort: memory stays flat for any number.

    Servers list in orders of their own, so nothing relies on the order of a listing.
    """
    with scratch_folder("sort") as folder:
        runs: list[Path] = []
        buffer: list[Row] = []
        for row in rows:
            buffer.append(row)
            if len(buffer) >= run_rows:
                runs.append(_write_run(buffer, folder / f"{len(runs)}.parquet"))
                buffer = []
        buffer.sort()
        yield from heapq.merge(*(_read_run(path) for path in runs), buffer)


def _write_run(rows: list[Row], path: Path) -> Path:
    rows.sort()
    pq.write_table(_table(rows), path, row_group_size=2_000)
    return path


def _read_run(path: Path) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=2_000):
            columns = [batch.column(name).to_pylist() for name in ("key", "etag", "size")]
            yield from map(Row, *columns)


def _table(rows: Iterable[Row]) -> pa.Table:
    keys, etags, sizes = zip(*rows, strict=True)
    return pa.table([keys, etags, sizes], schema=MANIFEST_SCHEMA)


@dataclass(slots=True)
class Delta:
    """Differences between a listing and the rows in force.

    ``superseded`` holds shard, row, shard, row, ... of replaced or vanished rows, flat, because
    there may be millions.
    """

    added: int = 0
    changed: int = 0
    gone: int = 0
    unchanged: int = 0
    superseded: array[int] = field(default_factory=lambda: array("i"))

    def compare(self, before: Iterator[LiveRow], listing: Iterator[Row]) -> Iterator[Row]:
        """Merge two key-ordered streams; yields the rows that are new or changed."""
        old = next(before, None)
        last_key: str | None = None
        for row in listing:
            if row.key == last_key:
                continue
            last_key = row.key
            while old is not None and old.key < row.key:
                self._drop(old)
                old = next(before, None)
            if old is not None and old.key == row.key:
                if old.etag == row.etag and old.size == row.size:
                    self.unchanged += 1
                else:
                    self.changed += 1
                    self.superseded.extend((old.shard, old.row))
                    yield row
                old = next(before, None)
            else:
                self.added += 1
                yield row
        while old is not None:
            self._drop(old)
            old = next(before, None)

    def _drop(self, row: LiveRow) -> None:
        self.gone += 1
        self.superseded.extend((row.shard, row.row))


def write_shards(
    store: ObjectStore,
    folder: str,
    rows: Iterator[Row],
    *,
    first_shard: int,
    shard_size: int,
    on_shard: Callable[[ShardEntry], None] = lambda entry: None,
) -> Iterator[ShardEntry]:
    """Write ``rows`` as Parquet shards ``<folder>/<shard>.parquet``; yields an entry for each.

    Each file is created conditionally: a manifest is never overwritten.
    """
    shard = first_shard
    buffer: list[Row] = []
    for row in rows:
        buffer.append(row)
        if len(buffer) >= shard_size:
            yield _write_shard(store, folder, shard, buffer, on_shard)
            shard += 1
            buffer = []
    if buffer:
        yield _write_shard(store, folder, shard, buffer, on_shard)


def _write_shard(
    store: ObjectStore,
    folder: str,
    shard: int,
    rows: list[Row],
    on_shard: Callable[[ShardEntry], None],
) -> ShardEntry:
    data = to_parquet(_table(rows))
    create_once(store, f"{folder}/{shard:06d}.parquet", data)
    entry = ShardEntry(
        shard=shard,
        rows=len(rows),
        first_key=rows[0].key,
        last_key=rows[-1].key,
        bytes=sum(row.size for row in rows),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    on_shard(entry)
    return entry


def create_once(store: ObjectStore, name: str, data: bytes) -> None:
    """Write a record that nobody else writes.

    Raises:
        LedgerError: something else is there.
    """
    if not store.create(name, data) and store.get(name) != data:
        raise LedgerError(
            "another run has written something else here",
            where=f"{store.uri}/{name}",
            fix="Run again when the other run has ended",
        )


def to_parquet(table: pa.Table) -> bytes:
    """``table`` as one Zstandard-compressed Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def from_parquet(data: bytes) -> pa.Table:
    """The table of one Parquet file held in memory."""
    return pq.read_table(pa.BufferReader(data))
