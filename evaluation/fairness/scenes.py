"""Scenes: every face once at every place, under every condition."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.annotations import LabelledBox, LabelledPicture
from evaluation.fairness.crops import FaceCrop
from evaluation.fairness.light import LIGHTS, LightName, linear, noisy, srgb
from evaluation.fairness.occlusions import Occlusion
from evaluation.fairness.patches import Patch, patch_of
from evaluation.fairness.places import Background, Place
from serving.geometry import Box

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

QUALITY = 90
_SEED = 20261124


@dataclass(frozen=True, slots=True)
class Condition:
    """What is done to all faces alike."""

    light: LightName = "normal"
    occlusion: Occlusion = "none"

    @property
    def name(self) -> str:
        """For tables."""
        if self.occlusion == "none":
            return self.light
        return self.occlusion if self.light == "normal" else f"{self.occlusion}, {self.light}"


PLAIN = Condition()
# Each differs from the plain one in one thing.
CONDITIONS: tuple[Condition, ...] = (
    PLAIN,
    Condition("dark"),
    Condition("backlit"),
    Condition(occlusion="sunglasses"),
    Condition(occlusion="mask"),
    Condition(occlusion="hat"),
    Condition(occlusion="dark mask"),
)


@dataclass(frozen=True, slots=True)
class Scene:
    """Which face stands where.

    Attributes:
        background: its number.
        condition: its number.
        faces: for each place of the background the number of the face there.
    """

    background: int
    condition: int
    faces: tuple[int, ...]


def plan_scenes(faces: int, places: Sequence[int], conditions: int) -> Iterator[Scene]:
    """As many scenes a background and condition as there are faces: each visits each place once.

    Args:
        faces: how many.
        places: how many each background has.
        conditions: how many.
    """
    order = np.random.default_rng(_SEED).permutation(faces)
    for condition in range(conditions):
        for background, count in enumerate(places):
            step = max(1, faces // count)
            for turn in range(faces):
                numbers = (turn + step * np.arange(count)) % faces
                yield Scene(background, condition, tuple(order[numbers].tolist()))


def digest_of_scenes(crops: Sequence[FaceCrop], backgrounds: Sequence[Background]) -> str:
    """16 hex digits that change with any face, label, background, place or condition."""
    rows = [
        [asdict(one) for one in CONDITIONS],
        [(one.name, sorted(one.groups.items()), _digest(one.pixels)) for one in crops],
        [
            (one.name, [asdict(place) for place in one.places], _digest(one.pixels))
            for one in backgrounds
        ],
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def _digest(pixels: Pixels) -> str:
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


class Stage:
    """Composes scenes.

    Args:
        crops: the faces.
        backgrounds: where they stand.
        conditions: that scenes' numbers mean.
    """

    def __init__(
        self,
        crops: Sequence[FaceCrop],
        backgrounds: Sequence[Background],
        conditions: Sequence[Condition] = CONDITIONS,
    ) -> None:
        self._crops, self._backgrounds = crops, backgrounds
        self._conditions = conditions
        self._patch = lru_cache(maxsize=4096)(self._made)
        self._around = lru_cache(maxsize=32)(self._lit)

    def jpeg(self, scene: Scene) -> bytes:
        """The scene as a JPEG of quality 90, 4:2:0."""
        options = [
            cv2.IMWRITE_JPEG_QUALITY,
            QUALITY,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
        ]
        pixels = np.ascontiguousarray(self.pixels(scene)[:, :, ::-1])
        return bytes(cv2.imencode(".jpg", pixels, options)[1].tobytes())

    def pixels(self, scene: Scene) -> Pixels:
        """The scene, uint8 [h, w, 3] RGB."""
        light_name = self._conditions[scene.condition].light
        light = LIGHTS[light_name]
        around, lit, field = self._around(scene.background, light_name)
        out = lit.copy()
        occlusion = self._conditions[scene.condition].occlusion
        places = self._backgrounds[scene.background].places
        for place, number in zip(places, scene.faces, strict=True):
            patch = self._patch(number, place.size, occlusion)
            area = _area(place, patch, out.shape)
            part = np.s_[
                area[1] - _top(place, patch) : area[3] - _top(place, patch),
                area[0] - _left(place, patch) : area[2] - _left(place, patch),
            ]
            where = np.s_[area[1] : area[3], area[0] : area[2]]
            behind = around[where] * light.around * (1 - patch.alpha[part][:, :, None])
            mixed = np.clip(behind + patch.light[part] * light.face, 0, 1) + light.veil
            out[where] = srgb(noisy(np.asarray(mixed, np.float32), light, field[where]))
        return out

    def labels(self, scene: Scene, image: str) -> LabelledPicture:
        """The faces as they would have been annotated, in the order of the places."""
        background = self._backgrounds[scene.background]
        occlusion = self._conditions[scene.condition].occlusion
        boxes = [
            LabelledBox("face", self.box(place, number), occlusion=occlusion)
            for place, number in zip(background.places, scene.faces, strict=True)
        ]
        height, width = background.pixels.shape[:2]
        return LabelledPicture(image, width, height, ("face",), tuple(boxes))

    def box(self, place: Place, face: int) -> Box:
        """The label of ``face`` at ``place``."""
        found = self._patch(face, place.size, "none").face
        return Box(place.x, place.y, place.x + found.width, place.y + found.height)

    def _made(self, number: int, size: int, occlusion: Occlusion) -> Patch:
        return patch_of(self._crops[number], size, occlusion)

    def _lit(self, number: int, light_name: LightName) -> tuple[Floats, Pixels, Floats]:
        """A background in linear light, as it looks without faces, and its sensor's noise."""
        light = LIGHTS[light_name]
        around = linear(self._backgrounds[number].pixels)
        # the same for every scene, so that the noise is the same for every face
        field = np.random.default_rng((_SEED, number)).standard_normal(around.shape, np.float32)
        mixed = np.clip(around * light.around, 0, 1) + np.float32(light.veil)
        return around, srgb(noisy(np.asarray(mixed, np.float32), light, field)), field


def _left(place: Place, patch: Patch) -> int:
    return place.x - round(patch.face.x1)


def _top(place: Place, patch: Patch) -> int:
    return place.y - round(patch.face.y1)


def _area(place: Place, patch: Patch, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    left, top = _left(place, patch), _top(place, patch)
    height, width = patch.alpha.shape
    return max(left, 0), max(top, 0), min(left + width, shape[1]), min(top + height, shape[0])
