"""What only S3 can do to us: lost answers, outages, wrong credentials, a million keys."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from pipeline.errors import StorageError
from pipeline.storage import (
    AccessDenied,
    ListingReport,
    NotFound,
    ObjectInfo,
    StorageSettings,
    open_store,
)
from pipeline.storage_s3 import S3Store
from pipeline.storage_s3_listing import Page, list_parallel
from tests.conftest import ANONYMOUS_BUCKET, LISTED_BUCKET, READABLE_BUCKET, create_bucket
from tests.servers import SeaweedServer


@pytest.fixture
def settings(s3_server: SeaweedServer) -> StorageSettings:
    return StorageSettings(endpoint_url=s3_server.endpoint_url, max_attempts=3)


@pytest.fixture
def store(s3_bucket: str, settings: StorageSettings) -> S3Store:
    opened = open_store(f"s3://{s3_bucket}/p", settings=settings)
    assert isinstance(opened, S3Store)
    return opened


def test_wrong_secret_is_told_without_it(
    s3_bucket: str, settings: StorageSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "wrong-secret-that-must-not-be-shown"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    store = open_store(f"s3://{s3_bucket}", settings=settings)
    for call in (store.ensure_root, lambda: store.get("a"), lambda: store.put("a", b"")):
        with pytest.raises(AccessDenied) as caught:
            call()
        assert secret not in str(caught.value)
        assert "credentials" in str(caught.value)
    with pytest.raises(AccessDenied):
        list(store.list())


def test_no_credentials_are_told(
    s3_bucket: str, settings: StorageSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(AccessDenied, match="no usable credentials"):
        open_store(f"s3://{s3_bucket}", settings=settings).ensure_root()


def test_missing_bucket_is_told(store: S3Store, settings: StorageSettings) -> None:
    with pytest.raises(NotFound, match="bucket does not exist"):
        open_store("s3://no-such-bucket", settings=settings).ensure_root()


def test_bucket_open_to_strangers_is_seen(
    store: S3Store, s3_server: SeaweedServer, settings: StorageSettings
) -> None:
    create_bucket(s3_server, ANONYMOUS_BUCKET)
    public = open_store(f"s3://{ANONYMOUS_BUCKET}", settings=settings)
    assert public.answers_anonymous_reads("missing")
    public.put("there", b"")
    assert public.answers_anonymous_reads("there")


@pytest.mark.parametrize("bucket", [READABLE_BUCKET, LISTED_BUCKET])
def test_bucket_that_strangers_may_only_read_or_only_list_is_seen(
    store: S3Store, s3_server: SeaweedServer, settings: StorageSettings, bucket: str
) -> None:
    create_bucket(s3_server, bucket)
    half_open = open_store(f"s3://{bucket}/records", settings=settings)
    half_open.put("there", b"")
    assert half_open.answers_anonymous_reads("there")
    store.put("there", b"")
    assert not store.answers_anonymous_reads("there")


def test_versioned_bucket_is_seen(store: S3Store) -> None:
    store.connection.client.put_bucket_versioning(
        Bucket=store.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    assert store.versioned()


def test_folder_markers_are_counted_not_listed(store: S3Store) -> None:
    for key in ("p/", "p/folder/", "p/folder/a.jpg"):
        store.connection.client.put_object(Bucket=store.bucket, Key=key, Body=b"")
    report = ListingReport()
    assert [each.key for each in store.list(report=report)] == ["folder/a.jpg"]
    assert set(report.counts) <= {"marker"}


def test_stored_type_and_no_metadata(store: S3Store) -> None:
    store.put("a.jpg", b"x", content_type="image/jpeg")
    found = store.connection.client.head_object(Bucket=store.bucket, Key="p/a.jpg")
    assert found["ContentType"] == "image/jpeg"
    assert found["Metadata"] == {}


def test_wrong_checksum_is_refused_by_the_server(store: S3Store) -> None:
    with pytest.raises(ClientError) as caught:
        store.connection.client.put_object(
            Bucket=store.bucket, Key="p/a", Body=b"x", ChecksumSHA256="A" * 43 + "="
        )
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert store.head("a") is None


def _lose_first_answer(store: S3Store) -> None:
    """Have the client throw the first answer to a PUT away and repeat the request."""
    lost: list[bool] = []

    def retry(response: Any, **_: Any) -> None:
        if response is not None and not lost:
            lost.append(True)
            response[0].status_code = 500
            response[1].clear()
            response[1].update(Error={"Code": "InternalError"}, ResponseMetadata={})
            response[1]["ResponseMetadata"]["HTTPStatusCode"] = 500

    store.connection.client.meta.events.register_first("needs-retry.s3.PutObject", retry)


def test_create_whose_answer_was_lost_has_won(store: S3Store) -> None:
    _lose_first_answer(store)
    assert store.create("a", b"ours")
    assert store.get("a") == b"ours"


def test_create_that_lost_after_a_lost_answer_has_lost(store: S3Store) -> None:
    store.put("a", b"theirs")
    _lose_first_answer(store)
    assert not store.create("a", b"ours")
    assert store.get("a") == b"theirs"


@pytest.mark.parametrize("failures", [2, 3])
def test_body_that_breaks_off_is_asked_for_again_boundedly(
    store: S3Store, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    content = bytes(range(256)) * 1000
    store.put("a", content)
    real, calls = StreamingBody.read, list[int]()

    def breaks_off(body: StreamingBody, amt: int | None = None) -> bytes:
        calls.append(1)
        if len(calls) <= failures:
            raise ConnectionResetError("reset by peer")
        return real(body, amt)

    monkeypatch.setattr(StreamingBody, "read", breaks_off)
    if failures < 3:
        assert store.get("a") == content
    else:
        with pytest.raises(StorageError, match="broke off"):
            store.get("a")
    assert len(calls) == 3


@pytest.fixture
def own_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SeaweedServer]:
    """A server that a test may stop."""
    with SeaweedServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


def test_outage_is_told_in_time_and_survived(
    s3_server: SeaweedServer, own_server: SeaweedServer
) -> None:
    create_bucket(own_server, "bucket")
    settings = StorageSettings(
        endpoint_url=own_server.endpoint_url, connect_timeout_s=1, read_timeout_s=2, max_attempts=2
    )
    store = open_store("s3://bucket/p", settings=settings)
    _eventually(lambda: store.put("a", b"before"))  # a server's first write makes its volumes
    own_server.stop()
    calls = (
        lambda: store.get("a"),
        lambda: store.put("b", b""),
        lambda: store.create("c", b""),
        lambda: list(store.list()),
        lambda: store.head("a"),
    )
    for call in calls:
        started = time.monotonic()
        with pytest.raises(StorageError, match="cannot be reached"):
            call()
        assert time.monotonic() - started < 15
    own_server.start()
    assert _eventually(lambda: store.get("a")) == b"before"
    assert _eventually(lambda: store.create("c", b"after"))


def _eventually(call: Any) -> Any:
    """Repeat while a server that has just started is slow; each try waits by itself."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return call()
        except StorageError:
            if time.monotonic() > deadline:
                raise


