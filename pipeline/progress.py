"""What a run shows while it works: a bar on a terminal, JSON log lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from pipeline.commit import Commit
from pipeline.engine import EngineCrashed, OutcomeDict
from pipeline.gate import NOT_JUDGED
from pipeline.metrics import JobMetrics

log = logging.getLogger(__name__)

LOG_EVERY_S = 30.0


class Rates:
    """Images a second over the run and over the last minute, and the time that is left.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start: float | None = None
        self._recent: deque[tuple[float, int]] = deque()
        self.done = 0
        self.expected = 0

    def begin(self) -> None:
        """Start the clock, unless it runs already."""
        if self._start is None:
            self._start = self._clock()

    def count(self) -> None:
        """One more image is done."""
        self.begin()
        self.done += 1
        second = int(self._clock())
        if self._recent and int(self._recent[-1][0]) == second:
            self._recent[-1] = (self._recent[-1][0], self._recent[-1][1] + 1)
        else:
            self._recent.append((self._clock(), 1))
        while self._recent and self._recent[0][0] < self._clock() - 60:
            self._recent.popleft()

    @property
    def overall(self) -> float:
        """Images a second since the start."""
        elapsed = self._clock() - self._start if self._start is not None else 0.0
        return self.done / elapsed if elapsed > 0 else 0.0

    @property
    def last_minute(self) -> float:
        """Images a second over the last 60 s."""
        if self._start is None:
            return 0.0
        horizon = min(60.0, self._clock() - self._start)
        return sum(number for _, number in self._recent) / horizon if horizon > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimate at the pace of the last minute; None while unknown."""
        pace = self.last_minute or self.overall
        return (self.expected - self.done) / pace if pace > 0 else None


class LogObserver:
    """Writes a line for each phase, shard and half minute."""

    def __init__(self) -> None:
        self._rates = Rates()
        self._statuses: Counter[str] = Counter()
        self._logged = time.monotonic()

    def phase(self, name: str, **details: object) -> None:
        """Log the phase."""
        if name == "process":
            self._rates.begin()
        log.info("%s", name, extra={"phase": name, **details})

    def expect(self, images: int) -> None:
        """More to do."""
        self._rates.expected += images

    def outcome(self, row: OutcomeDict) -> None:
        """Log pictures that were not published, with --verbose all; progress twice a minute.

        How many were not judged because a run ends early, the wave says in one line.
        """
        self._rates.count()
        self._statuses[row["status"]] += 1
        if row["status"] != "published":
            details = {name: row[name] for name in ("key", "status", "reason", "message")}
            level = logging.DEBUG if NOT_JUDGED in row["notes"] else logging.WARNING
            log.log(level, "not published", extra={"image": details})
        else:
            log.debug("published", extra={"image": {"key": row["key"], "kept": row["kept"]}})
        if time.monotonic() - self._logged > LOG_EVERY_S:
            self._logged = time.monotonic()
            self._progress("progress")

    def committed(self, commit: Commit) -> None:
        """Log the commit."""
        log.info("shard committed", extra={"shard": commit.shard, "rows": commit.tally.rows})

    def crashed(self, error: EngineCrashed) -> None:
        """The runner has logged it."""

    def _progress(self, message: str) -> None:
        rates = self._rates
        log.info(
            message,
            extra={
                "done": rates.done,
                "due": rates.expected,
                **self._statuses,
                "images_per_s": round(rates.overall, 2),
                "images_per_s_last_minute": round(rates.last_minute, 2),
                "seconds_left": None if rates.seconds_left is None else round(rates.seconds_left),
            },
        )


class _RateColumn(ProgressColumn):
    max_refresh = 0.5

    def __init__(self, rates: Rates) -> None:
        super().__init__()
        self._rates = rates

    def render(self, task: Task) -> Text:
        rates = self._rates
        left = rates.seconds_left
        eta = "--:--" if left is None else f"{int(left) // 60:d}:{int(left) % 60:02d}"
        return Text(
            f"{rates.overall:.1f} img/s (last minute {rates.last_minute:.1f})  ETA {eta}",
            style="cyan",
        )


class BarObserver:
    """A progress bar on a terminal; used as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rates = Rates()
        self._statuses: Counter[str] = Counter()
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            _RateColumn(self._rates),
            TextColumn("{task.fields[bad]}", style="yellow"),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=0, bad="")

    def __enter__(self) -> BarObserver:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def phase(self, name: str, **details: object) -> None:
        """Show the phase."""
        if name == "process":
            self._rates.begin()
        self._bar.update(self._task, description=str(details.get("detail") or name))

    def expect(self, images: int) -> None:
        """More to do."""
        self._rates.expected += images
        self._bar.update(self._task, total=self._rates.expected)

    def outcome(self, row: OutcomeDict) -> None:
        """Advance; name pictures that were not published."""
        self._rates.count()
        self._statuses[row["status"]] += 1
        bad = [f"{n} {status}" for status, n in self._statuses.items() if status != "published"]
        self._bar.update(self._task, advance=1, bad=", ".join(bad))

    def committed(self, commit: Commit) -> None:
        """Nothing to show."""

    def crashed(self, error: EngineCrashed) -> None:
        """Say it above the bar."""
        self._console.print(f"[yellow]engine restarted:[/] {error}")


class MetricsObserver:
    """Feeds the Prometheus metrics."""

    def __init__(self, metrics: JobMetrics, job: str) -> None:
        self._metrics = metrics
        self._job = job

    def phase(self, name: str, **details: object) -> None:
        """Phases have no metric."""

    def expect(self, images: int) -> None:
        """More are due."""
        self._metrics.due.labels(self._job).inc(images)

    def outcome(self, row: OutcomeDict) -> None:
        """Count it."""
        self._metrics.observe(row)
        self._metrics.due.labels(self._job).dec()

    def committed(self, commit: Commit) -> None:
        """Count the shard."""
        self._metrics.shards.labels(self._job).inc()

    def crashed(self, error: EngineCrashed) -> None:
        """Count the crash."""
        self._metrics.crashes.labels(self._job).inc()
