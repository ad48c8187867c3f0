"""Listing a folder tree: hashed by a few threads, flat memory, links passed over."""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.storage import ListingReport, ObjectInfo
from pipeline.storage_folders import FILE_FLAGS, content_etag, open_child_folder, read_chunks

UNREADABLE = "unreadable"
_THREADS = 4
_WINDOW = 4 * _THREADS  # files open and waiting for their hash


def list_tree(
    fd: int, base: str, stem: str, *, exclude: Sequence[str], report: ListingReport
) -> Iterator[ObjectInfo]:
    """Yield the files in folder ``fd`` and below.

    Args:
        fd: where to start; stays open and belongs to the caller.
        base: key of that folder: empty or ending in '/'.
        stem: only names directly in ``fd`` that start with this.
        exclude: keys ending in '/' of folders that are not entered.
        report: counts what is passed over.
    """
    waiting: deque[tuple[str, Future[tuple[str, int] | None]]] = deque()
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="hash")
    try:
        for key, file_fd in _files(fd, base, stem, tuple(exclude), report):
            waiting.append((key, pool.submit(_hash_and_close, file_fd)))
            if len(waiting) >= _WINDOW:
                yield from _finished(*waiting.popleft())
        while waiting:
            yield from _finished(*waiting.popleft())
    finally:
        # Not cancelled: each pending hash owns an open file and closes it.
        pool.shutdown(wait=True)


def _finished(key: str, future: Future[tuple[str, int] | None]) -> Iterator[ObjectInfo]:
    outcome = future.result()
    if outcome is not None:
        yield ObjectInfo(key, outcome[1], outcome[0])


def _hash_and_close(fd: int | None) -> tuple[str, int] | None:
    if fd is None:
        return UNREADABLE, 0
    try:
        return content_etag(read_chunks(fd))
    except OSError:  # a bad sector: the row's own read tells, not the whole listing
        return UNREADABLE, 0
    finally:
        os.close(fd)


def _files(
    fd: int, base: str, stem: str, exclude: tuple[str, ...], report: ListingReport
) -> Iterator[tuple[str, int | None]]:
    """Yield keys and open descriptors, None for a file that may not be opened."""
    with os.scandir(fd) as entries:
        for entry in entries:
            name = entry.name
            if not name.startswith(stem):
                continue
            key = base + name
            try:
                name.encode()
            except UnicodeEncodeError:
                report.add("undecodable", key)
                continue
            if entry.is_symlink():
                report.add("link", key)
            elif entry.is_dir(follow_symlinks=False):
                if not f"{key}/".startswith(exclude):
                    yield from _inside(fd, name, key, exclude, report)
            elif entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    yield from _opened(fd, name, key, report)
            else:
                report.add("special", key)


def _inside(
    fd: int, name: str, key: str, exclude: tuple[str, ...], report: ListingReport
) -> Iterator[tuple[str, int | None]]:
    try:
        child = open_child_folder(fd, name)
    except FileNotFoundError:
        return
    try:
        yield from _files(child, f"{key}/", "", exclude, report)
    finally:
        os.close(child)


def _opened(
    fd: int, name: str, key: str, report: ListingReport
) -> Iterator[tuple[str, int | None]]:
    try:
        file_fd = os.open(name, FILE_FLAGS, dir_fd=fd)
    except PermissionError:
        yield key, None
        return
    except OSError as error:  # replaced by a link or a device since the scan
        report.add("special", f"{key}: {error.strerror}")
        return
    if stat.S_ISREG(os.fstat(file_fd).st_mode):
        yield key, file_fd
    else:
        os.close(file_fd)
        report.add("special", key)


def list_folders(fd: int) -> list[str]:
    """Return the names of the real folders directly in folder ``fd``, sorted."""
    with os.scandir(fd) as entries:
        return sorted(each.name for each in entries if each.is_dir(follow_symlinks=False))
