"""What a box is replaced by: averages over cells of the picture, noised, then made smooth.

Cells lie on a grid that starts at the picture's corner, and their sides are powers of two; less
than half a cell at the picture's end belongs to its neighbour. Coarser cells are sums of finer
ones, so that another box over the same place (a rerun, a neighbouring detection) gives no sample
that the finest grid has not given. Averages are drawn smooth as control points of a cubic B-spline,
which is close to a Gaussian of 0.65 cells over the picture (de Boor, A Practical Guide to Splines,
chapter IX). Float32 in a fixed order: the same bytes everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import Number, compiled, either_way
from pipeline.surroundings import bend, square_px

Floats = NDArray[np.float32]
Samples = NDArray[Any]
Longs = NDArray[np.int64]
Taps = tuple[NDArray[np.int64], Floats]

BLUR, PIXELATE, SOLID = range(3)

# Standard deviation, in cells, of averaging over a cell and drawing a cubic B-spline:
# sqrt(1/12 + 4/12).
SPLINE_SIGMA = 0.6455


@either_way
def cells_in(length: int, side: int) -> int:
    """How many cells of ``side`` pixels there are in ``length`` pixels.

    One of which the picture's end leaves less than half belongs to its neighbour: it would be an
    average of a few pixels. Cells twice as large still end where two of these do.
    """
    return max((length + side // 2) // side, 1)


@compiled
def cell_means(
    plane: Samples, x: int, y: int, across: int, down: int, limits: Longs, size: Longs, unit: int
) -> Floats:
    """Averages [rows, columns] of the cells of ``across`` x ``down`` values in ``limits``.

    Args:
        plane: [h, w] values, of which the first is the picture's value ``(x, y)``.
        limits: ``(first column, first row, last column + 1, last row + 1)`` of cells; the last may
            be larger than the others, where the picture has no whole cell behind it.
        size: ``(x2, y2)``: where the last column and row end, in samples of the picture.
        unit: samples that a value spans: 1, or 8 where it is a block's average, of which those
            samples count that lie before ``size``.
    """
    columns, rows = limits[2] - limits[0], limits[3] - limits[1]
    means = np.empty((rows, columns), np.float32)
    sums = np.empty(columns, np.int64)
    last_x, last_y = (size[0] + unit - 1) // unit, (size[1] + unit - 1) // unit
    for row in range(rows):
        top = (limits[1] + row) * down
        bottom = top + down if row + 1 < rows else last_y
        sums[:] = 0
        for at_y in range(top, bottom):
            height = min(size[1] - at_y * unit, unit)
            for column in range(columns):
                left = (limits[0] + column) * across
                right = left + across if column + 1 < columns else last_x
                total = np.int64(0)
                for at_x in range(left, right):
                    total += plane[at_y - y, at_x - x]
                if unit > 1:
                    surplus = max(right * unit - size[0], 0)
                    total = unit * total - surplus * plane[at_y - y, right - 1 - x]
                sums[column] += height * total
        for column in range(columns):
            left = (limits[0] + column) * across
            right = left + across if column + 1 < columns else last_x
            wide = min(right * unit, size[0]) - left * unit
            high = min(bottom * unit, size[1]) - top * unit
            means[row, column] = np.float32(sums[column] / (wide * high))
    return means


@compiled
def halved(grid: Floats) -> Floats:
    """The same cubic B-spline with control points half as far apart: [2 rows - 1, 2 columns - 1].

    The first and the last point keep their places; beyond the border the nearest counts.
    Source: Lane and Riesenfeld, IEEE PAMI 2(1), 1980.
    """
    rows, columns = grid.shape
    wide = np.empty((rows, 2 * columns - 1), np.float32)
    for row in range(rows):
        for column in range(columns):
            left, right = max(column - 1, 0), min(column + 1, columns - 1)
            near = grid[row, left] + grid[row, right]
            wide[row, 2 * column] = (near + np.float32(6) * grid[row, column]) * np.float32(0.125)
            if column + 1 < columns:
                both = grid[row, column] + grid[row, column + 1]
                wide[row, 2 * column + 1] = both * np.float32(0.5)
    out = np.empty((2 * rows - 1, 2 * columns - 1), np.float32)
    for column in range(2 * columns - 1):
        for row in range(rows):
            above, below = max(row - 1, 0), min(row + 1, rows - 1)
            near = wide[above, column] + wide[below, column]
            out[2 * row, column] = (near + np.float32(6) * wide[row, column]) * np.float32(0.125)
            if row + 1 < rows:
                both = wide[row, column] + wide[row + 1, column]
                out[2 * row + 1, column] = both * np.float32(0.5)
    return out


@compiled
def spline_taps(
    start: int, stop: int, side: int, origin: float, spacing: float, points: int
) -> Taps:
    """How squares ``start``..``stop`` mix the control points of a cubic B-spline, at their middle.

    Args:
        side: samples of a square's side; 1 for single samples.
        origin: where the first control point lies, in samples (the first sample's centre is 0.5).
        spacing: samples between two control points.
        points: how many there are.

    Returns:
        For each sample four numbers of control points and their weights, float32.
    """
    count = stop - start
    at = np.empty((count, 4), np.int64)
    weights = np.empty((count, 4), np.float32)
    for i in range(count):
        place = ((start + i + 0.5) * side - origin) / spacing
        nearest: Number = np.int64(np.floor(place))
        t = place - nearest
        for tap in range(4):
            at[i, tap] = min(max(nearest - 1 + tap, 0), points - 1)
        weights[i, 0] = (1 - t) * (1 - t) * (1 - t) / 6
        weights[i, 1] = (3 * t * t * t - 6 * t * t + 4) / 6
        weights[i, 2] = (-3 * t * t * t + 3 * t * t + 3 * t + 1) / 6
        weights[i, 3] = t * t * t / 6
    return at, weights


@compiled
def drawn(grid: Floats, across: Taps, down: Taps) -> Floats:
    """The spline through ``grid`` at [rows, columns] places; see :func:`spline_taps`."""
    column_at, column_weight = across
    row_at, row_weight = down
    out = np.empty((len(row_at), len(column_at)), np.float32)
    line = np.empty(grid.shape[1], np.float32)
    for row in range(len(row_at)):
        line[:] = 0
        for tap in range(4):
            for i in range(len(line)):
                line[i] += grid[row_at[row, tap], i] * row_weight[row, tap]
        for column in range(len(column_at)):
            value = np.float32(0)
            for tap in range(4):
                value += line[column_at[column, tap]] * column_weight[column, tap]
            out[row, column] = value
    return out


@compiled
def block_taps(start: int, stop: int, first: int, side: int, points: int) -> Taps:
    """The same where each sample has the value of its own cell, the first being cell ``first``."""
    at = np.zeros((stop - start, 4), np.int64)
    weights = np.zeros((stop - start, 4), np.float32)
    for i in range(stop - start):
        at[i, 0] = min(max((start + i) // side - first, 0), points - 1)
        weights[i, 0] = 1
    return at, weights


@compiled
def feather(start: int, stop: int, step: int, first: int, last: int) -> NDArray[np.int64]:
    """How many pixels each sample of ``start``..``stop`` lies outside ``first``..``last``.

    A sample spans ``step`` pixels; 0 for one that has any pixel inside.
    """
    out = np.empty(stop - start, np.int64)
    for i in range(stop - start):
        left, right = (start + i) * step, (start + i + 1) * step - 1
        out[i] = max(first - right, left - last, 0)
    return out


@compiled
def blend(
    out: Samples,
    grid: Floats,
    across: Taps,
    down: Taps,
    grain: NDArray[np.uint8],
    levels: Floats,
    dx: NDArray[np.int64],
    dy: NDArray[np.int64],
    reach: int,
    full: int,
) -> None:
    """Mix the spline through ``grid`` into ``out`` [h, w], in place.

    Args:
        across, down: taps of each column and row.
        grain: a byte a sample, which ``levels`` turns into grey levels; [0, 0] for none.
        dx, dy: how far columns and rows lie outside the box, in pixels.
        reach: width of the soft edge, in pixels: weights fall smoothly to 0 at ``reach`` + 1.
        full: the largest grey level.
    """
    height, width = out.shape
    columns = grid.shape[1]
    column_at, column_weight = across
    row_at, row_weight = down
    line = np.empty(columns, np.float32)
    grainy = grain.shape[0] > 0
    for y in range(height):
        a, b, c, d = row_at[y, 0], row_at[y, 1], row_at[y, 2], row_at[y, 3]
        wa, wb, wc, wd = row_weight[y, 0], row_weight[y, 1], row_weight[y, 2], row_weight[y, 3]
        for i in range(columns):
            line[i] = (grid[a, i] * wa + grid[b, i] * wb) + (grid[c, i] * wc + grid[d, i] * wd)
        for x in range(width):
            value = (
                line[column_at[x, 0]] * column_weight[x, 0]
                + line[column_at[x, 1]] * column_weight[x, 1]
            ) + (
                line[column_at[x, 2]] * column_weight[x, 2]
                + line[column_at[x, 3]] * column_weight[x, 3]
            )
            if grainy:
                value += levels[grain[y, x]]
            level: Number = min(max(np.int64(np.floor(value + np.float32(0.5))), 0), full)
            if dx[x] == 0 and dy[y] == 0:
                out[y, x] = level
            else:
                away = np.sqrt(np.float64(dx[x] * dx[x] + dy[y] * dy[y])) / (reach + 1)
                if away < 1:
                    share = np.int64(np.rint(256 * (1 - away * away * (3 - 2 * away))))
                    mixed = np.int64(out[y, x]) * (256 - share) + level * share
                    out[y, x] = (mixed + 128) >> 8


@compiled
def noisy_cells(
    source: Samples,
    averages: NDArray[np.int32],
    place: Longs,
    cell: int,
    limits: Longs,
    noise: Floats,
    full: int,
) -> Floats:
    """Averages [rows, columns] of the cells in ``limits``, noise added.

    Args:
        limits: see :func:`cell_means`.
        source, averages, place, cell, noise, full: see :func:`paint`.
    """
    side_x, side_y = cell // place[4], cell // place[5]
    size = np.empty(2, np.int64)
    size[0] = place[2] if limits[2] == cells_in(place[6], cell) else limits[2] * side_x
    size[1] = place[3] if limits[3] == cells_in(place[7], cell) else limits[3] * side_y
    if averages.shape[0] > 0 and side_x % 8 == 0 and side_y % 8 == 0:
        grid = cell_means(averages, 0, 0, side_x // 8, side_y // 8, limits, size, 8)
        grid /= np.float32(16)
    else:
        grid = cell_means(source, place[0], place[1], side_x, side_y, limits, size, 1)
    if noise.shape[0] > 0:
        for row in range(grid.shape[0]):
            for column in range(grid.shape[1]):
                value = grid[row, column] + noise[row, column]
                grid[row, column] = min(max(value, np.float32(0)), np.float32(full))
    return grid


@compiled
def squares_of(touched: Longs, square: int, step_x: int, step_y: int) -> Longs:
    """The squares that a box may change, and one more on each side.

    Returns:
        [3, 2] first column and row, pixels of a square's sides, columns and rows.
    """
    out = np.empty((3, 2), np.int64)
    out[1, 0], out[1, 1] = square_px(square, step_x), square_px(square, step_y)
    for axis in range(2):
        side = out[1, axis]
        out[0, axis] = touched[axis] // side - 1
        out[2, axis] = -(-touched[axis + 2] // side) + 1 - out[0, axis]
    return out


@compiled
def bent(
    grid: Floats,
    lines: NDArray[np.float64],
    squares: Longs,
    source: Samples,
    averages: NDArray[np.int32],
    place: Longs,
    changed: Longs,
) -> Floats:
    """[rows, columns] the spline through ``grid`` in the middle of squares, bent to those around.

    Args:
        lines: [2, 2] across and down: ``origin`` and ``spacing`` of :func:`spline_taps`.
        squares: see :func:`squares_of`.
        source, averages, place, changed: see :func:`paint`.
    """
    left, top = squares[0, 0], squares[0, 1]
    across, down = squares[1, 0], squares[1, 1]
    columns, rows = left + squares[2, 0], top + squares[2, 1]
    node_x, node_y = across // place[4], down // place[5]
    to_x = spline_taps(left, columns, node_x, lines[0, 0], lines[0, 1], grid.shape[1])
    to_y = spline_taps(top, rows, node_y, lines[1, 0], lines[1, 1], grid.shape[0])
    nodes = drawn(grid, to_x, to_y)
    bend(nodes, left, top, across, down, source, averages, place, changed)
    return nodes


@compiled
def paint(
    source: Samples,
    averages: NDArray[np.int32],
    out: Samples,
    place: Longs,
    area: Longs,
    reach: int,
    mode: int,
    cell: int,
    square: int,
    touched: Longs,
    changed: Longs,
    noise: Floats,
    between: Floats,
    grain: NDArray[np.uint8],
    levels: Floats,
    full: int,
) -> None:
    """Redact one box in one channel, in place.

    Args:
        source, out: [h, w] samples: what is read, what is written.
        averages: see :class:`pipeline.redaction.Plane`.
        place: (left, top, width, height, step x, step y), see :class:`pipeline.redaction.Plane`,
            and the picture's (width, height) in pixels.
        area: (x1, y1, x2, y2) in pixels, at full strength.
        reach: width of the soft edge, in pixels.
        mode: ``BLUR``, ``PIXELATE`` or ``SOLID``.
        cell: side of a cell, in pixels.
        square: see :func:`pipeline.surroundings.square_px`.
        touched: (x1, y1, x2, y2): all pixels of the picture that the box may change.
        changed: [n, 4] the same of all boxes of the picture.
        noise: [rows, columns] to be added to the cells; [0, 0] for none.
        between: the same for twice as many control points: see :func:`halved`.
        grain, levels, full: as for :func:`blend`.
    """
    left, top, step_x, step_y = place[0], place[1], place[4], place[5]
    x1 = max((area[0] - reach) // step_x, left)
    y1 = max((area[1] - reach) // step_y, top)
    x2 = min(-((-area[2] - reach) // step_x), left + source.shape[1])
    y2 = min(-((-area[3] - reach) // step_y), top + source.shape[0])
    if x1 >= x2 or y1 >= y2:
        return
    side_x, side_y = cell // step_x, cell // step_y
    cells_x, cells_y = cells_in(place[6], cell), cells_in(place[7], cell)
    first_x, first_y = min(x1 // side_x, cells_x - 1), min(y1 // side_y, cells_y - 1)
    if mode == SOLID:
        grid = np.full((1, 1), np.float32(np.rint(full * 128 / 255)), np.float32)
    else:
        limits = np.empty(4, np.int64)
        limits[0], limits[1] = first_x, first_y
        limits[2], limits[3] = min(-(-x2 // side_x), cells_x), min(-(-y2 // side_y), cells_y)
        grid = noisy_cells(source, averages, place, cell, limits, noise, full)
    if mode == BLUR:
        # the first control point is the first cell's centre, also when there are twice as many
        origin_x, origin_y = (first_x + 0.5) * side_x, (first_y + 0.5) * side_y
        spacing_x, spacing_y = 1.0 * side_x, 1.0 * side_y
        if between.shape[0] > 0:
            grid = halved(grid)
            spacing_x, spacing_y = spacing_x / 2, spacing_y / 2
            for row in range(grid.shape[0]):
                for column in range(grid.shape[1]):
                    grid[row, column] += between[row, column]
        lines = np.array([[origin_x, spacing_x], [origin_y, spacing_y]])
        squares = squares_of(touched, square, step_x, step_y)
        grid = bent(grid, lines, squares, source, averages, place, changed)
        node_x, node_y = squares[1, 0] // step_x, squares[1, 1] // step_y
        middle_x, middle_y = (squares[0, 0] + 0.5) * node_x, (squares[0, 1] + 0.5) * node_y
        taps_x = spline_taps(x1, x2, 1, middle_x, 1.0 * node_x, grid.shape[1])
        taps_y = spline_taps(y1, y2, 1, middle_y, 1.0 * node_y, grid.shape[0])
    else:
        taps_x = block_taps(x1, x2, first_x, side_x, grid.shape[1])
        taps_y = block_taps(y1, y2, first_y, side_y, grid.shape[0])
    dx = feather(x1, x2, step_x, area[0], area[2] - 1)
    dy = feather(y1, y2, step_y, area[1], area[3] - 1)
    target = out[y1 - top : y2 - top, x1 - left : x2 - left]
    blend(target, grid, taps_x, taps_y, grain, levels, dx, dy, reach, full)
