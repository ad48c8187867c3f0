"""Measurements in processes of their own, so that none leaves anything to the next."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any

Report = dict[str, float]


def measure(one_side: Callable[..., None], *arguments: Any) -> Report:
    """What ``one_side(*arguments, pipe)`` sends, run in a fresh process.

    Raises:
        EOFError: the process ended without sending anything; its traceback is on stderr.
    """
    return measure_together(one_side, [arguments])[0]


def measure_together(
    one_side: Callable[..., None], arguments: Sequence[Sequence[Any]]
) -> list[Report]:
    """What ``one_side`` sends for each set of ``arguments``, each in a process, side by side.

    Raises:
        EOFError: as ``measure``.
    """
    context = multiprocessing.get_context("spawn")
    started = []
    for each in arguments:
        ours, theirs = context.Pipe()
        process = context.Process(target=one_side, args=(*each, theirs))
        process.start()
        theirs.close()
        started.append((process, ours))
    reports: list[Report] = [pipe.recv() for _, pipe in started]
    for process, _ in started:
        process.join()
    return reports
