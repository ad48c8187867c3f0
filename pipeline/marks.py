"""Marks: which runs over an output keep their records where; a run leaves them before it publishes.

A mark is two objects of one name: one lies among the records of the job, ``<job>/runs/...`` in the
workspace, the other in the output. Whoever holds records without the newest mark of a job does
not know what that job blurred last: the records are others, an old copy, or only a part. An empty
object in place of a mark says that somebody let go of what that run blurred.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.lease_record import LEASE_FOLDER
from pipeline.ledger_records import revision_name
from pipeline.storage import NotFound, ObjectStore

MARKS_FOLDER = "runs"
_TOLD_FOLDER = f"{LEASE_FOLDER}told/"
_TOLD = re.compile(
    re.escape(_TOLD_FOLDER) + r"(\d{8,})-(\d{4,})-([A-Za-z0-9][A-Za-z0-9._-]*)-([0-9a-f]{16})\.json"
)
_KEPT = re.compile(re.escape(MARKS_FOLDER) + r"/(\d{8,})-\d{4,}-[0-9a-f]{16}\.txt")
_MAX_BYTES = 65_536
_REQUESTS = 8


class Mark(NamedTuple):
    """One run's mark.

    Attributes:
        epoch: of the run's lease.
        revision: number of the revision it ran under.
        job: which job ran.
        token: random; 16 hex digits.
    """

    epoch: int
    revision: int
    job: str
    token: str

    @property
    def kept(self) -> str:
        """Its place in the root of the workspace."""
        return f"{self.job}/{MARKS_FOLDER}/{self.epoch:08d}-{self.revision:04d}-{self.token}.txt"

    @property
    def told(self) -> str:
        """Its place in the output."""
        number = f"{self.epoch:08d}-{self.revision:04d}"
        return f"{_TOLD_FOLDER}{number}-{self.job}-{self.token}.json"


class _Told(BaseModel):
    """Content of the object in the output; ``records`` is the place of the workspace."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    records: str


def new_mark(epoch: int, revision: int, job: str) -> Mark:
    """A mark that nobody has left yet."""
    return Mark(epoch, revision, job, secrets.token_hex(8))


def newest_marks(output: ObjectStore) -> Mapping[str, Mark]:
    """The newest mark of each job that may ever have published; one request a thousand runs."""
    newest: dict[str, Mark] = {}
    for info in output.list(_TOLD_FOLDER):
        if name := _TOLD.fullmatch(info.key):
            mark = Mark(int(name[1]), int(name[2]), name[3], name[4])
            newest[mark.job] = max(mark, newest.get(mark.job, mark))
    return newest


def missing_marks(root: ObjectStore, marks: Iterable[Mark]) -> list[Mark]:
    """Those of ``marks`` that the workspace ``root`` does not know, newest first.

    It knows a mark if that lies there with the revision it names, or was let go of.
    """
    wanted = sorted(marks, reverse=True)
    with ThreadPoolExecutor(_REQUESTS, thread_name_prefix="marks") as threads:
        known = threads.map(lambda mark: _is_known(root, mark), wanted)
        return [mark for mark, is_known in zip(wanted, known, strict=True) if not is_known]


def keep(root: ObjectStore, mark: Mark) -> None:
    """Put a mark among the records."""
    root.put(mark.kept, b"A run over the output kept its records here.\n")


def let_go(root: ObjectStore, mark: Mark) -> None:
    """Remember that nobody needs what the run of this mark blurred."""
    root.put(mark.kept, b"")


def tell(output: ObjectStore, mark: Mark, records: str) -> None:
    """Say in the output that who goes on needs the records with this mark, at ``records``."""
    content = _Told(records=records).model_dump_json(indent=2).encode()
    output.put(mark.told, content, content_type="application/json")


def records_of(output: ObjectStore, mark: Mark) -> str | None:
    """Where the records with this mark were; None where that is not known any more."""
    try:
        content = output.get(mark.told, max_bytes=_MAX_BYTES)
        return _Told.model_validate_json(content).records
    except (NotFound, ValidationError):
        return None


def highest_epoch_kept(ledger: ObjectStore) -> int:
    """Highest epoch of the marks in a job's folder, 0 if there are none."""
    names = (_KEPT.fullmatch(info.key) for info in ledger.list(f"{MARKS_FOLDER}/"))
    return max((int(name[1]) for name in names if name), default=0)


def _is_known(root: ObjectStore, mark: Mark) -> bool:
    try:
        kept = root.head(mark.kept)
        if kept is None:
            return False
        return kept.size == 0 or root.head(f"{mark.job}/{revision_name(mark.revision)}") is not None
    except NotFound:
        return False
