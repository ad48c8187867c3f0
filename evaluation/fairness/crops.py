"""Labelled face crops: whose they are, and where the face lies in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.annotations import AnnotationError
from evaluation.fairness.light import linear
from evaluation.fairness.tone import CLASSES, NOT_COMPUTABLE, crop_angle, tone_class
from evaluation.picture import read_upright
from pipeline.errors import ConfigurationError

Pixels = NDArray[np.uint8]
Shares = tuple[float, float, float, float]

FOLDER = Path("dev") / "fairness_utkface_crops"
LABELS = "faces.jsonl"

# The face in an aligned UTKFace crop, as shares of its sides. The project's detector finds a face
# in each of the 200 crops (on grey, scores 0.63 to 0.94); the medians of its boxes are 0.06, -0.04,
# 0.92, 0.96. One box for all: a box of each face's own would lean on the detector that is judged.
# Above, the crop's border cuts it.
FACE_BOX: Shares = (0.06, 0.0, 0.92, 0.96)

AGES: tuple[tuple[int, int, str], ...] = (
    (18, 30, "18-29"),
    (30, 45, "30-44"),
    (45, 60, "45-59"),
    (60, 200, "60+"),
)
DIMENSIONS = ("ethnicity", "gender", "age", "skin tone")


@dataclass(frozen=True, slots=True, eq=False)
class FaceCrop:
    """One person's face.

    Attributes:
        name: path in its folder.
        pixels: uint8 [h, w, 3] RGB, aligned, filled by the face.
        groups: by dimension, the group that the person is in.
        angle: ITA in degrees, or None where the picture has no colour.
        luminance: median linear luminance of the face box, 0..1.
        contrast: standard deviation of the face's coded luminance at 16 px height, in grey levels:
            what eyes, brows and mouth stand out by.
    """

    name: str
    pixels: Pixels
    groups: Mapping[str, str]
    angle: float | None
    luminance: float
    contrast: float

    @property
    def face_height(self) -> float:
        """Height of the face box, in pixels of the crop."""
        return (FACE_BOX[3] - FACE_BOX[1]) * float(self.pixels.shape[0])

    @classmethod
    def of(cls, name: str, pixels: Pixels, groups: Mapping[str, str]) -> FaceCrop:
        """With what is computed from the pixels; the skin tone is added to ``groups``."""
        angle = crop_angle(pixels)
        luminance, contrast = _seen(pixels)
        return cls(
            name,
            pixels,
            {**groups, "skin tone": tone_class(angle)},
            angle,
            luminance,
            contrast,
        )


def read_crops(data: Path) -> tuple[FaceCrop, ...]:
    """The crops of ``data``'s folder ``dev/fairness_utkface_crops``.

    Raises:
        ConfigurationError: there is no such folder, or not two people in it.
        AnnotationError: a line of its label file is wrong.
        PictureUnreadable: a crop cannot be decoded.
    """
    folder = data / FOLDER
    try:
        lines = (folder / LABELS).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"there are no labelled face crops ({error})",
            where=str(folder / LABELS),
            fix="Give the root of the development data with --data, or in STREETBLUR_DATA",
        ) from error
    rows = [
        _row(line, f"{folder / LABELS}:{number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if len(rows) < 2:
        raise ConfigurationError("fewer than two people have labels", where=str(folder / LABELS))
    return tuple(FaceCrop.of(name, read_upright(folder / name), groups) for name, groups in rows)


def age_group(age: int) -> str | None:
    """Name of the age group; None for minors, whom nothing here is about."""
    return next((name for low, high, name in AGES if low <= age < high), None)


def group_order(dimension: str, names: set[str]) -> tuple[str, ...]:
    """``names`` of a dimension in the order of a table."""
    known: list[str] = []
    if dimension == "age":
        known = [name for _, _, name in AGES]
    elif dimension == "skin tone":
        known = [*(name for _, name in CLASSES), NOT_COMPUTABLE]
    return tuple([one for one in known if one in names] + sorted(names - set(known)))


def _row(line: str, where: str) -> tuple[str, dict[str, str]]:
    try:
        row: Any = json.loads(line)
        name, age = str(row["image"]), int(row["age"])
        groups = {key: str(row[key]) for key in ("ethnicity", "gender")}
    except (ValueError, TypeError, KeyError) as error:
        raise AnnotationError(
            f"no labelled face ({type(error).__name__}: {error})",
            where=where,
            fix="A line needs image, age, gender and ethnicity",
        ) from error
    group = age_group(age)
    if group is None:
        raise AnnotationError(f"age {age} is not that of an adult", where=where)
    return name, {**groups, "age": group}


def _seen(pixels: Pixels) -> tuple[float, float]:
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = FACE_BOX
    face = pixels[round(y1 * height) : round(y2 * height), round(x1 * width) : round(x2 * width)]
    luminance = linear(face) @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    rows, columns = 16, 14
    tall, wide = face.shape[0] // rows, face.shape[1] // columns
    if not tall or not wide:
        raise ConfigurationError(
            f"a face crop of {width}x{height} pixels is too small", where="face crops"
        )
    cells = luminance[: rows * tall, : columns * wide].reshape(rows, tall, columns, wide)
    coded = 255 * np.clip(cells.mean(axis=(1, 3)), 0, 1) ** (1 / 2.2)
    return float(np.median(luminance)), float(coded.std())
