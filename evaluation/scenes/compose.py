"""A scene as by day: parts on a drawn street, faded into one another, and hard negatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.annotations import LabelledBox
from evaluation.demo.scenes import street
from evaluation.scenes.chance import chance
from evaluation.scenes.layout import lay_out
from evaluation.scenes.negatives import Negative, add_negatives
from evaluation.scenes.parts import Part, Source
from serving.geometry import LABELS, Label

Pixels = NDArray[np.uint8]

WIDTH, HEIGHT = 2448, 2048


@dataclass(frozen=True, slots=True, eq=False)
class Composition:
    """A scene before any weather.

    Attributes:
        seed: that it was made from.
        pixels: uint8 [H, W, 3] RGB.
        labelled_classes: the classes that are labelled in all its parts.
        boxes: its labels; ``ignore`` where a seam cuts them.
        parts: what it was put together from.
        negatives: what must not be blurred, drawn or pasted.
    """

    seed: int
    pixels: Pixels
    labelled_classes: tuple[Label, ...]
    boxes: tuple[LabelledBox, ...]
    parts: tuple[Part, ...]
    negatives: tuple[Negative, ...]


def compose(
    sources: Sequence[Source],
    label: Label,
    photographs: Path,
    seed: int,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> Composition:
    """Put a scene together.

    Args:
        sources: pictures in which ``label`` is annotated.
        label: the class that the scene is made for.
        photographs: folder of textures and posters, see ``evaluation.demo.sources``.
        seed: of all chance.
        size: width and height in pixels.

    Raises:
        StreetblurError: a picture is missing, damaged or labelled for another size.
    """
    parts = lay_out(sources, label, size, chance(seed, "layout"))
    classes = tuple(
        one for one in LABELS if all(one in part.source.picture.labelled_classes for part in parts)
    )
    boxes = tuple(box for part in parts for box in part.boxes(classes))
    ground = street(photographs, size, seed, cars=0, posters=0).pixels
    blended, cover = blend(ground, parts)
    pixels, negatives = add_negatives(
        blended, cover, [item.box for item in boxes], photographs, chance(seed, "negatives")
    )
    return Composition(seed, pixels, classes, boxes, parts, negatives)


def blend(ground: Pixels, parts: Sequence[Part]) -> tuple[Pixels, NDArray[np.float32]]:
    """``parts`` on ``ground``, and how much of each pixel they cover, float32 [H, W], 0..1.

    Where only one part lies at its full weight its pixels are the source's, unchanged. Weights of
    parts as ``layout.lay_out`` places them add up to at most 1.
    """
    total = np.zeros(ground.shape[:2], np.float32)
    mixed = np.zeros(ground.shape, np.float32)
    for part in parts:
        weight, extent = part.weight(), part.extent
        place = np.s_[extent.y1 : extent.y2, extent.x1 : extent.x2]
        total[place] += weight
        mixed[place] += weight[..., None] * part.pixels()
    cover = np.minimum(total, 1)
    mixed += (1 - cover)[..., None] * ground
    return np.rint(mixed).clip(0, 255).astype(np.uint8), cover
