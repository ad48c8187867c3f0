"""The arithmetic of the overhead benchmark: what is counted, when, and against what."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import psutil
import pytest

from evaluation.benchmarks import engine_overhead, stage_cpu
from evaluation.benchmarks.children import Report
from evaluation.benchmarks.engine_overhead import (
    Cost,
    Metered,
    _ratio,
    _ratio_within,
    _spread,
    one_repeat,
    tree_cpu_seconds,
)
from evaluation.benchmarks.stage_cpu import Counts
from pipeline.records import WorkItem
from pipeline.stages import build

IMAGES = 20
START_S = 5.0
STAGES_S = 0.25
RAY, LOOPS = Cost(ms=120, stage_ms=100, start_s=3), Cost(ms=100, stage_ms=80, start_s=1)


def test_the_processes_of_a_side_cost_their_sum_over_all_images() -> None:
    small = {"cpu_s": 2.0, "stage_s": 1.0, "before_s": 0.5, "counted": 10, "images": 12}
    large = {"cpu_s": 4.0, "stage_s": 3.0, "before_s": 0.25, "counted": 30, "images": 99}
    cost = Cost.of([small, large])
    assert cost == Cost(ms=150.0, stage_ms=100.0, start_s=0.75)
    assert cost.over_stages == 1.5


def test_the_ratios_are_of_ray_over_loops() -> None:
    costs = {"ray": RAY, "loops": LOOPS}
    assert _ratio(costs) == pytest.approx(1.2)
    assert _ratio_within(costs) == pytest.approx(1.2 / 1.25)


def test_repeats_are_told_by_their_median_and_range() -> None:
    assert _spread([3.0, 1.00049, 10.0]) == {"median": 3.0, "least": 1.0, "most": 10.0}


class FakeEngine:
    """Spends ``START_S`` to start and n seconds on the n-th image; detects twice as fast."""

    def __init__(self, folder: Path) -> None:
        self.cpu_s = 100.0  # what this process had spent before
        self.looks = 0
        self.searching: bool | None = None
        self.closed = False
        self._file = folder / "1"

    def started(self) -> FakeEngine:
        self.cpu_s += START_S
        return self

    def look(self, root: psutil.Process, memory: dict[int, float]) -> float:
        self.looks += 1
        return self.cpu_s

    def run(
        self, items: Iterable[WorkItem], *, searching: bool = False
    ) -> Iterator[dict[str, Any]]:
        self.searching = searching
        for number, item in enumerate(items, 1):
            self.cpu_s += number
            self._file.write_text(f"{number * STAGES_S} {min(2 * number, IMAGES)}")
            yield {"key": item}

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    found = FakeEngine(tmp_path)
    monkeypatch.setattr(engine_overhead, "tree_cpu_seconds", found.look)
    monkeypatch.setattr(engine_overhead, "SAMPLE_S", math.inf)
    return found


def metered(engine: FakeEngine, folder: Path) -> tuple[Report, list[Any]]:
    report: Report = {}
    outer = Metered(engine.started, folder, report)
    rows = list(outer.run(cast(Any, range(IMAGES)), searching=True))
    outer.close()
    return report, rows


def test_it_is_counted_from_a_tenth_of_the_images_to_three_quarters(
    engine: FakeEngine, tmp_path: Path
) -> None:
    report, _ = metered(engine, tmp_path)
    assert report == {
        "before_s": START_S + (1 + 2) - 2 * STAGES_S,
        "cpu_s": sum(range(3, 16)),
        "stage_s": 13 * STAGES_S,
        "counted": 20 - 4,  # the detection is ahead
        "images": IMAGES,
    }


def test_a_metered_engine_hands_everything_through(engine: FakeEngine, tmp_path: Path) -> None:
    _, rows = metered(engine, tmp_path)
    assert rows == [{"key": number} for number in range(IMAGES)]
    assert (engine.searching, engine.closed) == (True, True)


@pytest.mark.parametrize(("sample_s", "looks"), [(math.inf, 1 + 2), (-1.0, 1 + 15)])
def test_the_tree_is_walked_in_between_but_not_after_the_end(
    engine: FakeEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sample_s: float,
    looks: int,
) -> None:
    monkeypatch.setattr(engine_overhead, "SAMPLE_S", sample_s)
    metered(engine, tmp_path)
    assert engine.looks == looks


class FakeProcess:
    """A process with children, or one that has just ended (no ``seconds``)."""

    def __init__(self, pid: int, seconds: float | None, *children: FakeProcess) -> None:
        self.pid = pid
        self._seconds = seconds
        self._children = children

    def cpu_times(self) -> SimpleNamespace:
        if self._seconds is None:
            raise psutil.NoSuchProcess(self.pid)
        return SimpleNamespace(user=self._seconds, system=1.0, children_user=1000.0)

    def children(self, recursive: bool) -> list[FakeProcess]:
        assert recursive
        return list(self._children)


def test_processes_that_ended_still_count() -> None:
    memory: dict[int, float] = {}

    def seconds(root: FakeProcess) -> float:
        return tree_cpu_seconds(cast(psutil.Process, root), memory)

    assert seconds(FakeProcess(1, 10.0, FakeProcess(2, 3.0), FakeProcess(3, 5.0))) == 21.0
    assert seconds(FakeProcess(1, 12.0, FakeProcess(2, None), FakeProcess(4, 7.0))) == 31.0


def test_counts_are_added_up_over_processes(tmp_path: Path) -> None:
    assert stage_cpu.counts(tmp_path) == Counts()
    (tmp_path / "17").write_text("1.5 3")
    (tmp_path / "18").write_text("0000000000000.250000 0000000001")
    (tmp_path / "19").touch()  # a process that did nothing yet
    assert stage_cpu.counts(tmp_path) == Counts(1.75, 4)


@pytest.fixture
def chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, float], None]]:
    """Makes and calls a chain of that name that spends so many seconds; -1 fails after 1."""
    now = [50.0]

    def make(name: str, seconds: float) -> build.Chain:
        def call(envelope: Any) -> Any:
            now[0] += abs(seconds)
            if seconds < 0:
                raise ValueError(name)
            return envelope

        return call

    monkeypatch.setenv(stage_cpu.FOLDER, str(tmp_path))
    monkeypatch.setattr(build, "_once", make)
    monkeypatch.setattr(stage_cpu, "_here", Counts())
    monkeypatch.setattr(stage_cpu, "time", SimpleNamespace(thread_time=lambda: now[0]))
    stage_cpu.count_here.cache_clear()
    yield lambda name, seconds: cast(Any, build._once)(name, seconds)(["picture"])
    patch.stopall()
    stage_cpu.count_here.cache_clear()


def test_a_process_counts_what_its_chains_spend(
    chain: Callable[[str, float], None], tmp_path: Path
) -> None:
    stage_cpu.count_here()
    stage_cpu.count_here()
    assert stage_cpu.counts(tmp_path) == Counts()
    assert chain("fetch", 0.5) == ["picture"]
    chain("detect", 2.0)
    chain("detect", 3.0)
    chain("publish", 0.25)
    assert stage_cpu.counts(tmp_path) == Counts(5.75, 2)


def test_a_chain_that_fails_is_counted_too(
    chain: Callable[[str, float], None], tmp_path: Path
) -> None:
    stage_cpu.count_here()
    with pytest.raises(ValueError, match="detect"):
        chain("detect", -1.0)
    assert stage_cpu.counts(tmp_path) == Counts(1.0, 1)


def test_each_loop_gets_its_part_and_ray_gets_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def measured(side: Any, arguments: list[tuple[str, int]]) -> list[Report]:
        parts = [(sorted(p.read_text() for p in Path(f).iterdir()), n) for f, n in arguments]
        asked.append(parts)
        return [
            {"images": len(p), "counted": len(p), "cpu_s": 1.0, "stage_s": 0.5, "before_s": 0.0}
            for p, _ in parts
        ]

    monkeypatch.setattr(engine_overhead, "measure_together", measured)
    monkeypatch.chdir(tmp_path)
    costs = one_repeat(drawn(tmp_path, 5), 2, ("ray", "loops"))
    assert asked == [[(["0", "1", "2", "3", "4"], 2)], [(["0", "2", "4"], 0), (["1", "3"], 0)]]
    assert (costs["loops"].ms, costs["ray"].ms) == (400.0, 200.0)


def test_images_without_an_outcome_stop_the_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: Report = {"images": 1, "counted": 1, "cpu_s": 1.0, "stage_s": 1.0, "before_s": 0.0}
    monkeypatch.setattr(engine_overhead, "measure_together", lambda side, arguments: [lost])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match="no outcome"):
        one_repeat(drawn(tmp_path, 2), 1, ("loops",))


def drawn(folder: Path, count: int) -> list[Path]:
    """Files that tell their number; nobody decodes them."""
    for number in range(count):
        (folder / f"{number}.jpg").write_text(str(number))
    return sorted(folder.glob("*.jpg"))
