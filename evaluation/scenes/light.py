"""Pictures as light, and what a sensor makes of light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Light = NDArray[np.float32]

# The transfer function of sRGB, IEC 61966-2-1. What a camera did besides (its tone curve, clipped
# highlights) cannot be taken back: a lamp that is white in a photograph is no brighter here.
_LEVELS = np.arange(256) / 255
_TO_LIGHT = np.where(
    _LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4
).astype(np.float32)
_STEPS = np.arange(65536) / 65535
_TO_LEVEL = np.rint(
    255 * np.where(_STEPS <= 0.0031308, 12.92 * _STEPS, 1.055 * _STEPS ** (1 / 2.4) - 0.055)
).astype(np.uint8)


def to_light(pixels: Pixels) -> Light:
    """uint8 sRGB to linear light, float32 of the same shape, 0..1."""
    return np.asarray(_TO_LIGHT[pixels], dtype=np.float32)


def to_pixels(light: Light) -> Pixels:
    """Linear light to uint8 sRGB; what lies outside 0..1 is clipped."""
    steps = np.clip(light, 0, 1) * np.float32(65535) + np.float32(0.5)
    return np.asarray(_TO_LEVEL[steps.astype(np.uint16)], dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Sensor:
    """Exposure, clipping and noise.

    The noise of counted photons (Poisson, here normal with the same variance) and of reading them
    out; the same in all channels' terms, without the camera's noise reduction.

    Attributes:
        gain: exposure, as a factor on the light.
        full_well_e: electrons that a pixel counts at white.
        read_noise_e: standard deviation of reading out, in electrons.
    """

    stage: ClassVar[str] = "sensor"

    gain: float
    full_well_e: float
    read_noise_e: float

    def apply(self, light: Light, random: np.random.Generator) -> Light:
        """What the sensor reports, float32, 0..1."""
        exposed = np.clip(light * np.float32(self.gain), 0, 1)
        variance = exposed / np.float32(self.full_well_e)
        variance += np.float32((self.read_noise_e / self.full_well_e) ** 2)
        noise = random.standard_normal(light.shape, dtype=np.float32)
        return np.asarray(np.clip(exposed + noise * np.sqrt(variance), 0, 1), dtype=np.float32)
