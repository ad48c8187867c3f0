"""Ends a run in good order: once models cannot be relied on, what is left goes by undone.

An exception in a worker would end the engine at once, and pictures that were just published would
have no outcome: nobody would know what was blurred in them. So whoever finds that a model is broken
closes the gate; from then on every picture fails without being looked at, all get their outcome and
are committed, and only then the run ends with the error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

from pipeline.stages.detect import DetectGroup
from pipeline.stages.envelope import Envelope, code_of
from serving.errors import ServingError

NOT_JUDGED = "not_judged"
"""Note of a picture that went by undone; an earlier outcome of it stays in force."""


class Gate(Protocol):
    """Shared by all workers of a run."""

    def closed(self) -> bool:
        """Whether somebody closed it."""

    def close(self, error: ServingError) -> None:
        """Let no picture be judged any more; the first error counts."""


class LocalGate:
    """The gate of a run in one process.

    Attributes:
        error: why it is closed; None while it is open.
    """

    def __init__(self) -> None:
        self.error: ServingError | None = None

    def closed(self) -> bool:
        """See ``Gate``."""
        return self.error is not None

    def close(self, error: ServingError) -> None:
        """See ``Gate``."""
        self.error = self.error or error


def judge(
    group: Sequence[Envelope], detect: Callable[[], DetectGroup], gate: Gate
) -> list[Envelope]:
    """Judge a group, or let it fail when nothing can be relied on.

    Args:
        group: fetched pictures.
        detect: gives the stage; it may have to be built first, which judges the canary.
        gate: closed if it finds that a model is broken or nobody answers.
    """
    if gate.closed():
        return [undone(envelope) for envelope in group]
    try:
        return detect()(group)
    except ServingError as error:
        gate.close(error)
        return [_failed(envelope, code_of(error), str(error)) for envelope in group]


def undone(envelope: Envelope) -> Envelope:
    """A picture that was not looked at because the gate is closed."""
    return _failed(envelope, "stopped", "the run was stopped before this picture was judged")


def _failed(envelope: Envelope, reason: str, message: str) -> Envelope:
    if envelope.ending is not None:
        return envelope
    ended = envelope.ended("failed", reason, message)
    return dataclasses.replace(ended, notes=(*ended.notes, NOT_JUDGED))
