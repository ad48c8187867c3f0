"""Of each labelled face: would the policy obscure it, and at which threshold would any?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.obscured import BOX_SHARE
from evaluation.operating_points import covered_points
from pipeline.policy import PrivacyPolicy
from pipeline.redaction import RedactionBox
from pipeline.stages.decide import decide
from serving.geometry import Box, Candidate, Label


@dataclass(frozen=True, slots=True, eq=False)
class JudgedFaces:
    """What candidates say about labelled boxes, in their order.

    Attributes:
        obscured: bool [n], under the policy, by the rule of :mod:`evaluation.operating_points`.
        critical: float64 [n], the highest threshold, the same for every height, at which the box
            would be obscured; 0 where no threshold from 0.05 on does it.
        touched: float64 [n], the highest score of a candidate whose grown box covers a quarter of
            it; 0 without one. Where this is far above ``critical``, too little of it is covered.
    """

    obscured: NDArray[np.bool_]
    critical: NDArray[np.float64]
    touched: NDArray[np.float64]


_TOUCHED = 0.25


def judge_boxes(
    boxes: Sequence[Box],
    candidates: Sequence[Candidate],
    policy: PrivacyPolicy,
    width: int,
    height: int,
    label: Label = "face",
) -> JudgedFaces:
    """Judge ``boxes`` of one picture of ``width`` x ``height`` pixels by its candidates."""
    own = [one for one in candidates if one.label == label]
    decided = sorted(decide(own, policy, width, height), key=lambda one: -one.score)
    style = policy.for_label(label).style
    grown = [RedactionBox.around(Box(d.x1, d.y1, d.x2, d.y2), style, label) for d in decided]
    areas = np.array([one.area for one in grown], np.float64).reshape(-1, 4)
    kept = np.array([one.kept for one in decided], np.bool_)
    scores = np.array([one.score for one in decided], np.float64)
    obscured = np.zeros(len(boxes), np.bool_)
    critical, touched = np.zeros(len(boxes)), np.zeros(len(boxes))
    for number, box in enumerate(boxes):
        cover, which = covered_points(box, areas, width, height)
        if not len(which):
            continue
        of_kept = cover[kept[which]]
        obscured[number] = len(of_kept) > 0 and of_kept.any(axis=0).mean() >= BOX_SHARE
        # candidates fall in score: the union of the first i is what the threshold of the i-th gives
        shares = np.logical_or.accumulate(cover, axis=0).mean(axis=1)
        if shares[-1] >= BOX_SHARE:
            critical[number] = scores[which[int(np.argmax(shares >= BOX_SHARE))]]
        single = cover.mean(axis=1) >= _TOUCHED
        if single.any():
            touched[number] = scores[which[int(np.argmax(single))]]
    return JudgedFaces(obscured, critical, touched)
