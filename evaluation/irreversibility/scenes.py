"""A face or a plate in a photograph, at a chosen size and place."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.irreversibility.jpegs import coded
from pipeline.policy import DEFAULT_POLICY, Style, load_policy
from pipeline.redaction import RedactionBox
from serving.geometry import Box, Label

Pixels = NDArray[np.uint8]
Shares = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Place:
    """Size and place of what is redacted.

    Attributes:
        size: geometric mean of its sides in pixels.
        x, y: where its upper left corner lies on the grid of ``period`` pixels.
        period: side of a cell in pixels.
    """

    size: float
    x: int
    y: int
    period: int


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A photograph (JPEG) and what a policy redacts in it."""

    data: bytes
    box: RedactionBox


def scene(target: Pixels, box: Shares, place: Place, label: Label) -> Scene:
    """``target`` in a picture that goes on as its mirror image, since surroundings tell, too.

    Args:
        target: uint8 [h, w, 3] RGB.
        box: where a detector puts its box, in shares of ``target``'s width and height.
    """
    height, width = target.shape[:2]
    style = default_style(label)
    grown = grown_shares(box, label)
    sides = (grown[2] - grown[0]) * width, (grown[3] - grown[1]) * height
    # the margin of pixels lies on both sides of the area
    scale = (place.size - 2 * style.margin_px) / float(np.sqrt(sides[0] * sides[1]))
    new = max(round(width * scale), 2), max(round(height * scale), 2)
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(target, new, interpolation=kind)
    found = Box(box[0] * new[0], box[1] * new[1], box[2] * new[0], box[3] * new[1])
    area = RedactionBox.around(found, style, label)
    # cells that the area and its feather touch
    reach = place.period + area.feather_px + 16
    left = reach + (place.x - area.x1 - reach) % place.period
    top = reach + (place.y - area.y1 - reach) % place.period
    picture = cv2.copyMakeBorder(resized, top, reach, left, reach, cv2.BORDER_REFLECT)
    data = coded(np.asarray(picture, np.uint8))
    return Scene(data, area.moved((area.x1 + left, area.y1 + top, area.x2 + left, area.y2 + top)))


def grown_shares(box: Shares, label: Label) -> Shares:
    """``box`` grown as the default policy grows boxes, but for the margin of pixels."""
    grow = default_style(label).dilation
    x1, y1, x2, y2 = box
    return (
        x1 - (x2 - x1) * grow.sides,
        y1 - (y2 - y1) * grow.top,
        x2 + (x2 - x1) * grow.sides,
        y2 + (y2 - y1) * grow.bottom,
    )


@cache
def default_style(label: Label) -> Style:
    """How the default policy redacts ``label``."""
    policy = load_policy(DEFAULT_POLICY)
    return policy.face.style if label == "face" else policy.plate.style
