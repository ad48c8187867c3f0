"""Images that may kill their process run alone, each in a child of its own (invariant 7)."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection

from pipeline.engine import OutcomeDict, whole_chain
from pipeline.gate import LocalGate, undone
from pipeline.records import WorkItem
from pipeline.stages.build import StageConfig, start
from pipeline.stages.envelope import Envelope, outcome_of
from serving.errors import ServingError

ATTEMPTS = 2
"""A process may also die for reasons of the machine: one death is no proof against the image."""

KILLS = frozenset({"kills_worker", "stalls_worker"})
"""Reasons of pictures that cannot be judged without harm to their process."""


def run_isolated(
    items: Iterable[WorkItem], config: StageConfig, timeout_s: float
) -> Iterator[OutcomeDict]:
    """One outcome row for each item; one that kills or stalls its process twice is quarantined.

    Args:
        items: the suspects; no shadow judges them.
        config: the stages.
        timeout_s: seconds one image may take; the first one in a process also loads the models.

    Raises:
        ServingError: models cannot be relied on; raised when every item has its row.
        StreetblurError: what concerns the whole run.
    """
    child: _Child | None = None
    gate = LocalGate()
    # a shadow decides nothing, also where it is what kills the process
    config = replace(config, shadows=())
    try:
        for item in items:
            if gate.closed():
                yield _row(undone(start(item)), config)
                continue
            row: OutcomeDict | None = None
            reason = "kills_worker"
            for _ in range(ATTEMPTS):
                child = child or _Child(config)
                try:
                    row, reason = child.process(item, timeout_s)
                except ServingError as error:
                    gate.close(error)
                    row = _row(undone(start(item)), config)
                if row is not None:
                    break
                child.stop()
                child = None
            yield row if row is not None else _quarantined(item, config, reason, timeout_s)
        if gate.error is not None:
            raise gate.error
    finally:
        if child is not None:
            child.stop()


class _Child:
    def __init__(self, config: StageConfig) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, config), daemon=True)
        self._process.start()
        theirs.close()

    def process(self, item: WorkItem, timeout_s: float) -> tuple[OutcomeDict | None, str]:
        """The outcome row, or None and why there is none."""
        try:
            self._pipe.send(item)
            if not self._pipe.poll(timeout_s):
                return None, "stalls_worker"
            answer = self._pipe.recv()
        except (EOFError, OSError):
            return None, "kills_worker"
        if isinstance(answer, BaseException):
            raise answer
        return answer, ""

    def stop(self) -> None:
        self._pipe.close()
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, config: StageConfig) -> None:
    try:
        gate = LocalGate()
        process = whole_chain(config, gate)
    except Exception as error:  # noqa: BLE001 - handed to the parent, which raises it
        pipe.send(error)
        return
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        try:
            row = next(process([item]))
            pipe.send(row if gate.error is None else gate.error)
        except Exception as error:  # noqa: BLE001 - handed to the parent, which raises it
            pipe.send(error)


def _quarantined(item: WorkItem, config: StageConfig, reason: str, timeout_s: float) -> OutcomeDict:
    what = (
        f"processing took more than {timeout_s:.0f} s"
        if reason == "stalls_worker"
        else "the process that worked on this image died"
    )
    envelope = Envelope(item).ended("quarantined", reason, f"{what}, {ATTEMPTS} times, alone")
    return _row(envelope, config)


def _row(envelope: Envelope, config: StageConfig) -> OutcomeDict:
    done = outcome_of(envelope, **config.provenance)
    return {**done.as_row(), "shard": done.shard}
