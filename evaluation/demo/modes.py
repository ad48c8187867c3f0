"""The same faces and plates before, and redacted in four ways, side by side in one JPEG."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from evaluation.annotations import LabelledPicture
from evaluation.demo.folder import make_folder
from evaluation.demo.sheet import PAPER, save_sheet
from pipeline.decode import decode_upright
from pipeline.encode import redact_image
from pipeline.images import ImageLimits, inspect_image
from pipeline.noise import NoiseKey
from pipeline.policy import DEFAULT_POLICY, PrivacyPolicy, load_policy
from pipeline.redaction import RedactionBox
from serving.geometry import Box

Pixels = NDArray[np.uint8]

# picture and which of its boxes
_WANTED = (
    ("portraits/astronaut.jpg", "face"),
    ("portraits/grace_hopper.jpg", "face"),
    ("streets/2400x1000.jpg", "plate"),
    ("parking/lot-2/car.jpg", "plate"),
)
_CELL = (300, 240)
_GAP, _HEADING = 8, 26
# What tools that people use today do by default: a Gaussian of a quarter of the box.
_PLAIN_SIGMA = 0.25
_KEY = NoiseKey(b"a secret of the sheet, 32 bytes!", "sheet")


def make_modes_sheet(photographs: Path, destination: Path) -> int:
    """Write the sheet, at most 300 kB; returns its size in bytes.

    Args:
        photographs: of :func:`evaluation.demo.sources.fetch_photographs`.
        destination: JPEG to write.
    """
    policy = load_policy(DEFAULT_POLICY)
    ways: dict[str, Callable[[bytes, list[RedactionBox]], Pixels]] = {
        "before": lambda data, boxes: _decoded(data),
        "blur (default)": lambda data, boxes: _ours(data, boxes, policy),
        "pixelate": lambda data, boxes: _ours(data, _in_mode(boxes, "pixelate"), policy),
        "solid": lambda data, boxes: _ours(data, _in_mode(boxes, "solid"), policy),
        "plain Gaussian": _plain,
    }
    sheet = Image.new(
        "RGB",
        (
            len(ways) * (_CELL[0] + _GAP) + _GAP,
            _HEADING + len(_WANTED) * (_CELL[1] + _GAP) + _GAP,
        ),
        PAPER,
    )
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=16)
    for column, name in enumerate(ways):
        pen.text((_GAP + column * (_CELL[0] + _GAP), 6), name, fill=(60, 60, 60), font=font)
    with tempfile.TemporaryDirectory(prefix="streetblur-sheet-") as folder:
        labels = make_folder(Path(folder) / "input", photographs)
        by_name = {label.image.split("/", 1)[-1]: label for label in labels}
        for row, (name, kind) in enumerate(_WANTED):
            picture = by_name[name]
            data = (Path(folder) / picture.image).read_bytes()
            boxes = _boxes(picture, policy)
            for column, way in enumerate(ways.values()):
                cell = _cut(way(data, boxes), picture, kind)
                at = (_GAP + column * (_CELL[0] + _GAP), _HEADING + row * (_CELL[1] + _GAP))
                sheet.paste(cell, at)
    return save_sheet(sheet, destination)


def _boxes(picture: LabelledPicture, policy: PrivacyPolicy) -> list[RedactionBox]:
    return [
        RedactionBox.around(
            Box(one.box.x1, one.box.y1, one.box.x2, one.box.y2),
            policy.for_label(one.label).style,
            one.label,
        )
        for one in picture.boxes
        if one.label in ("face", "plate")
    ]


def _in_mode(boxes: Sequence[RedactionBox], mode: str) -> list[RedactionBox]:
    return [
        RedactionBox(*box.area, box.style.model_copy(update={"mode": mode}), box.label)
        for box in boxes
    ]


def _decoded(data: bytes) -> Pixels:
    return decode_upright(data, inspect_image(data, ImageLimits()))


def _ours(data: bytes, boxes: list[RedactionBox], policy: PrivacyPolicy) -> Pixels:
    made = redact_image(data, inspect_image(data, ImageLimits()), boxes, noise=_KEY, policy=policy)
    return _decoded(made.data)


def _plain(data: bytes, boxes: list[RedactionBox]) -> Pixels:
    pixels = _decoded(data).copy()
    height, width = pixels.shape[:2]
    for box in boxes:
        x1, y1 = max(box.x1, 0), max(box.y1, 0)
        part = pixels[y1 : min(box.y2, height), x1 : min(box.x2, width)]
        sigma = _PLAIN_SIGMA * float(np.sqrt(part.shape[0] * part.shape[1]))
        part[:] = cv2.GaussianBlur(part, (0, 0), sigma)
    return pixels


def _cut(pixels: Pixels, picture: LabelledPicture, kind: str) -> Image.Image:
    """A window of three box heights around the first box of ``kind``."""
    box = next(one.box for one in picture.boxes if one.label == kind)
    height = min(max(3 * box.height, 1.6 * box.width * _CELL[1] / _CELL[0]), pixels.shape[0])
    width = min(height * _CELL[0] / _CELL[1], pixels.shape[1])
    height = width * _CELL[1] / _CELL[0]
    left = min(max((box.x1 + box.x2 - width) / 2, 0), pixels.shape[1] - width)
    top = min(max((box.y1 + box.y2 - height) / 2, 0), pixels.shape[0] - height)
    part = pixels[int(top) : int(top + height), int(left) : int(left + width)]
    method = cv2.INTER_AREA if part.shape[0] > _CELL[1] else cv2.INTER_CUBIC
    return Image.fromarray(np.asarray(cv2.resize(part, _CELL, interpolation=method)))
