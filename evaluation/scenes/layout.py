"""Which pictures make up a scene, how large, and where: decided from labels alone.

All parts of a scene have the scene's class labelled: a scene is of faces or of plates, since in a
set of the one class the other is not labelled. One large part comes first, in a corner, at its own
size. Then parts are added for that bin of object height of which the scene has the fewest: at
their own size if their median object is of that height, shrunk to it if it is taller, never
enlarged. For objects of 48 px and more no picture is shrunk.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

import numpy as np

from evaluation.annotations import LabelledBox
from evaluation.labelled_sets import LabelledSet
from evaluation.scenes.packing import Rect, place, without
from evaluation.scenes.parts import FEATHER_PX, Part, Source
from evaluation.summary import COUNTED_FROM_PX, HEIGHT_BINS
from pipeline.errors import ConfigurationError
from serving.geometry import LABELS, Box, Label

Bin = tuple[float, float]

BINS: tuple[Bin, ...] = tuple((lo, hi) for lo, hi, _ in HEIGHT_BINS if lo >= COUNTED_FROM_PX)

# What a picture must cover of the canvas to be the large part; what the large part and others may
# of its width and height.
_LARGE_AREA = 0.15
_LARGE_SHARE, _MOST_SHARE = 0.55, 0.26
_LEAST_SIDE_PX = 120
_LEAST_SCALE = 0.12
# Pictures and windows tried before a bin, or a picture, is given up.
_TRIES = 48
_WINDOWS = 8
# A scene takes about 40 pictures.
_MOST_SLICES, _LEAST_SLICE = 4, 50


def sources_of(sets: Iterable[LabelledSet]) -> dict[Label, tuple[Source, ...]]:
    """The pictures with at least one object to be counted, by class.

    Pictures without are left out: those of the development data show unlabelled faces and cars.

    Raises:
        ConfigurationError: there are none.
    """
    found: dict[Label, list[Source]] = {}
    for one in sorted(sets, key=lambda each: each.name):
        for picture in sorted(one.pictures, key=lambda each: each.image):
            for label in picture.labelled_classes:
                if _heights(picture.boxes, label):
                    source = Source(one.name, one.folder, picture)
                    found.setdefault(label, []).append(source)
    if not found:
        raise ConfigurationError(
            "no labelled picture shows a face or plate to be counted",
            fix="Give labelled folders with boxes, see evaluation.labels",
        )
    return {label: tuple(found[label]) for label in LABELS if label in found}


def turn_of(sources: Sequence[Source], turn: int) -> tuple[Source, ...]:
    """Every n-th of many sources, n at most 4: then neighbouring scenes share no picture."""
    slices = max(1, min(_MOST_SLICES, len(sources) // _LEAST_SLICE))
    return tuple(sources[turn % slices :: slices])


def lay_out(
    sources: Sequence[Source], label: Label, size: tuple[int, int], random: np.random.Generator
) -> tuple[Part, ...]:
    """The parts of one scene; no picture is in it twice.

    Args:
        sources: pictures in which ``label`` is annotated.
        label: the class that the scene is made for.
        size: of the scene, width and height in pixels.
        random: where chance comes from.
    """
    free: tuple[Rect, ...] = (Rect(0, 0, size[0] - FEATHER_PX, size[1] - FEATHER_PX),)
    parts: list[Part] = []
    have = dict.fromkeys(BINS, 0)  # the bins that can still be added to

    def add(part: Part) -> None:
        nonlocal free
        parts.append(part)
        free = without(free, _cell(part))
        for each in _bins(part, label):
            if each in have:
                have[each] += 1

    large = _large_part(sources, label, size, random)
    if large is not None:
        add(large)
    while have and free:
        wanted = min(have, key=lambda each: (have[each], each))
        used = {part.source for part in parts}
        left = [source for source in sources if source not in used]
        part = _part_for(left, label, wanted, free, size, random)
        if part is None:
            del have[wanted]
        else:
            add(part)
    return tuple(parts)


def _large_part(
    sources: Sequence[Source], label: Label, size: tuple[int, int], random: np.random.Generator
) -> Part | None:
    least = _LARGE_AREA * size[0] * size[1]
    large = [one for one in sources if one.picture.width * one.picture.height >= least]
    limit = round(size[0] * _LARGE_SHARE), round(size[1] * _LARGE_SHARE)
    for _ in range(_TRIES if large else 0):
        source = large[int(random.integers(len(large)))]
        window = _window(source, 1.0, label, limit, random)
        if window is None:
            continue
        right, low = random.integers(2, size=2)
        x, y = int(right) * (size[0] - window.width), int(low) * (size[1] - window.height)
        part = Part(source, 1.0, window, x, y, size)
        if _heights(part.boxes((label,)), label):
            return part
    return None


def _part_for(
    sources: Sequence[Source],
    label: Label,
    wanted: Bin,
    free: Sequence[Rect],
    size: tuple[int, int],
    random: np.random.Generator,
) -> Part | None:
    """A part that adds an object of the wanted height, or None if none of those tried does."""
    limit = round(size[0] * _MOST_SHARE), round(size[1] * _MOST_SHARE)
    tries = random.permutation(len(sources))[:_TRIES]
    for index in tries:
        source = sources[int(index)]
        scale = _scale_for(source, label, wanted, random)
        if scale is None:
            continue
        window = _window(source, scale, label, limit, random)
        if window is None:
            continue
        cell = place(free, window.width - FEATHER_PX, window.height - FEATHER_PX)
        if cell is None:
            continue
        part = Part(source, scale, window, cell.x1, cell.y1, size)
        if wanted in _bins(part, label):
            return part
    return None


def _scale_for(
    source: Source, label: Label, wanted: Bin, random: np.random.Generator
) -> float | None:
    """The scale, at most 1, that brings the median object into the bin; None for no such."""
    median = statistics.median(_heights(source.picture.boxes, label))
    low, high = wanted
    if low <= median < high:
        return 1.0
    if median < low or math.isinf(high):
        return None
    scale = math.exp(random.uniform(math.log(low), math.log(high))) / median
    small = min(source.sized(scale)) < _LEAST_SIDE_PX
    return None if small or scale < _LEAST_SCALE else scale


def _window(
    source: Source,
    scale: float,
    label: Label,
    limit: tuple[int, int],
    random: np.random.Generator,
) -> Rect | None:
    """The whole picture, or of several windows around an object the one that cuts the fewest."""
    width, height = source.sized(scale)
    shown = min(width, limit[0]), min(height, limit[1])
    if min(shown) < 3 * FEATHER_PX:
        return None
    if shown == (width, height):
        return Rect(0, 0, width, height)
    items = [item for item in source.picture.boxes if item.label == label and not item.ignore]
    chosen = items[int(random.integers(len(items)))].box
    best: tuple[float, Rect] | None = None
    for _ in range(_WINDOWS):
        x = _start(chosen.x1 * scale, chosen.x2 * scale, shown[0], width, random)
        y = _start(chosen.y1 * scale, chosen.y2 * scale, shown[1], height, random)
        if x is None or y is None:
            return None
        window = Rect(x, y, x + shown[0], y + shown[1])
        cut = sum(_cuts(window, item.box, scale) for item in source.picture.boxes)
        if best is None or cut < best[0]:
            best = (cut, window)
    return best[1] if best else None


def _start(
    low: float, high: float, shown: int, whole: int, random: np.random.Generator
) -> int | None:
    """Where a stretch of ``shown`` pixels may begin that keeps ``low`` to ``high`` off its ends."""
    margin = FEATHER_PX if shown < whole else 0
    first = max(0, math.ceil(high + margin) - shown)
    last = min(whole - shown, math.floor(low - margin))
    return int(random.integers(first, last + 1)) if first <= last else None


def _cuts(window: Rect, box: Box, scale: float) -> bool:
    x1, y1, x2, y2 = (value * scale for value in box.as_tuple())
    inner = Rect(
        window.x1 + FEATHER_PX,
        window.y1 + FEATHER_PX,
        window.x2 - FEATHER_PX,
        window.y2 - FEATHER_PX,
    )
    seen = x1 < window.x2 and x2 > window.x1 and y1 < window.y2 and y2 > window.y1
    whole = x1 >= inner.x1 and y1 >= inner.y1 and x2 <= inner.x2 and y2 <= inner.y2
    return seen and not whole


def _cell(part: Part) -> Rect:
    """The part without the seam that its right and lower neighbours may lie on."""
    extent = part.extent
    return Rect(extent.x1, extent.y1, extent.x2 - FEATHER_PX, extent.y2 - FEATHER_PX)


def _bins(part: Part, label: Label) -> list[Bin]:
    heights = _heights(part.boxes((label,)), label)
    return [each for height in heights for each in BINS if each[0] <= height < each[1]]


def _heights(boxes: Iterable[LabelledBox], label: Label) -> list[float]:
    return [item.box.height for item in boxes if item.label == label and not item.ignore]
