"""Keyed noise: the same for the same secret, picture and box; unpredictable without the secret.

A seed that an attacker knows lets him subtract the noise, so it comes from HMAC-SHA-256 (RFC 2104)
over the picture's key and the box, stretched by SHAKE-256 (FIPS 202).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pipeline.orientation import IntBox

ROWS_A_STRIP = 64


@dataclass(frozen=True, slots=True)
class NoiseKey:
    """What the noise of one picture depends on.

    Attributes:
        secret: the operator's secret; never shown, logged or written.
        image_key: the picture's relative key in its bucket.
    """

    secret: bytes = field(repr=False)
    image_key: str

    def stream(self, purpose: str, box: IntBox) -> NoiseStream:
        """The noise for ``purpose`` in ``box`` (pixels as stored in the file, clipped to it)."""
        message = "\0".join([purpose, *map(str, box), self.image_key])
        seed = hmac.new(self.secret, message.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return NoiseStream(seed.digest())


@dataclass(frozen=True, slots=True)
class NoiseStream:
    """Normal-like noise from one 32-byte seed."""

    seed: bytes = field(repr=False)

    def normal(self, shape: tuple[int, ...], std: float) -> NDArray[np.float64]:
        """Independent values of mean 0 and standard deviation ``std``, float64 of ``shape``.

        The sum of four uniform 16-bit numbers (Irwin-Hall): within +-3.46 ``std``.
        """
        size = int(np.prod(shape))
        raw = hashlib.shake_256(self.seed + b"normal").digest(8 * size)
        total = np.frombuffer(raw, dtype="<u2").reshape(size, 4).sum(axis=1, dtype=np.float64)
        # the variance of one uniform 16-bit number is (2^32 - 1) / 12
        scale = std / np.sqrt(4 * (2.0**32 - 1) / 12)
        return np.asarray((total - 2 * 65535) * scale).reshape(shape)

    def grain(self, width: int, std: float) -> Callable[[int], NDArray[np.int32]]:
        """A source of fine grain: each call with ``rows`` gives the next [rows, ``width``].

        One keystream byte a pixel, mapped through the normal quantiles; strip by strip, so that a
        box as large as the picture needs no keystream as large as the picture. Whole numbers of
        standard deviation ``std``.
        """
        table = np.rint(_quantiles() * std).astype(np.int32)
        strip = count()

        def following(rows: int) -> NDArray[np.int32]:
            shake = hashlib.shake_256(self.seed + b"grain%d" % next(strip))
            raw = np.frombuffer(shake.digest(rows * width), dtype=np.uint8)
            return table[raw].reshape(rows, width)

        return following


@lru_cache(maxsize=1)
def _quantiles() -> NDArray[np.float64]:
    """256 quantiles of the standard normal distribution, scaled to a standard deviation of 1."""
    values = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])
    return np.asarray(values / values.std())
