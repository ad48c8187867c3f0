"""CPU seconds spent inside the stages themselves, in whatever process they run.

What an engine costs is all else: within one run both are measured at the same speed of the machine,
so the share of the stages is steady where their seconds are not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa

from pipeline import graph
from pipeline.stages import build
from pipeline.stages.build import Chain, StageConfig
from pipeline.stages.envelope import Envelope

FOLDER = "BENCHMARK_STAGE_CPU"
"""Names the folder into which each process writes its sum, under its pid; workers inherit it."""

_sum = 0.0


@cache
def count_here() -> None:
    """Count the seconds of all chains that this process makes from now on."""
    make_once = build._once

    def counted(*arguments: Any) -> Chain:
        chain = make_once(*arguments)

        def call(envelope: Envelope) -> Envelope:
            global _sum
            before = time.thread_time()
            try:
                return chain(envelope)
            finally:
                _sum += time.thread_time() - before
                (Path(os.environ[FOLDER]) / str(os.getpid())).write_text(str(_sum))

        return call

    patch.object(build, "_once", counted).start()  # for good


def seconds(folder: Path) -> float:
    """Sum over all processes that wrote into ``folder``."""
    return sum(float(path.read_text()) for path in folder.iterdir())


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
