"""Who is told what happens in a run: progress bar, log lines, metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.commit import Commit
from pipeline.engine import EngineCrashed, OutcomeDict


class Observer(Protocol):
    """Is told what happens."""

    def phase(self, name: str, **details: object) -> None:
        """A new phase begins."""

    def expect(self, images: int) -> None:
        """So many more images are due."""

    def outcome(self, row: OutcomeDict) -> None:
        """An image has its outcome."""

    def committed(self, commit: Commit) -> None:
        """A shard is committed."""

    def crashed(self, error: EngineCrashed) -> None:
        """The engine died or stalled; what was under way is done again."""


@dataclass(frozen=True, slots=True)
class Everyone:
    """Tells each of ``observers``, in order; an observer itself."""

    observers: Sequence[Observer]

    def phase(self, name: str, **details: object) -> None:
        """A new phase begins."""
        for observer in self.observers:
            observer.phase(name, **details)

    def expect(self, images: int) -> None:
        """So many more images are due."""
        for observer in self.observers:
            observer.expect(images)

    def outcome(self, row: OutcomeDict) -> None:
        """An image has its outcome."""
        for observer in self.observers:
            observer.outcome(row)

    def committed(self, commit: Commit) -> None:
        """A shard is committed."""
        for observer in self.observers:
            observer.committed(commit)

    def crashed(self, error: EngineCrashed) -> None:
        """The engine died or stalled; what was under way is done again."""
        for observer in self.observers:
            observer.crashed(error)
