"""All that was measured, as values: for the page, for machines, for a report to draw from."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from evaluation.fairness.associations import Association, associations
from evaluation.fairness.causes import Cause, cause_of
from evaluation.fairness.check import Check
from evaluation.fairness.crops import DIMENSIONS, FaceCrop, group_order
from evaluation.fairness.real_sets import OcclusionRecall, ThresholdCost
from evaluation.fairness.spread import GOAL, Paired, Spread, paired, recall_of, spread_of
from evaluation.fairness.trial import Trial
from evaluation.figures_file import FiguresFile
from evaluation.origin import Origin
from evaluation.summary import Share
from pipeline.policy import PrivacyPolicy

PACKAGES = ("streetblur", "onnxruntime", "openvino", "numpy", "opencv-python-headless")


@dataclass(frozen=True, slots=True)
class Overall:
    """Recall of all faces under one condition at one size."""

    condition: str
    size: int
    recall: Share


@dataclass(frozen=True, slots=True)
class GroupSpread:
    """The groups of one dimension under one condition at one size."""

    dimension: str
    condition: str
    size: int
    spread: Spread


@dataclass(frozen=True, slots=True)
class About:
    """What was measured, on what.

    Attributes:
        command: that was run.
        created: UTC time, ISO 8601.
        machine: processor, cores, Python.
        versions: of packages, by name.
        policy: its name.
        origin: what the verdicts are of.
        goal: largest spread that is aimed at, 0..1.
        people: how many faces.
        places: for each size in pixels, how many places each face stood at.
        backgrounds: the pictures.
        scenes: how many were judged.
    """

    command: str
    created: str
    machine: str
    versions: dict[str, str]
    policy: str
    origin: Origin
    goal: float
    people: int
    places: dict[int, int]
    backgrounds: tuple[str, ...]
    scenes: int


@dataclass(frozen=True, slots=True)
class FairnessReport:
    """Everything, in the order of the page."""

    about: About
    overall: tuple[Overall, ...]
    spreads: tuple[GroupSpread, ...]
    pairs: tuple[Paired, ...]
    photographs: tuple[OcclusionRecall, ...]
    costs: tuple[ThresholdCost, ...]
    associations: tuple[Association, ...]
    causes: tuple[Cause, ...]
    check: Check | None

    def spread(self, dimension: str, size: int, condition: str = "normal") -> Spread | None:
        """That of a dimension, or None where fewer than two groups are large enough."""
        wanted = (dimension, size, condition)
        for one in self.spreads:
            if (one.dimension, one.size, one.condition) == wanted:
                return one.spread
        return None

    def write(self, path: Path) -> None:
        """Write all figures as JSON."""
        _FILE.write(self, path)

    @classmethod
    def read(cls, path: Path) -> FairnessReport:
        """Read what :meth:`write` wrote.

        Raises:
            FiguresUnreadable: the file is missing, damaged, or of another kind or format.
        """
        return _FILE.read(path)


_FILE = FiguresFile("fairness", 1, FairnessReport, "python -m evaluation.fairness")


def about_run(
    trial: Trial, people: int, backgrounds: Sequence[str], policy: PrivacyPolicy, command: str
) -> About:
    """What is written above the figures."""
    sizes = sorted(set(trial.sizes.tolist()))
    return About(
        command,
        datetime.now(UTC).isoformat(timespec="seconds"),
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        {name: version(name) for name in PACKAGES},
        policy.name,
        trial.origin,
        GOAL,
        people,
        {size: trial.places(size) for size in sizes},
        tuple(backgrounds),
        people * len(backgrounds) * len(trial.conditions),
    )


def make_report(
    trial: Trial,
    crops: Sequence[FaceCrop],
    about: About,
    policy: PrivacyPolicy,
    *,
    photographs: Sequence[OcclusionRecall] = (),
    costs: Sequence[ThresholdCost] = (),
    check: Check | None = None,
) -> FairnessReport:
    """All figures of a trial; what was measured apart is taken as it is.

    Args:
        trial: the verdicts, its first condition the plain one.
        crops: the people, in the trial's order.
        about: see :func:`about_run`.
        policy: that the verdicts are of.
        photographs, costs, check: see the report.
    """
    sizes = sorted(set(trial.sizes.tolist()))
    cells = [(number, size) for number in range(len(trial.conditions)) for size in sizes]
    spreads: dict[tuple[str, int, int], Spread] = {}
    for dimension in DIMENSIONS:
        groups = [crop.groups[dimension] for crop in crops]
        order = group_order(dimension, set(groups))
        for number, size in cells:
            found = spread_of(trial.hits(number, size), groups, order)
            if found is not None:
                spreads[dimension, number, size] = found
    names = [condition.name for condition in trial.conditions]
    return FairnessReport(
        about,
        tuple(Overall(names[n], size, recall_of(trial.hits(n, size))) for n, size in cells),
        tuple(GroupSpread(d, names[n], size, found) for (d, n, size), found in spreads.items()),
        tuple(_pairs(trial, sizes)),
        tuple(photographs),
        tuple(costs),
        associations(trial, crops, 0),
        tuple(
            cause_of(
                trial,
                crops,
                *key,
                spreads[key],
                costs,
                policy.face.threshold_at(key[2]),
            )
            for key in _widest(spreads)
        ),
        check,
    )


def _pairs(trial: Trial, sizes: Sequence[int]) -> list[Paired]:
    base = trial.conditions[0].name
    return [
        paired(
            trial.hits(number, size),
            trial.hits(0, size),
            name=trial.conditions[number].name,
            base_name=base,
            size=size,
        )
        for number in range(1, len(trial.conditions))
        for size in sizes
    ]


def _widest(spreads: dict[tuple[str, int, int], Spread]) -> list[tuple[str, int, int]]:
    """For each dimension the widest plain spread, and the widest of all where that is another.

    Groups that do not differ at all have no cause to look for.
    """
    chosen: list[tuple[str, int, int]] = []
    for dimension in DIMENSIONS:
        own = {k: one for k, one in spreads.items() if k[0] == dimension and one.worst != one.best}
        plain = {key: one for key, one in own.items() if key[1] == 0}
        for some in (plain, own):
            if some:
                chosen.append(max(some, key=lambda key: some[key].spread.value))
    return list(dict.fromkeys(chosen))
