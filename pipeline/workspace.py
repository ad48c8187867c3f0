"""Opens the stores of a job and guards its workspace."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from pipeline.errors import ConfigurationError, LedgerError
from pipeline.job import WORKSPACE_FOLDER, Revision, check_job_name, is_job_name
from pipeline.lease import Lease
from pipeline.ledger import Ledger
from pipeline.marks import Mark, keep, let_go, missing_marks, new_mark, newest_marks, tell
from pipeline.storage import ObjectStore, StorageSettings, open_store
from pipeline.storage_location import parse_location

PROBE = "access-probe.txt"


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where jobs keep their records, and one job's ledger in it.

    Attributes:
        output: the store the pictures go to (it also holds the lease).
        root: the folder of all jobs.
        job: name of this job.
        ledger: its records.
    """

    output: ObjectStore
    root: ObjectStore
    job: str
    ledger: Ledger

    @property
    def place(self) -> str:
        """Where the records are: the folder inside the output, or an address elsewhere."""
        output, root = (f"{store.uri.rstrip('/')}/" for store in (self.output, self.root))
        return root.removeprefix(output).rstrip("/")

    @property
    def moves_along(self) -> bool:
        """Whether the records lie in the output, and so move with it."""
        return "://" not in self.place

    def tell(self, lease: Lease, revision: Revision, *, forget: bool) -> None:
        """Leave this run's mark, in the records and then in the output, before it publishes.

        Args:
            lease: of this run.
            revision: under which it runs.
            forget: let go of the marks of other runs that are missing here.

        Raises:
            LeaseError: the lease is lost.
            StorageError: the mark cannot be left.
        """
        for lost in self.missing_marks() if forget else ():
            let_go(self.root, lost)
        mark = new_mark(lease.epoch, revision.number, self.job)
        keep(self.root, mark)
        tell(self.output, mark, self.place)
        lease.confirm()

    def missing_marks(self) -> list[Mark]:
        """The newest marks of jobs over this output that do not lie here, newest first."""
        return missing_marks(self.root, newest_marks(self.output).values())

    def moved_here(self) -> bool:
        """Whether this job ran over this output, whatever address that had then."""
        return self.moves_along and self.job in newest_marks(self.output)

    def other_jobs(self) -> Iterator[str]:
        """Names of the other jobs of this workspace over the same output.

        Records inside the output are records of this output, whatever its address was. Elsewhere,
        jobs count that name its address, and those that left a mark in it.

        Raises:
            LedgerError: the records of a job that left a mark here have lost their ``job.json``.
        """
        told = newest_marks(self.output)
        present = jobs_in(self.root)
        for name in sorted(told.keys() - {*present, self.job}):
            if self.sibling(name).revisions():
                raise LedgerError(
                    "a job over this output has lost its record",
                    where=f"{self.root.uri}/{name}/job.json",
                    fix=f"Run job {name} once more, which writes it again, or restore the file",
                )
        for name in present:
            if name == self.job:
                continue
            known = self.moves_along or name in told
            if known or self._output_of(name) in {"", self.output.uri}:
                yield name

    def _output_of(self, job: str) -> str:
        """Address of a job's output; empty where its record is damaged."""
        try:
            record = self.sibling(job).job()
        except LedgerError:
            return ""
        return "" if record is None else record.output

    def record_prefixes(self) -> list[str]:
        """Prefixes of the output that hold records: a workspace may lie in any folder of it."""
        prefixes = [f"{WORKSPACE_FOLDER}/"]
        if self.moves_along:
            inside = f"{self.place}/"
            prefixes.append(unquote(inside) if self.output.uri.startswith("file:") else inside)
        return prefixes

    def holds_anything(self) -> bool:
        """Whether the output holds anything besides records."""
        listing = self.output.list(exclude=self.record_prefixes())
        return next(iter(listing), None) is not None

    def sibling(self, job: str) -> Ledger:
        """The ledger of another job in the same workspace."""
        return Ledger(self.root.sub(job))

    def refuse_if_public(self, *, write: bool = True) -> None:
        """Refuse a workspace that anyone can read: records say where faces are.

        Args:
            write: put an object there that strangers would be shown, to be sure.

        Raises:
            ConfigurationError: an unsigned request was answered, or other users of this machine
                may enter the folder.
        """
        store = self.ledger.store
        if write:
            text = b"streetblur checks with this object that strangers cannot read here.\n"
            store.put(PROBE, text)
        if store.answers_anonymous_reads(PROBE):
            what, fix = _open_to_strangers(self.root)
            raise ConfigurationError(
                f"{what}, and its records say where faces are",
                where=store.uri,
                fix=f"{fix}, or put the workspace elsewhere with --workspace",
            )


def _open_to_strangers(root: ObjectStore) -> tuple[str, str]:
    """What is wrong with an open workspace, and how to close it."""
    place = parse_location(root.uri)
    if isinstance(place, Path):
        fix = f"Keep them out with `chmod 700 {shlex.quote(str(place))}`"
        return "other users of this machine can get into the workspace", fix
    return "the workspace answers anonymous reads", "Take public access away"


def open_workspace(
    output: ObjectStore, job: str, *, workspace: str | None, settings: StorageSettings
) -> Workspace:
    """The workspace of ``job``: inside the output by default, else at the URI ``workspace``."""
    check_job_name(job)
    root = (
        output.sub(WORKSPACE_FOLDER)
        if workspace is None
        else open_store(workspace, settings=settings)
    )
    return Workspace(output, root, job, Ledger(root.sub(job)))


def jobs_in(root: ObjectStore) -> list[str]:
    """Names of the jobs in a workspace root, sorted."""
    names = []
    for folder in root.list_dirs(""):
        name = folder.strip("/")
        if is_job_name(name) and root.head(f"{name}/job.json") is not None:
            names.append(name)
    return sorted(names)


def find_job(root: ObjectStore, job: str | None) -> str:
    """``job`` if it exists, or the only job of the workspace.

    Raises:
        ConfigurationError: no such job, none at all, or several to choose from.
    """
    names = jobs_in(root)
    if job is not None:
        if job in names:
            return job
        known = f"; there are: {', '.join(names[:10])}" if names else ""
        raise ConfigurationError(f"there is no job {job!r}{known}", where=root.uri)
    if len(names) == 1:
        return names[0]
    if not names:
        raise ConfigurationError(
            "there is no job here",
            where=root.uri,
            fix="Start one with `streetblur run INPUT OUTPUT`, or check OUTPUT and --workspace",
        )
    raise ConfigurationError(
        f"there are several jobs: {', '.join(names[:10])}",
        where=root.uri,
        fix="Choose one with --job",
    )
