"""Candidates of all passes and tiles become one list without needless doubles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from serving.geometry import FloatArray, areas, pairwise_intersection, pairwise_iou

SAME_OBJECT_IOU = 0.6
"""Boxes that overlap more are one object. High on purpose: where passes disagree about an
object's extent both boxes stay and their union is obscured (sweep in the model cards)."""

FRAGMENT_SHARE = 0.8
"""A box cut by a tile's border goes if a whole box covers this share of it."""

_CHUNK = 256


def merge(boxes: FloatArray, scores: FloatArray, cut: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Indices of the boxes to keep, by falling score: greedy non-maximum suppression.

    A box cut by a tile's border never suppresses a whole one, and only a box with at least the
    same score suppresses another, so a later threshold on the score cannot lose an object.

    Args:
        boxes: float32 [n, 4], pixels of the picture.
        scores: float32 [n], 0..1.
        cut: bool [n], whether the box touches a border between tiles.
    """
    order = np.lexsort((boxes[:, 3], boxes[:, 2], boxes[:, 1], boxes[:, 0], cut, -scores))
    boxes, cut = boxes[order], cut[order]
    alive = np.ones(len(boxes), dtype=np.bool_)
    kept: list[int] = []
    for start in range(0, len(boxes), _CHUNK):
        # Rows of the overlap matrix are made in chunks: a crowd of 10,000 would need 400 MB.
        part = slice(start, start + _CHUNK)
        iou = pairwise_iou(boxes[part], boxes)
        inner = pairwise_intersection(boxes[part], boxes) / np.maximum(areas(boxes), 1e-9)
        for row, index in enumerate(range(start, min(start + _CHUNK, len(boxes)))):
            if not alive[index]:
                continue
            kept.append(index)
            doubles = iou[row] > SAME_OBJECT_IOU
            if cut[index]:
                doubles &= cut
            else:
                doubles |= cut & (inner[row] > FRAGMENT_SHARE)
            doubles[: index + 1] = False
            alive &= ~doubles
    return np.asarray(order[kept], dtype=np.intp)
