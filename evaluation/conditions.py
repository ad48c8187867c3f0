"""Under which conditions an object was photographed: what recall is told apart by.

Annotated attributes are taken as they stand; light and place are computed from the picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.annotations import LabelledBox

Pixels = NDArray[np.uint8]
Group = tuple[str, str]

# Median grey level of the box and a quarter of its size around it: of 2,073 labelled boxes of the
# development data about a tenth lies below the first and a tenth above the second.
DARK_BELOW, BRIGHT_FROM = 50, 160
_AROUND = 0.25
# A box that comes so near to the picture's border is taken to be cut off there.
_BORDER_PX = 2
# Where the pictures of sets come from, if their labels do not say it.
SET_REGIONS: Mapping[str, str] = {
    "openalpr_us": "us",
    "openalpr_eu": "eu",
    "openalpr_br": "br",
    "romanian_plates": "eu",
    "italian_plates_closeup": "eu",
}


def conditions(source: Pixels, item: LabelledBox, set_name: str | None = None) -> tuple[Group, ...]:
    """Names and values of the conditions of one labelled object, sorted by name.

    Args:
        source: uint8 [H, W, 3] RGB, the upright original.
        item: its label.
        set_name: of the set it belongs to: tells the region where no attribute does.
    """
    found = dict(item.attrs)
    if item.occlusion is not None:
        found["occlusion"] = item.occlusion
    if set_name is not None and set_name in SET_REGIONS:
        found.setdefault("region", SET_REGIONS[set_name])
    found["lighting"] = lighting(source, item)
    found["border"] = "cut off" if _at_border(source, item) else "inside"
    return tuple(sorted(found.items()))


def lighting(source: Pixels, item: LabelledBox) -> str:
    """``dark``, ``normal`` or ``bright``, by the median grey level in and around the box."""
    height, width = source.shape[:2]
    box = item.box
    dx, dy = _AROUND * box.width, _AROUND * box.height
    part = source[
        max(math.floor(box.y1 - dy), 0) : min(math.ceil(box.y2 + dy), height),
        max(math.floor(box.x1 - dx), 0) : min(math.ceil(box.x2 + dx), width),
    ]
    if part.size == 0:
        return "normal"
    level = float(np.median(cv2.cvtColor(np.ascontiguousarray(part), cv2.COLOR_RGB2GRAY)))
    return "dark" if level < DARK_BELOW else "bright" if level >= BRIGHT_FROM else "normal"


def _at_border(source: Pixels, item: LabelledBox) -> bool:
    height, width = source.shape[:2]
    box = item.box
    return (
        box.x1 <= _BORDER_PX
        or box.y1 <= _BORDER_PX
        or box.x2 >= width - _BORDER_PX
        or box.y2 >= height - _BORDER_PX
    )
