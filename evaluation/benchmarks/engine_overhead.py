"""CPU per image through Ray against the same stages called in a plain loop, on the dev pictures.

``python -m evaluation.benchmarks.engine_overhead`` (``--help`` names the options)

Through Ray there are as many detector actors as cores, which is the default of ``run``. The plain
way to keep as many cores busy is as many loops side by side, each over its part of the pictures:
cores that share parts (hyperthreads, caches) are slower beside a busy one, whoever keeps it busy.
Both sides take turns, in processes of their own; each counts the user and system CPU seconds of its
whole process tree (workers, raylet and GCS included), and those spent inside the stages.

It is counted from a tenth of the images on to three quarters of them: before, processes start,
which is told apart; after, some end and take their figures along. Images count when the detection,
by far the largest step, is done with them. Two ratios are printed, medians of the repeats:

- ``ratio``: CPU per image, Ray over loops, as measured;
- ``ratio_within_runs``: what else each side costs besides its stages, at the cost its stages had in
  the same run. A shared machine changes its speed from minute to minute; this does not depend on
  it. It leaves out whether stages are slower in Ray's workers; ``stage_ratio`` tells that.
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
from unittest.mock import patch

import psutil

from evaluation.benchmarks import stage_cpu
from evaluation.benchmarks.children import Report, measure_together
from evaluation.benchmarks.stage_cpu import Counts
from pipeline.engine import Engine, LocalEngine, OutcomeDict
from pipeline.graph import RayEngine
from pipeline.job import load_spec
from pipeline.model_commands import models_in_force
from pipeline.records import WorkItem
from pipeline.runner import Runner
from pipeline.secret import fresh_secret, install_secret
from pipeline.stages.build import StageConfig

SIDES = ("loops", "ray")
FORMATS = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}
BEGIN, END = 0.1, 0.75
"""Shares of the images between which it is counted."""
SAMPLE_S = 5.0
"""Walking a process tree costs CPU itself; processes live longer than this."""


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


class Metered:
    """An engine that notes CPU seconds: of the process tree and, of those, inside the stages."""

    def __init__(self, make: Callable[[], Engine], counts: Path, report: Report) -> None:
        self._counts = counts
        self._report = report
        self._memory: dict[int, float] = {}
        self._before = self._now()[0]
        self._engine = make()

    def _now(self) -> tuple[float, Counts]:
        cpu = tree_cpu_seconds(psutil.Process(), self._memory)
        return cpu, stage_cpu.counts(self._counts)

    def run(self, items: Iterable[WorkItem], *, searching: bool = False) -> Iterator[OutcomeDict]:
        """As the engine inside."""
        items = list(items)
        at_begin, at_end = (int(share * len(items)) for share in (BEGIN, END))
        done, begin, last = 0, (0.0, Counts()), time.monotonic()
        for row in self._engine.run(items, searching=searching):
            done += 1
            if done == at_begin:
                begin = self._now()
                self._report["before_s"] = begin[0] - self._before - begin[1].seconds
            elif done == at_end:
                cpu, stages = self._now()
                self._report["cpu_s"] = cpu - begin[0]
                self._report["stage_s"] = (stages - begin[1]).seconds
                self._report["counted"] = (stages - begin[1]).images
            elif done < at_end and time.monotonic() - last > SAMPLE_S:
                last = time.monotonic()
                self._now()
            yield row
        self._report["images"] = done

    def close(self) -> None:
        """As the engine inside."""
        self._engine.close()


def one_process(source: str, workers: int, pipe: Connection) -> None:
    """Run the job over ``source`` and send what it cost.

    Args:
        source: folder of pictures.
        workers: detector actors; 0 for a plain loop.
        pipe: where the report goes.
    """
    install_secret(fresh_secret())
    report: Report = {}

    with (
        tempfile.TemporaryDirectory() as output,
        tempfile.TemporaryDirectory() as counts,
        patch.dict(os.environ, {stage_cpu.FOLDER: counts}),
        stage_cpu.counted_graph,
    ):

        def factory(config: StageConfig) -> Engine:
            make: Callable[[], Engine] = partial(LocalEngine, config)
            if workers:
                make = partial(
                    RayEngine, config, workers=workers, address=None, stall_timeout_s=900
                )
            else:
                stage_cpu.count_here()
            return Metered(make, Path(counts), report)

        spec = load_spec(None, input=source, output=output, job="bench", allow_empty=True)
        Runner(spec, [], models_in_force, engine_factory=factory).run()
    pipe.send(report)


def link(pictures: Sequence[Path], folder: Path) -> str:
    """Fill ``folder`` with the pictures, as hard links if they can."""
    folder.mkdir()
    for number, path in enumerate(pictures):
        target = folder / f"{number:05d}{path.suffix}"
        try:
            target.hardlink_to(path)
        except OSError:
            shutil.copy(path, target)
    return str(folder)


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU of one side in one repeat.

    Attributes:
        ms: milliseconds an image.
        stage_ms: those of them that are spent inside the stages.
        start_s: seconds outside the stages until counting begins.
    """

    ms: float
    stage_ms: float
    start_s: float

    @classmethod
    def of(cls, reports: Sequence[Report]) -> Cost:
        """What all processes of a side cost together."""
        counted = sum(one["counted"] for one in reports)
        return cls(
            1000 * sum(one["cpu_s"] for one in reports) / counted,
            1000 * sum(one["stage_s"] for one in reports) / counted,
            sum(one["before_s"] for one in reports),
        )

    @property
    def over_stages(self) -> float:
        """What an image costs, against what its stages cost in the same run."""
        return self.ms / self.stage_ms


