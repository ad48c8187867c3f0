"""What any thresholds would redact, worked out from cached candidates without a pixel.

Whether a box would be obscured is told by how much of it the grown detections cover, and false
blurs by what they cover outside; both on a grid of points. The scorer on real outputs stays the
judge: `docs/benchmarks/operating_points.md` says how far the two agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.annotations import LabelledPicture
from evaluation.changed import outside_map
from evaluation.obscured import BOX_SHARE
from evaluation.summary import COUNTED_FROM_PX, Share, pooled_ratio, proportion, resamples
from pipeline.policy import ClassPolicy, PrivacyPolicy
from pipeline.redaction import RedactionBox
from pipeline.stages.decide import decide
from serving.geometry import Box, Candidate, Label

Map = NDArray[np.bool_]
Floats = NDArray[np.float64]

# Points a side that stand for a labelled box, and about how many for a picture.
_BOX_SIDE = 24
_PICTURE_POINTS = 40_000


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Score thresholds of one class by box height, as in a policy.

    Attributes:
        starts: heights in pixels from which each holds, rising, the first 0.
        values: the thresholds, 0..1.
    """

    starts: tuple[int, ...]
    values: tuple[float, ...]

    @classmethod
    def of(cls, rules: ClassPolicy) -> Thresholds:
        """Those of a policy's class."""
        return cls(tuple(rules.threshold), tuple(rules.threshold.values()))

    def as_mapping(self) -> dict[int, float]:
        """As a policy has them."""
        return dict(zip(self.starts, self.values, strict=True))

    def at(self, heights: Floats) -> Floats:
        """The threshold for each of ``heights``."""
        places = np.searchsorted(np.array(self.starts), heights, side="right") - 1
        return np.array(self.values)[places]

    def raised(self, place: int, value: float) -> Thresholds:
        """The same with another value at ``place``."""
        return Thresholds(self.starts, (*self.values[:place], value, *self.values[place + 1 :]))


@dataclass(frozen=True, slots=True, eq=False)
class _Picture:
    """One picture's candidates of one class.

    Attributes:
        scores, heights: [n] of the candidates that the filter lets through.
        covers: for each labelled box that counts [k, points]: what each candidate covers of it.
        which: for each box the numbers of those k candidates.
        counted: for each box whether its height is one that is told of.
        outside: [rows, columns] points outside all boxes.
        areas: [n, 4] rows and columns of points that each candidate covers: top, bottom, left,
            right.
    """

    scores: Floats
    heights: Floats
    covers: tuple[Map, ...]
    which: tuple[NDArray[np.int64], ...]
    counted: tuple[bool, ...]
    outside: Map
    areas: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Point:
    """What thresholds give on some pictures.

    Attributes:
        boxes: labelled boxes of these heights, by default of at least 12 px.
        recall: share of them that would be obscured.
        outside_mean: mean over pictures of the share of outside points that would change.
        outside: the same over all points, with its interval.
    """

    boxes: int
    recall: Share
    outside_mean: float
    outside: Share


@dataclass(frozen=True, slots=True, eq=False)
class Operated:
    """Hits and changed points of each picture under some thresholds."""

    hits: Floats
    boxes: Floats
    changed: Floats
    outside: Floats

    def point(self) -> Point:
        """Ratios with intervals, resampling pictures."""
        weights = resamples(len(self.boxes))
        shares = self.changed / np.maximum(self.outside, 1)
        return Point(
            int(self.boxes.sum()),
            proportion(self.hits, self.boxes, weights),
            float(shares.mean()) if len(shares) else 0.0,
            pooled_ratio(self.changed, self.outside, weights),
        )

    @property
    def recall(self) -> float:
        """Share of the counted boxes that would be obscured; 0 without boxes."""
        total = self.boxes.sum()
        return float(self.hits.sum() / total) if total else 0.0

    @property
    def outside_mean(self) -> float:
        """Mean over pictures of the share of outside points that would change."""
        return float((self.changed / np.maximum(self.outside, 1)).mean())


