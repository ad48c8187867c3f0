"""What verdicts on scenes come to: recall by variation and height, and blurs on negatives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.annotations import AnnotationError
from evaluation.changed import changed_map
from evaluation.figures_file import FiguresFile
from evaluation.judge import JudgedBox, JudgedPicture
from evaluation.origin import Origin
from evaluation.picture import read_upright
from evaluation.scenes.folder import NEGATIVES_FILE, SCENES_FILE
from evaluation.summary import COUNTED_FROM_PX, HEIGHT_BINS, pooled_ratio, proportion, resamples
from evaluation.verdicts import Verdicts
from serving.geometry import LABELS, Label

DAY = "day"
COUNTED = f">={COUNTED_FROM_PX} px"
BINS = tuple(one for one in HEIGHT_BINS if one[0] >= COUNTED_FROM_PX)
SIZES = (COUNTED, *(name for _, _, name in BINS))
ALL_KINDS = "all"

# A negative is touched when so many of its pixels changed: less is the rim of a blur beside it.
_TOUCHED_SHARE = 0.1
# Of fewer scenes, drawing them again tells too little for an interval.
_LEAST_SCENES = 5
Sums = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share or a difference of shares.

    Attributes:
        value: 0..1, or -1..1.
        interval: 95 %, resampling scenes; None where there are fewer than five.
    """

    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class SceneRecall:
    """Recall of a class in a variation.

    Attributes:
        label: the class.
        variation: of the scenes.
        size: ``>=12 px`` or a bin of box heights.
        boxes: of that height.
        recall: share of them that is obscured.
    """

    label: Label
    variation: str
    size: str
    boxes: int
    recall: Estimate


@dataclass(frozen=True, slots=True)
class FromDay:
    """How far recall lies from the same scenes by day, of boxes of at least 12 px in both."""

    label: Label
    variation: str
    change: Estimate


@dataclass(frozen=True, slots=True)
class Touched:
    """How many negatives of a kind, or of ``all``, were touched by a blur."""

    kind: str
    variation: str
    touched: int
    negatives: int


@dataclass(frozen=True, slots=True)
class SceneAbout:
    """What was measured.

    Attributes:
        name: of the evaluation.
        command: that made its verdicts.
        created: UTC time, ISO 8601, of these.
        machine: processor, cores, Python.
        versions: of packages, by name.
        origin: what the verdicts are of.
        scenes: how many.
        pictures: a scene in each variation is one.
    """

    name: str
    command: str
    created: str
    machine: str
    versions: Mapping[str, str]
    origin: Origin
    scenes: int
    pictures: int


@dataclass(frozen=True, slots=True)
class SceneFigures:
    """All figures; what has no boxes is left out, negatives where outputs were not given."""

    about: SceneAbout
    recalls: tuple[SceneRecall, ...]
    from_day: tuple[FromDay, ...]
    negatives: tuple[Touched, ...]

    def recall(self, label: str, variation: str, size: str) -> SceneRecall | None:
        """That of a class, or None where there are no such boxes."""
        wanted = (label, variation, size)
        rows = (row for row in self.recalls if (row.label, row.variation, row.size) == wanted)
        return next(rows, None)

    def variations(self, label: str) -> tuple[str, ...]:
        """Those in which there are boxes of a class."""
        return tuple(dict.fromkeys(row.variation for row in self.recalls if row.label == label))

    def write(self, path: Path) -> None:
        """Write all figures as JSON."""
        _FILE.write(self, path)

    @classmethod
    def read(cls, path: Path) -> SceneFigures:
        """Read what :meth:`write` wrote.

        Raises:
            FiguresUnreadable: the file is missing, damaged, or of another kind or format.
        """
        return _FILE.read(path)


