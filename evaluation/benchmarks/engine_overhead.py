"""CPU per image through Ray against the same stages called in a plain loop, on the dev pictures.

``python -m evaluation.benchmarks.engine_overhead [--repeats N] [--data DIR]``

Both sides run in child processes of their own, interleaved; each counts the user and system CPU
seconds of its whole process tree (workers, raylet and GCS included). Each side does the pictures
once and, in another process, twice over (hard links), in one wave: what the second run costs more
is the cost of the pictures alone, without the start of any process and whatever is in flight at any
moment. Medians of the repeats are compared, with the start and without.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from evaluation.benchmarks.children import Report, measure
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


SAMPLE_S = 5.0
"""Walking a process tree costs CPU itself; processes live longer than this."""


class Metered:
    """An engine that notes the CPU seconds of the process tree, its own making included."""

    def __init__(self, make: Callable[[], Engine], report: Report) -> None:
        self._report = report
        self._memory: dict[int, float] = {}
        self._before = tree_cpu_seconds(psutil.Process(), self._memory)
        self._engine = make()

    def run(self, items: Iterable[WorkItem], *, searching: bool = False) -> Iterator[OutcomeDict]:
        """As the engine inside."""
        root = psutil.Process()
        images = 0
        last = time.monotonic()
        for row in self._engine.run(items, searching=searching):
            images += 1
            if time.monotonic() - last > SAMPLE_S:
                last = time.monotonic()
                tree_cpu_seconds(root, self._memory)
            yield row
        after = tree_cpu_seconds(root, self._memory)
        self._report["images"] = images
        self._report["cpu_s"] = after - self._before

    def close(self) -> None:
        """As the engine inside."""
        self._engine.close()


def one_side(name: str, source: str, pipe: Connection) -> None:
    """Run the job with one engine and send what it cost."""
    install_secret(fresh_secret())
    report: Report = {}

    def factory(config: StageConfig) -> Engine:
        if name == "loop":
            return Metered(lambda: LocalEngine(config), report)
        ray = partial(RayEngine, workers=1, address=None, stall_timeout_s=900)
        return Metered(lambda: ray(config), report)

    with tempfile.TemporaryDirectory() as output:
        spec = load_spec(None, input=source, output=output, job="bench", allow_empty=True)
        Runner(spec, [], models_in_force, engine_factory=factory).run()
    pipe.send(report)


def twice_over(source: Path, folder: Path) -> None:
    """Fill ``folder`` with two copies of the pictures of ``source``, as hard links if they can."""
    for path in sorted(source.rglob("*")):
        for copy in ("first", "second"):
            target = folder / copy / path.relative_to(source)
            if path.is_dir() or path.suffix == ".json":
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                target.hardlink_to(path)
            except OSError:
                shutil.copy(path, target)


def figures_of(once: list[Report], twice: list[Report]) -> dict[str, float]:
    """Medians of one side: milliseconds an image with the start and without, seconds of start."""
    alone = statistics.median(
        1000 * (b["cpu_s"] - a["cpu_s"]) / (b["images"] - a["images"])
        for a, b in zip(once, twice, strict=True)
    )
    with_start = statistics.median(1000 * one["cpu_s"] / one["images"] for one in once)
    start_s = (with_start - alone) * once[0]["images"] / 1000
    return {"ms": alone, "ms_with_start": with_start, "start_s": start_s}


def main() -> None:
    """Measure, print and, with --json, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", default=os.environ.get("STREETBLUR_DATA", "../shared/data"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    source = Path(arguments.data) / "dev"
    runs: dict[tuple[str, str], list[Report]] = {
        (length, name): [] for length in ("once", "twice") for name in ("loop", "ray")
    }
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        twice_over(source, Path(folder))
        lengths = {"once": str(source), "twice": folder}
        for _ in range(arguments.repeats):
            for (length, name), found in runs.items():
                found.append(measure(one_side, name, lengths[length]))
                print(length, name, json.dumps(found[-1]), flush=True)
    loop, through_ray = (
        figures_of(runs["once", name], runs["twice", name]) for name in ("loop", "ray")
    )
    result = {
        "images": int(runs["once", "ray"][0]["images"]),
        "repeats": arguments.repeats,
        "ratio": round(through_ray["ms"] / loop["ms"], 3),
        "ratio_with_start": round(through_ray["ms_with_start"] / loop["ms_with_start"], 3),
        "loop": {name: round(value, 1) for name, value in loop.items()},
        "ray": {name: round(value, 1) for name, value in through_ray.items()},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("ray", "onnxruntime", "numpy")},
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
