"""Listing a bucket by several threads, each on prefixes of its own, in flat memory.

A prefix is opened up folder by folder only while threads lack work, and only when its first page
holds all of it; otherwise it is listed straight through. So neither a million small folders nor
one folder of a million objects costs more than about one request a thousand keys. An excluded
prefix beside more than a thousand folders is passed through and dropped for the same reason.
Nothing relies on the order of a listing: some servers do not return keys in byte order.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.errors import StorageError
from pipeline.storage import ListingReport, ObjectInfo

_WAITING_PAGES = 8
_STOP_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of the server: objects, child prefixes if asked for, token of the next page."""

    objects: Sequence[ObjectInfo]
    prefixes: Sequence[str]
    token: str | None


class PageSource(Protocol):
    """Fetches one page of at most 1,000 keys; raises StorageError."""

    def __call__(self, prefix: str, *, folders: bool, token: str | None) -> Page:
        """Return a page under ``prefix``; with ``folders`` grouped at the next '/'."""


def list_parallel(
    source: PageSource,
    prefix: str,
    *,
    exclude: Sequence[str],
    report: ListingReport,
    threads: int = 8,
) -> Iterator[ObjectInfo]:
    """Yield all objects under ``prefix`` in any order.

    Args:
        source: where pages come from; called by several threads at once.
        prefix: relative to the store's root, like all keys and prefixes here.
        exclude: prefixes ending in '/' nothing is yielded from.
        report: counts empty folder markers, which are passed over.
        threads: how many pages are fetched at once.

    Raises:
        StorageError: the first that a thread met; what it was listing is then incomplete.
    """
    walk = _Walk(source, tuple(exclude), report, threads)
    workers = [
        threading.Thread(target=walk.work, name=f"list-{n}", daemon=True) for n in range(threads)
    ]
    walk.add([prefix])
    for worker in workers:
        worker.start()
    try:
        while (objects := walk.take_page()) is not None:
            yield from objects
    finally:
        walk.stop()
        for worker in workers:  # each ends after its request under way; daemons need no more
            worker.join(_STOP_WITHIN_S)


class _Walk:
    """Prefixes to do, pages done, and the threads' agreement about the end."""

    def __init__(
        self, source: PageSource, exclude: tuple[str, ...], report: ListingReport, threads: int
    ) -> None:
        self._source = source
        self._exclude = exclude
        self._report = report
        self._threads = threads
        self._changed = threading.Condition()
        self._todo: list[str] = []
        self._pages: deque[Sequence[ObjectInfo]] = deque()
        self._busy = 0
        self._stopped = False
        self._error: BaseException | None = None

    def add(self, prefixes: Sequence[str]) -> None:
        wanted = [each for each in prefixes if not self._excluded(each)]
        with self._changed:
            self._todo.extend(wanted)
            self._changed.notify_all()

    def _excluded(self, key: str) -> bool:
        return key.startswith(self._exclude)  # never true of an empty tuple

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def take_page(self) -> Sequence[ObjectInfo] | None:
        """Return the next page, None after the last one."""
        with self._changed:
            self._changed.wait_for(lambda: self._pages or self._error or self._done())
            if self._error is not None:
                raise self._error
            if not self._pages:
                return None
            page = self._pages.popleft()
            self._changed.notify_all()
            return page

    def work(self) -> None:
        """List prefixes until none is left: the body of each thread."""
        while (prefix := self._next()) is not None:
            try:
                self._list(prefix)
            except BaseException as error:  # noqa: BLE001 - raised in the consumer's thread
                with self._changed:
                    self._error = self._error or error
                    self._stopped = True
            finally:
                with self._changed:
                    self._busy -= 1
                    self._changed.notify_all()

    def _done(self) -> bool:
        return self._stopped or not (self._todo or self._busy)

    def _next(self) -> str | None:
        with self._changed:
            self._changed.wait_for(lambda: self._todo or self._done())
            if self._stopped or not self._todo:
                return None
            self._busy += 1
            return self._todo.pop()

    def _list(self, prefix: str) -> None:
        hides = any(each.startswith(prefix) for each in self._exclude)
        if hides or len(self._todo) < 2 * self._threads:
            page = self._source(prefix, folders=True, token=None)
            if page.token is None:
                self.add(page.prefixes)
                self._deliver(page.objects)
                return
        token: str | None = None
        while True:
            page = self._source(prefix, folders=False, token=token)
            if not self._deliver(page.objects) or page.token is None:
                return
            if page.token == token:
                raise StorageError(
                    "the server repeats a page of its listing", where=prefix, fix="Run again"
                )
            token = page.token

    def _deliver(self, objects: Sequence[ObjectInfo]) -> bool:
        """Queue a page for the consumer, waiting for room; False once it has stopped."""
        objects = [each for each in objects if not self._excluded(each.key)]
        markers = [each.key for each in objects if _is_marker(each)]
        kept = [each for each in objects if not _is_marker(each)]
        with self._changed:
            for key in markers:
                self._report.add("marker", key)
            if kept:
                self._changed.wait_for(lambda: len(self._pages) < _WAITING_PAGES or self._stopped)
                self._pages.append(kept)
                self._changed.notify_all()
            return not self._stopped


def _is_marker(info: ObjectInfo) -> bool:
    """Say whether this only stands for a folder, the store's own root included."""
    return info.size == 0 and (not info.key or info.key.endswith("/"))
