"""One look of a detector at one tile: the tensor that goes in, and its rows back in the picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.contracts import DetectorContract
from serving.geometry import FloatArray, clip
from serving.sanity import check_outputs
from serving.tiling import LARGEST_UPSCALED, Pass, Tile, plan_passes, plan_tiles

_BORDER_PX = 2.0

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class View:
    """Where one tile lies.

    Attributes:
        scale: the pass it belongs to.
        tile: its place in the scaled picture.
        width, height: of the picture itself, in pixels.
    """

    scale: Pass
    tile: Tile
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Look:
    """Rows of one tile in pixels of the picture.

    Attributes:
        source: name of the pass.
        boxes: float32 [n, 4], cut to the picture.
        points: float32 [n, 2P], not cut.
        scores: float32 [n], 0..1.
        cut: bool [n], whether the box touches a border between tiles.
        peak: highest raw score.
        full: whether the answer had no room for more rows.
    """

    source: str
    boxes: FloatArray
    points: FloatArray
    scores: FloatArray
    cut: NDArray[np.bool_]
    peak: float
    full: bool


def plan_views(width: int, height: int) -> Iterator[View]:
    """All tiles of all passes over a picture of ``width`` x ``height`` pixels, pass by pass."""
    for scale in plan_passes(width, height):
        for tile in plan_tiles(scale.width, scale.height):
            yield View(scale, tile, width, height)


def tensors(pixels: Pixels, views: Iterator[View]) -> Iterator[tuple[View, Pixels]]:
    """Each view of ``pixels`` uint8 [H, W, 3] with its tensor uint8 [1, h, w, 3]."""
    scaled, scale = pixels, None
    for view in views:
        if view.scale != scale:
            scaled, scale = _scaled(pixels, view.scale), view.scale
        yield view, _tensor(scaled, view.tile)


def read_answer(
    outputs: Mapping[str, NDArray[Any]],
    contract: DetectorContract,
    view: View,
    *,
    floor: float,
    fingerprint: str | None,
) -> Look:
    """The rows of an answer to one tensor.

    Args:
        outputs: the answer, with N = 1.
        contract: the detector's.
        view: what was looked at.
        floor: lowest score that counts.
        fingerprint: see ``check_tensors``.

    Raises:
        InsaneOutput: no live model answers like that.
    """
    check_outputs(contract, outputs, 1, fingerprint)
    scale, tile = view.scale, view.tile
    count = int(outputs["count"][0])
    rows, points = outputs["boxes"][0, :count], outputs["points"][0, :count]
    wanted = rows[:, 4] >= np.float32(floor)
    if scale.upscaled:
        largest = LARGEST_UPSCALED[contract.label]
        wanted &= (rows[:, 2:4] - rows[:, :2]).max(axis=1, initial=0) <= largest
    rows, points = rows[wanted], points[wanted]
    boxes = rows[:, :4]
    cut = (tile.x > 0) & (boxes[:, 0] < _BORDER_PX)
    cut |= (tile.y > 0) & (boxes[:, 1] < _BORDER_PX)
    cut |= (tile.x + tile.width < scale.width) & (boxes[:, 2] > tile.width - _BORDER_PX)
    cut |= (tile.y + tile.height < scale.height) & (boxes[:, 3] > tile.height - _BORDER_PX)
    place = np.array([tile.x, tile.y], dtype=np.float32)
    back = np.array([view.width / scale.width, view.height / scale.height], np.float32)
    boxes = clip((boxes + np.tile(place, 2)) * np.tile(back, 2), view.width, view.height)
    pairs = points.shape[1] // 2
    points = (points + np.tile(place, pairs)) * np.tile(back, pairs)
    # What lies in the padding alone has no area in the picture.
    real = ((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])).astype(np.bool_)
    peak = float(outputs["peak"][0])
    full = count == outputs["boxes"].shape[1]
    return Look(scale.name, boxes[real], points[real], rows[real, 4], cut[real], peak, full)


def _scaled(pixels: Pixels, scale: Pass) -> Pixels:
    height, width = pixels.shape[:2]
    if (scale.width, scale.height) == (width, height):
        return pixels
    shrinks = scale.width < width or scale.height < height
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    scaled = cv2.resize(pixels, (scale.width, scale.height), interpolation=how)
    return np.asarray(scaled, dtype=np.uint8)


def _tensor(scaled: Pixels, tile: Tile) -> Pixels:
    # Padding repeats the picture's edge: the plate detector takes a band of one colour for a
    # plate (score 0.97), which quadrupled the false plates on pictures of people.
    part = scaled[tile.y : tile.y + tile.height, tile.x : tile.x + tile.width]
    below, beside = tile.padded_height - tile.height, tile.padded_width - tile.width
    return np.pad(part, ((0, below), (0, beside), (0, 0)), mode="edge")[None]