class ManyKeys:
    """Pages of a bucket with ``folders`` folders of ``size`` objects, as a server sends them."""

    def __init__(self, folders: int, size: int) -> None:
        self.folders, self.size = folders, size
        self.requests = 0
        self._lock = threading.Lock()

    def __call__(self, prefix: str, *, folders: bool, token: str | None) -> Page:
        with self._lock:
            self.requests += 1
        first = int(token or 0)
        if prefix == "" and folders:
            last = min(first + 1000, self.folders)
            names = [f"{n:07d}/" for n in range(first, last)]
            return Page([], names, str(last) if last < self.folders else None)
        base = int(prefix[:-1]) * self.size if prefix else 0
        total = self.size if prefix else self.folders * self.size
        last = min(first + 1000, total)
        objects = [
            ObjectInfo(f"{n // self.size:07d}/{n % self.size:07d}.jpg", 1, f"{n:032x}")
            for n in range(base + first, base + last)
        ]
        return Page(objects, [], str(last) if last < total else None)


@pytest.mark.parametrize(
    ("folders", "size"), [(20, 10_000), (200, 1000), (200_000, 1), (1, 200_000)]
)
def test_listing_takes_flat_memory_and_few_requests(folders: int, size: int) -> None:
    source = ManyKeys(folders, size)
    tracemalloc.start()
    try:
        count = sum(1 for _ in list_parallel(source, "", exclude=(), report=ListingReport()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == folders * size == 200_000
    assert peak < 16_000_000
    assert source.requests <= 2 * 200 + 50


@pytest.mark.parametrize("folders", [20, 20_000])
def test_listing_leaves_exclusions_out_of_narrow_and_wide_folders(folders: int) -> None:
    source = ManyKeys(folders, 2)
    listing = list_parallel(source, "", exclude=("0000007/",), report=ListingReport())
    found = {each.key[:7] for each in listing}
    assert len(found) == folders - 1
    assert "0000007" not in found
    assert source.requests < 60


def test_listing_passes_on_the_error_of_a_page() -> None:
    many = ManyKeys(20, 10_000)

    def breaks(prefix: str, *, folders: bool, token: str | None) -> Page:
        if token == "5000":
            raise AccessDenied("no")
        return many(prefix, folders=folders, token=token)

    with pytest.raises(AccessDenied):
        list(list_parallel(breaks, "", exclude=(), report=ListingReport()))
    assert not [each for each in threading.enumerate() if each.name.startswith("list-")]


def test_listing_left_early_stops_its_threads() -> None:
    listing = list_parallel(ManyKeys(20, 100_000), "", exclude=(), report=ListingReport())
    next(listing)
    listing.close()  # type: ignore[attr-defined]
    assert not [each for each in threading.enumerate() if each.name.startswith("list-")]


def test_listing_does_not_loop_on_a_server_that_does() -> None:
    def stuck(prefix: str, *, folders: bool, token: str | None) -> Page:
        return Page([ObjectInfo("a", 1, "e")], [], "same")

    with pytest.raises(StorageError, match="repeats"):
        list(list_parallel(stuck, "", exclude=(), report=ListingReport()))
