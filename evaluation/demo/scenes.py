"""Street scenes put together from photographs: a wall with posters, a pavement, parked cars."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from evaluation.annotations import LabelledBox
from evaluation.demo.plates import SIZES_MM, Kind, draw_plate, place_plate
from evaluation.demo.sources import FACES
from serving.geometry import Box

Pixels = NDArray[np.uint8]

PEOPLE = ("astronaut.png", "grace_hopper.jpg", "camera.png")
POSTERS = ("coffee.png", "chelsea.png", "rocket.jpg")

_PAINTS = (
    (150, 30, 32),
    (38, 62, 110),
    (196, 198, 202),
    (52, 56, 60),
    (36, 92, 70),
    (214, 206, 188),
)
_KINDS: tuple[Kind, ...] = ("us", "eu", "us", "eu_square", "eu")
_PLATE_SHARE = {"us": 0.17, "eu": 0.29, "eu_square": 0.15}


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture, uint8 [H, W, 3] RGB, and the faces and plates on it."""

    pixels: Pixels
    boxes: tuple[LabelledBox, ...]


def photograph(folder: Path, name: str) -> Pixels:
    """A source photograph, uint8 [H, W, 3] RGB."""
    with Image.open(folder / name) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)


def portrait(folder: Path, name: str, scale: float = 1.0) -> Scene:
    """One photograph with its face labelled, ``scale`` times its published size."""
    pixels = photograph(folder, name)
    rows, columns = pixels.shape[:2]
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    sized = cv2.resize(pixels, (round(columns * scale), round(rows * scale)), interpolation=method)
    known = FACES.get(name)
    boxes = (_face(known, 0, 0, scale),) if known else ()
    return Scene(np.asarray(sized, dtype=np.uint8), boxes)


