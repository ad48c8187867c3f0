"""CPU per image through Ray against the same stages called in a plain loop, on the dev pictures.

``python -m evaluation.benchmarks.engine_overhead`` (``--help`` names the options)

Both sides run in child processes of their own, interleaved; each counts the user and system CPU
seconds of its whole process tree (workers, raylet and GCS included). Each side does the pictures
once and, in another process, twice over (hard links), in one wave: what the second run costs more
is the cost of the pictures alone, without the start of any process and whatever is in flight at any
moment.

The pictures come in slices, every n-th picture each, and the sides take turns with every slice: a
shared machine changes its speed from minute to minute, and so it does so for both. All slices
together are all of dev. Costs of a repeat are added up over its slices; medians of the repeats and
of the slices' own ratios are printed, with the start and without.

Both sides run on the same one core: a loop leaves the other cores idle, Ray does not, and where
cores share parts (hyperthreads, caches) each is slower beside a busy one, whoever keeps it busy.
``--cores 0`` lets them run on all.

Where the machine's speed changes too fast even for that, ``ratio_within_runs`` tells more: in each
run the CPU seconds inside the stages are counted, too, and what else the run costs is compared with
those. It leaves out whether the stages themselves are slower beside other processes;
``stage_ratio`` tells that, with the noise of the machine.
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
from dataclasses import astuple, dataclass
from functools import partial
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from unittest.mock import patch

import psutil

from evaluation.benchmarks import stage_cpu
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


def one_side(name: str, source: str, cores: int, pipe: Connection) -> None:
    """Run the job with one engine on some cores (0: all) and send what it cost."""
    if cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    install_secret(fresh_secret())
    report: Report = {}

    def factory(config: StageConfig) -> Engine:
        if name == "loop":
            stage_cpu.count_here()
            return Metered(lambda: LocalEngine(config), report)
        ray = partial(RayEngine, workers=1, address=None, stall_timeout_s=900)
        return Metered(lambda: ray(config), report)

    with (
        tempfile.TemporaryDirectory() as output,
        tempfile.TemporaryDirectory() as counts,
        patch.dict(os.environ, {stage_cpu.FOLDER: counts}),
        stage_cpu.counted_graph,
    ):
        spec = load_spec(None, input=source, output=output, job="bench", allow_empty=True)
        Runner(spec, [], models_in_force, engine_factory=factory).run()
        report["stage_s"] = stage_cpu.seconds(Path(counts))
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
    stages_once: float = 0.0
    stages_twice: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def ms(self) -> float:
        """Milliseconds that one more picture costs."""
        return 1000 * (self.twice - self.once) / self.images

    @property
    def stage_ms(self) -> float:
        """Those of them that are spent inside the stages."""
        return 1000 * (self.stages_twice - self.stages_once) / self.images

    @property
    def over_stages(self) -> float:
        """What one more picture costs, against what its stages cost in the same runs."""
        return self.ms / self.stage_ms

    @property
    def start_s(self) -> float:
        """Seconds for the start: what a run costs besides its pictures."""
        return 2 * self.once - self.twice


def one_slice(pictures: Sequence[Path], cores: int) -> dict[str, Cost]:
    """Both sides' costs for some pictures, measured in turns."""
    found = {name: Cost() for name in SIDES}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as root:
        for copies in (1, 2):
            folder = link(pictures, Path(root) / str(copies), copies)
            for name, cost in found.items():
                report = measure(one_side, name, folder, cores)
                if report["images"] != copies * len(pictures):
                    raise RuntimeError(f"{name}: {report['images']:.0f} outcomes")
                if copies == 1:
                    cost.images = len(pictures)
                    cost.once, cost.stages_once = report["cpu_s"], report["stage_s"]
                else:
                    cost.twice, cost.stages_twice = report["cpu_s"], report["stage_s"]
    return found


def main() -> None:
    """Measure, print and, with --json, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--cores", type=int, default=1, help="0: all of the machine's")
    parser.add_argument("--data", default=os.environ.get("STREETBLUR_DATA", "../shared/data"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    dev = Path(arguments.data) / "dev"
    pictures = sorted(p for p in dev.rglob("*") if p.is_file() and p.suffix in FORMATS)
    repeats: list[dict[str, Cost]] = []
    parts: list[dict[str, Cost]] = []
    for repeat in range(arguments.repeats):
        total = {name: Cost() for name in SIDES}
        for number in range(arguments.slices):
            part = one_slice(pictures[number :: arguments.slices], arguments.cores)
            total = {name: total[name] + part[name] for name in SIDES}
            parts.append(part)
            costs = {name: [round(value, 1) for value in astuple(c)] for name, c in part.items()}
            print(repeat, number, _ratio(part), _ratio_within(part), json.dumps(costs), flush=True)
        repeats.append(total)
    result = {
        "images": len(pictures),
        "repeats": arguments.repeats,
        "slices": arguments.slices,
        "cores": arguments.cores or os.cpu_count(),
        "ratio": _median(map(_ratio, repeats)),
        "ratio_by_slice": _spread(map(_ratio, parts)),
        "ratio_within_runs": _median(map(_ratio_within, repeats)),
        "ratio_within_runs_by_slice": _spread(map(_ratio_within, parts)),
        "stage_ratio": _median(one["ray"].stage_ms / one["loop"].stage_ms for one in repeats),
        "ratio_with_one_start": _median(
            (one["ray"].ms * len(pictures) + 1000 * one["ray"].start_s / arguments.slices)
            / (one["loop"].ms * len(pictures) + 1000 * one["loop"].start_s / arguments.slices)
            for one in repeats
        ),
        "ms": {name: _median(one[name].ms for one in repeats) for name in SIDES},
        "stage_ms": {name: _median(one[name].stage_ms for one in repeats) for name in SIDES},
        "start_s": {
            name: _median(one[name].start_s / arguments.slices for one in repeats) for name in SIDES
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("ray", "onnxruntime", "numpy")},
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def _ratio(costs: dict[str, Cost]) -> float:
    return round(costs["ray"].ms / costs["loop"].ms, 3)


def _ratio_within(costs: dict[str, Cost]) -> float:
    return round(costs["ray"].over_stages / costs["loop"].over_stages, 3)


def _spread(values: Iterable[float]) -> dict[str, float]:
    found = sorted(values)
    return {"median": _median(found), "least": found[0], "most": found[-1]}


def _median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 3)


if __name__ == "__main__":
    main()
