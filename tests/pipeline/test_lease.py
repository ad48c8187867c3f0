"""The output's lease: one holder, takeover of the dead, late writers kept out."""

from __future__ import annotations

import json
import math
import multiprocessing
import pickle
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import count
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import pytest
from botocore.awsrequest import AWSRequest

from pipeline.errors import LeaseError, LedgerError, StorageError
from pipeline.lease import Lease, LeaseGuard, acquire
from pipeline.lease_record import LeaseRecord, lease_key, read_record
from pipeline.process_identity import ProcessIdentity, start_time, this_process
from pipeline.storage import ObjectStore, StorageSettings, open_store
from pipeline.storage_s3 import S3Store
from tests.servers import SeaweedServer

SETTINGS = StorageSettings()
LONG_S = 600.0


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    opened = open_store(str(tmp_path / "output"), settings=SETTINGS)
    opened.ensure_root()
    return opened


class FakeClock:
    """Seconds that pass only while somebody pauses, with something done at each pause."""

    def __init__(self, at_pause: Callable[[], object] = lambda: None) -> None:
        self.now = 0.0
        self.at_pause = at_pause

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds
        self.at_pause()


def foreign(heartbeat: int = 0, *, released: bool = False, ttl_s: float = 30.0) -> LeaseRecord:
    return LeaseRecord(
        holder="somebody",
        process=ProcessIdentity(host="far-away", machine="another/boot", pid=77, started="5"),
        job="their-job",
        acquired="2026-01-01T00:00:00+00:00",
        ttl_s=ttl_s,
        heartbeat=heartbeat,
        released=released,
    )


def hold(store: ObjectStore, record: LeaseRecord, epoch: int = 1) -> None:
    store.put(lease_key(epoch), record.encoded())


def test_first_run_takes_epoch_one_and_release_says_so(store: ObjectStore) -> None:
    with acquire(store, "job") as lease:
        lease.check()
        assert lease.epoch == 1
    record = read_record(store, 1)
    assert record is not None
    assert record.released
    assert record.process == this_process()


def test_released_lease_is_followed_at_once(store: ObjectStore) -> None:
    acquire(store, "job", ttl_s=LONG_S).release()
    clock = FakeClock()
    with acquire(store, "job", clock=clock, pause=clock.pause) as lease:
        assert lease.epoch == 2
    assert clock.now == 0.0


def test_released_lease_cannot_be_used(store: ObjectStore) -> None:
    lease = acquire(store, "job")
    lease.release()
    lease.release()
    with pytest.raises(LeaseError, match="released"):
        lease.check()


