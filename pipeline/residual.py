"""How much of a source's detail an output keeps inside a box that was redacted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.orientation import IntBox
from pipeline.policy import Style

Plane = NDArray[Any]

# A tile whose fine detail is weaker than this (grey levels, RMS) has nothing to hide.
FLAT_RMS = 2.0
# Of colours alone: coders keep them coarsely, and blocks look alike before and after.
FLAT_COLOUR_RMS = 4.0
# Detail is what is finer than a window of the blur's sigma over this: wider windows let slopes
# through that the blur keeps (with 2, counted once on 748 photographs, good outputs were refused).
WINDOW_SIGMAS = 3
# A tile is still sharp when its fine detail keeps more than the policy's share of its strength and
# looks like the source's. Untouched tiles have 1 and 1. Of 4,000 tiles of photographs none had both
# after a blur; a block's edge that falls on an edge of the source can come near.
MAX_CORRELATION = {"blur": 0.7, "pixelate": 0.9, "solid": 0.7}
LEAST_SAMPLES = 36
# Of colours alone, whose detail is weak: chance does more there.
LEAST_COLOUR_SAMPLES = 144
_TILES_A_SIDE = 4
# In smaller tiles the noise looks like the source too often: 4 of 660 good outputs were refused
# with 6 px, none with 12 px (facemask_kaggle).
_SHORTEST_TILE = 12


def keeps_detail(
    before: Plane,
    after: Plane,
    sigma: float,
    style: Style,
    max_gain: float,
    *,
    colour: bool = False,
    borders: Sequence[IntBox] = (),
) -> bool:
    """Whether a tile of a box is as sharp in ``after`` as in ``before``.

    Args:
        before, after: one channel [h, w] of the box, 0..255.
        sigma: of the blur, in samples: finer detail must be gone.
        style: how the box was redacted.
        max_gain: share of its strength that detail may keep.
        colour: whether the channel is one of colour alone, in which chance does more.
        borders: other boxes ``(x1, y1, x2, y2)`` in samples of this one: where their blur begins
            is an edge that may fall on one of the source, and is not judged.
    """
    window = max(3, 2 * int(sigma / WINDOW_SIGMAS) + 1)
    source, result = _detail(before, window), _detail(after, window)
    height, width = before.shape
    least = LEAST_COLOUR_SAMPLES if colour else LEAST_SAMPLES
    flat = FLAT_COLOUR_RMS if colour else FLAT_RMS
    judged = np.ones(before.shape, bool)
    for x1, y1, x2, y2 in borders:
        inner, outer = window // 2 + 1, window // 2 + 2
        band = np.zeros(before.shape, bool)
        band[max(y1 - outer, 0) : max(y2 + outer, 0), max(x1 - outer, 0) : max(x2 + outer, 0)] = (
            True
        )
        band[max(y1 + inner, 0) : max(y2 - inner, 0), max(x1 + inner, 0) : max(x2 - inner, 0)] = (
            False
        )
        judged &= ~band
    for x1, y1, x2, y2 in _tiles(width, height):
        here = judged[y1:y2, x1:x2]
        if np.count_nonzero(here) < least:
            continue
        was, now = source[y1:y2, x1:x2][here], result[y1:y2, x1:x2][here]
        if float(np.mean(was * was)) >= flat**2 and _is_sharp(was, now, style, max_gain):
            return True
    return False


def _detail(channel: Plane, window: int) -> NDArray[np.float32]:
    """The channel minus its local mean over ``window`` samples: what a blur must have removed.

    Continued beyond its border so that slopes go on: a slope, which a blur keeps, is no detail.
    """
    levels = channel.astype(np.float32)
    reach = window // 2
    margins = [(min(reach, length - 1), min(reach, length - 1)) for length in levels.shape]
    wide = np.pad(levels, margins, mode="reflect", reflect_type="odd")
    mean = cv2.blur(wide, (window, window), borderType=cv2.BORDER_REPLICATE)
    (top, _), (left, _) = margins
    height, width = levels.shape
    return np.asarray(levels - mean[top : top + height, left : left + width], dtype=np.float32)


def _tiles(width: int, height: int) -> Iterator[IntBox]:
    """Up to 4 x 4 tiles, the corners among them (an ellipse would leave those sharp)."""
    across = _cuts(width)
    down = _cuts(height)
    for y1, y2 in pairwise(down):
        for x1, x2 in pairwise(across):
            yield (x1, y1, x2, y2)


def _cuts(length: int) -> list[int]:
    count = max(1, min(_TILES_A_SIDE, length // _SHORTEST_TILE))
    return [length * i // count for i in range(count + 1)]


def _is_sharp(
    source: NDArray[np.float32], result: NDArray[np.float32], style: Style, max_gain: float
) -> bool:
    energy = float(np.mean(source * source))
    common = float(np.mean(source * result))
    gain = common / energy
    correlation = common / math.sqrt(energy * max(float(np.mean(result * result)), 1e-9))
    # the keyed noise correlates with the source by chance: three standard deviations are allowed
    chance = 3 * style.noise / math.sqrt(energy * source.size)
    if chance > max_gain:  # the noise alone could look like this
        return False
    return correlation > MAX_CORRELATION[style.mode] and gain > max_gain + min(chance, 0.3)
