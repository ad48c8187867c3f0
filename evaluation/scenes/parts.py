"""A labelled picture's way into a scene: shrunk or not, cut to a window, put at a place."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.annotations import AnnotationError, LabelledBox, LabelledPicture
from evaluation.attributes import Attributes
from evaluation.conditions import SET_REGIONS
from evaluation.judge import locate
from evaluation.picture import PictureUnreadable, read_upright
from evaluation.scenes.packing import Rect
from serving.geometry import Box, Label

Pixels = NDArray[np.uint8]

# Over so many pixels a part fades into its neighbour.
FEATHER_PX = 24


@dataclass(frozen=True, slots=True)
class Source:
    """A labelled picture that scenes are made of.

    Attributes:
        set_name: of its set.
        folder: that the picture's path is relative to.
        picture: its labels.
    """

    set_name: str
    folder: Path
    picture: LabelledPicture

    def sized(self, scale: float) -> tuple[int, int]:
        """Width and height in pixels at ``scale``."""
        return max(1, round(self.picture.width * scale)), max(1, round(self.picture.height * scale))


@dataclass(frozen=True, slots=True)
class Part:
    """A source's place in a scene.

    Attributes:
        source: the picture.
        scale: at most 1: the picture is shrunk to ``source.sized(scale)`` pixels.
        window: what is shown of the shrunk picture, in its pixels.
        x, y: where the window's top left corner lies on the canvas, in pixels.
        canvas: the scene's width and height in pixels.
    """

    source: Source
    scale: float
    window: Rect
    x: int
    y: int
    canvas: tuple[int, int]

    @property
    def extent(self) -> Rect:
        """All pixels of the scene that the part has a share of."""
        return Rect(self.x, self.y, self.x + self.window.width, self.y + self.window.height)

    @property
    def feathers(self) -> tuple[int, int, int, int]:
        """Width of the seam at the left, top, right and bottom; 0 where the scene ends."""
        all_of_it = self.extent
        ends = (
            all_of_it.x1 <= 0,
            all_of_it.y1 <= 0,
            all_of_it.x2 >= self.canvas[0],
            all_of_it.y2 >= self.canvas[1],
        )
        left, top, right, bottom = (0 if end else FEATHER_PX for end in ends)
        return left, top, right, bottom

    @property
    def core(self) -> Rect:
        """The pixels that are the source's alone; empty or inverted where all is seam."""
        left, top, right, bottom = self.feathers
        whole = self.extent
        return Rect(whole.x1 + left, whole.y1 + top, whole.x2 - right, whole.y2 - bottom)

    def boxes(self, classes: Collection[Label]) -> tuple[LabelledBox, ...]:
        """The labels in the scene's pixels.

        What a seam or an edge of the window cuts is marked ``ignore`` and, if need be, clipped to
        the window; so are boxes of a class that is not among ``classes``.
        """
        width, height = self.source.sized(self.scale)
        fx, fy = width / self.source.picture.width, height / self.source.picture.height
        dx, dy = self.x - self.window.x1, self.y - self.window.y1
        carried = []
        for item in self.source.picture.boxes:
            own = item.box
            box = Box(own.x1 * fx + dx, own.y1 * fy + dy, own.x2 * fx + dx, own.y2 * fy + dy)
            if (clipped := _clipped(box, self.extent)) is None:
                continue
            whole = _clipped(box, self.core) == box
            carried.append(
                replace(
                    item,
                    box=box if whole else clipped,
                    ignore=item.ignore or not whole or item.label not in classes,
                    attrs=self._attributes(item),
                )
            )
        return tuple(carried)

    def _attributes(self, item: LabelledBox) -> Attributes:
        known = dict(item.attrs)
        known["source"] = self.source.set_name
        known["scale"] = "native" if self.scale == 1 else "shrunk"
        if self.source.set_name in SET_REGIONS:
            known.setdefault("region", SET_REGIONS[self.source.set_name])
        return Attributes(known)

    def pixels(self) -> Pixels:
        """The window, uint8 [h, w, 3] RGB.

        Raises:
            PictureUnreadable: the picture is missing or damaged.
            AnnotationError: its labels are for another size.
        """
        picture = self.source.picture
        path = locate(self.source.folder, picture.image)
        if path is None:
            raise PictureUnreadable(
                "the labelled picture is missing", where=str(self.source.folder / picture.image)
            )
        pixels = read_upright(path)
        if pixels.shape[:2] != (picture.height, picture.width):
            raise AnnotationError(
                f"the labels are for {picture.width}x{picture.height} pixels, the upright picture "
                f"has {pixels.shape[1]}x{pixels.shape[0]}",
                where=str(path),
            )
        if self.scale < 1:
            pixels = np.asarray(
                cv2.resize(pixels, self.source.sized(self.scale), interpolation=cv2.INTER_AREA),
                dtype=np.uint8,
            )
        window = self.window
        return pixels[window.y1 : window.y2, window.x1 : window.x2]

    def weight(self) -> NDArray[np.float32]:
        """The part's share of each of its pixels, float32 [h, w], 0..1."""
        left, top, right, bottom = self.feathers
        across = _ramp(self.window.width, left, right)
        down = _ramp(self.window.height, top, bottom)
        return down[:, None] * across[None, :]


def _ramp(length: int, before: int, after: int) -> NDArray[np.float32]:
    """1 in the middle; neighbours that overlap by a feather's width add up to 1."""
    ramp = np.ones(length, np.float32)
    place = np.arange(length, dtype=np.float32) + 0.5
    if before:
        ramp = np.minimum(ramp, place / before)
    if after:
        ramp = np.minimum(ramp, (length - place) / after)
    return np.asarray(ramp, dtype=np.float32)


def _clipped(box: Box, to: Rect) -> Box | None:
    x1, y1, x2, y2 = box.as_tuple()
    cut = Box(max(x1, to.x1), max(y1, to.y1), min(x2, to.x2), min(y2, to.y2))
    return cut if cut.width > 0 and cut.height > 0 else None
