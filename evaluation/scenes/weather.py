"""What happens to light before it reaches a sensor: at the scene, in the air, in the lens.

Lengths are in pixels where they decide how much of an object is left, and in shares of the
picture's height where they are of the scene.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.scenes.light import Light

Colour = tuple[float, float, float]


class Effect(Protocol):
    """One step from the scene's light to the picture.

    Attributes:
        stage: where it happens: ``scene``, ``air``, ``lens`` or ``sensor``.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    stage: ClassVar[str]

    def apply(self, light: Light, random: np.random.Generator) -> Light:
        """The light after it, float32 [H, W, 3]; ``light`` stays as it is."""


@dataclass(frozen=True, slots=True)
class Lamp:
    """A street lamp: lights what is around it, and glows.

    Attributes:
        x, y: its place, as shares of the picture's width and height.
        reach: distance at which its light has halved, as a share of the picture's height.
    """

    x: float
    y: float
    reach: float


@dataclass(frozen=True, slots=True)
class Night:
    """Little light, of the colour of lamps, and lamps. Plates do not shine back, as real ones do.

    Attributes:
        ambient: light besides the lamps', as a share of daylight.
        cast: of the light, a factor a channel (red, green, blue).
        lamp: light beside a lamp, as a share of daylight.
        lamps: where they are.
        glow: of a lamp's own light scattered by the lens, in units of white.
        glow_reach: distance at which it has halved, as a share of the picture's height.
    """

    stage: ClassVar[str] = "scene"

    ambient: float
    cast: Colour
    lamp: float
    lamps: tuple[Lamp, ...]
    glow: float
    glow_reach: float

    def apply(self, light: Light, random: np.random.Generator) -> Light:
        """See :class:`Effect`."""
        height, width = light.shape[:2]
        shining = np.full((height, width), self.ambient, np.float32)
        glow = np.zeros((height, width), np.float32)
        for one in self.lamps:
            distance = _distance(height, width, one.x, one.y)
            shining += np.float32(self.lamp) / (1 + (distance / np.float32(one.reach)) ** 2)
            glow += np.float32(self.glow) / (1 + (distance / np.float32(self.glow_reach)) ** 2) ** 2
        cast = np.array(self.cast, np.float32)
        return np.asarray((light * shining[..., None] + glow[..., None]) * cast, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Rain:
    """Falling rain: light is scattered on its way, and drops leave streaks.

    Attributes:
        kept: share of the light that comes through unscattered.
        airlight: level of the scattered light, in units of white.
        streaks_per_megapixel: how many drops are seen.
        length_px: of a streak.
        slant_degrees: from upright.
        brightness: of a streak's middle, in units of white, before it is smeared.
    """

    stage: ClassVar[str] = "air"

    kept: float
    airlight: float
    streaks_per_megapixel: float
    length_px: float
    slant_degrees: float
    brightness: float

    def apply(self, light: Light, random: np.random.Generator) -> Light:
        """See :class:`Effect`."""
        height, width = light.shape[:2]
        count = round(self.streaks_per_megapixel * height * width / 1e6)
        drops = np.zeros((height, width), np.float32)
        rows, columns = random.integers(height, size=count), random.integers(width, size=count)
        drops[rows, columns] = random.uniform(0.3, 1.0, count).astype(np.float32)
        path = _line(self.length_px, 90 - self.slant_degrees)
        streaks = cv2.filter2D(drops, -1, path / path.max(), borderType=cv2.BORDER_CONSTANT)
        streaks = cv2.GaussianBlur(streaks, (0, 0), 0.8) * np.float32(self.brightness)
        veiled = light * np.float32(self.kept) + np.float32((1 - self.kept) * self.airlight)
        return np.asarray(veiled + np.minimum(streaks, 0.5)[..., None], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Drops:
    """Drops on the front glass: round places where the scene is out of focus.

    Attributes:
        places: centre as shares of width and height, and radius in pixels.
        haze: share of the light there that is out of focus, 0..1.
    """

    stage: ClassVar[str] = "lens"

    places: tuple[tuple[float, float, float], ...]
    haze: float

    def apply(self, light: Light, random: np.random.Generator) -> Light:
        """See :class:`Effect`."""
        made = light.copy()
        height, width = light.shape[:2]
        for across, down, radius in self.places:
            x, y, reach = round(across * width), round(down * height), math.ceil(radius)
            place = np.s_[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
            under = light[place]
            soft = cv2.GaussianBlur(under, (0, 0), radius / 3)
            rows = np.arange(under.shape[0])[:, None] + max(0, y - reach) - y
            columns = np.arange(under.shape[1])[None, :] + max(0, x - reach) - x
            inside = np.clip(radius - np.hypot(rows, columns), 0, 2).astype(np.float32) / 2
            share = np.float32(self.haze) * inside[..., None]
            made[place] = under * (1 - share) + 1.1 * soft * share
        return made


@dataclass(frozen=True, slots=True)
class Blur:
    """The camera moved while the shutter was open, and was a little out of focus.

    Attributes:
        motion_px: length of the movement.
        angle_degrees: its direction, 0 for sideways.
        defocus_px: radius of the disc that a point becomes.
    """

    stage: ClassVar[str] = "lens"

    motion_px: float
    angle_degrees: float
    defocus_px: float

    def apply(self, light: Light, random: np.random.Generator) -> Light:
        """See :class:`Effect`."""
        moved = cv2.filter2D(
            light, -1, _line(self.motion_px, self.angle_degrees), borderType=cv2.BORDER_REFLECT
        )
        spread = cv2.filter2D(moved, -1, _disc(self.defocus_px), borderType=cv2.BORDER_REFLECT)
        return np.asarray(spread, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Flare:
    """A low sun in the picture or beside it: a veil, a bright centre, ghosts on a line through it.

    Attributes:
        sun: its place, as shares of the picture's width and height; may lie outside.
        veil: light that is scattered over all of the picture, in units of white.
        glare: light near the sun, in units of white.
        reach: distance at which that has halved, as a share of the picture's height.
        ghosts: places on the line from the sun (0) through the middle (0.5), radius as a share of
            the picture's height, and strength in units of white.
    """

    stage: ClassVar[str] = "lens"

    sun: tuple[float, float]
    veil: float
    glare: float
    reach: float
    ghosts: tuple[tuple[float, float, float], ...]

    def apply(self, light: Light, random: np.random.Generator) -> Light:
        """See :class:`Effect`."""
        height, width = light.shape[:2]
        distance = _distance(height, width, *self.sun)
        added = np.float32(self.glare) / (1 + (distance / np.float32(self.reach)) ** 2)
        added += np.float32(self.veil)
        tints = np.ones((height, width, 3), np.float32) * added[..., None]
        for index, (along, radius, strength) in enumerate(self.ghosts):
            x = self.sun[0] + 2 * along * (0.5 - self.sun[0])
            y = self.sun[1] + 2 * along * (0.5 - self.sun[1])
            edge = (np.float32(radius) - _distance(height, width, x, y)) * np.float32(height / 4)
            tint = np.roll(np.array((1.0, 0.7, 0.4), np.float32), index)
            tints += np.clip(edge, 0, 1)[..., None] * tint * np.float32(strength)
        return np.asarray(light + tints, dtype=np.float32)


def _distance(height: int, width: int, x: float, y: float) -> NDArray[np.float32]:
    """From a point given as shares of width and height, in picture heights, [height, width]."""
    across = (np.arange(width, dtype=np.float32) - np.float32(x * width)) / np.float32(height)
    down = (np.arange(height, dtype=np.float32) - np.float32(y * height)) / np.float32(height)
    return np.asarray(np.hypot(down[:, None], across[None, :]), dtype=np.float32)


def _line(length_px: float, angle_degrees: float) -> NDArray[np.float32]:
    """A path of ``length_px``, [n, n], n odd, of sum 1, symmetric about its middle."""
    reach = math.ceil(length_px / 2) + 1
    angle = math.radians(angle_degrees)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for along in np.linspace(-length_px / 2, length_px / 2, max(2, 8 * math.ceil(length_px)) + 1):
        x, y = along * math.cos(angle) + reach, -along * math.sin(angle) + reach
        left, top = math.floor(x), math.floor(y)
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            share = abs(1 - row - (y - top)) * abs(1 - column - (x - left))
            kernel[min(top + row, 2 * reach), min(left + column, 2 * reach)] += share
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def _disc(radius_px: float) -> NDArray[np.float32]:
    """A disc with a soft rim, [n, n], n odd, of sum 1."""
    reach = math.ceil(radius_px) + 1
    place = np.arange(-reach, reach + 1)
    disc = np.clip(radius_px + 0.5 - np.hypot(place[:, None], place[None, :]), 0, 1)
    return np.asarray(disc / disc.sum(), dtype=np.float32)