def one_repeat(pictures: Sequence[Path], workers: int, sides: Sequence[str]) -> dict[str, Cost]:
    """Both sides over all pictures, in the order of ``sides``."""
    found = {}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as root:
        for name in sides:
            parts = workers if name == "loops" else 1
            folders = [link(pictures[n::parts], Path(root) / f"{name}{n}") for n in range(parts)]
            actors = workers if name == "ray" else 0
            reports = measure_together(one_process, [(folder, actors) for folder in folders])
            if sum(one["images"] for one in reports) != len(pictures):
                raise RuntimeError(f"{name}: some images have no outcome")
            found[name] = Cost.of(reports)
    return found


def main() -> None:
    """Measure, print and, with --json, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--data", default=os.environ.get("STREETBLUR_DATA", "../shared/data"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    dev = Path(arguments.data) / "dev"
    pictures = sorted(p for p in dev.rglob("*") if p.is_file() and p.suffix in FORMATS)
    repeats: list[dict[str, Cost]] = []
    for number in range(arguments.repeats):
        sides = SIDES[:: -1 if number % 2 else 1]
        repeats.append(one_repeat(pictures, arguments.workers, sides))
        print(_ratio(repeats[-1]), _ratio_within(repeats[-1]), repeats[-1], flush=True)
    result = {
        "images": len(pictures),
        "repeats": arguments.repeats,
        "workers": arguments.workers,
        "ratio": _spread(map(_ratio, repeats)),
        "ratio_within_runs": _spread(map(_ratio_within, repeats)),
        "stage_ratio": _spread(one["ray"].stage_ms / one["loops"].stage_ms for one in repeats),
        "ms": {side: _median(one[side].ms for one in repeats) for side in SIDES},
        "start_s": {side: _median(one[side].start_s for one in repeats) for side in SIDES},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("ray", "onnxruntime", "numpy")},
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def _ratio(costs: dict[str, Cost]) -> float:
    return costs["ray"].ms / costs["loops"].ms


def _ratio_within(costs: dict[str, Cost]) -> float:
    return costs["ray"].over_stages / costs["loops"].over_stages


def _spread(values: Iterable[float]) -> dict[str, float]:
    found = sorted(values)
    return {"median": _median(found), "least": round(found[0], 3), "most": round(found[-1], 3)}


def _median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 3)


if __name__ == "__main__":
    main()
