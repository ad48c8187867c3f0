"""What of a redacted box is no secret: the part that follows from what is published around it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.expected import Channel, changed_pixels
from pipeline.expected_squares import Bending, Squares, averages, drawn
from pipeline.redaction import RedactionBox

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def without_surroundings(pixels: Pixels, box: RedactionBox, colour_step: int) -> Pixels:
    """What shows of ``box`` less what its blur was bent to, about a middle grey.

    Attackers see that around the box and work it out; what they look at is what is left. In the
    suite's scenes the surroundings are the face's mirror image, so that to leave it in would be to
    attack what is not redacted.

    Args:
        pixels: uint8 [h, w, 3] RGB: the published picture.
        colour_step: pixels that a sample of colour spans in the file.

    Returns:
        uint8 [h, w, 3] of the box.
    """
    x1, y1, x2, y2 = box.area
    ycc = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2YCrCb) * 255
    planes = [np.asarray(plane, np.float32) for plane in cv2.split(ycc)]
    steps = (1, colour_step, colour_step)
    bent = [_bent_to(plane, box, step) for plane, step in zip(planes, steps, strict=True)]
    left = ycc[y1:y2, x1:x2] - np.dstack(bent)
    # colours lie about the middle by themselves
    shown = cv2.cvtColor((left + 128) / 255, cv2.COLOR_YCrCb2RGB) * 255
    return np.clip(np.rint(shown), 0, 255).astype(np.uint8)


def _bent_to(plane: Floats, box: RedactionBox, step: int) -> Floats:
    """[h, w] what a blur of nothing comes to in ``box``, since it is bent to what lies around."""
    height, width = plane.shape
    size = (width, height)
    changed = changed_pixels([box], size)
    channel = Channel(plane, 0, 0, 1, 1, size, shared=True, redacted_step=step)
    squares = Squares.around(box, channel, tuple(changed[0]))
    bending = Bending.of(squares, changed, size)
    nothing = np.zeros(bending.seen.shape, np.float32)
    levels = bending.levels(nothing, averages(squares, channel, bending.seen))
    x1, y1, x2, y2 = box.area
    return drawn(squares, levels, np.arange(x1, x2) + 0.5, np.arange(y1, y2) + 0.5)
