"""Make and judge the table of face colours, ``serving/face_colour.npy``.

``python -m evaluation.face_colour [--write] [--data DIR]``

The table is Bayes' rule on two histograms with equal priors: colours within labelled faces of
``train/facemask_kaggle`` (of masked ones the upper half) and colours of boxes of the same sizes
beside them and in the plate sets ``train/romanian_plates`` and ``train/kaggle_cars``. Nothing
else is learnt from (shared data, README: what shipped numbers may come from).

Skins differ mostly in lightness, little in hue (Jones and Rehg, Statistical color models with
application to skin detection, 2002), and nothing says how dark the training faces are. So each face
pixel also counts with its light reduced to 70, 50, 35 and 25 %, which leaves hue and saturation as
they are. How well dark faces are served is measured on ``dev/fairness_utkface_crops``, which
nothing was chosen on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.annotations import LabelledPicture, data_root, read_annotations
from evaluation.roc import area_under_curve
from serving.colour import (
    BINS,
    TABLE_FILE,
    colour_bins,
    face_colour_table,
    small_hsv,
    within_box,
)
from serving.crops import colour_crops
from serving.geometry import FloatArray, pairwise_intersection

FACES = "facemask_kaggle"
BESIDE = ("facemask_kaggle", "romanian_plates", "kaggle_cars")
LIGHTS = (1.0, 0.7, 0.5, 0.35, 0.25)
LOWEST_PX = 12
BACKGROUND_BOXES = 8
SEED = 1
PRIOR_PIXELS = 1e-5
"""Share of all pixels that each cell has from the start on both sides: unseen colours give 1/2."""

UTK_FACE = (0.2, 0.25, 0.8, 0.95)
"""The face in an aligned UTKFace crop, as shares of its sides: brow to chin."""

Bytes = NDArray[np.uint8]


def picture_pixels(path: Path) -> Bytes:
    """uint8 [H, W, 3] RGB."""
    bgr = cv2.imread(str(path))
    if bgr is None:
        raise FileNotFoundError(path)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def pictures(root: Path, name: str) -> Iterator[tuple[LabelledPicture, Bytes]]:
    """The labelled pictures of one folder with their pixels."""
    for picture in read_annotations(root / name / "annotations.jsonl"):
        yield picture, picture_pixels(root / name / picture.image)


def box_rows(boxes: Iterable[tuple[float, ...]]) -> FloatArray:
    """float32 [n, 4]."""
    return np.array(list(boxes), np.float32).reshape(-1, 4)


def face_patches(root: Path) -> Iterator[Bytes]:
    """HSV pixels uint8 [p, 3] of each face; of a masked one the upper half."""
    for picture, pixels in pictures(root, FACES):
        faces = [b for b in picture.boxes if b.label == "face" and b.box.height >= LOWEST_PX]
        crops = colour_crops(pixels, box_rows(b.box.as_tuple() for b in faces))
        for face, hsv in zip(faces, within_box(small_hsv(crops)), strict=True):
            yield np.asarray(hsv if face.occlusion == "none" else hsv[: len(hsv) // 2], np.uint8)


def background_crops(root: Path, names: Iterable[str]) -> Iterator[Bytes]:
    """Crops uint8 [n, 64, 64, 3] of random boxes that touch no labelled one, picture by picture."""
    draw = np.random.default_rng(SEED)
    for name in names:
        for picture, pixels in pictures(root, name):
            height, width = pixels.shape[:2]
            side = np.exp(draw.uniform(np.log(LOWEST_PX), np.log(min(height, width) / 2), (64, 1)))
            size = np.hstack([side * 0.8, side])
            low = draw.uniform(0, 1, (64, 2)) * (np.array([width, height]) - size)
            boxes = np.hstack([low, low + size]).astype(np.float32)
            labelled = box_rows(b.box.as_tuple() for b in picture.boxes)
            free = ~(pairwise_intersection(boxes, labelled) > 0).any(axis=1)
            yield colour_crops(pixels, boxes[free][:BACKGROUND_BOXES])


def histogram(patches: Iterable[Bytes]) -> NDArray[np.float64]:
    """Share of pixels by colour, each patch with the same weight, [36, 8, 4]; sums to 1."""
    total = np.zeros(int(np.prod(BINS)))
    for hsv in patches:
        total += np.bincount(colour_bins(hsv).reshape(-1), minlength=len(total)) / hsv[..., 0].size
    return smoothed((total / total.sum()).reshape(BINS))


def smoothed(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each cell with half of its weight given to its neighbours along each axis; hue is a ring."""
    for axis in range(cells.ndim):
        if axis == 0:
            before, after = np.roll(cells, 1, 0), np.roll(cells, -1, 0)
        else:
            wide = np.pad(cells, [(int(a == axis), int(a == axis)) for a in range(3)], mode="edge")
            before = np.take(wide, np.arange(0, cells.shape[axis]), axis)
            after = np.take(wide, np.arange(2, cells.shape[axis] + 2), axis)
        cells = (before + 2 * cells + after) / 4
    return cells


