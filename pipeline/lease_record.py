"""The lease objects in an output: one an epoch, never deleted, the highest one owns."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import LedgerError
from pipeline.process_identity import ProcessIdentity
from pipeline.storage import INTERNAL_PREFIX, NotFound, ObjectStore, TooLarge

LEASE_FOLDER = f"{INTERNAL_PREFIX}lease/"
_NAME = re.compile(re.escape(LEASE_FOLDER) + r"(\d{8,})\.json")
_MAX_BYTES = 65_536
LONGEST_TTL_S = 86_400.0


class LeaseRecord(BaseModel):
    """What a holder says of itself.

    Attributes:
        holder: random, one an acquisition; tells a lost answer from a lost race.
        process: who holds it.
        job: what for.
        acquired: wall clock of the holder, ISO 8601 with zone, for people.
        ttl_s: the holder changes ``heartbeat`` at least this often.
        heartbeat: counts renewals.
        released: the holder has ended in order.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    holder: str
    process: ProcessIdentity
    job: str
    acquired: str
    ttl_s: float = Field(gt=0, le=LONGEST_TTL_S, allow_inf_nan=False)
    heartbeat: int = 0
    released: bool = False

    def encoded(self) -> bytes:
        """Return the object's content."""
        return self.model_dump_json(indent=2).encode()


def lease_key(epoch: int) -> str:
    """Return the key of an epoch's object."""
    return f"{LEASE_FOLDER}{epoch:08d}.json"


def newest_epoch(store: ObjectStore) -> int:
    """Return the highest epoch, 0 without any.

    One listing request a thousand runs; while a run holds an epoch, checks ask for the next one
    by name instead.
    """
    names = (_NAME.fullmatch(each.key) for each in store.list(LEASE_FOLDER))
    return max((int(name[1]) for name in names if name), default=0)


def read_record(store: ObjectStore, epoch: int) -> LeaseRecord | None:
    """Return an epoch's record, None if there is none.

    Raises:
        LedgerError: the object is damaged.
    """
    key = lease_key(epoch)
    try:
        return LeaseRecord.model_validate_json(store.get(key, max_bytes=_MAX_BYTES))
    except NotFound:
        return None
    except (ValidationError, TooLarge) as error:
        raise LedgerError(
            "the lease object is damaged",
            where=f"{store.uri}/{key}",
            fix="Make sure that no run over this output is under way on any machine. Then copy the "
            f"newest sound object of {LEASE_FOLDER} over this one, or remove it if it is the only "
            "one there, and run again",
        ) from error
