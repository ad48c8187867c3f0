"""The variations of a scene: chains of effects in the order in which light meets them.

Light at the scene, then in the air, then in the lens, then the sensor with its noise; the JPEG
comes last. By day a scene stays as it is. Objects that are lost in white are to be ignored, see
:func:`washed_out`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from evaluation.scenes.light import Pixels, Sensor, to_light, to_pixels
from evaluation.scenes.weather import Blur, Drops, Effect, Flare, Lamp, Night, Rain
from pipeline.errors import ConfigurationError
from serving.geometry import Box

Effects = tuple[Effect, ...]

_WHITE_FROM, _GONE_SHARE = 250, 0.75
_STAGES = ("scene", "air", "lens", "sensor")


def _day(random: np.random.Generator) -> Effects:
    return ()


def _night(random: np.random.Generator) -> Effects:
    lamps = tuple(
        Lamp(random.uniform(0, 1), random.uniform(0.02, 0.6), random.uniform(0.08, 0.16))
        for _ in range(int(random.integers(3, 6)))
    )
    night = Night(
        ambient=random.uniform(0.02, 0.05),
        cast=(1.0, random.uniform(0.72, 0.86), random.uniform(0.42, 0.66)),
        lamp=random.uniform(0.15, 0.3),
        lamps=lamps,
        glow=random.uniform(0.5, 1.0),
        glow_reach=random.uniform(0.012, 0.025),
    )
    return night, Sensor(gain=random.uniform(1.5, 2.5), full_well_e=4000, read_noise_e=6)


def _blur(random: np.random.Generator) -> Effects:
    blur = Blur(
        motion_px=random.uniform(4, 9),
        angle_degrees=random.uniform(-25, 25),
        defocus_px=random.uniform(0.8, 1.8),
    )
    return blur, Sensor(gain=1.0, full_well_e=20000, read_noise_e=5)


def _rain(random: np.random.Generator) -> Effects:
    rain = Rain(
        kept=random.uniform(0.55, 0.75),
        airlight=random.uniform(0.25, 0.4),
        streaks_per_megapixel=random.uniform(500, 1200),
        length_px=random.uniform(20, 45),
        slant_degrees=random.uniform(-15, 15),
        brightness=random.uniform(0.06, 0.14),
    )
    places = tuple(
        (random.uniform(0, 1), random.uniform(0, 1), random.uniform(8, 40))
        for _ in range(int(random.integers(25, 60)))
    )
    return (
        rain,
        Drops(places, haze=random.uniform(0.5, 0.85)),
        Sensor(gain=random.uniform(0.7, 0.9), full_well_e=10000, read_noise_e=5),
    )


def _glare(random: np.random.Generator) -> Effects:
    ghosts = tuple(
        (random.uniform(0.2, 1.0), random.uniform(0.01, 0.06), random.uniform(0.03, 0.12))
        for _ in range(int(random.integers(3, 7)))
    )
    flare = Flare(
        sun=(random.uniform(0.05, 0.95), random.uniform(-0.05, 0.3)),
        veil=random.uniform(0.04, 0.1),
        glare=random.uniform(0.8, 1.5),
        reach=random.uniform(0.1, 0.2),
        ghosts=ghosts,
    )
    return flare, Sensor(gain=random.uniform(0.8, 1.0), full_well_e=20000, read_noise_e=5)


def _overexposed(random: np.random.Generator) -> Effects:
    return (Sensor(gain=random.uniform(2.5, 4.0), full_well_e=20000, read_noise_e=5),)


VARIATIONS: Mapping[str, Callable[[np.random.Generator], Effects]] = {
    "day": _day,
    "night": _night,
    "blur": _blur,
    "rain": _rain,
    "glare": _glare,
    "overexposed": _overexposed,
}


def effects_of(variation: str, random: np.random.Generator) -> Effects:
    """Draw the effects of a variation.

    Raises:
        ConfigurationError: it is not known.
    """
    if variation not in VARIATIONS:
        raise ConfigurationError(
            f"{variation!r} is no variation",
            where="--variation",
            fix=f"Known: {', '.join(VARIATIONS)}",
        )
    return VARIATIONS[variation](random)


def washed_out(day: Pixels, pixels: Pixels, box: Box) -> bool:
    """Whether an object that is seen by day has gone: three quarters of its box are white.

    Args:
        day: uint8 [H, W, 3] RGB, the scene as it is.
        pixels: the same scene in a variation.
        box: of the object.
    """
    place = np.s_[
        max(0, math.floor(box.y1)) : math.ceil(box.y2),
        max(0, math.floor(box.x1)) : math.ceil(box.x2),
    ]
    white = [float((one[place] >= _WHITE_FROM).all(axis=2).mean()) for one in (day, pixels)]
    return white[0] < _GONE_SHARE <= white[1]


def render(pixels: Pixels, effects: Sequence[Effect], random: np.random.Generator) -> Pixels:
    """``pixels`` under ``effects``, uint8 [H, W, 3] RGB, as before the JPEG.

    Raises:
        ValueError: the effects are not in the order in which light meets them.
    """
    order = [_STAGES.index(effect.stage) for effect in effects]
    if order != sorted(order):
        raise ValueError(f"out of order: {[effect.stage for effect in effects]}")
    if not effects:
        return pixels
    light = to_light(pixels)
    for effect in effects:
        light = effect.apply(light, random)
    return to_pixels(light)
