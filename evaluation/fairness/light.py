"""Light and shrinking: sums of light are taken in linear light, never in coded grey levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigurationError

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
LightName = Literal["normal", "dark", "backlit"]


@dataclass(frozen=True, slots=True)
class Light:
    """What a scene's light does to linear values 0..1.

    Attributes:
        face: factor on the face.
        around: factor on everything else; what exceeds 1 is blown out.
        veil: light that the lens scatters over all of it.
        shot: variance of the sensor's noise for each unit of light.
        read: standard deviation of the noise without light.
    """

    face: float = 1.0
    around: float = 1.0
    veil: float = 0.0
    shot: float = 0.0
    read: float = 0.0


# Dark: a bit more than one and a half stops less, with the noise of about 1,500 electrons at
# full scale and 8 of reading, which is a small sensor at high gain. Backlit: a face in the shade
# before a street in the sun, and the lens's flare.
LIGHTS: dict[LightName, Light] = {
    "normal": Light(),
    "dark": Light(face=0.35, around=0.35, shot=1 / 1500, read=8 / 1500),
    "backlit": Light(face=0.5, around=1.8, veil=0.03),
}


def linear(coded: Pixels) -> Floats:
    """Linear light 0..1 of sRGB values (IEC 61966-2-1)."""
    return _LINEAR[coded]


def srgb(light: Floats) -> Pixels:
    """sRGB values of linear light; what lies outside 0..1 is cut off."""
    return _CODED[np.rint(np.clip(light, 0, 1) * _STEPS).astype(np.int32)]


def shrinking(count: int, scale: float, start: float, length: int) -> Floats:
    """Weights [count, length] that average ``length`` samples over spans of ``scale`` samples.

    Args:
        count: averages wanted.
        scale: source samples that one of them spans, at least 1.
        start: where the first span begins, in source samples.
        length: source samples.

    Raises:
        ConfigurationError: ``scale`` is below 1: nothing is ever enlarged.
    """
    if scale < 1:
        raise ConfigurationError(
            f"a face crop would have to be enlarged {1 / scale:.2f} times",
            where="face size",
            fix="Ask for smaller faces, or give larger crops",
        )
    low = start + scale * np.arange(count)[:, None]
    pixels = np.arange(length)[None, :]
    overlap = np.minimum(low + scale, pixels + 1) - np.maximum(low, pixels)
    return np.asarray(np.clip(overlap, 0, 1) / scale, np.float32)


def noisy(light: Floats, how: Light, field: Floats) -> Floats:
    """``light`` with the sensor's noise.

    Args:
        field: standard normal values of the same shape.
    """
    if not how.shot and not how.read:
        return light
    spread = np.sqrt(how.shot * np.clip(light, 0, None) + how.read**2)
    return np.asarray(light + spread * field, np.float32)


def _decoded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    bent = ((values + 0.055) / 1.055) ** 2.4
    return np.asarray(np.where(values <= 0.04045, values / 12.92, bent))


def _encoded(light: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


# fine enough that every one of the 256 values comes back as it was
_STEPS = 16384
_LINEAR = _decoded(np.arange(256) / 255).astype(np.float32)
_CODED = np.rint(255 * _encoded(np.arange(_STEPS + 1) / _STEPS)).astype(np.uint8)
