"""Reads the ledger's records: a damaged or missing one is an error that says what to do."""

from __future__ import annotations

import hashlib
from typing import TypeVar

import pyarrow as pa
from pydantic import BaseModel, ValidationError

from pipeline.errors import LedgerError
from pipeline.manifest import from_parquet
from pipeline.storage import NotFound, ObjectStore

T = TypeVar("T", bound=BaseModel)

RESTORE = (
    "Restore the file from a copy. Without one, move this job's folder out of the workspace and "
    "run under a new name (--job): the refusal that follows names the empty file with which boxes "
    "that only this job's records name are let go of, and every picture is done anew"
)
RUN_AGAIN = "Run the job again: the shard is done anew"
NEW_JOB = (
    "Restore the file from a copy. Without one, run under a new name (--job) over the same output: "
    "every picture is done anew, and what this job blurred stays blurred"
)


def revision_name(number: int) -> str:
    """Where a revision stands in a job's folder."""
    return f"revisions/{number:04d}.json"


class MissingRecord(LedgerError):
    """A record that must be there is not."""


def get_record(store: ObjectStore, name: str, fix: str) -> bytes:
    """Content of a record that must be there.

    Raises:
        MissingRecord: it is not.
    """
    try:
        return store.get(name)
    except NotFound as error:
        where = f"{store.uri}/{name}"
        raise MissingRecord("this record is missing", where=where, fix=fix) from error


def get_hashed(store: ObjectStore, name: str, sha256: str, *, what: str, fix: str) -> pa.Table:
    """A Parquet record that must be there, as it was written.

    Raises:
        LedgerError: it is missing, or another one; ``what`` says so.
    """
    data = get_record(store, name, fix)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise LedgerError(what, where=f"{store.uri}/{name}", fix=fix)
    return from_parquet(data)


def get_model(store: ObjectStore, name: str, model: type[T], fix: str) -> T:
    """A JSON record that must be there.

    Raises:
        LedgerError: it is damaged or missing.
    """
    data = get_record(store, name, fix)
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise LedgerError(
            f"not a valid record ({error.error_count()} errors)",
            where=f"{store.uri}/{name}",
            fix=fix,
        ) from error


def get_table(store: ObjectStore, name: str, schema: pa.Schema, fix: str) -> pa.Table:
    """A Parquet record that must be there.

    Raises:
        LedgerError: it is damaged or missing.
    """
    data = get_record(store, name, fix)
    try:
        return from_parquet(data).select(schema.names).cast(schema)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise LedgerError(
            "not the Parquet file that was written", where=f"{store.uri}/{name}", fix=fix
        ) from error