_FILE = FiguresFile("scenes", 1, SceneFigures, "python -m evaluation.scenes.report")


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict on a picture, and which it is."""

    seed: int
    variation: str
    verdict: JudgedPicture


def figures_of(scenes: Path, verdicts: Verdicts, outputs: Path | None = None) -> SceneFigures:
    """All figures of verdicts on a folder of scenes.

    Args:
        scenes: folder that ``python -m evaluation.scenes`` made.
        verdicts: on its pictures.
        outputs: what was made of them; without it nothing is told of negatives.

    Raises:
        AnnotationError: the folder is none of scenes, or the verdicts are not of its pictures.
        StreetblurError: a picture is missing or damaged.
    """
    pictures = judged_scenes(scenes, verdicts)
    about = verdicts.about
    told = SceneAbout(
        about.name,
        about.command,
        about.created,
        about.machine,
        about.versions,
        about.origin,
        len({one.seed for one in pictures}),
        len(pictures),
    )
    return SceneFigures(
        told,
        tuple(row for label in LABELS for row in _recalls(pictures, label)),
        tuple(row for label in LABELS for row in _from_day(pictures, label)),
        touched_negatives(scenes, outputs) if outputs else (),
    )


def judged_scenes(scenes: Path, verdicts: Verdicts) -> tuple[Judged, ...]:
    """The verdicts on the pictures of ``scenes``.

    Raises:
        AnnotationError: the folder is none of scenes, or the verdicts are not of its pictures.
    """
    known = {row["image"]: row for row in _rows(scenes / SCENES_FILE)}
    found = tuple(
        Judged(known[one.image]["seed"], known[one.image]["variation"], one)
        for pictures in verdicts.sets.values()
        for one in pictures
        if one.image in known
    )
    if len(found) < len(known):
        raise AnnotationError(
            f"there are verdicts on {len(found)} of {len(known)} pictures",
            where=str(scenes),
            fix="Give the report of `streetblur evaluate` on this folder",
        )
    return found


def _recalls(pictures: Sequence[Judged], label: Label) -> list[SceneRecall]:
    rows = []
    for variation in dict.fromkeys(one.variation for one in pictures):
        for low, high, name in ((COUNTED_FROM_PX, float("inf"), COUNTED), *BINS):
            hits, total = _sums(pictures, variation, label, low, high)
            if total.sum():
                share = _estimate(hits, total)
                rows.append(SceneRecall(label, variation, name, int(total.sum()), share))
    return rows


def _sums(
    pictures: Sequence[Judged], variation: str, label: Label, low: float, high: float
) -> Sums:
    """Obscured boxes and all boxes of each scene, in the order of their seeds."""
    seeds = sorted(
        {one.seed for one in pictures if any(box.label == label for box in one.verdict.boxes)}
    )
    hits, total = np.zeros(len(seeds)), np.zeros(len(seeds))
    for one in pictures:
        if one.variation == variation and one.seed in seeds:
            boxes = [b for b in one.verdict.boxes if b.label == label and low <= b.height < high]
            hits[seeds.index(one.seed)] += sum(box.obscured for box in boxes)
            total[seeds.index(one.seed)] += len(boxes)
    return hits, total


def _estimate(hits: NDArray[np.float64], total: NDArray[np.float64]) -> Estimate:
    if np.count_nonzero(total) < _LEAST_SCENES:
        return Estimate(float(hits.sum() / total.sum()), None)
    share = proportion(hits, total, resamples(len(total)))
    return Estimate(share.value, (share.low, share.high))


def _from_day(pictures: Sequence[Judged], label: Label) -> list[FromDay]:
    return [
        FromDay(label, variation, change)
        for variation in dict.fromkeys(one.variation for one in pictures)
        if variation != DAY and (change := _change(pictures, variation, label)) is not None
    ]


def _change(pictures: Sequence[Judged], variation: str, label: Label) -> Estimate | None:
    """From day to ``variation``, of boxes that count in both."""
    day, other = (
        {
            one.seed: {box.box: box.obscured for box in one.verdict.boxes if _counts(box, label)}
            for one in pictures
            if one.variation == name
        }
        for name in (DAY, variation)
    )
    pairs = [
        [(there[box], by_day) for box, by_day in day.get(seed, {}).items() if box in there]
        for seed, there in sorted(other.items())
    ]
    pairs = [one for one in pairs if one]
    if not pairs:
        return None
    total = np.array([len(one) for one in pairs], dtype=float)
    gained = np.array([sum(now - before for now, before in one) for one in pairs], dtype=float)
    if len(pairs) < _LEAST_SCENES:
        return Estimate(float(gained.sum() / total.sum()), None)
    share = pooled_ratio(gained, total, resamples(len(pairs)))
    return Estimate(share.value, (share.low, share.high))


def _counts(box: JudgedBox, label: Label) -> bool:
    return box.label == label and box.height >= COUNTED_FROM_PX


def touched_negatives(scenes: Path, outputs: Path) -> tuple[Touched, ...]:
    """How many negatives were touched by a blur, by kind and variation; ``all`` kinds first.

    Raises:
        StreetblurError: a file is missing or damaged.
    """
    variation_of = {row["image"]: row["variation"] for row in _rows(scenes / SCENES_FILE)}
    negatives: dict[str, list[tuple[str, list[int]]]] = {}
    for row in _rows(scenes / NEGATIVES_FILE):
        negatives.setdefault(row["image"], []).append((row["kind"], row["xyxy"]))
    touched: dict[tuple[str, str], list[bool]] = {}
    for image, items in negatives.items():
        changed = changed_map(read_upright(scenes / image), read_upright(outputs / image))
        for kind, (x1, y1, x2, y2) in items:
            hit = bool(changed[y1:y2, x1:x2].mean() >= _TOUCHED_SHARE)
            touched.setdefault((kind, variation_of[image]), []).append(hit)
            touched.setdefault((ALL_KINDS, variation_of[image]), []).append(hit)
    order = list(dict.fromkeys(variation_of.values()))
    keys = sorted(touched, key=lambda key: (key[0] != ALL_KINDS, key[0], order.index(key[1])))
    return tuple(Touched(*key, sum(touched[key]), len(touched[key])) for key in keys)


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise AnnotationError(
            f"cannot be read ({error})",
            where=str(path),
            fix="Give a folder that `python -m evaluation.scenes` made",
        ) from error
