"""One run at a time works on an output: it holds a lease there, which expires and fences.

Each acquisition creates the object of the next epoch, so the epoch is a fencing token: what a
holder of a lower epoch still does can be told and kept out. No clocks of two machines are ever
compared: a waiting run watches the holder's heartbeat change, or not, on its own clock.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType

from pipeline.errors import LeaseError, StorageError, StreetblurError
from pipeline.lease_record import LEASE_FOLDER, LeaseRecord, lease_key, newest_epoch, read_record
from pipeline.process_identity import this_process
from pipeline.storage import ObjectStore

_log = logging.getLogger(__name__)
_RENEWALS_A_TTL = 3
_LOOKS_A_TTL = 10
_TRIES = 50
_PAUSE_S = 0.1


def elapsed_s() -> float:
    """Return seconds that also pass while the machine sleeps, for leases must expire then."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()  # pragma: no cover - other systems


def acquire(
    store: ObjectStore,
    job: str,
    *,
    ttl_s: float = 30.0,
    min_epoch: int = 1,
    clock: Callable[[], float] = elapsed_s,
    pause: Callable[[float], object] = time.sleep,
    on_wait: Callable[[str], object] | None = None,
    accept: Callable[[], object] = lambda: None,
) -> Lease:
    """Take the lease of an output, waiting for a holder that may be dead.

    A holder that has released it, or was a process of this machine that is gone, is followed at
    once; a silent one after the longer of its ``ttl_s`` and ours.

    Args:
        store: the output.
        job: name told to others.
        ttl_s: this lease lapses when it could not be renewed for so long.
        min_epoch: lowest epoch to take, for ledgers that outlived their lease objects.
        clock: seconds that never go back.
        pause: waits for some seconds.
        on_wait: told once why this waits.
        accept: asked when the lease is taken: whoever was followed tells nothing more by then.
            What it raises, this raises, and the lease is let go.

    Raises:
        LeaseError: somebody else holds the lease and is alive, or the store cannot keep one.
        LedgerError: the newest lease object is damaged.
        StorageError: the output cannot be read or written.
    """
    for _ in range(_TRIES):
        newest = newest_epoch(store)
        record = read_record(store, newest) if newest else None
        if record is not None and not record.released and not record.process.gone():
            _watch(store, newest, record, ttl_s, clock, pause, on_wait)
        own = LeaseRecord(
            holder=secrets.token_hex(16),
            process=this_process(),
            job=job,
            acquired=datetime.now(UTC).isoformat(timespec="seconds"),
            ttl_s=ttl_s,
        )
        epoch = max(newest + 1, min_epoch)
        filled = _fill(store, range(newest + 1, epoch), own)
        asked_at = clock()
        if not filled or not _create(store, epoch, own):
            pause(_PAUSE_S)
            continue  # somebody else was first
        lease = Lease(store, epoch, own, renewed_at=asked_at, clock=clock)
        try:
            _refuse_if_overwritten(store, epoch, own)
            accept()
        except BaseException:
            lease.release()
            raise
        return lease
    raise LeaseError(
        "no lease could be taken: others were first each time, or something is in its place",
        where=f"{store.uri}/{lease_key(epoch)}",
        fix=f"Look whether {LEASE_FOLDER} holds anything that is no lease object, take it away, "
        "and run again",
    )


def _create(store: ObjectStore, epoch: int, record: LeaseRecord) -> bool:
    return store.create(lease_key(epoch), record.encoded(), content_type="application/json")


def _fill(store: ObjectStore, epochs: range, own: LeaseRecord) -> bool:
    """Take epochs that are to be passed over, so that they stay consecutive.

    Holders look for the next epoch alone. False if somebody else has taken one of them.
    """
    released = own.model_copy(update={"released": True})
    return all(_create(store, epoch, released) for epoch in epochs)


def _refuse_if_overwritten(store: ObjectStore, epoch: int, own: LeaseRecord) -> None:
    """Refuse a server that ignores conditions: it would let two runs in, and commits be lost."""
    if _create(store, epoch, own.model_copy(update={"released": True})):
        raise LeaseError(
            "the server overwrites objects that it was told to create only if they are not there",
            where=f"{store.uri}/{lease_key(epoch)}",
            fix="Use a server that honours `If-None-Match: *` on PUT, without which two runs over "
            "one output cannot be kept apart",
        )


def _watch(
    store: ObjectStore,
    epoch: int,
    first: LeaseRecord,
    ttl_s: float,
    clock: Callable[[], float],
    pause: Callable[[float], object],
    on_wait: Callable[[str], object] | None,
) -> None:
    """Return once the holder has been silent for the time to live; raise if it shows life."""
    patience = max(ttl_s, first.ttl_s)
    started = clock()
    if on_wait is not None:
        on_wait(f"{_holder(first)} holds the output; waiting up to {patience:g} s for a sign of it")
    while (waited := clock() - started) < patience:
        pause(min(patience / _LOOKS_A_TTL, patience - waited))
        record = read_record(store, epoch)
        if record is None or record.released or followed(store, epoch):
            return  # ended, or taken by another: look anew
        if record.heartbeat != first.heartbeat:
            raise LeaseError(
                f"the output is held by {_holder(record)} since {record.acquired}",
                where=store.uri,
                fix=f"Wait until it ends, or stop process {record.process.pid} on "
                f"{record.process.host}; a run that died is followed after {patience:g} s",
            )


