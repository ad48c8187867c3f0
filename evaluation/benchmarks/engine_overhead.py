"""CPU per image through Ray against the same stages called in a plain loop, on the dev pictures.

``python -m evaluation.benchmarks.engine_overhead [--repeats N] [--slices N] [--data DIR]``

Both sides run in child processes of their own, interleaved; each counts the user and system CPU
seconds of its whole process tree (workers, raylet and GCS included). Each side does the pictures
once and, in another process, twice over (hard links), in one wave: what the second run costs more
is the cost of the pictures alone, without the start of any process and whatever is in flight at any
moment.

The pictures come in slices, every n-th picture each, and the sides take turns with every slice: a
shared machine changes its speed from minute to minute, and so it does so for both. All slices
together are all of dev. Costs of a repeat are added up over its slices; medians of the repeats and
of the slices' own ratios are printed, with the start and without.
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
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


SIDES = ("loop", "ray")
FORMATS = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}
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


def link(pictures: Sequence[Path], folder: Path, copies: int) -> str:
    """Fill ``folder`` with ``copies`` of the pictures, as hard links if they can."""
    for copy in range(copies):
        for number, path in enumerate(pictures):
            target = folder / str(copy) / f"{number:05d}{path.suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                target.hardlink_to(path)
            except OSError:
                shutil.copy(path, target)
    return str(folder)


@dataclass(slots=True)
class Cost:
    """CPU seconds of one side for pictures done once and done twice over."""

    images: int = 0
    once: float = 0.0
    twice: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.images + other.images, self.once + other.once, self.twice + other.twice)

    @property
    def ms(self) -> float:
        """Milliseconds that one more picture costs."""
        return 1000 * (self.twice - self.once) / self.images

    @property
    def start_s(self) -> float:
        """Seconds for the start: what a run costs besides its pictures."""
        return 2 * self.once - self.twice


def one_slice(pictures: Sequence[Path]) -> dict[str, Cost]:
    """Both sides' costs for some pictures, measured in turns."""
    found = {name: Cost() for name in SIDES}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as root:
        for copies in (1, 2):
            folder = link(pictures, Path(root) / str(copies), copies)
            for name, cost in found.items():
                report = measure(one_side, name, folder)
                if report["images"] != copies * len(pictures):
                    raise RuntimeError(f"{name}: {report['images']:.0f} outcomes")
                if copies == 1:
                    cost.images, cost.once = len(pictures), report["cpu_s"]
                else:
                    cost.twice = report["cpu_s"]
    return found


def main() -> None:
    """Measure, print and, with --json, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--data", default=os.environ.get("STREETBLUR_DATA", "../shared/data"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    dev = Path(arguments.data) / "dev"
    pictures = sorted(p for p in dev.rglob("*") if p.is_file() and p.suffix in FORMATS)
    repeats: list[dict[str, Cost]] = []
    ratios: list[float] = []
    for repeat in range(arguments.repeats):
        total = {name: Cost() for name in SIDES}
        for number in range(arguments.slices):
            part = one_slice(pictures[number :: arguments.slices])
            total = {name: total[name] + part[name] for name in SIDES}
            ratios.append(part["ray"].ms / part["loop"].ms)
            costs = {name: [round(c.once, 1), round(c.twice, 1)] for name, c in part.items()}
            print(repeat, number, f"{ratios[-1]:.3f}", json.dumps(costs), flush=True)
        repeats.append(total)
    result = {
        "images": len(pictures),
        "repeats": arguments.repeats,
        "slices": arguments.slices,
        "ratio": _median(one["ray"].ms / one["loop"].ms for one in repeats),
        "ratio_by_slice": {
            "median": _median(ratios),
            "least": round(min(ratios), 3),
            "most": round(max(ratios), 3),
        },
        "ratio_with_one_start": _median(
            (one["ray"].ms * len(pictures) + 1000 * one["ray"].start_s / arguments.slices)
            / (one["loop"].ms * len(pictures) + 1000 * one["loop"].start_s / arguments.slices)
            for one in repeats
        ),
        "ms": {name: _median(one[name].ms for one in repeats) for name in SIDES},
        "start_s": {
            name: _median(one[name].start_s / arguments.slices for one in repeats) for name in SIDES
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("ray", "onnxruntime", "numpy")},
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def _median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 3)


if __name__ == "__main__":
    main()