class ClassCandidates:
    """The candidates of one class on labelled pictures, ready to be judged at any thresholds.

    Args:
        label: the class; pictures on which it was not annotated are left out.
        pictures: labels and candidates.
        policy: says how boxes grow, and what the filter lets through.
        heights: in pixels, from the first on and below the second: of which boxes recall is told.
    """

    def __init__(
        self,
        label: Label,
        pictures: Sequence[tuple[LabelledPicture, Sequence[Candidate]]],
        policy: PrivacyPolicy,
        heights: tuple[float, float] = (COUNTED_FROM_PX, math.inf),
    ) -> None:
        self.label = label
        self._pictures = [
            _prepared(picture, candidates, label, policy, heights)
            for picture, candidates in pictures
            if label in picture.labelled_classes
        ]

    def __len__(self) -> int:
        return len(self._pictures)

    def at(self, thresholds: Thresholds) -> Operated:
        """What would be redacted at ``thresholds``."""
        hits, boxes, changed, outside = (np.zeros(len(self._pictures)) for _ in range(4))
        for number, picture in enumerate(self._pictures):
            kept = picture.scores >= thresholds.at(picture.heights)
            for cover, which, counted in zip(
                picture.covers, picture.which, picture.counted, strict=True
            ):
                if counted:
                    boxes[number] += 1
                    seen = cover[kept[which]]
                    hits[number] += len(seen) > 0 and seen.any(axis=0).mean() >= BOX_SHARE
            redacted = np.zeros_like(picture.outside)
            for top, bottom, left, right in picture.areas[kept].tolist():
                redacted[top:bottom, left:right] = True
            changed[number] = np.count_nonzero(redacted & picture.outside)
            outside[number] = np.count_nonzero(picture.outside)
        return Operated(hits, boxes, changed, outside)

    def curve(self, values: Sequence[float]) -> dict[float, Point]:
        """One threshold for all heights: recall and false blurs at each of ``values``."""
        return {value: self.at(Thresholds((0,), (value,))).point() for value in values}


def by_class(
    sets: Mapping[str, Sequence[tuple[LabelledPicture, Sequence[Candidate]]]],
    label: Label,
    policy: PrivacyPolicy,
) -> dict[str, ClassCandidates]:
    """The sets that have pictures on which ``label`` was annotated."""
    found = {name: ClassCandidates(label, pictures, policy) for name, pictures in sets.items()}
    return {name: one for name, one in found.items() if len(one)}


def _prepared(
    picture: LabelledPicture,
    candidates: Sequence[Candidate],
    label: Label,
    policy: PrivacyPolicy,
    heights: tuple[float, float],
) -> _Picture:
    rules = policy.for_label(label)
    width, height = picture.width, picture.height
    decided = [
        one
        for one in decide((c for c in candidates if c.label == label), policy, width, height)
        if one.probability >= rules.min_probability
        and (one.y2 - one.y1 >= rules.min_height_px or rules.blur_below_minimum)
    ]
    grown = [RedactionBox.around(Box(d.x1, d.y1, d.x2, d.y2), rules.style, label) for d in decided]
    areas = np.array([box.area for box in grown], np.float64).reshape(-1, 4)
    reach = np.array([box.feather_px for box in grown], np.float64)
    counted = [item for item in picture.boxes if item.label == label and not item.ignore]
    covers, which = [], []
    for item in counted:
        cover, numbers = covered_points(item.box, areas, width, height)
        covers.append(cover)
        which.append(numbers)
    step = max(1.0, math.sqrt(width * height / _PICTURE_POINTS))
    ys, xs = (np.arange(step / 2, side, step) for side in (height, width))
    outside = outside_map(width, height, [item.box for item in picture.boxes])
    edges = [
        np.searchsorted(points, areas[:, side] + sign * reach)
        for points, side, sign in ((ys, 1, -1), (ys, 3, 1), (xs, 0, -1), (xs, 2, 1))
    ]
    return _Picture(
        np.array([one.score for one in decided], np.float64),
        np.array([one.y2 - one.y1 for one in decided], np.float64),
        tuple(covers),
        tuple(which),
        tuple(heights[0] <= item.box.height < heights[1] for item in counted),
        outside[np.ix_(ys.astype(np.int64), xs.astype(np.int64))],
        np.stack(edges, axis=1).astype(np.int64),
    )


def covered_points(
    box: Box, areas: Floats, width: int, height: int
) -> tuple[Map, NDArray[np.int64]]:
    """[k, points] what ``areas`` [n, 4] cover of a box, and which k of the areas meet it."""
    x1, x2 = max(box.x1, 0), min(box.x2, width)
    y1, y2 = max(box.y1, 0), min(box.y2, height)
    meet = (areas[:, 0] < x2) & (areas[:, 2] > x1) & (areas[:, 1] < y2) & (areas[:, 3] > y1)
    near = areas[meet]
    share = (np.arange(_BOX_SIDE) + 0.5) / _BOX_SIDE
    xs, ys = x1 + share * (x2 - x1), y1 + share * (y2 - y1)
    across = (xs >= near[:, :1]) & (xs < near[:, 2:3])
    down = (ys >= near[:, 1:2]) & (ys < near[:, 3:4])
    cover = down[:, :, None] & across[:, None, :]
    return cover.reshape(len(near), _BOX_SIDE**2), np.flatnonzero(meet)
