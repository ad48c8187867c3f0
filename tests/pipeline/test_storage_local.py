"""What only folders can do to us: links, odd names, collisions, leftovers, permissions."""

from __future__ import annotations

import os
import stat
import tracemalloc
from pathlib import Path

import pytest

from pipeline.errors import ConfigurationError
from pipeline.process_identity import this_process
from pipeline.storage import (
    ListingReport,
    NotFound,
    ObjectStore,
    RefusedKey,
    StorageSettings,
    check_disjoint,
    open_store,
    validate_key,
)
from pipeline.storage_folders import TMP_FOLDER, temporary_file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def store(root: Path) -> ObjectStore:
    opened = open_store(str(root), settings=StorageSettings())
    opened.ensure_root()
    return opened


def test_links_are_reported_and_never_followed(store: ObjectStore, root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "file").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside)
    (root / "loop").symlink_to(root)
    store.put("real", b"")
    report = ListingReport()
    assert [each.key for each in store.list(report=report)] == ["real"]
    assert report.counts == {"link": 3}
    assert sorted(report.examples["link"]) == ["file", "folder", "loop"]
    for key in ("file", "folder/secret"):
        with pytest.raises(RefusedKey, match="symbolic link"):
            store.get(key)
    with pytest.raises(RefusedKey, match="symbolic link"):
        store.put("folder/new", b"")
    with pytest.raises(RefusedKey, match="symbolic link"):
        list(store.list("folder/"))
    store.put("file", b"replaces the link")
    assert (outside / "secret").read_bytes() == b"secret"
    assert sorted(os.listdir(outside)) == ["secret"]


def test_odd_directory_entries_are_reported(store: ObjectStore, root: Path) -> None:
    (root / os.fsdecode(b"bad-\xff.jpg")).write_bytes(b"")
    os.mkfifo(root / "pipe")
    store.put("good", b"")
    report = ListingReport()
    assert [each.key for each in store.list(report=report)] == ["good"]
    assert report.counts == {"undecodable": 1, "special": 1}
    assert report.examples["undecodable"] == ["bad-\\udcff.jpg"]


@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a")])
def test_file_and_folder_of_one_name_collide(store: ObjectStore, first: str, second: str) -> None:
    store.put(first, b"first")
    for write in (store.put, store.create):
        with pytest.raises(RefusedKey) as caught:
            write(second, b"second")
        assert caught.value.reason == "path_collision"
    assert store.get(first) == b"first"


def test_too_long_name_is_refused(store: ObjectStore) -> None:
    with pytest.raises(RefusedKey) as caught:
        store.put("a/" + "n" * 300, b"")
    assert caught.value.reason == "too_long"


def test_workspace_is_private_and_results_are_not(store: ObjectStore, root: Path) -> None:
    previous = os.umask(0o022)
    try:
        store.put("pictures/a.jpg", b"")
        store.put("_streetblur/jobs/j/commit", b"")
    finally:
        os.umask(previous)
    modes = {
        name: stat.S_IMODE((root / name).stat().st_mode)
        for name in ("pictures", "pictures/a.jpg", "_streetblur", "_streetblur/jobs/j")
    }
    assert modes == {
        "pictures": 0o755,
        "pictures/a.jpg": 0o644,
        "_streetblur": 0o700,
        "_streetblur/jobs/j": 0o700,
    }
    assert stat.S_IMODE((root / "_streetblur/jobs/j/commit").stat().st_mode) == 0o600
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


def test_leftovers_of_the_dead_are_removed_and_of_the_living_kept(
    store: ObjectStore, root: Path
) -> None:
    folder = root.joinpath(*TMP_FOLDER)
    with temporary_file(root, b"under way", private=True) as (_, living):
        machine, pid, started, rest = living.split(".")
        assert (pid, started) == (str(os.getpid()), this_process().started)
        (folder / f"{machine}.{pid}.1.{rest}").write_bytes(b"an earlier process of this number")
        (folder / f"elsewhere.7.1.{rest}").write_bytes(b"recent, of another machine")
        old = folder / f"elsewhere.8.1.{rest}"
        old.write_bytes(b"old, of another machine")
        os.utime(old, (1.0, 1.0))
        store.ensure_root()
        assert sorted(os.listdir(folder)) == sorted([living, f"elsewhere.7.1.{rest}"])
    assert [each.key for each in store.list()] == []


