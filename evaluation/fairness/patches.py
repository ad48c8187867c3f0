"""A face as it will be seen in a scene: shrunk to its size, with a soft edge."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.fairness.crops import FACE_BOX, FaceCrop
from evaluation.fairness.light import linear, shrinking
from evaluation.fairness.occlusions import Occlusion, occluded
from serving.geometry import Box

Floats = NDArray[np.float32]

# Surroundings added on each side, as a share of the crop: its mirror image, under the edge.
_MARGIN = 0.3
# The ellipse that is seen, in shares of the crop: centre, half axes, and where its edge begins and
# ends as shares of these. It holds the hair and neck that the crop has, and leaves its corners out.
_CENTRE = (0.49, 0.47)
_AXES = (0.54, 0.58)
_EDGE = (0.86, 1.08)


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A shrunk face.

    Attributes:
        light: float32 [h, w, 3], linear, already multiplied with ``alpha``.
        alpha: float32 [h, w], how much of the face is seen, 0..1.
        face: the labelled box, in pixels of the patch; its top left corner and its height are
            whole numbers.
    """

    light: Floats
    alpha: Floats
    face: Box


def patch_of(crop: FaceCrop, height: int, what: Occlusion = "none") -> Patch:
    """``crop`` with a face exactly ``height`` pixels high.

    Raises:
        ConfigurationError: the crop would have to be enlarged.
    """
    side = crop.pixels.shape[0]
    scale = crop.face_height / height
    margin = math.ceil(_MARGIN * side)
    padded = np.pad(crop.pixels, ((margin, margin), (margin, margin), (0, 0)), "symmetric")
    canvas = linear(padded)
    alpha = _ellipse(canvas.shape[0], canvas.shape[1], side, margin)
    occluded(canvas, alpha, side, margin, what)
    before = math.floor(margin / scale)  # whole pixels of the patch above and left of the face
    tall, wide = (math.floor((length - margin) / scale) + before for length in canvas.shape[:2])
    left = margin + FACE_BOX[0] * crop.pixels.shape[1] - before * scale
    top = margin + FACE_BOX[1] * side - before * scale
    rows = shrinking(tall, scale, top, canvas.shape[0])
    columns = shrinking(wide, scale, left, canvas.shape[1])
    shown = np.dstack([canvas * alpha[:, :, None], alpha])
    small = np.einsum("ra,abc,db->rdc", rows, shown, columns, optimize=True)
    face_width = (FACE_BOX[2] - FACE_BOX[0]) * crop.pixels.shape[1] / scale
    return Patch(
        np.asarray(small[:, :, :3], np.float32),
        np.asarray(small[:, :, 3], np.float32),
        Box(before, before, before + face_width, before + height),
    )


def _ellipse(height: int, width: int, side: int, margin: int) -> Floats:
    ys, xs = ((np.arange(n) + 0.5 - margin) / side for n in (height, width))
    across = (xs[None, :] - _CENTRE[0]) / _AXES[0]
    down = (ys[:, None] - _CENTRE[1]) / _AXES[1]
    begin, end = _EDGE
    inside = np.clip((end - np.hypot(across, down)) / (end - begin), 0, 1)
    return np.asarray(inside * inside * (3 - 2 * inside), np.float32)
