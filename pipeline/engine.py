"""Engines take work items through the stages; the local one is the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from pipeline.records import WorkItem
from pipeline.stages.build import StageConfig, detect_chain, fetch_chain, publish_chain, start
from pipeline.stages.envelope import outcome_of

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
        process = whole_chain(self._config)
        for item in items:
            yield process(item)

    def close(self) -> None:
        """Nothing to let go of."""


def whole_chain(config: StageConfig) -> Callable[[WorkItem], OutcomeDict]:
    """All stages as one callable from item to outcome row."""
    fetch, detect, publish = fetch_chain(config), detect_chain(config), publish_chain(config)

    def process(item: WorkItem) -> OutcomeDict:
        done = outcome_of(
            publish(detect(fetch(start(item)))),
            policy_digest=config.policy_digest,
            models=config.models,
        )
        return {**done.as_row(), "shard": done.shard}

    return process
