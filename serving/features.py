"""What the post-processor is told of a candidate, after Frome et al., Large-scale Privacy
Protection in Google Street View, ICCV 2009: position, size, scores, colour, context.

Each value is finite for any box with an area and coordinates up to a million pixels. W and H are
the picture's sides; x1, y1, x2, y2, w and h the box's, in pixels; "box" in colours means the box
resampled by ``serving/crops.py``, "context" a quarter of it on each side. What is not known is 0,
and its companion ``..._known`` is 0 too.

| feature | meaning | range |
|---|---|---|
| is_face, is_plate | the label | 0 or 1 |
| score | detector score | 0..1 |
| score_logit | log(score / (1 - score)) / 10 | -1..1 |
| secondary_1, secondary_2 | score of a further detector for the same object | 0..1 |
| secondary_1_known, secondary_2_known | whether that detector was asked | 0 or 1 |
| landmarks, landmarks_known | plausibility, ``serving/landmarks.py`` | 0..1; 0 or 1 |
| centre_x, centre_y, top, bottom | (x1 + x2) / 2W, (y1 + y2) / 2H, y1 / H, y2 / H, cut | -1..2 |
| width, height | w / W, h / H, cut | 0..2 |
| log_width, log_height | log2 of w and of h / 16 | -1..1.25 |
| log_aspect | log2(w / h) / 8 | -1..1 |
| height_to_bottom | log2(y2 / (y2 - y1)) / 10: bottom / (bottom - top), cut to 1..1024 | 0..1 |
| touches_border | share of the box's sides within 1 px of the picture's border or beyond | 0..1 |
| camera, camera_known | number of the camera on its rig / 16, cut | 0..1; 0 or 1 |
| pass_native, pass_upscaled, pass_low | the pass that proposed it; all 0 if unknown | 0 or 1 |
| log_height_seen | as log_height, in the pass's own pixels (unknown: the picture's) | -1..1.25 |
| support | log2(1 + others of the label that overlap it, IoU of 0.3 and more) / 8 | 0..1 |
| support_other_pass | whether one of them comes from another pass | 0 or 1 |
| best_overlap | highest IoU with another candidate of the label | 0..1 |
| other_label_overlap | largest share of the box within one candidate of the other label | 0..1 |
| vehicle_overlap | largest share of the box within one vehicle | 0..1 |
| vehicle_known | whether vehicles were looked for | 0 or 1 |
| face_colour, face_colour_context | mean probability of a face's colour (HSV histogram) | 0..1 |
| saturation_mean, saturation_std | HSV saturation in the box / 255 | 0..1 |
| saturation_contrast | mean in the box minus mean in its context | -1..1 |
| hue_concentration | length of the mean hue vector, weighted by saturation; 0 for grey | 0..1 |
| colourfulness | Hasler and Suesstrunk 2003 / 255 | 0..1.84 |
| grey_mean, grey_std | of the box / 255 | 0..1 |
| grey_contrast | mean in the box minus mean in its context, / 255 | -1..1 |
| entropy | of 32 grey levels in the box / 5 bits | 0..1 |
| sharpness | log(1 + variance of the Laplacian / (variance + 1)) / log(65), cut | 0..1 |
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serving import crops as pictures
from serving.colour import colour_features, texture_features
from serving.contracts import FEATURES, SECONDARY
from serving.errors import InvalidInput
from serving.geometry import (
    LABELS,
    Candidate,
    FloatArray,
    areas,
    pairwise_intersection,
    pairwise_iou,
)
from serving.landmarks import landmark_scores

SUPPORT_IOU = 0.3
"""From this overlap on two boxes may show one object (two annotators agree to a median of 0.64)."""

LARGEST_COORDINATE = 1e6
_CAMERAS = 16
_CHUNK = 256

Columns = dict[str, NDArray[np.generic]]
Pixels = NDArray[np.uint8]


def box_array(candidates: Sequence[Candidate]) -> FloatArray:
    """The candidates' boxes, float32 [n, 4].

    Raises:
        InvalidInput: one has no area, or is not finite or beyond a million pixels.
    """
    boxes = np.array([c.box.as_tuple() for c in candidates], np.float32).reshape(-1, 4)
    legal = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    legal &= (np.abs(np.nan_to_num(boxes)) <= LARGEST_COORDINATE).all(axis=1)
    if not legal.all():
        wrong = candidates[int(np.flatnonzero(~legal)[0])]
        raise InvalidInput(f"{wrong.box} is no box with an area", where="candidates")
    return boxes


def crops(pixels: Pixels, candidates: Sequence[Candidate]) -> Pixels:
    """Grey crops, uint8 [n, 64, 64, 1]: the box and a quarter of it on each side.

    Args:
        pixels: uint8 [H, W, 3] RGB, upright.
        candidates: boxes in those pixels.

    Raises:
        InvalidInput: see ``box_array``.
    """
    return pictures.grey(pictures.colour_crops(pixels, box_array(candidates)))


def features(
    pixels: Pixels,
    candidates: Sequence[Candidate],
    *,
    camera: int | None = None,
    vehicles: FloatArray | None = None,
    secondary: FloatArray | None = None,
    colour_crops: Pixels | None = None,
) -> FloatArray:
    """The features of each candidate, float32 [n, F] in the order of ``contracts.FEATURES``.

    The order of the candidates does not matter, but each is seen among all of them.

    Args:
        pixels: uint8 [H, W, 3] RGB, upright.
        candidates: all of one picture, boxes in those pixels.
        camera: number of the camera on its rig, from 0; None if not known.
        vehicles: boxes of vehicles, float32 [m, 4]; None if nobody looked for any.
        secondary: float32 [n, 2], the scores 0..1 of two further detectors for each candidate, 0
            where they find nothing there, NaN where they were not asked; None if there are none.
        colour_crops: ``crops.colour_crops`` of the same, if they are there already.

    Raises:
        InvalidInput: a box without area, a camera below 0, or arrays of other shapes.
    """
    boxes = box_array(candidates)
    if len(boxes) == 0:
        return np.zeros((0, len(FEATURES)), np.float32)
    if camera is not None and camera < 0:
        raise InvalidInput(f"camera is {camera}, must be at least 0", where="features")
    if vehicles is not None and (vehicles.ndim != 2 or vehicles.shape[1] != 4):
        raise InvalidInput(f"shape is {vehicles.shape}, not [m, 4]", where="vehicles")
    if colour_crops is None:
        colour_crops = pictures.colour_crops(pixels, boxes)
    height, width = pixels.shape[:2]
    columns: Columns = {
        **{f"is_{label}": np.array([c.label == label for c in candidates]) for label in LABELS},
        **_scores(candidates, secondary),
        **_places(boxes, width, height),
        **_passes(candidates, boxes, max(width, height)),
        **_neighbours(candidates, boxes),
        "camera": np.full(len(boxes), min((camera or 0) / _CAMERAS, 1)),
        "camera_known": np.full(len(boxes), camera is not None),
        "vehicle_overlap": _share_within(boxes, vehicles),
        "vehicle_known": np.full(len(boxes), vehicles is not None),
    }
    columns["landmarks"], columns["landmarks_known"] = landmark_scores(candidates, boxes)
    columns.update(_appearance(colour_crops))
    return np.stack([columns[name].astype(np.float32) for name in FEATURES], axis=1)


def _scores(candidates: Sequence[Candidate], secondary: FloatArray | None) -> Columns:
    score = np.array([c.score for c in candidates], np.float64)
    if secondary is None:
        secondary = np.full((len(score), SECONDARY), np.nan, np.float32)
    if secondary.shape != (len(score), SECONDARY):
        raise InvalidInput(
            f"shape is {secondary.shape}, not {(len(score), SECONDARY)}", where="secondary"
        )
    score = np.clip(np.nan_to_num(score), 0, 1)
    safe = np.clip(score, 1e-6, 1 - 1e-6)
    columns: Columns = {
        "score": score,
        "score_logit": np.clip(np.log(safe / (1 - safe)) / 10, -1, 1),
    }
    known = np.isfinite(secondary)
    for number in range(SECONDARY):
        values = np.where(known[:, number], secondary[:, number], 0)
        columns[f"secondary_{number + 1}"] = np.clip(values, 0, 1)
        columns[f"secondary_{number + 1}_known"] = known[:, number]
    return columns


def _places(boxes: FloatArray, width: int, height: int) -> Columns:
    x1, y1, x2, y2 = boxes.astype(np.float64).T
    wide, high = x2 - x1, y2 - y1
    touching = np.stack([x1 <= 1, y1 <= 1, x2 >= width - 1, y2 >= height - 1])
    ratio = np.clip(y2 / (y2 - y1), 1, 1024)
    return {
        "centre_x": np.clip((x1 + x2) / (2 * width), -1, 2),
        "centre_y": np.clip((y1 + y2) / (2 * height), -1, 2),
        "top": np.clip(y1 / height, -1, 2),
        "bottom": np.clip(y2 / height, -1, 2),
        "width": np.clip(wide / width, 0, 2),
        "height": np.clip(high / height, 0, 2),
        "log_width": _log_pixels(wide),
        "log_height": _log_pixels(high),
        "log_aspect": np.clip(np.log2(wide / high) / 8, -1, 1),
        "height_to_bottom": np.log2(ratio) / 10,
        "touches_border": touching.mean(axis=0),
    }


def _log_pixels(lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(np.log2(lengths) / 16, -1, 1.25)


def _passes(candidates: Sequence[Candidate], boxes: FloatArray, longest: int) -> Columns:
    """Which pass proposed each, by the names of ``serving/tiling.py``."""
    sources = np.array([c.source for c in candidates])
    low = np.char.startswith(sources, "long=")
    native, upscaled = sources == "native", sources == "x2"
    sides = np.array([_long_side(source, longest) for source in sources])
    scale = np.where(low, sides / longest, np.where(upscaled, 2, 1))
    high = (boxes[:, 3] - boxes[:, 1]).astype(np.float64)
    return {
        "pass_native": native,
        "pass_upscaled": upscaled,
        "pass_low": low,
        "log_height_seen": _log_pixels(high * scale),
    }


def _long_side(source: str, longest: int) -> int:
    """480 for ``long=480``; ``longest`` for a pass of another name."""
    side = str(source).removeprefix("long=")
    return int(side) if side.isdecimal() and int(side) > 0 else longest


def _neighbours(candidates: Sequence[Candidate], boxes: FloatArray) -> Columns:
    """What the other candidates say, in chunks: a crowd of 10,000 would need 400 MB a table."""
    labels = np.array([LABELS.index(c.label) for c in candidates])
    _, sources = np.unique([c.source for c in candidates], return_inverse=True)
    support, best, within = (np.zeros(len(boxes)) for _ in range(3))
    elsewhere = np.zeros(len(boxes), np.bool_)
    for start in range(0, len(boxes), _CHUNK):
        part = slice(start, start + _CHUNK)
        same = labels[part, None] == labels[None]
        own = np.arange(len(boxes))[part, None] == np.arange(len(boxes))[None]
        iou = np.where(same & ~own, pairwise_iou(boxes[part], boxes), 0)
        near = iou >= SUPPORT_IOU
        support[part], best[part] = near.sum(axis=1), iou.max(axis=1)
        elsewhere[part] = (near & (sources[part, None] != sources[None])).any(axis=1)
        inner = np.where(same, 0, pairwise_intersection(boxes[part], boxes)).max(axis=1)
        within[part] = _share(inner, boxes[part])
    return {
        "support": np.minimum(np.log2(1 + support) / 8, 1),
        "support_other_pass": elsewhere,
        "best_overlap": np.clip(best, 0, 1),
        "other_label_overlap": within,
    }


def _share_within(boxes: FloatArray, others: FloatArray | None) -> NDArray[np.float64]:
    """Largest share of each of ``boxes`` [n, 4] within one of ``others`` [m, 4], [n]."""
    if others is None or len(others) == 0:
        return np.zeros(len(boxes))
    return _share(pairwise_intersection(boxes, others).max(axis=1), boxes)


def _share(inner: NDArray[np.float32], boxes: FloatArray) -> NDArray[np.float64]:
    # A box of hardly any area would make 0 / 0.
    whole = np.maximum(areas(boxes).astype(np.float64), 1e-30)
    return np.clip(inner.astype(np.float64) / whole, 0, 1)


def _appearance(colour_crops: Pixels) -> Columns:
    """Colours and textures, in chunks: each holds some 20 MB."""
    parts = []
    for start in range(0, len(colour_crops), _CHUNK):
        chunk = colour_crops[start : start + _CHUNK]
        parts.append({**colour_features(chunk), **texture_features(pictures.grey(chunk))})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
