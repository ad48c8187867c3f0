"""Measurements in processes of their own, so that none leaves anything to the next."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

Report = dict[str, float]


def measure(one_side: Callable[..., None], *arguments: Any) -> Report:
    """What ``one_side(*arguments, pipe)`` sends, run in a fresh process.

    Raises:
        EOFError: the process ended without sending anything; its traceback is on stderr.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=one_side, args=(*arguments, theirs))
    process.start()
    theirs.close()
    report: Report = ours.recv()
    process.join()
    return report
