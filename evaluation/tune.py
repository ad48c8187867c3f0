"""A policy whose thresholds are chosen on labelled pictures, with the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evaluation.annotations import LabelledPicture
from evaluation.candidates import CandidateCache, detection_digest
from evaluation.judge import locate
from evaluation.labelled_sets import LabelledSet
from evaluation.operating_points import ClassCandidates, Point, Thresholds, by_class
from evaluation.picture import PictureUnreadable
from evaluation.tuning import Tuned, tune
from evaluation.verdicts import digest_of_labels
from pipeline.errors import ConfigurationError
from pipeline.policy import PrivacyPolicy
from serving.geometry import Candidate, Label

Pictures = Sequence[tuple[LabelledPicture, Sequence[Candidate]]]
_DECIMALS = 4


@dataclass(frozen=True, slots=True)
class Goal:
    """What thresholds of one class are to reach.

    Attributes:
        recall: least share of boxes of at least 12 px that are obscured, 0..1.
        outside: largest mean share of pixels outside that may change, 0..1.
    """

    recall: float
    outside: float


@dataclass(frozen=True, slots=True)
class TunedPolicy:
    """A policy with new thresholds.

    Attributes:
        policy: with the evidence.
        classes: what was found for each class that was tuned.
        report: what the thresholds give on other pictures, by class and set.
    """

    policy: PrivacyPolicy
    classes: Mapping[Label, Tuned]
    report: Mapping[Label, Mapping[str, Point]]

    @property
    def met(self) -> bool:
        """Whether all goals hold on the pictures that the thresholds were chosen on."""
        return all(one.met for one in self.classes.values())


def with_candidates(
    sets: Sequence[LabelledSet], cached: CandidateCache, processes: int
) -> dict[str, Pictures]:
    """The candidates of all pictures of ``sets``, by set; what is not cached is detected.

    Raises:
        PictureUnreadable: a labelled picture is missing.
    """
    paths = {one.name: [_path(one, picture) for picture in one.pictures] for one in sets}
    cached.fill([path for some in paths.values() for path in some], processes)
    return {
        one.name: [
            (picture, cached.candidates(path))
            for picture, path in zip(one.pictures, paths[one.name], strict=True)
        ]
        for one in sets
    }


def refuse_shared_pictures(
    tuned: Sequence[LabelledSet], reported: Sequence[LabelledSet], cached: CandidateCache
) -> None:
    """See that nothing is reported on a picture that thresholds were chosen on.

    Raises:
        ConfigurationError: naming such a picture.
    """
    known = {cached.name(_path(one, picture)) for one in tuned for picture in one.pictures}
    for one in reported:
        for picture in one.pictures:
            path = _path(one, picture)
            if cached.name(path) in known:
                raise ConfigurationError(
                    "this picture is among those that thresholds are chosen on",
                    where=str(path),
                    fix="Report on other pictures than you tune on",
                )


def tune_policy(
    policy: PrivacyPolicy,
    goals: Mapping[Label, Goal],
    pictures: Mapping[str, Pictures],
    reported: Mapping[str, Pictures],
    *,
    command: str,
) -> TunedPolicy:
    """Choose thresholds of the classes in ``goals``; the heights they may differ at stay.

    Args:
        policy: what else is in force.
        goals: by class.
        pictures: labels and candidates to choose by, by set.
        reported: others, to say what the choice gives.
        command: for the record.

    Raises:
        ConfigurationError: a class was annotated on none of the pictures.
    """
    tuned: dict[Label, Tuned] = {}
    report: dict[Label, dict[str, Point]] = {}
    content = policy.model_dump(mode="json")
    for label, goal in goals.items():
        sets = by_class(pictures, label, policy)
        if not any(_boxes(one, policy) for one in sets.values()):
            raise ConfigurationError(
                f"there is no labelled {label} to choose thresholds by",
                where="tune",
                fix="Give labelled pictures of that class, or no target for it",
            )
        start = Thresholds.of(policy.for_label(label))
        tuned[label] = tune(sets, start, target=goal.recall, budget=goal.outside)
        chosen = tuned[label].thresholds
        report[label] = {
            name: one.at(chosen).point() for name, one in by_class(reported, label, policy).items()
        }
        content[label]["threshold"] = chosen.as_mapping()
    content["evidence"] = {
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "labels": digest_of_labels({k: [one for one, _ in v] for k, v in pictures.items()}),
        "detection": detection_digest(policy.models.model_dump()),
        "pictures": {name: len(some) for name, some in pictures.items()},
        "classes": {
            label: _evidence(goals[label], one, report[label]) for label, one in tuned.items()
        },
    }
    return TunedPolicy(PrivacyPolicy.model_validate(content), tuned, report)


def _boxes(one: ClassCandidates, policy: PrivacyPolicy) -> int:
    return one.at(Thresholds.of(policy.for_label(one.label))).point().boxes


def _evidence(goal: Goal, tuned: Tuned, report: Mapping[str, Point]) -> dict[str, Any]:
    return {
        "target_recall": goal.recall,
        "max_outside": goal.outside,
        "met": tuned.met,
        "all": _row(tuned.point),
        "sets": {name: _row(point) for name, point in tuned.sets.items()},
        "held_out": {
            one.name: {"threshold": _steps(one.thresholds), **_row(one.point)}
            for one in tuned.held_out
        },
        "reported_on": {name: _row(point) for name, point in report.items()},
        "curve": {str(value): _row(point) for value, point in tuned.curve.items()},
    }


def _steps(thresholds: Thresholds) -> dict[str, float]:
    """As JSON has them: names are texts there."""
    return {str(start): value for start, value in thresholds.as_mapping().items()}


def _row(point: Point) -> dict[str, Any]:
    recall, outside = point.recall, point.outside
    return {
        "boxes": point.boxes,
        "recall": [round(one, _DECIMALS) for one in (recall.value, recall.low, recall.high)],
        "outside_mean": round(point.outside_mean, _DECIMALS),
        "outside": [round(one, _DECIMALS) for one in (outside.value, outside.low, outside.high)],
    }


def _path(one: LabelledSet, picture: LabelledPicture) -> Path:
    path = locate(one.folder, picture.image)
    if path is None:
        raise PictureUnreadable(
            "the labelled picture is missing", where=str(one.folder / picture.image)
        )
    return path
