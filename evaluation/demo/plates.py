"""Drawn licence plates: US and European formats, with an invented text each."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
Kind = Literal["us", "eu", "eu_square"]

# Width by height in millimetres: US plates are 12 x 6 inches; European ones 520 x 110 in one
# line and 280 x 200 in two.
SIZES_MM: dict[Kind, tuple[int, int]] = {
    "us": (305, 152),
    "eu": (520, 110),
    "eu_square": (280, 200),
}

_PIXELS_PER_MM = 2
_INK = (24, 26, 40)
_STATES = ("OREGON", "NEVADA", "MAINE", "OHIO", "UTAH")
_COUNTRIES = ("D", "F", "NL", "I", "E")


@dataclass(frozen=True, slots=True)
class Plate:
    """A flat plate: ``pixels`` uint8 [h, w, 3] RGB, the text on it and its format."""

    pixels: Pixels
    text: str
    kind: Kind


def draw_plate(
    kind: Kind, random: np.random.Generator, text: str = "", pixels_per_mm: float = _PIXELS_PER_MM
) -> Plate:
    """Draw a plate of ``kind`` with ``text`` or an invented one."""
    width, height = (round(side * pixels_per_mm) for side in SIZES_MM[kind])
    ground = (238, 240, 236) if kind != "us" or random.random() < 0.7 else (222, 230, 246)
    image = Image.new("RGB", (width, height), ground)
    pen = ImageDraw.Draw(image)
    text = text or invented_text(kind, random)
    if kind == "us":
        centred_text(
            pen, str(random.choice(_STATES)), (0, 0, width, height * 0.26), 0.7, (40, 70, 150)
        )
        centred_text(pen, text, (0, height * 0.22, width, height * 0.95), 0.86, (30, 50, 110))
    else:
        band = round((44 if kind == "eu" else 40) * pixels_per_mm)
        pen.rectangle((0, 0, band, height), fill=(20, 60, 160))
        country = str(random.choice(_COUNTRIES))
        centred_text(pen, country, (0, height * 0.55, band, height), 0.6, (250, 250, 250))
        _stars(pen, band / 2, height * 0.3, band * 0.28)
        if kind == "eu":
            centred_text(pen, text, (band, 0, width, height), 0.9, _INK)
        else:
            first, second = text.split(" ", 1)
            centred_text(pen, first, (band, 0, width, height / 2), 0.9, _INK)
            centred_text(pen, second, (band, height / 2, width, height), 0.9, _INK)
    pen.rounded_rectangle(
        (2, 2, width - 3, height - 3), radius=height // 12, outline=_INK, width=height // 45 + 2
    )
    return Plate(_weather(np.asarray(image, dtype=np.float32), random), text, kind)


def place_plate(
    canvas: Pixels, plate: Plate, corners: NDArray[np.float32]
) -> tuple[float, float, float, float]:
    """Draw ``plate`` into ``canvas`` in place; returns its bounding box ``(x1, y1, x2, y2)``.

    Args:
        canvas: uint8 [H, W, 3] RGB, changed.
        plate: what to draw.
        corners: float32 [4, 2], pixels: top left, top right, bottom right, bottom left.
    """
    rows, columns = plate.pixels.shape[:2]
    x1, y1 = np.floor(corners.min(axis=0)).astype(int)
    x2, y2 = np.ceil(corners.max(axis=0)).astype(int)
    # Shrink first: warping alone would skip pixels and make the letters jagged.
    factor = max(1.0, rows / max(1, y2 - y1))
    small = cv2.resize(
        plate.pixels,
        (max(2, round(columns / factor)), max(2, round(rows / factor))),
        interpolation=cv2.INTER_AREA,
    )
    height, width = small.shape[:2]
    flat = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float32)
    matrix = cv2.getPerspectiveTransform(flat, corners - np.array([x1, y1], dtype=np.float32))
    size = (int(x2 - x1), int(y2 - y1))
    warped = cv2.warpPerspective(small, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpPerspective(np.ones((height, width), np.float32), matrix, size)[..., None]
    under = canvas[y1:y2, x1:x2]
    canvas[y1:y2, x1:x2] = np.rint(warped * cover + under * (1 - cover)).astype(np.uint8)
    return float(x1), float(y1), float(x2), float(y2)


def invented_text(kind: Kind, random: np.random.Generator) -> str:
    """A text in the format of ``kind``: ABC 1234, AB 123 CD, AB 1234."""

    def letters(n: int) -> str:
        return "".join(random.choice(list(string.ascii_uppercase), n))

    def digits(n: int) -> str:
        return "".join(random.choice(list(string.digits), n))

    if kind == "us":
        return f"{letters(3)} {digits(4)}"
    return f"{letters(2)} {digits(3)} {letters(2)}" if kind == "eu" else f"{letters(2)} {digits(4)}"


def centred_text(
    pen: ImageDraw.ImageDraw,
    text: str,
    area: tuple[float, float, float, float],
    fill: float,
    colour: tuple[int, int, int],
) -> None:
    """Write ``text`` as large as ``fill`` of the area allows, in its middle, and bold."""
    left, top, right, bottom = area
    size = (bottom - top) * fill * 1.25
    for _ in range(40):
        font = ImageFont.load_default(size=size)
        stroke = max(1, round(size / 24))
        x1, y1, x2, y2 = pen.textbbox((0, 0), text, font=font, stroke_width=stroke)
        if x2 - x1 <= (right - left) * 0.92 and y2 - y1 <= (bottom - top) * fill:
            break
        size *= 0.94
    at = ((left + right - x1 - x2) / 2, (top + bottom - y1 - y2) / 2)
    pen.text(at, text, fill=colour, font=font, stroke_width=stroke, stroke_fill=colour)


def _stars(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float) -> None:
    for angle in np.linspace(0, 2 * np.pi, 12, endpoint=False):
        at_x, at_y = x + radius * np.cos(angle), y + radius * np.sin(angle)
        dot = radius * 0.14
        pen.ellipse((at_x - dot, at_y - dot, at_x + dot, at_y + dot), fill=(250, 210, 40))


def _weather(pixels: NDArray[np.float32], random: np.random.Generator) -> Pixels:
    """Uneven light and dirt, so that the plate is no flat graphic."""
    rows, columns = pixels.shape[:2]
    light = np.linspace(random.uniform(0.78, 0.9), random.uniform(0.9, 1.0), rows)
    dirt = cv2.resize(random.normal(0, 6, (8, 16)).astype(np.float32), (columns, rows))
    worn = pixels * light[:, None, None] + dirt[..., None] + random.normal(0, 3, (rows, columns, 1))
    return np.asarray(np.clip(worn, 0, 255), dtype=np.uint8)
