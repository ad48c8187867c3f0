"""At which scales a picture is looked at, and in which tiles: pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from serving.contracts import MULTIPLE
from serving.geometry import Label

TILE = 1312
"""Longest tile side in pixels, a multiple of 32: two tiles span 2448 with the full overlap."""

OVERLAP = 128
"""Least overlap of neighbouring tiles in pixels: an object no longer than this lies wholly in at
least one tile. A longer one is at least 48 px long in the next coarser pass."""

LADDER = (480, 1280, 2560, 5120, 10240)
"""Long sides of the low-resolution passes, which see what is too large for the finer ones. One
pass at 480 finds about as many faces as two at 320 and 640, with fewer false ones."""

COARSER = 0.75
"""A low-resolution pass runs if it is shorter than this share of the picture's long side."""

UPSCALE_UP_TO = 800
"""Pictures with a long side up to this are also seen at double size: CenterFace finds 77 % of
faces 12-16 px wide and 96 % of those 16-24 px wide."""

LARGEST_UPSCALED: dict[Label, int] = {"face": 256, "plate": 192}
"""Longest box side, in pixels of the upscaled picture, that the upscaled pass may propose: it is
there for small objects, and its large plates are mostly false (signs, shirts, car fronts)."""

SHORTEST_SIDE = 8
"""Low-resolution passes that would leave fewer pixels on the short side see nothing: skipped."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One look at the whole picture: ``width`` x ``height`` are the sizes it is scaled to."""

    name: str
    width: int
    height: int
    upscaled: bool = False


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a scaled picture in the tensor that holds it.

    Attributes:
        x, y: top left corner in the scaled picture.
        width, height: pixels of the picture in the tile.
        padded_width, padded_height: size of the tensor, multiples of 32.
    """

    x: int
    y: int
    width: int
    height: int
    padded_width: int
    padded_height: int


def plan_passes(width: int, height: int) -> tuple[Pass, ...]:
    """The passes over a picture of ``width`` x ``height`` pixels; ``native`` is always first."""
    longest = max(width, height)
    passes = [Pass("native", width, height)]
    if longest <= UPSCALE_UP_TO:
        passes.append(Pass("x2", 2 * width, 2 * height, upscaled=True))
    for side in LADDER:
        scaled_width = max(1, round(width * side / longest))
        scaled_height = max(1, round(height * side / longest))
        if side < COARSER * longest and min(scaled_width, scaled_height) >= SHORTEST_SIDE:
            passes.append(Pass(f"long={side}", scaled_width, scaled_height))
    return tuple(passes)


def plan_tiles(width: int, height: int) -> tuple[Tile, ...]:
    """Tiles that cover ``width`` x ``height`` pixels, row by row, all of one tensor size.

    An axis that fits one tile is padded to the next multiple of 32: steps of 64 and
    128 cost 7 % more arithmetic and one or two plates in 112. A longer one is split evenly, so a
    server can batch its tiles.
    """
    columns, tile_width, padded_width = _split(width)
    rows, tile_height, padded_height = _split(height)
    return tuple(
        Tile(x, y, tile_width, tile_height, padded_width, padded_height)
        for y in rows
        for x in columns
    )


def _split(length: int) -> tuple[tuple[int, ...], int, int]:
    """Offsets of the tiles along one axis, pixels a tile, padded pixels a tile."""
    if length <= TILE:
        return (0,), length, -(-length // MULTIPLE) * MULTIPLE
    count = -(-(length - OVERLAP) // (TILE - OVERLAP))
    needed = -(-(length + (count - 1) * OVERLAP) // count)
    side = -(-needed // MULTIPLE) * MULTIPLE
    last = length - side
    return tuple(round(i * last / (count - 1)) for i in range(count)), side, side
