"""What is left inside the boxes of an output that was decoded as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.decode import Pixels, full_level
from pipeline.errors import OutputRejected
from pipeline.expected import Channel, changed_pixels
from pipeline.images import ImageInfo
from pipeline.jpeg.areas import McuArea, apart
from pipeline.redaction import RedactionBox, needed_area, seen_area
from pipeline.residual import Coding, coding_of, most_kept

Floats = NDArray[np.float32]

LOSSLESS = Coding(0.5, 0.5, 0.1)
# At the qualities of photographs; finer detail than this is no likeness. A JPEG with larger steps
# adds more: at an edge of the mask its ringing looks like what stood there.
LOSSY = Coding(5.0, 10.0, 1.5)
# Pixels that a sample of colour spans: lossy coders keep no finer ones.
COLOUR_STEP = 2
# Parts of pictures begin where blocks of 8 samples do.
UNIT = 8 * COLOUR_STEP
# Source: ITU-R BT.601, as JFIF has it.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
COLOURS = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)


def check_obscured(
    before: Pixels,
    after: Pixels,
    info: ImageInfo,
    boxes: Sequence[RedactionBox],
    max_gain: float,
    *,
    luma: bool,
    tables: Sequence[Sequence[int]] = (),
) -> None:
    """See that little of what ``boxes`` had to take off the picture is left.

    Args:
        before, after: stored pixels of source and output, [h, w] or [h, w, c].
        info: of the output.
        boxes: in stored pixels.
        max_gain: share of its strength that detail may keep.
        luma: whether brightness alone is judged.
        tables: of a JPEG: each component's quantisation steps, the average's first.

    Raises:
        OutputRejected: ``not_obscured``.
    """
    full = full_level(before, info)
    size = (before.shape[1], before.shape[0])
    needed = {box: area for box in boxes if (area := _needed(box, size)) is not None}
    codings, changed = _codings(info, tables), changed_pixels(boxes, size)
    for area in apart(needed.values()):
        own = [box for box, one in needed.items() if area.meets(one)]
        left, top = UNIT * area.left, UNIT * area.top
        part = np.s_[top : UNIT * area.bottom, left : UNIT * area.right]
        pair = [_channels(p[part], info, full, luma=luma) for p in (before, after)]
        for number, ((was, step, shared), (now, _, _)) in enumerate(zip(*pair, strict=True)):
            channel = Channel(
                was, left // step, top // step, step, step, size, shared, redacted_step=1
            )
            coding = codings[min(number, 1)]
            kept = most_kept(channel, partial(np.subtract, now), own, max_gain, coding, changed)
            if kept is not None and kept.excess > 1:
                raise OutputRejected("not_obscured", kept.what)


def _needed(box: RedactionBox, size: tuple[int, int]) -> McuArea | None:
    """The units that a box's cells and its surroundings lie in; None when it lies outside."""
    cells, around = needed_area(box, *size), seen_area(box, *size)
    if cells is None or around is None:
        return None
    found = [
        McuArea(x1 // UNIT, y1 // UNIT, -(-x2 // UNIT), -(-y2 // UNIT))
        for x1, y1, x2, y2 in (cells, around)
    ]
    return found[0].joined(found[1])


def _codings(info: ImageInfo, tables: Sequence[Sequence[int]]) -> tuple[Coding, Coding]:
    """What coding adds to brightness and to every other channel."""
    if info.format in ("png", "tiff") or info.lossless:
        return LOSSLESS, LOSSLESS
    if not tables:
        return LOSSY, LOSSY
    steps = np.array(tables, np.int32)
    first, rest = (
        Coding(*np.maximum(LOSSY, coding_of(some)).tolist())
        for some in (steps[0], steps[1:].max(axis=0, initial=1))
    )
    return first, rest


def _channels(
    stored: Pixels, info: ImageInfo, full: int, *, luma: bool
) -> Iterator[tuple[Floats, int, bool]]:
    """Brightness, and then colours: their samples, the step, whether all noise is in them."""
    levels = np.minimum(np.atleast_3d(stored).astype(np.float32) * np.float32(255 / full), 255)
    colours = levels[:, :, : levels.shape[2] - int(info.alpha)]
    if colours.shape[2] < 3:
        yield colours[:, :, 0], 1, True
        return
    yield colours[:, :, :3] @ LUMA, 1, True
    if colours.shape[2] == 4:
        yield colours[:, :, 3], 1, True
    if not luma:
        for weights in COLOURS:
            yield _halved(colours[:, :, :3] @ weights + 128), COLOUR_STEP, False


def _halved(samples: Floats) -> Floats:
    """[h, w] at half the resolution; at odd borders the last sample counts twice."""
    height, width = samples.shape
    even: NDArray[Any] = np.pad(samples, ((0, height % 2), (0, width % 2)), mode="edge")
    return np.asarray(even.reshape(len(even) // 2, 2, -1, 2).mean(axis=(1, 3)), np.float32)
