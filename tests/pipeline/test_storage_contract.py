"""What every ObjectStore promises, tried on a folder and on a real S3 server alike."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from pipeline.storage import (
    ListingReport,
    NotFound,
    ObjectStore,
    PreconditionFailed,
    RefusedKey,
    StorageSettings,
    TooLarge,
    open_store,
)
from tests.servers import SeaweedServer

ODD_KEYS = [
    "a b",
    " leading and trailing ",
    "a+b",
    "a%20b",
    "a%2Bb",
    "100%",
    "q?x#y&z=1",
    'it\'s "quoted"',
    "<tag>&amp;",
    "ünïcödé/日本/😀.jpg",
    "e\u0301",  # decomposed: stays apart from the composed letter
    "\u00e9",
    "(1)*!$;:,@~^`{}[]|=",
    "...",
    "..a/b..",
    "-dash/-",
]


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store whose root is not the top of its bucket or file system."""
    if request.param == "folder":
        uri, settings = str(tmp_path / "root"), StorageSettings()
    else:
        server: SeaweedServer = request.getfixturevalue("s3_server")
        uri = f"s3://{request.getfixturevalue('s3_bucket')}/deep/root"
        settings = StorageSettings(endpoint_url=server.endpoint_url)
    opened = open_store(uri, settings=settings)
    opened.ensure_root()
    return opened


def keys(store: ObjectStore, prefix: str = "", exclude: tuple[str, ...] = ()) -> list[str]:
    return sorted(each.key for each in store.list(prefix, exclude=exclude))


@pytest.mark.parametrize("content", [b"", b"\0\xff\r\n", os.urandom(3_000_000)], ids=len)
def test_content_comes_back(store: ObjectStore, content: bytes) -> None:
    info = store.put("folder/name.jpg", content, content_type="image/jpeg")
    assert (info.key, info.size) == ("folder/name.jpg", len(content))
    assert store.get("folder/name.jpg", if_match=info.etag, max_bytes=len(content)) == content
    assert store.head("folder/name.jpg") == info
    assert list(store.list()) == [info]


def test_odd_keys_survive(store: ObjectStore) -> None:
    for key in ODD_KEYS:
        store.put(key, key.encode())
    assert keys(store) == sorted(ODD_KEYS)
    for key in ODD_KEYS:
        assert store.get(key) == key.encode()
        assert not store.create(key, b"another")


@pytest.mark.parametrize("key", ["", "/a", "a//b", "a/", "../a", "a/./b", "a\0", "a\n", "a\\b"])
def test_unsafe_keys_are_refused(store: ObjectStore, key: str) -> None:
    tries: list[Callable[[], object]] = [
        lambda: store.put(key, b""),
        lambda: store.create(key, b""),
        lambda: store.get(key),
        lambda: store.head(key),
    ]
    for each in tries:
        with pytest.raises(RefusedKey):
            each()
    assert keys(store) == []


def test_replacing_changes_the_etag(store: ObjectStore) -> None:
    first = store.put("a", b"one")
    second = store.put("a", b"two")
    assert first.etag != second.etag
    assert store.get("a", if_match=second.etag) == b"two"
    with pytest.raises(PreconditionFailed):
        store.get("a", if_match=first.etag)


def test_too_large_is_refused(store: ObjectStore) -> None:
    store.put("a", b"12345")
    assert store.get("a", max_bytes=5) == b"12345"
    with pytest.raises(TooLarge, match="5 bytes"):
        store.get("a", max_bytes=4)


def test_what_is_missing(store: ObjectStore) -> None:
    store.put("folder/a", b"")
    for key in ("missing", "folder", "folder/a/b"):
        assert store.head(key) is None
        with pytest.raises(NotFound):
            store.get(key)
    assert keys(store, "missing/") == []
    assert store.list_dirs("missing") == []


def test_prefixes_and_folders(store: ObjectStore) -> None:
    store = store.sub("top")
    for key in ("a/1", "a/b/2", "a/b/c/3", "ab/4", "z"):
        store.put(key, b"x")
    assert keys(store, "a/") == ["a/1", "a/b/2", "a/b/c/3"]
    assert keys(store, "a") == ["a/1", "a/b/2", "a/b/c/3", "ab/4"]
    assert store.list_dirs() == ["a/", "ab/"]
    assert store.list_dirs("a") == store.list_dirs("a/") == ["a/b/"]
    inner = store.sub("a").sub("b/")
    assert inner.uri == f"{store.uri}/a/b"
    assert keys(inner) == ["2", "c/3"]
    assert inner.get("c/3") == b"x"
    assert inner.list_dirs() == ["c/"]


