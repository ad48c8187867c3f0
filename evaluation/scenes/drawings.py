"""Drawn things of a street that are no face and no plate: signs, posters, wheels, statues."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from evaluation.demo.plates import centred_text

T = TypeVar("T")
Colour = tuple[int, int, int]
Drawing = Callable[[np.random.Generator], Image.Image]

_WORDS = (
    "SALE",
    "OPEN",
    "NEW",
    "BREAD",
    "COFFEE",
    "CITY",
    "FAIR",
    "BOOKS",
    "FRESH",
    "JAZZ",
    "EXIT",
)
_STREETS = ("MILL ROAD", "HIGH STREET", "RUE DU PORT", "AM MARKT", "5TH AVE", "OAK LANE")
_PAPERS: tuple[Colour, ...] = ((236, 228, 206), (32, 60, 120), (190, 40, 36), (30, 96, 62))
_WHITE: Colour = (242, 242, 238)
_BLACK: Colour = (22, 22, 24)


def _blank(width: int, height: int, fill: Colour | None = None) -> tuple[Image.Image, _Pen]:
    image = Image.new("RGBA", (width, height), (0, 0, 0, 0) if fill is None else (*fill, 255))
    return image, ImageDraw.Draw(image)


_Pen = ImageDraw.ImageDraw


def _one(random: np.random.Generator, of: Sequence[T]) -> T:
    return of[int(random.integers(len(of)))]


def _ink_on(paper: Colour) -> Colour:
    return _BLACK if sum(paper) > 380 else _WHITE


def poster(random: np.random.Generator) -> Image.Image:
    """A poster: a headline, a coloured field, lines of small text."""
    paper = _one(random, _PAPERS)
    image, pen = _blank(360, 520, paper)
    centred_text(pen, _one(random, _WORDS), (16, 16, 344, 150), 0.8, _ink_on(paper))
    pen.rectangle((40, 170, 320, 350), fill=(*_one(random, _PAPERS), 255))
    centred_text(pen, _one(random, _WORDS), (40, 190, 320, 330), 0.6, _WHITE)
    for row in range(5):
        text = " ".join(_one(random, _WORDS).lower() for _ in range(4))
        centred_text(pen, text, (30, 370 + 26 * row, 330, 394 + 26 * row), 0.8, _ink_on(paper))
    return image


def text_board(random: np.random.Generator) -> Image.Image:
    """A dark board with lines of light text, as before a café."""
    image, pen = _blank(320, 420, (70, 48, 30))
    pen.rectangle((16, 16, 304, 404), fill=(30, 34, 32, 255))
    for row in range(6):
        text = (
            f"{_one(random, _WORDS)} {int(random.integers(2, 19))}.{int(random.integers(10, 99))}"
        )
        centred_text(pen, text, (28, 30 + 62 * row, 292, 80 + 62 * row), 0.75, (226, 224, 210))
    return image


def street_sign(random: np.random.Generator) -> Image.Image:
    """A street's name on a plate of enamel, not unlike a number plate."""
    ground = _one(random, ((24, 52, 130), (20, 92, 54), (240, 240, 236)))
    image, pen = _blank(520, 130, ground)
    pen.rectangle((6, 6, 513, 123), outline=(*_ink_on(ground), 255), width=5)
    centred_text(pen, _one(random, _STREETS), (16, 10, 504, 120), 0.62, _ink_on(ground))
    return image


def house_number(random: np.random.Generator) -> Image.Image:
    """A house's number: digits on a small plate."""
    ground = _one(random, ((24, 52, 130), (240, 240, 236), (40, 40, 42)))
    image, pen = _blank(220, 160, ground)
    pen.rounded_rectangle((5, 5, 214, 154), 12, outline=(*_ink_on(ground), 255), width=5)
    text = f"{int(random.integers(1, 300))}"
    centred_text(pen, text, (14, 14, 206, 146), 0.8, _ink_on(ground))
    return image


def shop_front(random: np.random.Generator) -> Image.Image:
    """A shop: its name, an awning in stripes, a window and a door."""
    image, pen = _blank(640, 480, _one(random, ((96, 74, 58), (120, 122, 118), (60, 82, 90))))
    pen.rectangle((20, 16, 620, 100), fill=(*_one(random, _PAPERS[1:]), 255))
    centred_text(
        pen, f"{_one(random, _WORDS)} {_one(random, _WORDS)}", (40, 20, 600, 96), 0.7, _WHITE
    )
    stripes = (_one(random, _PAPERS[1:]), _WHITE)
    for index in range(20):
        left = 20 + 30 * index
        pen.rectangle((left, 104, left + 30, 170), fill=(*stripes[index % 2], 255))
    pen.rectangle((40, 180, 420, 440), fill=(52, 64, 74, 255), outline=(20, 20, 20, 255), width=6)
    pen.polygon([(90, 186), (190, 186), (110, 434), (46, 434)], fill=(88, 102, 112, 255))
    pen.rectangle((460, 180, 600, 478), fill=(70, 44, 34, 255), outline=(20, 20, 20, 255), width=6)
    centred_text(pen, _one(random, _WORDS), (480, 220, 580, 270), 0.7, _WHITE)
    return image


