"""Blur what a cascade of OpenCV takes for a plate: ``haar_plates.py CASCADE PICTURE...``.

Runs in an environment of its own and so imports nothing of this project. Writes
``x_anonymized.jpg`` beside each ``x.jpg``. Pictures that cannot be decoded are named and left out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2

opencv4: Any = cv2
"""The project's own OpenCV, which types are checked against, has no cascades any more."""

QUALITY = 95
SIGMA_SHARE = 0.25


def blur_boxes(picture: Any, boxes: Iterable[tuple[int, int, int, int]]) -> None:
    """Blur boxes (x, y, width, height) in place, sigma a quarter of a box's height.

    Args:
        picture: uint8 [H, W, 3].
        boxes: within the picture.
    """
    for x, y, width, height in boxes:
        area = picture[y : y + height, x : x + width]
        area[:] = cv2.GaussianBlur(area, (0, 0), SIGMA_SHARE * height)


def main(arguments: Sequence[str]) -> int:
    """Run over all pictures; the detector's settings are OpenCV's defaults."""
    name, *pictures = arguments
    cascade = opencv4.CascadeClassifier(str(Path(opencv4.data.haarcascades) / name))
    if cascade.empty():
        print(f"{name} is no cascade of OpenCV {cv2.__version__}", file=sys.stderr)
        return 1
    for path in map(Path, pictures):
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            print(f"{path.name} cannot be decoded", file=sys.stderr)
            continue
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        blur_boxes(picture, cascade.detectMultiScale(grey))
        output = path.with_name(f"{path.stem}_anonymized{path.suffix}")
        cv2.imwrite(str(output), picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
