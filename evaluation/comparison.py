"""Two runs on the same pictures: what became better or worse, beyond what other pictures would do.

Both are drawn again together, picture by picture (paired bootstrap; Efron and Tibshirani, An
Introduction to the Bootstrap, chapter 16), so what is hard on both takes nothing from the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.judge import JudgedPicture
from evaluation.summary import group_names, resamples
from evaluation.verdicts import ALL_SETS, Verdicts
from pipeline.errors import ConfigurationError

Floats = NDArray[np.float64]
Metric = Literal["recall", "changed_outside", "false_regions"]
Verdict = Literal["better", "worse", "no difference"]

# On fewer pictures no difference is beyond chance: five that all become worse have p = 2 / 2**5.
FEWEST_PICTURES = 6


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of two runs.

    Attributes:
        set_name: of the labelled set.
        metric: ``recall`` of boxes, ``changed_outside`` pixels, or ``false_regions`` a picture.
        label, group: which boxes; empty where the metric is of pictures.
        before, after: its values.
        low, high: 95 % interval of after minus before.
        count: boxes, or pictures.
        pictures: that it is drawn from.
    """

    set_name: str
    metric: Metric
    label: str
    group: str
    before: float
    after: float
    low: float
    high: float
    count: int
    pictures: int = FEWEST_PICTURES

    @property
    def verdict(self) -> Verdict:
        """Whether the interval leaves out 0, and to which side; never of a handful of pictures."""
        if self.pictures < FEWEST_PICTURES or self.low <= 0 <= self.high:
            return "no difference"
        return "better" if (self.low > 0) == (self.metric == "recall") else "worse"


def compare(before: Verdicts, after: Verdicts) -> tuple[Difference, ...]:
    """Every metric of the sets that both runs have, over the pictures that both have.

    Raises:
        ConfigurationError: they have no picture in common, or were judged by other labels.
    """
    for name in before.sets:
        labels, others = _labels(before.sets[name]), _labels(after.sets.get(name, ()))
        if any(labels[image] != others[image] for image in labels.keys() & others.keys()):
            raise ConfigurationError(
                "the two runs were judged by other labels, so their figures do not compare",
                where=f"{before.about.name}, {after.about.name}",
                fix="Evaluate both on the same labelled sets",
            )
    found: list[Difference] = []
    every: list[tuple[JudgedPicture, JudgedPicture]] = []
    for name in before.sets:
        pairs = _paired(before.sets[name], after.sets.get(name, ()))
        every += pairs
        found += _differences(name, pairs)
    if not every:
        raise ConfigurationError("the two runs have no picture in common")
    if sum(name in after.sets for name in before.sets) > 1:
        found += _differences(ALL_SETS, every)
    return tuple(found)


def _labels(pictures: Sequence[JudgedPicture]) -> dict[str, list[tuple[str, float]]]:
    """Class and height of each box, by picture."""
    return {one.image: [(b.label, round(b.height, 1)) for b in one.boxes] for one in pictures}


def _paired(
    before: Sequence[JudgedPicture], after: Sequence[JudgedPicture]
) -> list[tuple[JudgedPicture, JudgedPicture]]:
    others = {one.image: one for one in after if one.status != "not_published"}
    return [
        (one, others[one.image])
        for one in before
        if one.image in others and one.status != "not_published"
    ]


def _differences(
    name: str, pairs: Sequence[tuple[JudgedPicture, JudgedPicture]]
) -> list[Difference]:
    if not pairs:
        return []
    weights = resamples(len(pairs))
    groups = sorted(
        {(box.label, group) for one, _ in pairs for box in one.boxes for group in group_names(box)}
    )
    found = []
    for label, group in groups:
        hits, total = _hits(pairs, label, group)
        found.append(_difference(name, "recall", (label, group), hits, (total, total), weights))
    judged = [pair for pair in pairs if pair[0].changed and pair[1].changed]
    if judged:
        weights = resamples(len(judged))
        measures: Mapping[Metric, Callable[[JudgedPicture], tuple[float, float]]] = {
            "changed_outside": _changed,
            "false_regions": lambda one: (float(one.false_regions), 1.0),
        }
        for metric, measure in measures.items():
            values = np.array([[measure(one) for one in pair] for pair in judged], float)
            parts, wholes = values[:, :, 0], values[:, :, 1]
            found.append(
                _difference(name, metric, ("", ""), (parts[:, 0], parts[:, 1]),
                            (wholes[:, 0], wholes[:, 1]), weights)
            )  # fmt: skip
    return found


def _changed(picture: JudgedPicture) -> tuple[float, float]:
    changed = picture.changed
    return (0.0, 0.0) if changed is None else (float(changed.changed), float(changed.outside))


def _hits(
    pairs: Sequence[tuple[JudgedPicture, JudgedPicture]], label: str, group: str
) -> tuple[tuple[Floats, Floats], Floats]:
    """Obscured boxes of either run and all boxes, by picture."""
    places = [
        [n for n, box in enumerate(one.boxes) if box.label == label and group in group_names(box)]
        for one, _ in pairs
    ]
    before, after = (
        np.array(
            [
                sum(pair[side].boxes[n].obscured for n in some)
                for pair, some in zip(pairs, places, strict=True)
            ],
            float,
        )
        for side in (0, 1)
    )
    return (before, after), np.array([len(some) for some in places], float)


def _difference(
    name: str,
    metric: Metric,
    boxes: tuple[str, str],
    parts: tuple[Floats, Floats],
    wholes: tuple[Floats, Floats],
    weights: Floats,
) -> Difference:
    def ratio(part: Floats, whole: Floats) -> Floats:
        return part / np.where(whole > 0, whole, np.nan)

    drawn = ratio(weights @ parts[1], weights @ wholes[1])
    drawn = drawn - ratio(weights @ parts[0], weights @ wholes[0])
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    before, after = (
        float(part.sum() / whole.sum()) if whole.sum() else 0.0
        for part, whole in zip(parts, wholes, strict=True)
    )
    count = int(wholes[0].sum()) if metric == "recall" else len(weights[0])
    drawn_from = int(np.count_nonzero(wholes[0]))
    return Difference(
        name, metric, *boxes, before, after, float(low), float(high), count, drawn_from
    )
