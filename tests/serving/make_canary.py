"""Remakes serving/canary/canary.jpg and canary.json: `python tests/serving/make_canary.py`.

Needs the network once, for the demo's photographs.
Look at the picture afterwards: the JSON records what the present models find, so a broken model
would be recorded as well.
"""

import json
from pathlib import Path

import cv2
import numpy as np

from evaluation.demo.sources import fetch_photographs
from serving.canary import FOLDER, recorded
from serving.detectors import load_detectors

PLATE_XYXY = (40, 320, 136, 350)
BLUE, WHITE, GREY = (160, 60, 20), (245, 245, 245), (130, 130, 130)
OVERSAMPLING = 4


def draw_plate(picture: np.ndarray) -> None:
    """A grey bumper with a slightly soft blue plate, BGR, in place."""
    x1, y1, x2, y2 = PLATE_XYXY
    width, height = (x2 - x1) * OVERSAMPLING, (y2 - y1) * OVERSAMPLING
    plate = np.full((height, width, 3), BLUE, np.uint8)
    cv2.rectangle(plate, (5, 5), (width - 6, height - 6), WHITE, 5)
    font = cv2.FONT_HERSHEY_SIMPLEX
    (text_width, text_height), _ = cv2.getTextSize("SB 4719", font, 1, 2)
    scale = min(0.88 * width / text_width, 0.62 * height / text_height)
    left = int((width - text_width * scale) / 2)
    base = int((height + text_height * scale) / 2)
    thickness = max(2, int(3 * scale))
    cv2.putText(plate, "SB 4719", (left, base), font, scale, WHITE, thickness, cv2.LINE_AA)
    plate = cv2.GaussianBlur(plate, (0, 0), 0.8 * OVERSAMPLING)
    picture[y1 - 18 : y2 + 18, x1 - 30 : x2 + 30] = GREY
    picture[y1:y2, x1:x2] = cv2.resize(plate, (x2 - x1, y2 - y1), interpolation=cv2.INTER_AREA)


def main() -> None:
    source = cv2.imread(str(fetch_photographs() / "astronaut.png"), cv2.IMREAD_COLOR)
    picture = cv2.resize(source, (384, 384), interpolation=cv2.INTER_AREA)
    draw_plate(picture)
    FOLDER.mkdir(exist_ok=True)
    cv2.imwrite(str(FOLDER / "canary.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
    detectors = load_detectors({"face_detector": 1, "plate_detector": 1})
    text = json.dumps(recorded(detectors), indent=2) + "\n"
    Path(FOLDER / "canary.json").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
