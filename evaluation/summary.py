"""From verdicts on pictures to the figures of a set, with confidence intervals by picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.judge import JudgedBox, JudgedPicture

# Lower edge and name of each bin of box height, in pixels.
HEIGHT_BINS: tuple[tuple[float, float, str], ...] = (
    (0, 12, "<12 px"),
    (12, 16, "12-16 px"),
    (16, 24, "16-24 px"),
    (24, 48, "24-48 px"),
    (48, float("inf"), ">=48 px"),
)
COUNTED_FROM_PX = 12

_RESAMPLES = 1000
_SEED = 20261121


@dataclass(frozen=True, slots=True)
class Recall:
    """Obscured share of a group of boxes.

    Attributes:
        label: the class.
        group: ``all``, ``>=12 px``, a height bin, or ``occlusion=NAME``.
        obscured: boxes that are obscured.
        boxes: boxes in the group.
        recall: their ratio, 0..1.
        low: lower end of the 95 % bootstrap interval, resampling pictures.
        high: upper end.
    """

    label: str
    group: str
    obscured: int
    boxes: int
    recall: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SetScore:
    """The figures of one labelled set.

    Attributes:
        name: of the set.
        pictures: labelled pictures.
        judged: of them, compared with an output.
        not_published: without an output; their boxes are in no recall.
        boxes_not_published: boxes on those pictures.
        unrelated: outputs that cannot be decoded or do not show the original's scene in place;
            their boxes count as missed.
        recalls: by class and group; groups without boxes are left out.
        changed_outside_mean: mean over judged pictures of the changed-outside share, 0..1.
        changed_outside_pooled: changed pixels over outside pixels of all judged pictures, 0..1.
        changed_outside_low: lower end of the pooled share's 95 % interval.
        changed_outside_high: upper end.
    """

    name: str
    pictures: int
    judged: int
    not_published: int
    boxes_not_published: int
    unrelated: tuple[str, ...]
    recalls: tuple[Recall, ...]
    changed_outside_mean: float
    changed_outside_pooled: float
    changed_outside_low: float
    changed_outside_high: float

    def recall(self, label: str, group: str = "all") -> Recall | None:
        """The row of a class and group, or None when there is no such box."""
        for row in self.recalls:
            if (row.label, row.group) == (label, group):
                return row
        return None


def summarise(name: str, pictures: Sequence[JudgedPicture]) -> SetScore:
    """Reduce the verdicts on a set's pictures to its figures."""
    published = [picture for picture in pictures if picture.status != "not_published"]
    missing = [picture for picture in pictures if picture.status == "not_published"]
    weights = _resamples(len(published))
    shares = [p.changed.share for p in published if p.changed is not None]
    changed = np.array([p.changed.changed if p.changed else 0 for p in published], dtype=float)
    outside = np.array([p.changed.outside if p.changed else 0 for p in published], dtype=float)
    pooled, low, high = _ratio(changed, outside, weights)
    return SetScore(
        name=name,
        pictures=len(pictures),
        judged=len(shares),
        not_published=len(missing),
        boxes_not_published=sum(len(picture.boxes) for picture in missing),
        unrelated=tuple(p.image for p in published if p.status == "unrelated"),
        recalls=_recalls(published, weights),
        changed_outside_mean=float(np.mean(shares)) if shares else 0.0,
        changed_outside_pooled=pooled,
        changed_outside_low=low,
        changed_outside_high=high,
    )


def _recalls(pictures: Sequence[JudgedPicture], weights: NDArray[np.float64]) -> tuple[Recall, ...]:
    every_box = [box for picture in pictures for box in picture.boxes]
    occlusions = sorted({box.occlusion for box in every_box if box.occlusion is not None})
    groups: list[tuple[str, Callable[[JudgedBox], bool]]] = [
        ("all", lambda box: True),
        (f">={COUNTED_FROM_PX} px", lambda box: box.height >= COUNTED_FROM_PX),
    ]
    for low, high, name in HEIGHT_BINS:
        groups.append((name, lambda box, low=low, high=high: low <= box.height < high))  # type: ignore[misc]
    for kind in occlusions:
        groups.append((f"occlusion={kind}", lambda box, kind=kind: box.occlusion == kind))  # type: ignore[misc]
    rows: list[Recall] = []
    for label in sorted({box.label for box in every_box}):
        for name, belongs in groups:
            members = [
                [b for b in picture.boxes if b.label == label and belongs(b)]
                for picture in pictures
            ]
            total = np.array([len(boxes) for boxes in members], dtype=float)
            hits = np.array([sum(b.obscured for b in boxes) for boxes in members], dtype=float)
            if total.sum():
                rows.append(
                    Recall(
                        label,
                        name,
                        int(hits.sum()),
                        int(total.sum()),
                        *_ratio(hits, total, weights),
                    )
                )
    return tuple(rows)


def _resamples(pictures: int) -> NDArray[np.float64]:
    """How often each picture occurs in each bootstrap resample, [_RESAMPLES, pictures]."""
    if pictures == 0:
        return np.zeros((1, 0))
    generator = np.random.default_rng(_SEED)
    return generator.multinomial(pictures, np.full(pictures, 1 / pictures), _RESAMPLES).astype(
        np.float64
    )


def _ratio(
    part: NDArray[np.float64], whole: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Pooled ratio and its 95 % percentile interval; zeros when there is nothing to divide by."""
    if whole.sum() == 0:
        return 0.0, 0.0, 0.0
    denominators = weights @ whole
    drawn = denominators > 0
    ratios = (weights @ part)[drawn] / denominators[drawn]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(part.sum() / whole.sum()), float(low), float(high)
