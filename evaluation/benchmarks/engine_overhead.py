"""CPU per image through Ray against the same stages called in a plain loop, on the dev pictures.

``python -m evaluation.benchmarks.engine_overhead [--repeats N] [--data DIR]``

Both sides run in child processes of their own, interleaved; each counts the user and system CPU
seconds of its whole process tree (workers, raylet and GCS included): once over all images, with
the start of the workers, and once from the 200th image on, which is what one more image costs.
Medians of the repeats are compared.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from pipeline.engine import Engine, LocalEngine, OutcomeDict
from pipeline.graph import RayEngine
from pipeline.job import load_spec
from pipeline.model_commands import models_in_force
from pipeline.records import WorkItem
from pipeline.runner import Runner
from pipeline.secret import fresh_secret, install_secret
from pipeline.stages.build import StageConfig


def tree_cpu_seconds(root: psutil.Process, memory: dict[int, float]) -> float:
    """CPU seconds of ``root`` and all its descendants, those that have ended included.

    Args:
        root: the process.
        memory: last known CPU seconds by pid, kept by the caller between calls.
    """
    for process in (root, *root.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        memory[process.pid] = times.user + times.system
    return sum(memory.values())


WARM_UP = 200
"""Images after which every process is up; what follows is the cost of one more image."""

SAMPLE_S = 5.0
"""Walking a process tree costs CPU itself; processes live longer than this."""


class Metered:
    """An engine that notes the CPU seconds of the process tree when images start and end."""

    def __init__(self, engine: Engine, report: dict[str, float]) -> None:
        self._engine = engine
        self._report = report
        self._memory: dict[int, float] = {}

    def run(self, items: Iterable[WorkItem], *, searching: bool = False) -> Iterator[OutcomeDict]:
        """As the engine inside."""
        root = psutil.Process()
        before = tree_cpu_seconds(root, self._memory)
        rows: list[OutcomeDict] = []
        warm = before
        last = time.monotonic()
        for row in self._engine.run(items, searching=searching):
            rows.append(row)
            if len(rows) == WARM_UP:
                warm = tree_cpu_seconds(root, self._memory)
            if time.monotonic() - last > SAMPLE_S:
                last = time.monotonic()
                tree_cpu_seconds(root, self._memory)
            yield row
        after = tree_cpu_seconds(root, self._memory)
        self._report["images"] = len(rows)
        self._report["image_cpu_s"] = after - before
        self._report["steady_images"] = len(rows) - WARM_UP
        self._report["steady_cpu_s"] = after - warm

    def close(self) -> None:
        """As the engine inside."""
        self._engine.close()


def one_side(name: str, source: str, pipe: Connection) -> None:
    """Run the job with one engine and send what it cost."""
    install_secret(fresh_secret())
    report: dict[str, float] = {}

    def factory(config: StageConfig) -> Engine:
        if name == "loop":
            return Metered(LocalEngine(config), report)
        engine = RayEngine(config, workers=1, address=None, stall_timeout_s=900)
        return Metered(engine, report)

    with tempfile.TemporaryDirectory() as output:
        spec = load_spec(None, input=source, output=output, job="bench", allow_empty=True)
        Runner(spec, [], models_in_force, engine_factory=factory).run()
    pipe.send(report)


def measure(name: str, source: str) -> dict[str, float]:
    """One measurement in a fresh process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=one_side, args=(name, source, theirs))
    process.start()
    theirs.close()
    report: dict[str, float] = ours.recv()
    process.join()
    return report


def main() -> None:
    """Measure, print and, with --json, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", default=os.environ.get("STREETBLUR_DATA", "../shared/data"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    source = str(Path(arguments.data) / "dev")
    runs: dict[str, list[dict[str, float]]] = {"loop": [], "ray": []}
    for _ in range(arguments.repeats):
        for name, found in runs.items():
            found.append(measure(name, source))
            print(name, json.dumps(found[-1]), flush=True)
    figures: dict[str, float] = {}
    for name, found in runs.items():
        for part, count in (("image_cpu_s", "images"), ("steady_cpu_s", "steady_images")):
            figures[f"{name}_{part}"] = statistics.median(
                1000 * one[part] / one[count] for one in found
            )
    result = {
        "images": int(runs["ray"][0]["images"]),
        "repeats": arguments.repeats,
        "loop_cpu_ms_per_image": round(figures["loop_steady_cpu_s"], 1),
        "ray_cpu_ms_per_image": round(figures["ray_steady_cpu_s"], 1),
        "ratio": round(figures["ray_steady_cpu_s"] / figures["loop_steady_cpu_s"], 3),
        "loop_cpu_ms_per_image_with_start": round(figures["loop_image_cpu_s"], 1),
        "ray_cpu_ms_per_image_with_start": round(figures["ray_image_cpu_s"], 1),
        "ratio_with_start": round(figures["ray_image_cpu_s"] / figures["loop_image_cpu_s"], 3),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("ray", "onnxruntime", "numpy")},
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