def street(folder: Path, size: tuple[int, int], seed: int, cars: int, posters: int) -> Scene:
    """A wall with posters above parked cars.

    Args:
        folder: of the photographs.
        size: width and height in pixels.
        seed: of everything that is drawn by chance.
        cars: parked cars, each with a plate.
        posters: pictures on the wall, people and others by turns, at falling sizes.
    """
    random = np.random.default_rng(seed)
    width, height = size
    canvas = _ground(folder, width, height, random)
    boxes: list[LabelledBox] = []
    slot = width / max(1, posters)
    for index in range(posters):
        person = index % 3 != 2
        name = PEOPLE[(index + seed) % 3] if person else POSTERS[(index // 3 + seed) % 3]
        limit = min(slot * 0.8, height * 0.42) * random.uniform(0.55, 1.0)
        boxes += _hang(canvas, folder, name, limit, (index + 0.5) * slot, height * 0.3)
    lane = width / max(1, cars)
    for index in range(cars):
        kind = _KINDS[(index + seed) % len(_KINDS)]
        car_width = min(lane * 0.86, height * 0.62) * random.uniform(0.75, 1.0)
        boxes.append(
            _park(
                canvas,
                (index + 0.5) * lane,
                height * random.uniform(0.88, 0.95),
                car_width,
                kind,
                random,
            )
        )
    return Scene(_camera(canvas, random), tuple(boxes))


def _ground(folder: Path, width: int, height: int, random: np.random.Generator) -> Pixels:
    """Wall of brick, pavement and road of gravel, seen slightly from above."""
    wall_rows, kerb = round(height * 0.6), round(height * 0.68)
    canvas = np.zeros((height, width, 3), np.float32)
    upended = photograph(folder, "brick.png")
    brick = _tiled(np.rot90(cv2.resize(upended, None, fx=0.5, fy=0.5)), width, wall_rows)
    tint = np.array([1.12, 0.86, 0.74], np.float32) * random.uniform(0.85, 1.05)
    canvas[:wall_rows] = brick * tint
    gravel = photograph(folder, "gravel.png")
    canvas[wall_rows:kerb] = _floor(gravel, width, kerb - wall_rows) * 0.95 + 40
    canvas[kerb:] = _floor(gravel, width, height - kerb) * 0.45 + 28
    edge = max(2, height // 180)
    canvas[kerb - edge : kerb] = 178
    canvas[kerb : kerb + edge] *= 0.5
    light = np.linspace(random.uniform(0.85, 1.05), random.uniform(0.85, 1.05), width)
    return np.asarray(np.clip(canvas * light[None, :, None], 0, 255), dtype=np.uint8)


def _tiled(texture: Pixels, width: int, rows: int) -> NDArray[np.float32]:
    repeat = (-(-rows // texture.shape[0]), -(-width // texture.shape[1]), 1)
    return np.tile(texture, repeat)[:rows, :width].astype(np.float32)


def _floor(texture: Pixels, width: int, rows: int) -> NDArray[np.float32]:
    plane = _tiled(texture, width, rows * 3)
    height = rows * 3
    far = np.array(
        [(width * 0.2, 0), (width * 0.8, 0), (width, height), (0, height)], dtype=np.float32
    )
    near = np.array([(0, 0), (width, 0), (width, rows), (0, rows)], dtype=np.float32)
    matrix = cv2.getPerspectiveTransform(far, near)
    return np.asarray(
        cv2.warpPerspective(plane, matrix, (width, rows), flags=cv2.INTER_AREA), dtype=np.float32
    )


def _hang(
    canvas: Pixels, folder: Path, name: str, limit: float, centre_x: float, centre_y: float
) -> list[LabelledBox]:
    """Put a photograph on the wall at its own size or smaller, framed; returns its face."""
    own = photograph(folder, name)
    scale = min(1.0, limit / max(own.shape[:2]))
    scene = portrait(folder, name, scale)
    rows, columns = scene.pixels.shape[:2]
    frame = max(2, round(min(rows, columns) * 0.03))
    left, top = round(centre_x - columns / 2), round(centre_y - rows / 2)
    drop = frame * 2
    canvas[
        top + drop : top + rows + drop + frame, left + drop : left + columns + drop + frame
    ] //= 2
    canvas[top - frame : top + rows + frame, left - frame : left + columns + frame] = 226
    canvas[top : top + rows, left : left + columns] = scene.pixels
    known = FACES.get(name)
    return [_face(known, left, top, scale)] if known else []


def _face(
    known: tuple[float, float, float, float], left: float, top: float, scale: float
) -> LabelledBox:
    x1, y1, x2, y2 = (round(value * scale, 1) for value in known)
    return LabelledBox("face", Box(left + x1, top + y1, left + x2, top + y2))


def _park(
    canvas: Pixels,
    centre_x: float,
    bottom: float,
    width: float,
    kind: Kind,
    random: np.random.Generator,
) -> LabelledBox:
    """Draw the rear of a car and its plate; returns the plate."""
    height = width * 0.74
    left, top = round(centre_x - width / 2), round(bottom - height)
    columns, rows = round(width), round(height)
    body, mask = _rear(columns, rows, _PAINTS[int(random.integers(len(_PAINTS)))])
    _shade(canvas, centre_x, bottom - height * 0.03, width * 0.52, height * 0.06)
    under = canvas[top : top + rows, left : left + columns]
    cover = mask[: under.shape[0], : under.shape[1], None]
    under[:] = np.rint(body[: under.shape[0], : under.shape[1]] * cover + under * (1 - cover))
    millimetres = SIZES_MM[kind]
    plate_width = width * _PLATE_SHARE[kind]
    plate_height = plate_width * millimetres[1] / millimetres[0]
    x, y = centre_x - plate_width / 2, top + height * 0.585 - plate_height / 2
    lean = random.uniform(-0.02, 0.02) * plate_width
    near = 1 + random.uniform(-0.08, 0.08)
    corners = np.array(
        [
            (x, y + lean),
            (x + plate_width, y - lean),
            (x + plate_width, y - lean + plate_height),
            (x, y + lean + plate_height * near),
        ],
        dtype=np.float32,
    )
    plate = draw_plate(kind, random)
    return LabelledBox("plate", Box(*place_plate(canvas, plate, corners)), text=plate.text)


def _shade(canvas: Pixels, x: float, y: float, radius_x: float, radius_y: float) -> None:
    """Darken a soft ellipse on the ground, in place."""
    rows, columns = canvas.shape[:2]
    top, bottom = max(0, round(y - 2 * radius_y)), min(rows, round(y + 2 * radius_y))
    across = ((np.arange(columns) - x) / radius_x) ** 2
    down = ((np.arange(top, bottom) - y) / radius_y) ** 2
    light = 1 - 0.75 * np.clip(1.6 - (across[None, :] + down[:, None]), 0, 1)
    canvas[top:bottom] = (canvas[top:bottom] * light[..., None]).astype(np.uint8)


def _rear(
    columns: int, rows: int, paint: tuple[int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A car from behind, [rows, columns, 3], and its coverage [rows, columns], 0..1."""
    image = Image.new("RGBA", (1000, 740), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    dark, glass = tuple(c // 2 for c in paint), (46, 56, 66)
    pen.rounded_rectangle((70, 560, 240, 738), radius=40, fill=(22, 22, 24, 255))
    pen.rounded_rectangle((760, 560, 930, 738), radius=40, fill=(22, 22, 24, 255))
    pen.polygon([(230, 20), (770, 20), (880, 290), (120, 290)], fill=(*paint, 255))
    pen.polygon([(262, 52), (738, 52), (812, 270), (188, 270)], fill=(*glass, 255))
    pen.polygon([(300, 60), (420, 60), (340, 262), (205, 262)], fill=(70, 82, 94, 255))
    pen.rounded_rectangle((40, 270, 960, 650), radius=70, fill=(*paint, 255))
    pen.rounded_rectangle((300, 330, 700, 540), radius=24, fill=(*dark, 255))
    pen.rounded_rectangle((60, 340, 250, 440), radius=26, fill=(140, 18, 20, 255))
    pen.rounded_rectangle((750, 340, 940, 440), radius=26, fill=(140, 18, 20, 255))
    pen.rounded_rectangle((180, 350, 240, 430), radius=16, fill=(225, 200, 190, 255))
    pen.rounded_rectangle((760, 350, 820, 430), radius=16, fill=(225, 200, 190, 255))
    pen.rounded_rectangle((30, 560, 970, 680), radius=44, fill=(*dark, 255))
    pen.line((60, 560, 940, 560), fill=(12, 12, 12, 255), width=6)
    pen.ellipse((470, 292, 530, 326), fill=(190, 192, 196, 255))
    sized = np.asarray(image.resize((columns, rows), Image.Resampling.LANCZOS), dtype=np.float32)
    sheen = np.linspace(1.15, 0.7, rows, dtype=np.float32)[:, None, None]
    return sized[..., :3] * sheen, sized[..., 3] / np.float32(255)


def _camera(canvas: Pixels, random: np.random.Generator) -> Pixels:
    """What a lens and a sensor add: a little softness, dark corners and noise."""
    height, width = canvas.shape[:2]
    soft = cv2.GaussianBlur(canvas, (0, 0), 0.6).astype(np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    soft *= (1 - 0.12 * (x**2 + y**2))[..., None]
    soft += random.standard_normal((height, width, 1), dtype=np.float32) * 2
    return np.asarray(np.clip(soft, 0, 255), dtype=np.uint8)
