"""Features and crops of a crowd at once, against one box after the other at full resolution.

``python -m evaluation.benchmarks.features [--boxes N] [--repeats N]``

A drawn picture of 2448 x 2048 pixels, boxes of 8 to 400 px (log-uniform, seed 0), one thread. Both
ways run in turns in this process; medians of the process's CPU time are compared. The plain way
cuts each region out of the picture and computes the same colours and textures on its own pixels;
geometry, landmarks and neighbours, which it leaves out, are in the time of the other way.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.colour import colour_bins, face_colour_table
from serving.contracts import CROP
from serving.crops import CONTEXT, colour_crops, grey
from serving.features import box_array, features
from serving.geometry import Box, Candidate

WIDTH, HEIGHT = 2448, 2048

Pixels = NDArray[np.uint8]


def crowd(count: int) -> tuple[Pixels, list[Candidate]]:
    """A picture with structure at every scale, and ``count`` candidates in it."""
    draw = np.random.default_rng(0)
    picture = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for step in (2, 8, 32, 128, 512):
        coarse = draw.uniform(0, 51, (HEIGHT // step + 1, WIDTH // step + 1, 3))
        picture += cv2.resize(coarse.astype(np.float32), (WIDTH, HEIGHT))
    side = np.exp(draw.uniform(np.log(8), np.log(400), count))
    x, y = draw.uniform(0, WIDTH - side), draw.uniform(0, HEIGHT - side)
    boxes = np.stack([x, y, x + 0.8 * side, y + side], axis=1)
    marks = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)])
    found = []
    for box in boxes:
        points = box[:2] + marks * (box[2:] - box[:2])
        spots = tuple(float(value) for value in points.reshape(-1))
        found.append(Candidate("face", Box(*map(float, box)), 0.5, 1.0, "native", spots))
    return picture.astype(np.uint8), found


def together(pixels: Pixels, candidates: Sequence[Candidate]) -> None:
    """As the filter does it."""
    seen = colour_crops(pixels, box_array(candidates))
    features(pixels, candidates, colour_crops=seen)
    grey(seen)


def one_by_one(pixels: Pixels, candidates: Sequence[Candidate]) -> None:
    """As one would write it first."""
    table = face_colour_table().reshape(-1)
    for candidate in candidates:
        x1, y1, x2, y2 = candidate.box.as_tuple()
        across, down = CONTEXT * (x2 - x1), CONTEXT * (y2 - y1)
        left, upper = max(0, int(x1 - across)), max(0, int(y1 - down))
        region = pixels[upper : int(y2 + down) + 1, left : int(x2 + across) + 1]
        cv2.cvtColor(
            cv2.resize(region, (CROP, CROP), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
        )
        hsv = np.asarray(cv2.cvtColor(region, cv2.COLOR_RGB2HSV), np.uint8)
        inside = np.zeros(region.shape[:2], np.bool_)
        inside[int(y1) - upper : int(y2) - upper, int(x1) - left : int(x2) - left] = True
        face = table[colour_bins(hsv)]
        face[inside].mean(), face[~inside].mean()
        saturation = hsv[..., 1] / 255
        saturation[inside].mean(), saturation[inside].std(), saturation[~inside].mean()
        hue = hsv[..., 0][inside] * (np.pi / 90)
        (saturation[inside] * np.cos(hue)).sum(), (saturation[inside] * np.sin(hue)).sum()
        red, green, blue = (region[..., i][inside].astype(float) for i in range(3))
        (red - green).std(), ((red + green) / 2 - blue).std()
        luma = np.asarray(cv2.cvtColor(region, cv2.COLOR_RGB2GRAY), np.uint8)
        luma[inside].mean(), luma[inside].std(), luma[~inside].mean()
        np.bincount(luma[inside] >> 3, minlength=32)
        cv2.Laplacian(luma, cv2.CV_32F).var()


def cpu_ms(
    way: Callable[[Pixels, Sequence[Candidate]], None],
    pixels: Pixels,
    candidates: Sequence[Candidate],
) -> float:
    """CPU milliseconds of one call."""
    before = time.process_time()
    way(pixels, candidates)
    return (time.process_time() - before) * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boxes", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    pixels, candidates = crowd(arguments.boxes)
    ways = (together, one_by_one)
    runs: dict[str, list[float]] = {way.__name__: [] for way in ways}
    for number in range(arguments.repeats + 1):
        for way in ways:
            spent = cpu_ms(way, pixels, candidates)
            if number:  # the first also warms up
                runs[way.__name__].append(spent)
    medians = {name: round(statistics.median(spent), 1) for name, spent in runs.items()}
    result = {
        "boxes": arguments.boxes,
        "cpu_ms": medians,
        "ratio": round(medians["together"] / medians["one_by_one"], 3),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("opencv-python-headless", "numpy")},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
