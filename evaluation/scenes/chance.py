"""Chance that depends on a scene's seed and a purpose, so that one purpose does not move another.

A scene's parts are the same in every variation and whatever other scenes are made.
"""

from __future__ import annotations

import zlib

import numpy as np


def chance(seed: int, purpose: str) -> np.random.Generator:
    """A generator of its own for each pair of ``seed`` (at least 0) and ``purpose``."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])