def test_missing_root_is_told(root: Path) -> None:
    store = open_store(str(root), settings=StorageSettings())
    with pytest.raises(NotFound):
        list(store.list())
    with pytest.raises(NotFound):
        store.ensure_root(create=False)
    assert not root.exists()


def test_root_itself_may_be_a_link(store: ObjectStore, root: Path) -> None:
    store.put("a", b"1")
    link = root.parent / "link"
    link.symlink_to(root)
    assert open_store(str(link), settings=StorageSettings()).get("a") == b"1"


def test_addresses_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = StorageSettings()
    expected = (tmp_path / "a b").as_uri()
    for uri in ("a b", str(tmp_path / "a b"), expected, expected + "/"):
        assert open_store(uri, settings=settings).uri == expected


@pytest.mark.parametrize(
    "uri", ["", "gs://bucket/x", "s3://", "s3://key:secret@bucket/x", "s3://b/x", "s3://abc/a/../b"]
)
def test_bad_addresses_are_refused_without_secrets(uri: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(uri, settings=StorageSettings())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://host", "localhost:9000", "https://key:secret@host"])
def test_bad_endpoints_are_refused_without_secrets(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        StorageSettings(endpoint_url=url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "empty"),
        ("/a", "absolute"),
        ("a//b", "empty_segment"),
        ("a/", "empty_segment"),
        ("a/../b", "dot_segment"),
        (".", "dot_segment"),
        ("a\0b", "control_character"),
        ("a\x85b", "control_character"),
        ("a\\b", "backslash"),
        ("\udcff", "not_utf8"),
        ("é" * 513, "too_long"),
        ("_streetblur/x", "reserved"),
        ("_streetblur", "reserved"),
    ],
)
def test_refused_keys_have_a_reason(key: str, reason: str) -> None:
    with pytest.raises(RefusedKey) as caught:
        validate_key(key)
    assert caught.value.reason == reason


@pytest.mark.parametrize("key", ["é" * 512, "a/_streetblur/b", "_streetblur2/a", "..."])
def test_good_keys_pass(key: str) -> None:
    try:
        validate_key(key)
    except RefusedKey as error:
        refused = error.reason
    else:
        refused = ""
    assert refused == ""


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("in", "in"),
        ("in", "in/"),
        ("in", "in/out"),
        ("in", "in/new/deep"),
        ("in/sub", "in"),
        ("in", "other/../in"),
        ("in", "link"),
        ("in", "link/out"),
        ("in", "."),
        ("new/In", "new/in/out"),
        ("s3://bucket/a", "s3://bucket/a/"),
        ("s3://bucket/a", "s3://bucket/a/b"),
        ("s3://bucket/a/b", "s3://bucket/a"),
        ("s3://bucket", "s3://bucket/out"),
    ],
)
def test_overlapping_places_are_refused(
    source: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to("in")
    with pytest.raises(ConfigurationError, match="the output"):
        check_disjoint(source, target)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("in", "in2"),
        ("in", "out"),
        ("a/in", "a/out"),
        ("s3://bucket/a", "s3://bucket/ab"),
        ("s3://bucket/a", "s3://other/a"),
        ("in", "s3://bucket/in"),
    ],
)
def test_separate_places_pass(
    source: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_disjoint(source, target)


def test_listing_a_folder_takes_flat_memory(store: ObjectStore, root: Path) -> None:
    def peak(folder: str) -> int:
        tracemalloc.start()
        try:
            for _ in store.list(folder):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    for folder, count in (("small", 100), ("large", 10_000)):
        (root / folder).mkdir()
        for n in range(count):
            (root / folder / str(n)).touch()
    peak("small/")
    assert peak("large/") < peak("small/") + 1_500_000