def darkened(patches: Iterable[Bytes]) -> Iterator[Bytes]:
    """Each patch of HSV pixels at every light of ``LIGHTS``."""
    for hsv in patches:
        for light in LIGHTS:
            value = np.rint(hsv[..., 2] * light).astype(np.uint8)
            yield np.stack([hsv[..., 0], hsv[..., 1], value], axis=-1)


def make_table(root: Path) -> Bytes:
    """The table, uint8 [36, 8, 4]: probability times 255."""
    faces = histogram(darkened(face_patches(root)))
    beside = histogram(small_hsv(crops) for crops in background_crops(root, BESIDE) if len(crops))
    table = (faces + PRIOR_PIXELS) / (faces + beside + 2 * PRIOR_PIXELS)
    return np.rint(table * 255).astype(np.uint8)


def mean_colour(crops: Bytes) -> NDArray[np.float64]:
    """The feature ``face_colour`` of each crop."""
    table = face_colour_table().reshape(-1)
    cells = table[colour_bins(np.asarray(within_box(small_hsv(crops)), np.uint8))]
    return np.asarray(cells.mean(axis=1, dtype=np.float64))


def report(data: Path) -> dict[str, object]:
    """Separation of face boxes from other boxes, by set and by group."""
    beside = np.concatenate(
        [mean_colour(c) for c in background_crops(data / "dev", BESIDE) if len(c)]
    )
    found: dict[str, object] = {"boxes beside (dev)": _line(beside, beside)}
    for name in (FACES, "dlib_faces"):
        scores = [
            mean_colour(colour_crops(pixels, box_rows(b.box.as_tuple() for b in picture.boxes)))
            for picture, pixels in pictures(data / "dev", name)
            if picture.boxes
        ]
        found[f"dev {name}"] = _line(np.concatenate(scores), beside)
    folder = data / "dev" / "fairness_utkface_crops"
    rows = [json.loads(line) for line in (folder / "faces.jsonl").read_text().splitlines()]
    for group in sorted({row["ethnicity"] for row in rows}):
        scores = []
        for row in (row for row in rows if row["ethnicity"] == group):
            pixels = picture_pixels(folder / row["image"])
            box = np.array(UTK_FACE, np.float32) * np.tile(pixels.shape[1::-1], 2)
            scores.append(mean_colour(colour_crops(pixels, box.astype(np.float32)[None])))
        found[f"UTKFace, labelled {group}"] = _line(np.concatenate(scores), beside)
    return found


def _line(scores: NDArray[np.float64], beside: NDArray[np.float64]) -> dict[str, float]:
    return {
        "boxes": len(scores),
        "mean": round(float(scores.mean()), 3),
        "lowest tenth": round(float(np.quantile(scores, 0.1)), 3),
        "auc": round(area_under_curve(scores, beside), 3),
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="make the table before judging it")
    parser.add_argument("--data", type=Path, help="root of the data (default: STREETBLUR_DATA)")
    given = parser.parse_args()
    data = given.data or data_root()
    if given.write:
        np.save(TABLE_FILE, make_table(data / "train"))
        face_colour_table.cache_clear()
    for name, line in report(data).items():
        print(f"{name}: {json.dumps(line)}")


if __name__ == "__main__":
    main()