def test_excluded_prefixes_are_left_out(store: ObjectStore) -> None:
    for key in ("_streetblur/lease/1", "_streetblur-not/1", "a/b/skip/1", "a/b/c", "d"):
        store.put(key, b"")
    found = keys(store, exclude=("_streetblur/", "a/b/skip/"))
    assert found == ["_streetblur-not/1", "a/b/c", "d"]
    assert keys(store, "_streetblur/", exclude=("_streetblur/",)) == []
    assert keys(store, "_streetblur/") == ["_streetblur/lease/1"]


def test_listing_is_complete(store: ObjectStore) -> None:
    wanted = {f"{n % 3}/{n % 7:02d}/seq-{n % 11}/{n:05d}.jpg" for n in range(1500)}
    wanted |= {f"wide/{n:05d}.jpg" for n in range(1200)}  # more than one page of one folder
    wanted |= {f"many/{n:04d}/x.jpg" for n in range(300)}
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: store.put(key, b"x"), wanted))
    found = [each.key for each in store.list()]
    assert len(found) == len(wanted) == 3000
    assert set(found) == wanted


def test_listing_can_be_left_early(store: ObjectStore) -> None:
    for n in range(20):
        store.put(f"{n}/a", b"")
    before = threading.active_count()
    listing = store.list()
    next(listing)
    listing.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_one_of_eight_threads_creates(store: ObjectStore) -> None:
    for turn in range(2):
        start = threading.Barrier(8)

        def create(n: int, key: str = f"race/{turn}", start: threading.Barrier = start) -> bool:
            start.wait(30)
            return store.create(key, f"thread {n}".encode() * 10_000)

        with ThreadPoolExecutor(8) as pool:
            wins = list(pool.map(create, range(8)))
        assert wins.count(True) == 1
        assert store.get(f"race/{turn}") == f"thread {wins.index(True)}".encode() * 10_000


def _create_all(store: ObjectStore, n: int, start: Barrier, results: Queue[list[bool]]) -> None:
    start.wait(60)
    results.put([store.create(f"race/{turn}", f"process {n}".encode()) for turn in range(5)])


def test_one_of_four_processes_creates(store: ObjectStore) -> None:
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(4), context.Queue()
    racers = [
        context.Process(target=_create_all, args=(store, n, start, results)) for n in range(4)
    ]
    for racer in racers:
        racer.start()
    wins = [results.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join(60)
    assert [sum(turn) for turn in zip(*wins, strict=True)] == [1] * 5


def test_pickled_store_works(store: ObjectStore) -> None:
    store.put("a", b"1")
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301
    assert copy.uri == store.uri
    assert copy.get("a") == b"1"


def _read_in_fork(store: ObjectStore, answers: Queue[bytes]) -> None:
    answers.put(store.get("a"))


def test_store_works_after_a_fork(store: ObjectStore) -> None:
    store.put("a", b"1")
    context = multiprocessing.get_context("fork")
    answers: Queue[bytes] = context.Queue()
    child = context.Process(target=_read_in_fork, args=(store, answers))
    child.start()
    assert answers.get(timeout=60) == b"1"
    child.join(60)
    assert store.get("a") == b"1"


def _write_for_ever(store: ObjectStore, ready: Connection) -> None:
    bodies = [bytes([n]) * 4_000_000 for n in (1, 2)]
    store.put("a", bodies[0])
    ready.send(None)
    while True:
        for body in bodies:
            store.put("a", body)


def test_reader_never_sees_part_of_an_object(store: ObjectStore) -> None:
    context = multiprocessing.get_context("spawn")
    for _ in range(2):
        ours, theirs = context.Pipe()
        writer = context.Process(target=_write_for_ever, args=(store, theirs))
        writer.start()
        assert ours.poll(60)
        for _ in range(10):
            content = store.get("a")
            assert content in (b"\1" * 4_000_000, b"\2" * 4_000_000)
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join(60)
        assert store.get("a") in (b"\1" * 4_000_000, b"\2" * 4_000_000)
    store.ensure_root()
    assert keys(store) == ["a"]
    assert store.list_dirs("_streetblur") == []


def test_unversioned_and_closed_to_strangers(store: ObjectStore) -> None:
    store.put("a", b"")
    assert not store.versioned()
    assert not store.answers_anonymous_reads("a")
    assert not store.answers_anonymous_reads("missing")


def test_report_names_nothing_in_a_clean_store(store: ObjectStore) -> None:
    store.put("a", b"")
    report = ListingReport()
    assert len(list(store.list(report=report))) == 1
    assert report.counts == {}
