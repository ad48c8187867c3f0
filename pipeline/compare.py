"""How shadows differ from the versions that decided."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pipeline.ledger import Ledger
from serving.geometry import FloatArray, pairwise_iou

SAME_IOU = 0.5
HEIGHTS = (0, 16, 24, 48)
"""Lower ends of the classes of box height, in pixels of the picture."""
TOP = 10
_GIVEN = {"override", "prior"}


@dataclass(slots=True)
class Counts:
    """Boxes that would be blurred: by both versions, or by one of them alone."""

    both: int = 0
    only_current: int = 0
    only_shadow: int = 0


@dataclass(slots=True)
class Comparison:
    """One model's shadow over a job.

    Attributes:
        model: its name.
        current: versions that decided, as the outcomes name them, with the number of pictures.
        shadow: the other version, ``number:fingerprint``.
        images: pictures that both have judged.
        failed: pictures of which the shadow made nothing, by reason.
        boxes: by label, then least height.
        score_shift: mean of shadow minus current score over boxes that both found; 0 if none.
        differing: the ``TOP`` keys with the most boxes that only one of them would blur, and how
            many; a heap.
    """

    model: str
    shadow: str
    current: dict[str, int] = field(default_factory=dict)
    images: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    boxes: dict[str, dict[int, Counts]] = field(default_factory=dict)
    score_shift: float = 0.0
    differing: list[tuple[int, str]] = field(default_factory=list)
    _shifts: int = 0

    def add(self, row: Mapping[str, Any], shadow: Mapping[str, Any]) -> None:
        """Take in one picture."""
        if shadow["message"]:
            self.failed[shadow["message"]] = self.failed.get(shadow["message"], 0) + 1
            return
        self.images += 1
        version = _version(row["models"], self.model)
        self.current[version] = self.current.get(version, 0) + 1
        labels = [self.model.removesuffix("_detector")]
        apart = 0
        for label in labels if self.model.endswith("_detector") else ["face", "plate"]:
            ours = _blurred(row["detections"], label)
            theirs = _blurred(shadow["detections"], label)
            apart += self._compare(label, ours, theirs)
        if apart:
            keep = heapq.heappush if len(self.differing) < TOP else heapq.heappushpop
            keep(self.differing, (apart, row["key"]))

    def _compare(
        self, label: str, ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]
    ) -> int:
        pairs = _matched(_boxes(ours), _boxes(theirs))
        for a, b in pairs:
            self._count(label, ours[a]).both += 1
            self._shifts += 1
            shift = theirs[b]["score"] - ours[a]["score"]
            self.score_shift += (shift - self.score_shift) / self._shifts
        mine, others = {a for a, _ in pairs}, {b for _, b in pairs}
        for number, item in enumerate(ours):
            self._count(label, item).only_current += number not in mine
        for number, item in enumerate(theirs):
            self._count(label, item).only_shadow += number not in others
        return len(ours) + len(theirs) - 2 * len(pairs)

    def _count(self, label: str, item: Mapping[str, Any]) -> Counts:
        height = max(least for least in HEIGHTS if item["y2"] - item["y1"] >= least)
        return self.boxes.setdefault(label, {}).setdefault(height, Counts())

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        found = asdict(self)
        del found["_shifts"]
        found["differing"] = sorted(self.differing, reverse=True)
        found["score_shift"] = round(self.score_shift, 4)
        return found


def compare(ledger: Ledger) -> list[Comparison]:
    """Each shadow of a job against what decided, over the outcomes in force."""
    found: dict[tuple[str, str], Comparison] = {}
    for _, entry in ledger.shards():
        for row in ledger.outcomes(entry.shard):
            for shadow in row.get("shadows") or ():
                name = f"{shadow['version']}:{shadow['fingerprint']}".rstrip(":")
                key = (shadow["model"], name)
                found.setdefault(key, Comparison(*key)).add(row, shadow)
    return [found[key] for key in sorted(found)]


def _version(models: str, model: str) -> str:
    named = dict(part.partition("=")[::2] for part in models.split(","))
    return named.get(model, "")


def _blurred(items: Iterable[Mapping[str, Any]] | None, label: str) -> list[Mapping[str, Any]]:
    """What the models alone would have blurred."""
    return [
        item
        for item in items or ()
        if item["kept"] and item["label"] == label and item["source"] not in _GIVEN
    ]


def _boxes(items: Sequence[Mapping[str, Any]]) -> FloatArray:
    rows = [(item["x1"], item["y1"], item["x2"], item["y2"]) for item in items]
    return np.array(rows, np.float32).reshape(-1, 4)


def _matched(a: FloatArray, b: FloatArray) -> list[tuple[int, int]]:
    """Pairs of the same object, best overlap first; each box at most once."""
    overlap = pairwise_iou(a, b)
    pairs = []
    while overlap.size and overlap.max() >= SAME_IOU:
        row, column = np.unravel_index(int(overlap.argmax()), overlap.shape)
        pairs.append((int(row), int(column)))
        overlap[row, :] = overlap[:, column] = -1
    return pairs
