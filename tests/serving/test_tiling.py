import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.tiling import OVERLAP, TILE, plan_passes, plan_tiles

SIDE = st.integers(1, 14_000)


@given(SIDE, SIDE)
def test_every_pixel_is_in_a_tile(width, height):
    columns, rows = np.zeros(width, bool), np.zeros(height, bool)
    tiles = plan_tiles(width, height)
    for tile in tiles:
        columns[tile.x : tile.x + tile.width] = True
        rows[tile.y : tile.y + tile.height] = True
    assert columns.all()
    assert rows.all()
    assert len(tiles) == len({t.x for t in tiles}) * len({t.y for t in tiles})


@given(SIDE, SIDE)
def test_tiles_lie_in_the_picture_and_keep_the_contract(width, height):
    for tile in plan_tiles(width, height):
        assert tile.x >= 0
        assert tile.y >= 0
        assert tile.x + tile.width <= width
        assert tile.y + tile.height <= height
        assert tile.padded_width % 32 == tile.padded_height % 32 == 0
        assert tile.width <= tile.padded_width <= TILE
        assert tile.height <= tile.padded_height <= TILE


@given(SIDE, st.integers(1, OVERLAP), st.floats(0, 1))
def test_an_object_up_to_the_overlap_lies_wholly_in_a_tile(width, size, where):
    size = min(size, width)
    start = round(where * (width - size))
    assert any(
        tile.x <= start and start + size <= tile.x + tile.width for tile in plan_tiles(width, 1)
    )


@given(SIDE, SIDE)
def test_native_is_always_looked_at(width, height):
    first = plan_passes(width, height)[0]
    assert (first.name, first.width, first.height) == ("native", width, height)


@given(st.integers(TILE + 1, 14_000))
def test_whatever_tiles_cut_is_seen_whole_in_a_coarser_pass(longest):
    sides = [max(p.width, p.height) for p in plan_passes(longest, longest)]
    finer_to_coarser = sorted(sides, reverse=True)
    assert finer_to_coarser[-1] <= TILE
    ratios = [a / b for a, b in itertools.pairwise(finer_to_coarser)]
    assert max(ratios) < 3.6
