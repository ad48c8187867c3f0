"""Recall by occlusion on annotated photographs, with the faces' heights matched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.annotations import LabelledPicture
from evaluation.fairness.judged import judge_boxes
from evaluation.operating_points import ClassCandidates, Point, Thresholds
from evaluation.summary import COUNTED_FROM_PX, HEIGHT_BINS, Share, proportion, resamples
from pipeline.policy import PrivacyPolicy
from serving.geometry import Candidate

Floats = NDArray[np.float64]
Pictures = Sequence[tuple[LabelledPicture, Sequence[Candidate]]]

SETS = ("facemask_kaggle", "facemask_ilc2021")
BARE = "none"
_BINS = tuple((low, high, name) for low, high, name in HEIGHT_BINS if low >= COUNTED_FROM_PX)
# Boxes that a bin must have on both sides to be compared.
_LEAST_BOXES = 10


@dataclass(frozen=True, slots=True)
class OcclusionRecall:
    """Faces with one annotated occlusion against bare faces of the same set.

    Attributes:
        set_name: of the set.
        occlusion: as annotated.
        boxes: of at least 12 px with this occlusion.
        raw: their recall, whatever their heights.
        bins: heights that both kinds have at least ten boxes of; nothing is matched without any.
        matched: recall as if heights were distributed as those of all faces in these bins.
        bare: likewise of bare faces.
        difference: ``matched`` minus ``bare``. All intervals resample pictures.
    """

    set_name: str
    occlusion: str
    boxes: int
    raw: Share
    bins: tuple[str, ...]
    matched: Share | None
    bare: Share | None
    difference: Share | None


@dataclass(frozen=True, slots=True)
class ThresholdCost:
    """What one face threshold for all heights gives on a set; None stands for the policy's own."""

    set_name: str
    threshold: float | None
    point: Point


def recalls_by_occlusion(
    name: str, pictures: Pictures, policy: PrivacyPolicy
) -> tuple[OcclusionRecall, ...]:
    """Compare the occlusions annotated in a set, bare faces first."""
    counts: dict[str, _Counts] = {}
    starts = np.array([low for low, _, _ in _BINS])
    for number, (picture, candidates) in enumerate(pictures):
        faces = [
            item
            for item in picture.boxes
            if item.label == "face" and not item.ignore and item.box.height >= COUNTED_FROM_PX
        ]
        boxes = [item.box for item in faces]
        found = judge_boxes(boxes, candidates, policy, picture.width, picture.height)
        for item, obscured in zip(faces, found.obscured.tolist(), strict=True):
            height = int(np.searchsorted(starts, item.box.height, side="right")) - 1
            shape = len(_BINS), len(pictures)
            one = counts.setdefault(
                item.occlusion or BARE, _Counts(np.zeros(shape), np.zeros(shape))
            )
            one.totals[height, number] += 1
            one.hits[height, number] += obscured
    kinds = sorted(counts, key=lambda kind: (kind != BARE, kind))
    weights = resamples(len(pictures))
    return tuple(_compared(name, kind, counts, weights) for kind in kinds)


def threshold_costs(
    name: str, pictures: Pictures, policy: PrivacyPolicy, thresholds: Sequence[float]
) -> tuple[ThresholdCost, ...]:
    """Recall and false blurs of the policy as it stands and at single thresholds."""
    faces = ClassCandidates("face", pictures, policy)
    own = ThresholdCost(name, None, faces.at(Thresholds.of(policy.face)).point())
    curve = faces.curve(thresholds)
    return (own, *(ThresholdCost(name, value, point) for value, point in curve.items()))


@dataclass(frozen=True, slots=True, eq=False)
class _Counts:
    """Faces and obscured ones of one occlusion, by height bin and picture.

    Attributes:
        hits, totals: [bins, pictures].
    """

    hits: Floats
    totals: Floats

    @property
    def boxes(self) -> Floats:
        """[bins]."""
        return np.asarray(self.totals.sum(axis=1), np.float64)

    def matched(self, mix: Floats, weights: Floats) -> tuple[float, Floats]:
        """Recall with the height bins in the shares ``mix`` [bins]: value, and of resamples."""
        used = mix > 0
        hits, totals, parts = self.hits[used], self.totals[used], mix[used]
        value = float(parts @ (hits.sum(axis=1) / totals.sum(axis=1)))
        return value, np.asarray(_ratio(weights @ hits.T, weights @ totals.T) @ parts, np.float64)

    def bounded(self, value: float, drawn: Floats, used: NDArray[np.bool_]) -> Share:
        """A matched recall's interval; the exact one of as many pictures where all are obscured."""
        if value < 1:
            return _share(value, drawn)
        pictures = np.count_nonzero(self.totals[used].sum(axis=0))
        return Share(1.0, float(0.025 ** (1 / pictures)), 1.0)

    def raw(self, weights: Floats) -> Share:
        """Recall whatever the heights."""
        hits, totals = self.hits.sum(axis=0), self.totals.sum(axis=0)
        return proportion(hits, totals, weights)


def _compared(
    name: str, kind: str, counts: Mapping[str, _Counts], weights: Floats
) -> OcclusionRecall:
    own, bare = counts[kind], counts.get(BARE)
    boxes, raw = int(own.boxes.sum()), own.raw(weights)
    if kind == BARE or bare is None:
        return OcclusionRecall(name, kind, boxes, raw, (), None, None, None)
    shared = np.minimum(own.boxes, bare.boxes) >= _LEAST_BOXES
    if not shared.any():
        return OcclusionRecall(name, kind, boxes, raw, (), None, None, None)
    every = np.sum([one.boxes for one in counts.values()], axis=0) * shared
    mix = every / every.sum()
    (value, drawn), (bare_value, bare_drawn) = own.matched(mix, weights), bare.matched(mix, weights)
    return OcclusionRecall(
        name,
        kind,
        boxes,
        raw,
        tuple(one for (_, _, one), used in zip(_BINS, shared.tolist(), strict=True) if used),
        own.bounded(value, drawn, shared),
        bare.bounded(bare_value, bare_drawn, shared),
        _difference(
            own.bounded(value, drawn, shared),
            bare.bounded(bare_value, bare_drawn, shared),
            drawn - bare_drawn,
        ),
    )


def _difference(ours: Share, bare: Share, drawn: Floats) -> Share:
    if ours.value == bare.value == 1:  # drawing all-obscured faces again tells nothing
        return Share(0.0, ours.low - 1, 1 - bare.low)
    return _share(ours.value - bare.value, drawn)


def _ratio(part: Floats, whole: Floats) -> Floats:
    """``part / whole``; not a number where a resample has none of them."""
    empty = np.full(part.shape, np.nan)
    return np.asarray(np.divide(part, whole, out=empty, where=whole > 0), np.float64)


def _share(value: float, drawn: Floats) -> Share:
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Share(value, float(low), float(high))
