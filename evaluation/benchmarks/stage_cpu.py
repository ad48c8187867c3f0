"""CPU seconds spent inside the stages themselves, in whatever process they run.

What an engine costs is all else: within one run both are measured at the same speed of the machine,
so the share of the stages is steady where their seconds are not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa

from pipeline import graph
from pipeline.stages import build
from pipeline.stages.build import StageConfig

FOLDER = "BENCHMARK_STAGE_CPU"
"""Names the folder into which each process writes its counts, under its pid; workers inherit it."""


@dataclass(frozen=True, slots=True)
class Counts:
    """CPU seconds inside the stages, and images that the detection is done with."""

    seconds: float = 0.0
    images: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.seconds + other.seconds, self.images + other.images)

    def __sub__(self, other: Counts) -> Counts:
        return Counts(self.seconds - other.seconds, self.images - other.images)


_here = Counts()


@cache
def count_here() -> None:
    """Count what all chains do that this process makes from now on."""
    make_once = build._once
    file = os.open(Path(os.environ[FOLDER]) / str(os.getpid()), os.O_CREAT | os.O_WRONLY, 0o600)

    def counted(name: str, *arguments: Any) -> Callable[[Any], Any]:
        chain = make_once(name, *arguments)

        def call(work: Any) -> Any:
            global _here
            before = time.thread_time()
            try:
                return chain(work)
            finally:
                judged = len(work) if name == "detect" else 0
                _here += Counts(time.thread_time() - before, judged)
                os.pwrite(file, b"%020.6f %010d" % (_here.seconds, _here.images), 0)

        return call

    patch.object(build, "_once", counted).start()  # for good


def counts(folder: Path) -> Counts:
    """Sum over all processes that wrote into ``folder``."""
    total = Counts()
    for path in folder.iterdir():
        words = path.read_text().split()  # written at once, never half there
        if words:
            total += Counts(float(words[0]), int(words[1]))
    return total


class _Fetch(graph.FetchDecode):
    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        count_here()
        yield from super().__call__(table)


class _Detect(graph.DetectActor):
    def __init__(self, config: StageConfig) -> None:
        count_here()
        super().__init__(config)


class _Publish(graph.RedactPublish):
    def __call__(self, table: pa.Table) -> pa.Table:
        count_here()
        return super().__call__(table)


counted_graph = patch.multiple(
    graph, FetchDecode=_Fetch, DetectActor=_Detect, RedactPublish=_Publish
)
"""A context in which the graph's workers count."""
