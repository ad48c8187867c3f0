"""Before and after: the same crops of input and output side by side in one small JPEG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from evaluation.annotations import LabelledPicture
from evaluation.judge import locate
from evaluation.picture import read_upright
from pipeline.errors import ConfigurationError

Pixels = NDArray[np.uint8]

MAX_BYTES = 300_000

_CELL = (360, 270)
_GAP = 8
_HEADING = 26
_PAIRS_A_ROW = 2
PAPER = (250, 250, 250)


@dataclass(frozen=True, slots=True)
class _Crop:
    picture: LabelledPicture
    corners: tuple[int, int, int, int]


def make_sheet(
    labels: Sequence[LabelledPicture], originals: Path, outputs: Path, destination: Path
) -> int:
    """Write a contact sheet of at most 300 kB; returns its size in bytes.

    One whole street, then one crop around a face or plate of each further picture, until the
    sheet is full. Pictures without an output are left out.

    Args:
        labels: of the input pictures.
        originals: the input folder.
        outputs: the output folder.
        destination: JPEG to write.

    Raises:
        ConfigurationError: no picture has an output.
    """
    crops = [
        crop
        for crop in _choose(labels)
        if locate(originals, crop.picture.image) and locate(outputs, crop.picture.image)
    ]
    if not crops:
        raise ConfigurationError("no input picture has an output here", where=str(outputs))
    rows = -(-len(crops) // _PAIRS_A_ROW)
    pair_width = 2 * _CELL[0] + _GAP
    width = _PAIRS_A_ROW * (pair_width + 3 * _GAP) + _GAP
    sheet = Image.new("RGB", (width, _HEADING + rows * (_CELL[1] + 2 * _GAP) + _GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=16)
    for column in range(_PAIRS_A_ROW):
        left = 2 * _GAP + column * (pair_width + 3 * _GAP)
        pen.text((left, 6), "before", fill=(60, 60, 60), font=font)
        pen.text((left + _CELL[0] + _GAP, 6), "after", fill=(60, 60, 60), font=font)
    for index, crop in enumerate(crops):
        row, column = divmod(index, _PAIRS_A_ROW)
        left = 2 * _GAP + column * (pair_width + 3 * _GAP)
        top = _HEADING + _GAP + row * (_CELL[1] + 2 * _GAP)
        for side, folder in enumerate((originals, outputs)):
            path = locate(folder, crop.picture.image)
            if path is not None:
                sheet.paste(_cell(read_upright(path), crop), (left + side * (_CELL[0] + _GAP), top))
    return save_sheet(sheet, destination)


def _choose(labels: Sequence[LabelledPicture]) -> list[_Crop]:
    """Streets whole, large boxes close, at most six; the same ones for the same labels."""
    by_name = {label.image.split("/", 1)[-1]: label for label in labels}
    wanted = (
        ("streets/2448x2048.jpg", None),
        ("streets/2400x1000.jpg", "plate"),
        ("portraits/astronaut.jpg", None),
        ("portraits/grace_hopper.jpg", None),
        ("parking/lot-2/car.jpg", "plate"),
        ("without-people/chelsea.jpg", None),
    )
    return [
        _Crop(by_name[name], _corners(by_name[name], label))
        for name, label in wanted
        if name in by_name
    ]


def _corners(picture: LabelledPicture, label: str | None) -> tuple[int, int, int, int]:
    """The whole picture, or a window of four box widths around its first box of ``label``."""
    boxes = [box.box for box in picture.boxes if box.label == label]
    if label is None or not boxes:
        return 0, 0, picture.width, picture.height
    box = boxes[0]
    width = min(4 * box.width, picture.width)
    height = min(width * _CELL[1] / _CELL[0], picture.height)
    x = min(max((box.x1 + box.x2 - width) / 2, 0), picture.width - width)
    y = min(max((box.y1 + box.y2 - height) / 2, 0), picture.height - height)
    return int(x), int(y), int(x + width), int(y + height)


def _cell(pixels: Pixels, crop: _Crop) -> Image.Image:
    x1, y1, x2, y2 = crop.corners
    part = pixels[y1:y2, x1:x2]
    scale = min(_CELL[0] / part.shape[1], _CELL[1] / part.shape[0])
    size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    cell = Image.new("RGB", _CELL, PAPER)
    at = ((_CELL[0] - size[0]) // 2, (_CELL[1] - size[1]) // 2)
    cell.paste(Image.fromarray(cv2.resize(part, size, interpolation=method)), at)
    return cell


def save_sheet(sheet: Image.Image, destination: Path) -> int:
    """Write ``sheet`` as a JPEG of at most ``MAX_BYTES``; returns its size in bytes."""
    for quality in (88, 82, 75, 65, 50, 35):
        coded = io.BytesIO()
        sheet.save(coded, "JPEG", quality=quality, optimize=True)
        if len(coded.getvalue()) <= MAX_BYTES:
            break
    destination.parent.mkdir(parents=True, exist_ok=True)
    destination.write_bytes(coded.getvalue())
    return len(coded.getvalue())
