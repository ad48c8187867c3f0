"""From verdicts on pictures to the figures of a set, with confidence intervals by picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, stdtrit

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
# A variance up to this is none: shares of resamples are the same but for rounding.
_ROUNDING = 1e-18
_MANY = 1e9


@dataclass(frozen=True, slots=True)
class Share:
    """A ratio with its interval.

    Attributes:
        value: 0..1.
        low: lower end of the 95 % interval by resampling pictures: percentiles, or of counted
            boxes see :func:`proportion`.
        high: upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Recall:
    """Obscured share of a group of boxes.

    Attributes:
        label: the class.
        group: ``all``, ``>=12 px``, a height bin, or ``NAME=VALUE`` of a condition.
        obscured: boxes that are obscured.
        boxes: boxes in the group.
        recall: their ratio, 0..1.
        low: lower end of the 95 % interval, see :func:`proportion`.
        high: upper end.
        pixels: share of the boxes' pixels that are obscured.
        found: share of the boxes that a changed area meets with an IoU of at least 0.3, and 0.5.
    """

    label: str
    group: str
    obscured: int
    boxes: int
    recall: float
    low: float
    high: float
    pixels: Share
    found: tuple[Share, Share]


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
        changed_in_vain: share of all changed pixels that lie outside.
        false_regions: changed areas a picture that touch no box; no share, may exceed 1.
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
    changed_in_vain: Share
    false_regions: Share

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
    weights = resamples(len(published))
    shares = [p.changed.share for p in published if p.changed is not None]
    changed = np.array([p.changed.changed if p.changed else 0 for p in published], dtype=float)
    outside = np.array([p.changed.outside if p.changed else 0 for p in published], dtype=float)
    everywhere = np.array([p.changed_pixels for p in published], dtype=float)
    regions = np.array([p.false_regions for p in published], dtype=float)
    compared = np.array([p.changed is not None for p in published], dtype=float)
    pooled = pooled_ratio(changed, outside, weights)
    return SetScore(
        name=name,
        pictures=len(pictures),
        judged=len(shares),
        not_published=len(missing),
        boxes_not_published=sum(len(picture.boxes) for picture in missing),
        unrelated=tuple(p.image for p in published if p.status == "unrelated"),
        recalls=_recalls(published, weights),
        changed_outside_mean=float(np.mean(shares)) if shares else 0.0,
        changed_outside_pooled=pooled.value,
        changed_outside_low=pooled.low,
        changed_outside_high=pooled.high,
        changed_in_vain=pooled_ratio(changed, everywhere, weights),
        false_regions=pooled_ratio(regions, compared, weights),
    )


def group_names(box: JudgedBox) -> list[str]:
    """The groups that a box belongs to, in the order of a table."""
    names = ["all"]
    if box.height >= COUNTED_FROM_PX:
        names.append(f">={COUNTED_FROM_PX} px")
    names += [name for low, high, name in HEIGHT_BINS if low <= box.height < high]
    names += [f"{name}={value}" for name, value in box.groups]
    # verdicts that were made without a picture know no conditions but this
    if box.occlusion is not None and not box.groups:
        names.append(f"occlusion={box.occlusion}")
    return names


def _recalls(pictures: Sequence[JudgedPicture], weights: NDArray[np.float64]) -> tuple[Recall, ...]:
    members: dict[tuple[str, str], list[tuple[int, JudgedBox]]] = {}
    for number, picture in enumerate(pictures):
        for box in picture.boxes:
            for name in group_names(box):
                members.setdefault((box.label, name), []).append((number, box))
    heights = ["all", f">={COUNTED_FROM_PX} px", *(name for _, _, name in HEIGHT_BINS)]

    def order(key: tuple[str, str]) -> tuple[str, int, str]:
        return key[0], heights.index(key[1]) if key[1] in heights else len(heights), key[1]

    return tuple(
        _recall(*key, members[key], len(pictures), weights) for key in sorted(members, key=order)
    )


def _recall(
    label: str,
    group: str,
    members: Sequence[tuple[int, JudgedBox]],
    pictures: int,
    weights: NDArray[np.float64],
) -> Recall:
    """One row; sums are taken picture by picture, since pictures are what is drawn."""
    places = np.array([number for number, _ in members])

    def by_picture(values: Sequence[float]) -> NDArray[np.float64]:
        summed = np.bincount(places, np.array(values, dtype=float), minlength=pictures)
        return summed.astype(np.float64)

    boxes = [box for _, box in members]
    total, hits = by_picture([1.0] * len(boxes)), by_picture([float(b.obscured) for b in boxes])
    recall = proportion(hits, total, weights)
    least, more = (
        proportion(by_picture([float(b.overlap >= iou) for b in boxes]), total, weights)
        for iou in (0.3, 0.5)
    )
    area = by_picture([b.pixels for b in boxes])
    return Recall(
        label,
        group,
        int(hits.sum()),
        len(boxes),
        recall.value,
        recall.low,
        recall.high,
        pixels=pooled_ratio(by_picture([b.share * b.pixels for b in boxes]), area, weights),
        found=(least, more),
    )


def resamples(pictures: int) -> NDArray[np.float64]:
    """How often each picture occurs in each bootstrap resample, [1000, pictures]."""
    if pictures == 0:
        return np.zeros((1, 0))
    generator = np.random.default_rng(_SEED)
    return generator.multinomial(pictures, np.full(pictures, 1 / pictures), _RESAMPLES).astype(
        np.float64
    )


def pooled_ratio(
    part: NDArray[np.float64], whole: NDArray[np.float64], weights: NDArray[np.float64]
) -> Share:
    """Pooled ratio and its 95 % percentile interval; zeros when there is nothing to divide by."""
    if whole.sum() == 0:
        return Share(0.0, 0.0, 0.0)
    denominators = weights @ whole
    drawn = denominators > 0
    ratios = (weights @ part)[drawn] / denominators[drawn]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Share(float(part.sum() / whole.sum()), float(low), float(high))


def proportion(
    part: NDArray[np.float64],
    whole: NDArray[np.float64],
    weights: NDArray[np.float64],
    *,
    trials: float | None = None,
) -> Share:
    """The same of counted boxes, with the interval of Korn and Graubard (1998).

    The exact interval (Clopper-Pearson) of as many independent boxes as would vary as much as the
    resamples do: the percentile interval ends too early where nearly all or none of the boxes are
    obscured. Where drawing again changes nothing (all or none are obscured, or all boxes are in one
    picture), it tells nothing, and each picture counts once.

    Args:
        part, whole: [pictures] boxes that are obscured, and all.
        weights: of :func:`resamples`.
        trials: how many independent boxes there are at most; all by default.
    """
    share = pooled_ratio(part, whole, weights)
    if not whole.sum():
        return share
    value = share.value
    denominators = weights @ whole
    ratios = (weights @ part)[denominators > 0] / denominators[denominators > 0]
    spread = float(np.square(ratios - value).mean())
    pictures = np.count_nonzero(whole)
    effective = float(pictures)
    if spread > _ROUNDING and pictures > 1:
        most = float(whole.sum()) if trials is None else trials
        # few pictures tell the variance itself badly
        narrower = stdtrit(min(most, _MANY) - 1, 0.975) / stdtrit(pictures - 1, 0.975)
        spread *= pictures / (pictures - 1)
        effective = min(value * (1 - value) / spread * float(narrower) ** 2, most)
    hits, misses = effective * value, effective * (1 - value)
    low = float(betaincinv(hits, misses + 1, 0.025)) if hits else 0.0
    high = float(betaincinv(hits + 1, misses, 0.975)) if misses else 1.0
    return Share(value, low, high)
