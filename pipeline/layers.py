"""What a box is replaced by: means over cells snapped to it, smooth or as blocks.

Everything that is rounded to grey levels is computed in float64 on the small grid or in whole
numbers on the pixels, so that machines with other vector units give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.noise import ROWS_A_STRIP
from pipeline.orientation import IntBox

Ints = NDArray[np.int32]
Floats = NDArray[np.float64]

# Linear interpolation between points sigma / 6 apart stays within 0.4 % of the Gaussian's curve
# (error h^2 / 8 times the curvature, at most 1 / sigma^2).
POINTS_A_SIGMA = 6


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """A grid of cells over a box and its surroundings.

    Attributes:
        x, y: cell edges in pixels, [n + 1]; the box's own edges are among them, so that no cell
            mixes what is hidden with what stays visible.
        means: mean of each cell, float64 [rows, columns, channels].
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    means: Floats

    @classmethod
    def of(cls, source: NDArray[Any], inside: IntBox, cell: float, margin: float) -> Cells:
        """Average ``source`` [h, w, c] over cells of about ``cell`` px, ``margin`` px around."""
        x = _edges(inside[0], inside[2], cell, margin, source.shape[1])
        y = _edges(inside[1], inside[3], cell, margin, source.shape[0])
        part = source[y[0] : y[-1], x[0] : x[-1]]
        columns = np.add.reduceat(part, y[:-1] - y[0], axis=0, dtype=np.uint32)
        sums = np.add.reduceat(columns, x[:-1] - x[0], axis=1, dtype=np.uint64)
        counts = np.diff(y)[:, None, None] * np.diff(x)[None, :, None]
        return cls(x, y, sums / counts)

    def blocks(self, grid: Floats, region: IntBox, rows: int) -> Iterator[Ints]:
        """Strips of at most ``rows`` rows of ``region``; each pixel has its cell's value."""
        values = np.rint(grid).astype(np.int32)
        across = np.searchsorted(self.x, np.arange(region[0], region[2]), side="right") - 1
        for top in range(region[1], region[3], rows):
            at = np.arange(top, min(top + rows, region[3]))
            yield values[np.searchsorted(self.y, at, side="right") - 1][:, across]


def _edges(start: int, stop: int, cell: float, margin: float, limit: int) -> NDArray[np.int64]:
    count = max(1, round((stop - start) / cell))
    side = (stop - start) / count
    extra = math.ceil(margin / side)
    edges = start + np.rint(np.arange(-extra, count + extra + 1) * side).astype(np.int64)
    return np.unique(np.clip(edges, 0, limit))


@dataclass(frozen=True, slots=True, eq=False)
class Smooth:
    """A Gaussian of ``sigma`` px through the values ``grid`` of ``cells``.

    Attributes:
        full: the largest grey level, 255 or 65535.
    """

    cells: Cells
    grid: Floats
    sigma: float
    full: int

    @property
    def unit(self) -> int:
        """Steps a grey level in :meth:`strips`: 8 fractional bits where 16 bits have room."""
        return 256 if self.full == 255 else 1

    def strips(self, region: IntBox) -> Iterator[Ints]:
        """Strips [rows, w, c] of ``region`` from its top, in steps of 1 / ``unit`` grey level."""
        x1, y1, x2, y2 = region
        step = max(1, int(self.sigma / POINTS_A_SIGMA))
        # one point more on each side, so that the interpolation has both neighbours everywhere
        columns = math.ceil((x2 - x1) / step) + 2
        spread = _spread(self.cells.x, x1, step, columns, self.sigma)
        wide = np.einsum("xi,jic->jxc", spread, self.grid).reshape(self.grid.shape[0], -1)
        points = max(1, ROWS_A_STRIP // step)
        for top in range(y1, y2, points * step):
            spread = _spread(self.cells.y, top, step, points + 2, self.sigma)
            values = np.rint(np.einsum("yj,jx->yx", spread, wide) * self.unit)
            coarse = values.reshape(points + 2, columns, -1).astype(np.uint16)
            size = (columns * step, (points + 2) * step)
            # bit-exact on every machine, unlike the plain linear mode
            fine = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR_EXACT)
            fine = fine.reshape(size[1], size[0], -1)
            rows = min(points * step, y2 - top)
            yield fine[step : step + rows, step : step + x2 - x1].astype(np.int32)


def _spread(edges: NDArray[np.int64], start: int, step: int, count: int, sigma: float) -> Floats:
    """How points mix the cells, [``count``, cells], rows summing to 1.

    The points are ``step`` px apart; the second is the centre of the first ``step`` pixels from
    ``start``. What averaging over a cell has already blurred (variance side^2 / 12) is taken off.
    """
    at = start + (np.arange(count) - 0.5) * step
    sides = np.diff(edges)
    centres = (edges[:-1] + edges[1:]) / 2
    left = math.sqrt(max(sigma * sigma - float(sides.max()) ** 2 / 12, 0.25))
    nearest = np.clip(at, edges[0], edges[-1])
    weights = sides * np.exp(-0.5 * ((nearest[:, None] - centres) / left) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
