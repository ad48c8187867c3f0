"""Plans a revision: lists the input, compares it with the rows in force, writes new shards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipeline.cut_off import KeyRange, refuse_other_models
from pipeline.due import Rows
from pipeline.errors import ConfigurationError
from pipeline.job import JobRecord, Revision, ShardEntry
from pipeline.manifest import (
    Delta,
    LiveRow,
    Row,
    Selection,
    list_pictures,
    sorted_rows,
    write_shards,
)
from pipeline.override_check import warn_of_unlisted
from pipeline.overrides import Overrides
from pipeline.policy import PrivacyPolicy
from pipeline.records import REDACTION_VERSION
from pipeline.storage import NotFound, ObjectStore
from pipeline.verify import Known, known_rows
from pipeline.workspace import Workspace

MISSING = "missing"
"""Stands for the digest of a model that has not been fetched."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What judges: a change of policy, models or overrides makes images due again.

    Attributes:
        policy: the rules.
        models: ``version:fingerprint`` by model.
        overrides: boxes by key; None keeps those of the job.
        note: why other versions judge than the policy names.
        runtime: what the models run on; not part of what makes images due, see ``cut_off``.
    """

    policy: PrivacyPolicy
    models: dict[str, str]
    overrides: Overrides | None = None
    note: str = ""
    runtime: str = ""


@dataclass(slots=True)
class Preview:
    """What a run would find (``--dry-run``): picture and byte counts, and how many are due.

    Attributes:
        damaged: how many of the due ones are so for their missing or altered output alone.
    """

    images: int = 0
    bytes: int = 0
    due: int = 0
    damaged: int = 0
    changed: int = 0
    gone: int = 0
    not_selected: dict[str, int] = field(default_factory=dict)


def preview(
    source: ObjectStore,
    workspace: Workspace,
    rules: Rules,
    *,
    damaged: Rows = frozenset(),
    shard_size: int,
    allow_unblur: bool = False,
) -> Preview:
    """Compare the input with the rows in force; writes nothing.

    Args:
        source: the input.
        workspace: the job's; it need not be there yet.
        rules: what would judge.
        damaged: (shard, row) whose output is missing or altered, if anything was published.
        shard_size: rows a new shard would have.
        allow_unblur: whether it may be forgotten what earlier runs blurred.

    Raises:
        ConfigurationError: a run would be refused for its models, as ``plan`` does.
    """
    ledger = workspace.ledger
    result, selection = Preview(), Selection()
    fresh = _Ranges(shard_size)
    unlisted = set(rules.overrides or ())
    known: Iterator[Known] = iter(())
    if ledger.job() is not None and ledger.revisions():
        before = ledger.current()
        supposed = before.model_copy(
            update={
                "policy_digest": rules.policy.digest(),
                "models": rules.models,
                "overrides": before.overrides if rules.overrides is None else rules.overrides,
                "redaction_version": REDACTION_VERSION,
            }
        )
        unlisted = set(supposed.overrides)
        known = known_rows(ledger, supposed)
    old = next(known, None)
    for row in _listed(source, workspace, selection):
        result.images += 1
        result.bytes += row.size
        unlisted.discard(row.key)
        while old is not None and old.key < row.key:
            result.gone += 1
            old = next(known, None)
        if old is None or old.key != row.key:
            result.due += 1
            fresh.add(row.key)
            continue
        lost = old.status == "published" and (old.shard, old.row) in damaged
        stands = old.etag == row.etag and old.valid
        if old.etag != row.etag:
            result.changed += 1
            fresh.add(row.key)
        result.damaged += stands and lost
        result.due += lost or not stands
        old = next(known, None)
    result.gone += sum(1 for _ in known) + (old is not None)
    result.not_selected = selection.counts()
    warn_of_unlisted(sorted(unlisted))
    if not allow_unblur:
        with suppress(NotFound):  # where there is no output, nobody published anything
            refuse_other_models(
                workspace, _other_jobs(workspace), rules.models, fresh.found, rules.runtime
            )
    return result


def plan(
    source: ObjectStore,
    workspace: Workspace,
    record: JobRecord,
    rules: Rules,
    *,
    epoch: int,
    fence: Callable[[], None] = lambda: None,
    allow_unblur: bool = False,
    on_rows: Callable[[int], None] = lambda rows: None,
    on_unlisted: Callable[[list[str]], None] = lambda keys: None,
) -> Revision:
    """The revision in force after listing the input again.

    A new one is written when there is none, when objects came, changed or went, when policy,
    models, redaction or overrides differ, or when another job over the same output has shown up;
    otherwise the newest one stays in force.

    Args:
        source: the input.
        workspace: the job's workspace; the caller holds the output's lease.
        record: the job.
        rules: what judges.
        epoch: the caller's lease epoch.
        fence: raises when the lease is lost; called last before the revision is made valid.
        allow_unblur: whether it may be forgotten what earlier runs blurred.
        on_rows: called with the number of rows listed so far.
        on_unlisted: called once with the keys of overrides that the listing did not have.

    Raises:
        ConfigurationError: a run with other models was cut off, see ``refuse_other_models``.
    """
    ledger = workspace.ledger
    record = ledger.create_job(record, moved_here=workspace.moved_here)
    before = ledger.revisions()[-1] if ledger.revisions() else None
    earlier = before.overrides if before else {}
    overrides = earlier if rules.overrides is None else rules.overrides
    number = before.number + 1 if before else 0
    first = before.shard_first + before.shard_count if before else 0
    folder = f"manifest/{number:04d}-{epoch:08d}"
    selection, delta, counter = Selection(), Delta(), _Counter(on_rows, overrides)
    live: Iterator[LiveRow] = ledger.live_rows() if before else iter(())
    fresh = delta.compare(live, counter.count(_listed(source, workspace, selection)))
    entries: list[ShardEntry] = list(
        write_shards(ledger.store, folder, fresh, first_shard=first, shard_size=record.shard_size)
    )
    on_unlisted(sorted(counter.unlisted))
    revision = Revision(
        number=number,
        epoch=epoch,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        policy=rules.policy,
        policy_digest=rules.policy.digest(),
        models=rules.models,
        redaction_version=REDACTION_VERSION,
        overrides=overrides,
        shard_first=first,
        shard_count=len(entries),
        rows=sum(entry.rows for entry in entries),
        live_rows=counter.rows,
        added=delta.added,
        changed=delta.changed,
        gone=delta.gone,
        unchanged=delta.unchanged,
        bytes=counter.bytes,
        not_selected=selection.counts(),
        note=rules.note,
        runtime=rules.runtime,
        inherits=_other_jobs(workspace),
    )
    if not allow_unblur:
        ranges = [(entry.first_key, entry.last_key) for entry in entries]
        refuse_other_models(workspace, revision.inherits, rules.models, ranges, rules.runtime)
    if before is not None and _adds_nothing(revision, before):
        return before
    ledger.write_revision(revision, entries, delta.superseded, fence=fence)
    return revision


def _adds_nothing(revision: Revision, before: Revision) -> bool:
    """Whether rows and rules are those of ``before``, and so are the jobs whose blurs are kept."""
    if revision.rows or revision.changed or revision.gone:
        return False
    names = ("policy_digest", "models", "redaction_version", "overrides", "runtime")
    same = all(getattr(revision, name) == getattr(before, name) for name in names)
    return same and set(revision.inherits) <= set(before.inherits)


def _other_jobs(workspace: Workspace) -> list[str]:
    """Other jobs over the same output, newest first: what they blurred stays blurred.

    Also those that began after this one: they may have run since this one ran last.
    """
    found = []
    for name in workspace.other_jobs():
        record = workspace.sibling(name).job()
        if record is not None:
            found.append((record.created, name))
    return [name for _, name in sorted(found, reverse=True)]


def assume_models(models: Mapping[str, str], workspace: Workspace) -> dict[str, str]:
    """``models`` with the files that are not there yet as this job or another one had them.

    Fetched by version and checksum, the same version is the same file.
    """
    known: list[dict[str, str]] = []
    with suppress(NotFound):  # there is no output yet
        for name in (workspace.job, *_other_jobs(workspace)):
            revisions = workspace.sibling(name).revisions()
            known += [revision.models for revision in reversed(revisions)]
    found = {}
    for name, value in models.items():
        version, _, digest = value.partition(":")
        earlier = (one.get(name, "") for one in known)
        same = (one for one in earlier if one.startswith(f"{version}:"))
        found[name] = next(same, value) if digest == MISSING else value
    return found


def _listed(source: ObjectStore, workspace: Workspace, selection: Selection) -> Iterator[Row]:
    """The pictures of the input in key order.

    Raises:
        ConfigurationError: an output would lie among the records of jobs.
    """
    prefixes = tuple(workspace.record_prefixes())
    for row in sorted_rows(list_pictures(source, selection)):
        if row.key.startswith(prefixes):
            raise ConfigurationError(
                "the output of this picture would lie in the workspace, among the records",
                where=row.key,
                fix="Put the workspace elsewhere with --workspace",
            )
        yield row


class _Ranges:
    """First and last key of each shard that a plan would write."""

    def __init__(self, shard_size: int) -> None:
        self.found: list[KeyRange] = []
        self._size = shard_size
        self._rows = 0

    def add(self, key: str) -> None:
        if self._rows % self._size:
            self.found[-1] = (self.found[-1][0], key)
        else:
            self.found.append((key, key))
        self._rows += 1


class _Counter:
    def __init__(self, on_rows: Callable[[int], None], awaited: Iterable[str]) -> None:
        self.rows = 0
        self.bytes = 0
        self.unlisted = set(awaited)
        self._on_rows = on_rows

    def count(self, rows: Iterator[Row]) -> Iterator[Row]:
        last: str | None = None
        for row in rows:
            if row.key != last:
                self.rows += 1
                self.bytes += row.size
                self.unlisted.discard(row.key)
                if self.rows % 1000 == 0:
                    self._on_rows(self.rows)
            last = row.key
            yield row