def test_dead_process_of_this_machine_is_followed_at_once(store: ObjectStore) -> None:
    program = (
        "import os, sys\n"
        "from pipeline.lease import acquire\n"
        "from pipeline.storage import StorageSettings, open_store\n"
        "acquire(open_store(sys.argv[1], settings=StorageSettings()), 'dies', ttl_s=600)\n"
        "os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, store.uri], timeout=60, check=False)
    assert done.returncode == 9
    clock = FakeClock()
    with acquire(store, "next", clock=clock, pause=clock.pause) as lease:
        assert lease.epoch == 2
    assert clock.now == 0.0


def test_reused_process_number_counts_as_dead() -> None:
    reused = this_process().model_copy(update={"started": "1"})
    assert reused.gone()
    assert not this_process().gone()


def test_same_process_number_in_another_container_is_not_dead() -> None:
    boot = this_process().machine.split("/")[0]
    other = this_process().model_copy(update={"machine": f"{boot}/pid:[1]", "started": "1"})
    assert not other.gone()


def test_zombie_counts_as_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()  # ends when the process does, before it is waited for
    try:
        while start_time(process.pid) is not None:
            threading.Event().wait(0.01)
    finally:
        process.wait()


def test_silent_foreign_holder_is_followed_after_its_time(store: ObjectStore) -> None:
    hold(store, foreign(ttl_s=45.0))
    clock, told = FakeClock(), list[str]()
    with acquire(store, "job", clock=clock, pause=clock.pause, on_wait=told.append) as lease:
        assert lease.epoch == 2
    assert clock.now == pytest.approx(45.0)
    assert len(told) == 1
    assert "far-away" in told[0]


def test_live_foreign_holder_is_refused_by_name(store: ObjectStore) -> None:
    hold(store, foreign())
    clock = FakeClock(at_pause=lambda: hold(store, foreign(heartbeat=1)))
    with pytest.raises(LeaseError) as caught:
        acquire(store, "job", clock=clock, pause=clock.pause)
    for part in ("far-away", "77", "their-job", "2026-01-01", "Wait"):
        assert part in str(caught.value)
    assert read_record(store, 2) is None


def test_holder_that_releases_while_watched_is_followed(store: ObjectStore) -> None:
    hold(store, foreign())
    clock = FakeClock(at_pause=lambda: hold(store, foreign(released=True)))
    with acquire(store, "job", clock=clock, pause=clock.pause) as lease:
        assert lease.epoch == 2
    assert clock.now < 30.0


def _compete(uri: str, start: Barrier, finish: Event, results: Queue[int | None]) -> None:
    start.wait(60)
    try:
        with acquire(open_store(uri, settings=SETTINGS), "race", ttl_s=1.5) as lease:
            results.put(lease.epoch)
            finish.wait(60)
            lease.check()
    except LeaseError:
        results.put(None)


def test_of_two_runs_at_once_one_works(store: ObjectStore) -> None:
    context = multiprocessing.get_context("spawn")
    start, finish = context.Barrier(2), context.Event()
    results: Queue[int | None] = context.Queue()
    arguments = (store.uri, start, finish, results)
    runs = [context.Process(target=_compete, args=arguments) for _ in "ab"]
    for run in runs:
        run.start()
    outcomes = [results.get(timeout=60) for _ in runs]
    finish.set()
    for run in runs:
        run.join(60)
    assert sorted(outcomes, key=str) == [1, None]
    assert [run.exitcode for run in runs] == [0, 0]


@pytest.mark.parametrize("change", ["superseded", "removed", "overwritten"])
def test_holder_sees_that_it_has_lost(store: ObjectStore, change: str, tmp_path: Path) -> None:
    with acquire(store, "late", ttl_s=1.5) as lease:
        if change == "superseded":
            hold(store, foreign(), epoch=2)
        elif change == "overwritten":
            hold(store, foreign())
        else:
            (tmp_path / "output" / lease_key(1)).unlink()
        assert lease.lost.wait(30)
        with pytest.raises(LeaseError, match="no longer holds"):
            lease.check()


def test_renewals_keep_the_lease_beyond_its_time(store: ObjectStore) -> None:
    with acquire(store, "job", ttl_s=0.6) as lease:
        beats = 0
        while beats < 5:
            record = read_record(store, 1)
            assert record is not None
            beats = record.heartbeat
            assert not lease.lost.wait(0.02)
        lease.check()


class Hanging:
    """A store whose writes hang until released, like a network that swallows packets."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.go_on = threading.Event()

    def put(self, key: str, data: bytes, *, content_type: str = "") -> object:
        self.go_on.wait(60)
        raise StorageError("the network is gone")

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


def test_hanging_renewal_loses_the_lease_in_time(store: ObjectStore) -> None:
    hanging = Hanging(store)
    lease: Lease = acquire(hanging, "job", ttl_s=0.5)  # type: ignore[arg-type]
    try:
        assert lease.lost.wait(10)
        with pytest.raises(LeaseError, match=r"could not be renewed for 0.5 s"):
            lease.check()
    finally:
        hanging.go_on.set()
        lease.release()


class Interrupted:
    """A store that lets something happen after each call of one of its methods."""

    def __init__(self, store: ObjectStore, method: str, happen: Callable[[], object]) -> None:
        self._store = store
        self._method = method
        self._happen = happen

    def __getattr__(self, name: str) -> object:
        found = getattr(self._store, name)
        if name != self._method:
            return found

        def call(*arguments: object, **options: object) -> object:
            done = found(*arguments, **options)
            self._happen()
            return done

        return call


def test_renewals_count_from_when_they_were_asked_for(store: ObjectStore) -> None:
    clock = FakeClock()
    slow = Interrupted(store, "put", lambda: clock.pause(0.7))
    with acquire(slow, "job", ttl_s=0.6, clock=clock) as lease:  # type: ignore[arg-type]
        assert lease.lost.wait(10)
        with pytest.raises(LeaseError, match=r"could not be renewed for 0.6 s"):
            lease.check()


def test_followed_holder_renews_no_more(store: ObjectStore) -> None:
    with acquire(store, "late", ttl_s=1.5) as lease:
        hold(store, foreign(), epoch=2)
        assert lease.lost.wait(30)
    record = read_record(store, 1)
    assert record is not None
    assert (record.heartbeat, record.released) == (0, False)


def test_holder_followed_while_it_renews_sees_that_at_once(store: ObjectStore) -> None:
    def follow() -> None:
        hold(store, foreign(), epoch=2)
        store_of_run.get = refuse  # type: ignore[attr-defined]  # no other renewal tells

    def refuse(key: str, **_: object) -> bytes:
        raise StorageError("the network is gone")

    store_of_run = Interrupted(store, "put", follow)
    with acquire(store_of_run, "late", ttl_s=3.0) as lease:  # type: ignore[arg-type]
        assert lease.lost.wait(30)
        with pytest.raises(LeaseError, match="another run has taken over"):
            lease.check()


def test_worker_of_a_followed_run_is_kept_out(store: ObjectStore) -> None:
    hold(store, foreign())
    guard = LeaseGuard(store, 1, max_age_s=0)
    guard.check()
    hold(store, foreign(), epoch=2)
    with pytest.raises(LeaseError, match="epoch 1"):
        guard.check()


def test_worker_of_an_ended_run_is_kept_out(store: ObjectStore) -> None:
    with acquire(store, "job") as lease:
        guard = pickle.loads(pickle.dumps(lease.guard(max_age_s=0)))  # noqa: S301
        guard.check()
    with pytest.raises(LeaseError):
        guard.check()


def test_guard_does_not_ask_again_while_its_answer_is_fresh(store: ObjectStore) -> None:
    hold(store, foreign())
    guard = LeaseGuard(store, 1, max_age_s=LONG_S)
    guard.check()
    hold(store, foreign(), epoch=2)
    guard.check()
    with pytest.raises(LeaseError):
        pickle.loads(pickle.dumps(guard)).check()  # noqa: S301 - a new process asks anew


def test_epochs_do_not_go_below_what_the_ledger_knows(store: ObjectStore) -> None:
    with acquire(store, "job", min_epoch=12) as lease:
        assert lease.epoch == 12
        lease.guard().check()


def test_lease_on_a_bucket(s3_server: SeaweedServer, s3_bucket: str) -> None:
    settings = StorageSettings(endpoint_url=s3_server.endpoint_url)
    bucket = open_store(f"s3://{s3_bucket}/out", settings=settings)
    hold(bucket, foreign(ttl_s=3.0))
    clock = FakeClock()
    with acquire(bucket, "job", ttl_s=3.0, clock=clock, pause=clock.pause) as lease:
        lease.guard(max_age_s=0).check()
        assert lease.epoch == 2
        with pytest.raises(LeaseError):
            LeaseGuard(bucket, 1, max_age_s=0).check()
    with acquire(bucket, "job") as lease:
        assert lease.epoch == 3


def test_a_server_that_ignores_the_condition_is_refused(
    s3_bucket: str, s3_server: SeaweedServer
) -> None:
    store = open_store(
        f"s3://{s3_bucket}/out", settings=StorageSettings(endpoint_url=s3_server.endpoint_url)
    )
    assert isinstance(store, S3Store)
    acquire(store, "before").release()

    def drop_the_condition(request: AWSRequest, **_: object) -> None:
        del request.headers["If-None-Match"]

    events = store.connection.client.meta.events
    events.register("before-sign.s3.PutObject", drop_the_condition)
    with pytest.raises(LeaseError, match="If-None-Match") as caught:
        acquire(store, "job")
    assert "overwrites" in caught.value.what
    events.unregister("before-sign.s3.PutObject", drop_the_condition)
    with acquire(store, "after", pause=pytest.fail) as lease:  # nobody waits for the refused one
        assert lease.epoch == 3


def test_epochs_that_are_passed_over_are_taken_too(store: ObjectStore) -> None:
    with acquire(store, "job", min_epoch=4) as lease:
        assert lease.epoch == 4
        for epoch in (1, 2, 3):
            filler = read_record(store, epoch)
            assert filler is not None
            assert filler.released
    with acquire(store, "job") as lease:
        assert lease.epoch == 5


@pytest.mark.parametrize("at", [1, 2, 3])
def test_who_takes_an_epoch_that_is_being_passed_over_is_seen(store: ObjectStore, at: int) -> None:
    """A living rival that listed before: whichever epoch it takes, one of the two gives way."""
    calls = []

    def rival_comes() -> None:
        calls.append(None)
        if len(calls) == at:
            store.create(lease_key(at + 1), foreign(ttl_s=1.0).encoded())

    beats = count(1)
    clock = FakeClock(lambda: hold(store, foreign(next(beats), ttl_s=1.0), at + 1))
    between = Interrupted(store, "create", rival_comes)
    with pytest.raises(LeaseError, match="their-job"):
        acquire(between, "late", min_epoch=4, ttl_s=1.0, clock=clock, pause=clock.pause)  # type: ignore[arg-type]
    assert store.head(lease_key(at + 2)) is None


def test_a_silent_holder_sees_a_run_that_passed_over_epochs(store: ObjectStore) -> None:
    slow = acquire(store, "slow", ttl_s=LONG_S)
    guard = slow.guard(max_age_s=0)
    guard.check()
    own = read_record(store, 1)
    assert own is not None
    hold(store, own.model_copy(update={"released": True}))  # as if it were taken for dead
    acquire(store, "next", min_epoch=12)
    with pytest.raises(LeaseError, match="taken over"):
        slow.confirm()
    with pytest.raises(LeaseError, match="followed by another"):
        guard.check()


def test_who_is_refused_when_it_has_the_lease_lets_it_go(store: ObjectStore) -> None:
    """It is asked when nobody else can tell anything more: with its own epoch in place."""

    def refuse() -> None:
        assert read_record(store, 1) is not None
        raise LeaseError("not here")

    with pytest.raises(LeaseError, match="not here"):
        acquire(store, "late", accept=refuse)
    own = read_record(store, 1)
    assert own is not None
    assert own.released


def test_what_is_no_lease_object_does_not_hold_up_for_ever(
    store: ObjectStore, tmp_path: Path
) -> None:
    acquire(store, "job").release()
    (tmp_path / "output" / lease_key(2)).symlink_to(tmp_path)
    clock = FakeClock()
    with pytest.raises(LeaseError, match=re.escape(lease_key(2))) as caught:
        acquire(store, "job", clock=clock, pause=clock.pause)
    assert "take it away" in caught.value.fix


def test_a_holder_sees_that_its_epoch_was_taken_anew(store: ObjectStore, tmp_path: Path) -> None:
    first = acquire(store, "first", ttl_s=LONG_S)
    (tmp_path / "output" / lease_key(1)).unlink()
    with acquire(store, "second", ttl_s=LONG_S), pytest.raises(LeaseError, match="removed"):
        first.confirm()


def test_who_is_asked_for_long_keeps_the_lease_meanwhile(store: ObjectStore) -> None:
    with acquire(store, "job", ttl_s=0.3, accept=lambda: time.sleep(1)) as lease:
        lease.check()
        assert not lease.lost.is_set()
        record = read_record(store, 1)
        assert record is not None
        assert record.heartbeat >= 2


def test_filling_epochs_does_not_use_up_the_time_to_live(store: ObjectStore) -> None:
    clock = FakeClock()
    slow = Interrupted(store, "create", lambda: clock.pause(0.2))
    with acquire(slow, "job", min_epoch=9, ttl_s=1.0, clock=clock) as lease:  # type: ignore[arg-type]
        lease.check()
        assert (lease.epoch, lease.lost.is_set()) == (9, False)
    assert clock.now > 1.0


@pytest.mark.parametrize("ttl_s", [0.0, -1.0, math.inf, math.nan, 1e12])
def test_a_time_to_live_beyond_reason_is_damage(store: ObjectStore, ttl_s: float) -> None:
    text = json.dumps({**json.loads(foreign().encoded()), "ttl_s": ttl_s})
    store.put(lease_key(1), text.encode())
    with pytest.raises(LedgerError, match="damaged"):
        acquire(store, "job")


def test_a_guard_stops_when_its_record_is_gone(store: ObjectStore, tmp_path: Path) -> None:
    with acquire(store, "job", ttl_s=LONG_S) as lease:
        guard = lease.guard(max_age_s=0)
        guard.check()
        (tmp_path / "output" / lease_key(1)).unlink()
        with pytest.raises(LeaseError):
            guard.check()


def test_a_process_that_is_hidden_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under hidepid, /proc does not show other users' processes."""

    def other_user(pid: int, signal: int) -> None:
        raise PermissionError

    hidden = this_process().model_copy(update={"pid": 2**22 + 1})
    assert hidden.gone()
    monkeypatch.setattr("serving.owner.os.kill", other_user)
    assert not hidden.gone()
