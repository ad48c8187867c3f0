"""Boxes, candidates and their arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Label = Literal["face", "plate"]
LABELS: tuple[Label, ...] = ("face", "plate")

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned box in pixels, origin top left, ``x2``/``y2`` exclusive."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.y2 - self.y1

    def as_tuple(self) -> tuple[float, float, float, float]:
        """``(x1, y1, x2, y2)``."""
        return (self.x1, self.y1, self.x2, self.y2)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something a detector proposes, before any policy is applied.

    Attributes:
        label: the class.
        box: in pixels of the upright image.
        score: raw detector score, 0..1.
        probability: the post-processor's probability that this is a true object, 0..1.
        source: the pass that proposed it, for instance ``native`` or ``long=640``.
        points: x, y of its landmarks (face: eyes, nose, corners of the mouth) or corners (plate)
            one after the other, in the same pixels, not cut to the image; empty if not known.
        features: what the post-processor judged it by, in the order of ``contracts.FEATURES``;
            empty if no post-processor looked.
    """

    label: Label
    box: Box
    score: float
    probability: float
    source: str
    points: tuple[float, ...] = ()
    features: tuple[float, ...] = ()


def areas(boxes: FloatArray) -> FloatArray:
    """Areas of ``boxes`` [n, 4] in square pixels, shape [n]; inverted boxes count 0."""
    size = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(size[:, 0] * size[:, 1], dtype=np.float32)


def pairwise_intersection(a: FloatArray, b: FloatArray) -> FloatArray:
    """Intersection areas of ``a`` [n, 4] with ``b`` [m, 4], shape [n, m]."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    size = np.maximum(bottom_right - top_left, 0)
    return np.asarray(size[..., 0] * size[..., 1], dtype=np.float32)


def pairwise_iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """Intersection over union of ``a`` [n, 4] with ``b`` [m, 4], shape [n, m], 0..1."""
    inter = pairwise_intersection(a, b)
    union = areas(a)[:, None] + areas(b)[None, :] - inter
    return np.asarray(inter / np.maximum(union, 1e-9), dtype=np.float32)


def clip(boxes: FloatArray, width: int, height: int) -> FloatArray:
    """``boxes`` [n, 4] cut to the picture of ``width`` x ``height`` pixels."""
    limits = np.array([width, height, width, height], dtype=np.float32)
    return np.asarray(np.clip(boxes, 0, limits), dtype=np.float32)
