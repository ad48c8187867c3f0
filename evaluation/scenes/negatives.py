"""Hard negatives on a scene: what detectors take for faces or plates, where no object lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluation.demo.scenes import POSTERS
from evaluation.scenes.drawings import DRAWINGS
from evaluation.scenes.packing import Rect
from serving.geometry import Box

Pixels = NDArray[np.uint8]

PHOTO_POSTER = "photo_poster"

# On a scene of 2448 x 2048; smaller scenes have fewer, by area, but one at least.
_COUNT = 24
_FULL_AREA = 2448 * 2048
# Longer side in pixels.
_LEAST_SIDE, _MOST_SIDE = 40, 260
# Distance that is kept from every labelled box, as a share of the box's sides.
_MARGIN = 0.5
_TRIES = 60


@dataclass(frozen=True, slots=True)
class Negative:
    """Something that is no face and no plate.

    Attributes:
        kind: what it is, a name of ``drawings.DRAWINGS`` or ``photo_poster``.
        place: its bounding box.
    """

    kind: str
    place: Rect


def add_negatives(
    pixels: Pixels,
    cover: NDArray[np.float32],
    boxes: Sequence[Box],
    photographs: Path,
    random: np.random.Generator,
) -> tuple[Pixels, tuple[Negative, ...]]:
    """Draw negatives where they hide as little of the parts as can be, and no labelled box.

    Args:
        pixels: uint8 [H, W, 3] RGB, the scene.
        cover: float32 [H, W], 0 where there is no part.
        boxes: all labelled ones, ignored ones as well.
        photographs: folder with those of ``evaluation.demo.scenes.POSTERS``.
        random: where chance comes from.

    Returns:
        The scene with them, uint8 [H, W, 3], and what lies where; ``pixels`` stays as it is.
    """
    height, width = pixels.shape[:2]
    kept_free = [_grown(box) for box in boxes]
    integral = np.asarray(cv2.integral(cover), dtype=np.float64)
    kinds = (*sorted(DRAWINGS), PHOTO_POSTER)
    made = pixels.copy()
    placed: list[Negative] = []
    start = int(random.integers(len(kinds)))
    for index in range(max(1, round(_COUNT * width * height / _FULL_AREA))):
        kind = kinds[(start + index) % len(kinds)]
        image = _image(kind, photographs, random)
        if image.width >= width or image.height >= height:
            continue
        taken = [*kept_free, *(one.place for one in placed)]
        place = _free_place(image.size, (width, height), taken, integral, random)
        if place is not None:
            _paste(made, image, place)
            placed.append(Negative(kind, place))
    return made, tuple(placed)


def _image(kind: str, photographs: Path, random: np.random.Generator) -> Image.Image:
    """RGBA, of random size."""
    if kind == PHOTO_POSTER:
        with Image.open(photographs / POSTERS[int(random.integers(len(POSTERS)))]) as photograph:
            image = photograph.convert("RGBA")
    else:
        image = DRAWINGS[kind](random)
    side = float(np.exp(random.uniform(np.log(_LEAST_SIDE), np.log(_MOST_SIDE))))
    factor = min(1.0, side / max(image.size))
    size = max(4, round(image.width * factor)), max(4, round(image.height * factor))
    return image.resize(size, Image.Resampling.LANCZOS)


def _free_place(
    size: tuple[int, int],
    canvas: tuple[int, int],
    taken: Sequence[Rect],
    integral: NDArray[np.float64],
    random: np.random.Generator,
) -> Rect | None:
    """Of the random places that meet nothing of ``taken``, the one that hides the least."""
    best: tuple[float, Rect] | None = None
    for _ in range(_TRIES):
        x, y = (int(random.integers(0, canvas[i] - size[i] + 1)) for i in range(2))
        place = Rect(x, y, x + size[0], y + size[1])
        if any(place.meets(other) for other in taken):
            continue
        hidden = float(
            integral[place.y2, place.x2]
            - integral[place.y1, place.x2]
            - integral[place.y2, place.x1]
            + integral[place.y1, place.x1]
        )
        if best is None or hidden < best[0]:
            best = (hidden, place)
    return best[1] if best else None


def _paste(pixels: Pixels, image: Image.Image, place: Rect) -> None:
    drawn = np.asarray(image, dtype=np.float32)
    alpha = drawn[..., 3:] / 255
    under = pixels[place.y1 : place.y2, place.x1 : place.x2]
    under[:] = np.rint(drawn[..., :3] * alpha + under * (1 - alpha)).astype(np.uint8)


def _grown(box: Box) -> Rect:
    dx, dy = _MARGIN * box.width, _MARGIN * box.height
    return Rect(
        int(np.floor(box.x1 - dx)),
        int(np.floor(box.y1 - dy)),
        int(np.ceil(box.x2 + dx)),
        int(np.ceil(box.y2 + dy)),
    )
