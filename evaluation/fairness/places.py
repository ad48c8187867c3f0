"""Street backgrounds, and the places in them where every face will stand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.picture import read_upright
from pipeline.errors import ConfigurationError
from serving.detectors import DetectorSet
from serving.geometry import Box

Pixels = NDArray[np.uint8]

# Plate sets of dev with pictures of streets at full size.
FOLDERS = ("openalpr_us", "romanian_plates")
# Part of a picture that is used, at its own scale: wider than what is also seen at double size
# (serving/tiling.py), as street pictures are.
WIDTH, HEIGHT = 960, 540
# Mean grey levels between which a background is by day; dark ones are made from these.
_BY_DAY = (70, 170)
# Free room around a face, in its heights: the gap between two is at least two.
_ROOM = 1.1
_SEED = 20261123
_TRIES = 3000


@dataclass(frozen=True, slots=True)
class Place:
    """Where one face stands.

    Attributes:
        x, y: top left corner of the face box in the background, in whole pixels.
        size: height of the face in pixels.
    """

    x: int
    y: int
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """A part of a street picture without faces near its places.

    Attributes:
        name: of the picture, with its folder.
        pixels: uint8 [540, width, 3] RGB.
        places: for faces of every size.
    """

    name: str
    pixels: Pixels
    places: tuple[Place, ...]


def choose_backgrounds(
    data: Path,
    count: int,
    sizes: Sequence[int],
    each: int,
    detectors: DetectorSet,
    *,
    width: int = WIDTH,
) -> tuple[Background, ...]:
    """``count`` backgrounds by day from the plate sets, spread over them; always the same ones.

    Args:
        data: root of the development data.
        sizes: heights of faces in pixels.
        each: places for each size in each background.
        detectors: what may be a face to them is kept clear of.
        width: of the part of each picture that is used, in pixels.

    Raises:
        ConfigurationError: there are not so many pictures.
    """
    folders = [sorted((data / "dev" / name / "images").glob("*")) for name in FOLDERS]
    found: list[Background] = []
    for path in _in_turn(folders):
        whole = read_upright(path)
        if whole.shape[0] < HEIGHT or whole.shape[1] < width:
            continue
        top, left = (whole.shape[0] - HEIGHT) // 2, (whole.shape[1] - width) // 2
        part = np.ascontiguousarray(whole[top : top + HEIGHT, left : left + width])
        if not _BY_DAY[0] <= cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).mean() <= _BY_DAY[1]:
            continue
        taken = [one.box for one in detectors.detect(part).candidates]
        places = choose_places(part.shape[:2], taken, sizes, each, seed=len(found))
        if places is not None:
            found.append(Background(f"{path.parent.parent.name}/{path.name}", part, places))
        if len(found) == count:
            return tuple(found)
    raise ConfigurationError(
        f"{len(found)} pictures can be backgrounds, {count} are needed",
        where=str(data / "dev"),
        fix=f"Give the development data with {', '.join(FOLDERS)}, or ask for fewer backgrounds",
    )


def choose_places(
    shape: tuple[int, ...], taken: Iterable[Box], sizes: Sequence[int], each: int, *, seed: int
) -> tuple[Place, ...] | None:
    """``each`` places for every one of ``sizes``, clear of ``taken`` and of one another.

    Returns:
        None where there is no room.
    """
    draw = np.random.default_rng((_SEED, seed))
    full = list(taken)
    places: list[Place] = []
    for size in sorted(sizes, reverse=True):
        room = _ROOM * size
        for _ in range(each):
            for _ in range(_TRIES):
                x = int(draw.integers(round(room), max(round(shape[1] - 2 * room), 2)))
                y = int(draw.integers(round(room), max(round(shape[0] - 2 * room), 2)))
                area = Box(x - room, y - room, x + size + room, y + size + room)
                inside = area.x2 <= shape[1] and area.y2 <= shape[0]
                if inside and not any(_meet(area, other) for other in full):
                    full.append(area)
                    places.append(Place(x, y, size))
                    break
            else:
                return None
    return tuple(places)


def _meet(one: Box, other: Box) -> bool:
    return one.x1 < other.x2 and other.x1 < one.x2 and one.y1 < other.y2 and other.y1 < one.y2


def _in_turn(folders: Sequence[Sequence[Path]]) -> Iterator[Path]:
    """A path of each folder, over and over; within a folder spread, since neighbours are alike."""
    orders = [np.random.default_rng((_SEED, n)).permutation(n).tolist() for n in map(len, folders)]
    for turn in range(max(map(len, folders), default=0)):
        for folder, order in zip(folders, orders, strict=True):
            if turn < len(folder):
                yield folder[order[turn]]
