"""Engines take work items through the stages; the local one is the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol

from pipeline.gate import Gate, LocalGate, judge, undone
from pipeline.records import WorkItem
from pipeline.stages.build import StageConfig, detect_group, fetch_chain, publish_chain, start
from pipeline.stages.detect import groups
from pipeline.stages.envelope import Envelope, outcome_of

OutcomeDict = dict[str, Any]


class EngineCrashed(Exception):
    """The engine died or stalled with images still under way; they have no outcome yet."""


class Engine(Protocol):
    """Runs items through fetch, detect and publish."""

    def run(self, items: Iterable[WorkItem], *, searching: bool = False) -> Iterator[OutcomeDict]:
        """One outcome row (with its ``shard``) for each item, in any order.

        Args:
            items: what to do.
            searching: after a crash, one image a task: an image that kills its worker may be left
                without a row, all others get theirs.

        Raises:
            EngineCrashed: workers died beyond their bounded restarts, or nothing came for too long.
            ServingError: models cannot be relied on; raised when every item has its row, of which
                those that were not judged have failed.
            StreetblurError: what concerns the whole run.
        """

    def close(self) -> None:
        """Let go of workers."""


class LocalEngine:
    """All stages in this process, one image after the other."""

    def __init__(self, config: StageConfig) -> None:
        self._config = config

    def run(self, items: Iterable[WorkItem], *, searching: bool = False) -> Iterator[OutcomeDict]:
        """One outcome row for each item, in order."""
        gate = LocalGate()
        yield from whole_chain(self._config, gate)(items)
        if gate.error is not None:
            raise gate.error

    def close(self) -> None:
        """Nothing to let go of."""


def whole_chain(
    config: StageConfig, gate: Gate
) -> Callable[[Iterable[WorkItem]], Iterator[OutcomeDict]]:
    """All stages as one callable from items to outcome rows, in order."""
    fetch, publish = fetch_chain(config), publish_chain(config)

    def fetched(item: WorkItem) -> Envelope:
        return undone(start(item)) if gate.closed() else fetch(start(item))

    def process(items: Iterable[WorkItem]) -> Iterator[OutcomeDict]:
        for group in groups(fetched(item) for item in items):
            for envelope in judge(group, partial(detect_group, config), gate):
                done = outcome_of(publish(envelope), **config.provenance)
                yield {**done.as_row(), "shard": done.shard}

    return process