def traffic_sign(random: np.random.Generator) -> Image.Image:
    """A speed limit, a stop sign or one-way: round, eight sides, or a board."""
    image, pen = _blank(300, 300)
    shape = int(random.integers(3))
    if shape == 0:
        pen.ellipse((4, 4, 295, 295), fill=(*_WHITE, 255), outline=(196, 24, 28, 255), width=38)
        limit = str(_one(random, (20, 30, 40, 50, 60, 80)))
        centred_text(pen, limit, (60, 70, 240, 230), 0.7, _BLACK)
    elif shape == 1:
        corners = [
            (
                150 + 146 * math.cos(math.pi * (0.125 + i / 4)),
                150 + 146 * math.sin(math.pi * (0.125 + i / 4)),
            )
            for i in range(8)
        ]
        pen.polygon(corners, fill=(190, 24, 30, 255), outline=(*_WHITE, 255), width=10)
        centred_text(pen, "STOP", (30, 90, 270, 210), 0.75, _WHITE)
    else:
        pen.rectangle((4, 96, 295, 204), fill=(24, 60, 150, 255))
        centred_text(pen, "ONE WAY", (60, 100, 290, 200), 0.5, _WHITE)
        pen.polygon([(12, 150), (56, 110), (56, 190)], fill=(*_WHITE, 255))
    return image


def clock(random: np.random.Generator) -> Image.Image:
    """A street clock: a light round with two hands."""
    image, pen = _blank(300, 300)
    pen.ellipse((6, 6, 293, 293), fill=(236, 230, 214, 255), outline=(40, 44, 46, 255), width=16)
    for hour in range(12):
        angle = math.tau * hour / 12
        x, y = 150 + 112 * math.cos(angle), 150 + 112 * math.sin(angle)
        pen.ellipse((x - 8, y - 8, x + 8, y + 8), fill=(*_BLACK, 255))
    for length, wide in ((62, 13), (96, 8)):
        angle = random.uniform(0, math.tau)
        tip = (150 + length * math.cos(angle), 150 + length * math.sin(angle))
        pen.line((150, 150, *tip), fill=(*_BLACK, 255), width=wide)
    return image


def wheel(random: np.random.Generator) -> Image.Image:
    """A car's wheel: tyre, rim and spokes."""
    image, pen = _blank(300, 300)
    metal = int(random.integers(150, 215))
    pen.ellipse((2, 2, 297, 297), fill=(26, 26, 28, 255))
    pen.ellipse((46, 46, 253, 253), fill=(58, 60, 62, 255), outline=(metal,) * 3, width=12)
    spokes = int(random.integers(5, 10))
    turn = random.uniform(0, math.tau)
    for index in range(spokes):
        angle = turn + math.tau * index / spokes
        tip = (150 + 98 * math.cos(angle), 150 + 98 * math.sin(angle))
        pen.line((150, 150, *tip), fill=(metal, metal, metal + 6, 255), width=22)
    pen.ellipse((122, 122, 178, 178), fill=(metal - 20,) * 3, outline=(60, 60, 60, 255), width=4)
    return image


def tail_light(random: np.random.Generator) -> Image.Image:
    """A car's tail light: a red field with lighter ones in it."""
    image, pen = _blank(300, 160)
    red = int(random.integers(130, 210))
    pen.rounded_rectangle(
        (4, 4, 295, 155), 46, fill=(red, 18, 22, 255), outline=(40, 8, 10, 255), width=6
    )
    pen.rounded_rectangle((26, 28, 150, 132), 30, fill=(min(255, red + 40), 60, 56, 255))
    pen.rounded_rectangle((170, 40, 230, 120), 20, fill=(232, 214, 206, 255))
    pen.rounded_rectangle((240, 40, 280, 120), 14, fill=(226, 140, 40, 255))
    return image


def statue(random: np.random.Generator) -> Image.Image:
    """A bust of stone on a plinth: a head's shape, with shades where eyes and nose would be."""
    image, pen = _blank(300, 420)
    stone = int(random.integers(150, 205))
    light, dark = (stone, stone, stone - 8, 255), (stone - 60, stone - 60, stone - 64, 255)
    pen.rectangle((50, 350, 250, 418), fill=dark)
    pen.polygon([(30, 356), (90, 262), (210, 262), (270, 356)], fill=light)
    pen.rectangle((122, 220, 178, 280), fill=dark)
    pen.ellipse((82, 30, 218, 244), fill=light)
    pen.pieslice((82, 20, 218, 160), 180, 360, fill=dark)
    pen.ellipse((108, 116, 142, 138), fill=dark)
    pen.ellipse((158, 116, 192, 138), fill=dark)
    pen.polygon([(150, 124), (138, 176), (162, 176)], fill=dark)
    pen.line((128, 204, 172, 204), fill=dark, width=6)
    return image.filter(ImageFilter.GaussianBlur(3))


DRAWINGS: Mapping[str, Drawing] = {
    "clock": clock,
    "house_number": house_number,
    "poster": poster,
    "shop_front": shop_front,
    "statue": statue,
    "street_sign": street_sign,
    "tail_light": tail_light,
    "text_board": text_board,
    "traffic_sign": traffic_sign,
    "wheel": wheel,
}
