"""Keyed noise: a field over the whole picture that nobody can compute without the secret.

A seed that an attacker knows lets him subtract the noise, so every tile of the field comes from
HMAC-SHA-256 (RFC 2104) over the picture's key, stretched by SHAKE-256 (FIPS 202). Values belong to
places of the picture, not to boxes: another box over the same place, from a rerun or a neighbouring
detection, shows the same noise again and gives nobody a second sample to average.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.orientation import IntBox

Scale = Literal["cell", "half", "grain"]
# Side of one tile of keystream, in values.
TILE_SIDES: dict[Scale, int] = {"cell": 8, "half": 16, "grain": 64}
# What the channels share, and one for each of up to four.
CELL_LAYERS = 5


@dataclass(frozen=True, slots=True)
class NoiseKey:
    """What the noise of one picture depends on.

    Attributes:
        secret: the operator's secret; never shown, logged or written.
        image_key: the picture's relative key in its bucket or folder.
        place: that bucket or folder: cameras use the same names every day, and who knows what was
            under the noise of one picture must not know the noise of another.
    """

    secret: bytes = field(repr=False)
    image_key: str
    place: str = ""

    def field(self) -> NoiseField:
        """The picture's noise."""
        name = f"{self.place}\0{self.image_key}" if self.place else self.image_key
        message = name.encode("utf-8", "surrogatepass")
        return NoiseField(hmac.new(self.secret, message, hashlib.sha256).digest())


@dataclass(frozen=True, slots=True)
class NoiseField:
    """Normal-like noise at every place of one picture, from a 32-byte seed."""

    seed: bytes = field(repr=False)

    def values(self, scale: Scale, side: int, area: IntBox) -> NDArray[np.uint8]:
        """Uniform bytes [layers, y2 - y1, x2 - x1]; :func:`quantiles` makes them normal.

        Args:
            scale: which of the field's scales; cells have ``CELL_LAYERS`` layers, others one.
            side: pixels between two values; fields of other sides are independent.
            area: ``(x1, y1, x2, y2)``, counted in values from the picture's corner.
        """
        x1, y1, x2, y2 = area
        tile, layers = TILE_SIDES[scale], CELL_LAYERS if scale == "cell" else 1
        purpose = self.seed + scale.encode()
        out = np.empty((layers, y2 - y1, x2 - x1), np.uint8)
        for row in range(y1 // tile, (y2 - 1) // tile + 1):
            top, bottom = max(row * tile, y1), min((row + 1) * tile, y2)
            for column in range(x1 // tile, (x2 - 1) // tile + 1):
                left, right = max(column * tile, x1), min((column + 1) * tile, x2)
                place = struct.pack("<3i", side, row, column)
                # a shorter stretch begins as a longer one does: rows behind the last are left out
                rows = bottom - row * tile if layers == 1 else tile
                raw = hashlib.shake_256(purpose + place).digest(layers * rows * tile)
                values = np.frombuffer(raw, np.uint8).reshape(layers, rows, tile)
                out[:, top - y1 : bottom - y1, left - x1 : right - x1] = values[
                    :,
                    top - row * tile : bottom - row * tile,
                    left - column * tile : right - column * tile,
                ]
        return out


@lru_cache(maxsize=64)
def quantiles(std: float) -> NDArray[np.float32]:
    """256 quantiles of a normal distribution of mean 0 and standard deviation ``std``."""
    values = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])
    table: NDArray[np.float32] = (values / values.std() * std).astype(np.float32)
    table.flags.writeable = False
    return table