def followed(store: ObjectStore, epoch: int) -> bool:
    """Say whether the epoch has been followed: epochs are consecutive, so one request tells."""
    return store.head(lease_key(epoch + 1)) is not None


def _holder(record: LeaseRecord) -> str:
    return f"job {record.job!r} (process {record.process.pid} on {record.process.host})"


class Lease:
    """A held lease, renewed by a thread of its own until released; a context manager.

    Attributes:
        epoch: fencing token, higher than that of every earlier holder.
        lost: set when the lease is lost: superseded, removed, or not renewed in time.
    """

    def __init__(
        self,
        store: ObjectStore,
        epoch: int,
        record: LeaseRecord,
        *,
        renewed_at: float,
        clock: Callable[[], float],
    ) -> None:
        self.epoch = epoch
        self.lost = threading.Event()
        self._store = store
        self._record = record
        self._clock = clock
        self._renewed_at = renewed_at
        self._reason = ""
        self._ended = threading.Event()
        # Two threads, since a renewal can hang in the network for longer than the lease lasts.
        self._threads = [
            threading.Thread(target=each, name=f"lease-{epoch}-{each.__name__}", daemon=True)
            for each in (self._renew_always, self._expire)
        ]
        for thread in self._threads:
            thread.start()

    def check(self) -> None:
        """Raise LeaseError unless this run still holds the lease."""
        self._lapse()
        if self.lost.is_set():
            raise LeaseError(
                f"this run no longer holds the output: {self._reason}",
                where=self._store.uri,
                fix="Nothing is damaged: run again when the other run has ended",
            )
        if self._ended.is_set():
            raise LeaseError("this run has released the output", where=self._store.uri)

    def confirm(self) -> None:
        """Ask the store whether this run still holds the lease, and raise LeaseError if not.

        Raises:
            StorageError: the store does not answer.
        """
        self.check()
        current = read_record(self._store, self.epoch)
        if current is None or current.holder != self._record.holder:
            self._lose("its lease object was removed or overwritten")
        elif followed(self._store, self.epoch):
            self._lose("another run has taken over")
        self.check()

    def guard(self, max_age_s: float = 5.0) -> LeaseGuard:
        """Return the picklable check that workers make before they write."""
        return LeaseGuard(self._store, self.epoch, max_age_s)

    def release(self) -> None:
        """Stop renewing and let the next run start at once; a second call does nothing."""
        if self._ended.is_set():
            return
        self._ended.set()
        for thread in self._threads:
            thread.join(self._record.ttl_s)
        if self.lost.is_set() or any(thread.is_alive() for thread in self._threads):
            return
        final = self._record.model_copy(update={"released": True})
        try:
            self._put(final)
        except StorageError as error:  # the work is done; the next run waits for the expiry
            _log.warning("the lease could not be released: %s", error)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _renew_always(self) -> None:
        interval = self._record.ttl_s / _RENEWALS_A_TTL
        wait = interval
        while not self._ended.wait(wait) and not self.lost.is_set():
            try:
                self._renew()
                wait = interval
            except StreetblurError as error:
                _log.warning("the lease could not be renewed, trying again: %s", error)
                wait = interval / _RENEWALS_A_TTL

    def _renew(self) -> None:
        asked_at = self._clock()
        current = read_record(self._store, self.epoch)
        if current is None or current.holder != self._record.holder:
            self._lose("its lease object was removed or overwritten")
        elif followed(self._store, self.epoch):
            self._lose("another run has taken over")
        else:
            renewed = self._record.model_copy(update={"heartbeat": self._record.heartbeat + 1})
            self._put(renewed)
            self._record = renewed
            if followed(self._store, self.epoch):
                self._lose("another run has taken over")
            self._renewed_at = asked_at

    def _put(self, record: LeaseRecord) -> None:
        self._store.put(lease_key(self.epoch), record.encoded(), content_type="application/json")

    def _expire(self) -> None:
        while not self.lost.is_set():
            left = self._renewed_at + self._record.ttl_s - self._clock()
            if self._ended.wait(max(left, 0.0)):
                return
            self._lapse()

    def _lapse(self) -> None:
        ttl_s = self._record.ttl_s
        if not self._ended.is_set() and self._clock() - self._renewed_at >= ttl_s:
            self._lose(f"it could not be renewed for {ttl_s:g} s")

    def _lose(self, reason: str) -> None:
        self._reason = self._reason or reason
        self.lost.set()


@dataclass(slots=True)
class LeaseGuard:
    """A worker's check that the run it works for still holds the output; picklable.

    Attributes:
        store: the output.
        epoch: of the run the worker belongs to.
        max_age_s: an answer younger than this many seconds is taken for still true.
    """

    store: ObjectStore
    epoch: int
    max_age_s: float = 5.0
    _asked_at: float | None = field(default=None, init=False, repr=False)

    def __reduce__(self) -> tuple[type[LeaseGuard], tuple[ObjectStore, int, float]]:
        return (LeaseGuard, (self.store, self.epoch, self.max_age_s))  # clocks do not travel

    def check(self) -> None:
        """Raise LeaseError if the run has ended, or another one has followed it."""
        now = elapsed_s()
        if self._asked_at is not None and now - self._asked_at < self.max_age_s:
            return
        record = read_record(self.store, self.epoch)
        if record is None or record.released or followed(self.store, self.epoch):
            raise LeaseError(
                f"the run of lease epoch {self.epoch} has ended or was followed by another",
                where=self.store.uri,
                fix="This worker is late and stops: the other run does its work",
            )
        self._asked_at = now
