"""The known face and plate at the shapes that pictures have: an engine may be blind at one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from serving.backends.protocol import InferenceBackend, Request
from serving.canary import canary_pixels, failed, known_objects, unanswered
from serving.contracts import DetectorContract
from serving.errors import CanaryFailed, InferenceError, InsaneOutput, NoAnswer
from serving.geometry import Label, pairwise_iou
from serving.looks import View, read_answer
from serving.shapes import Shape
from serving.tiling import Pass, Tile

SHORTEST_PX = 160
"""Shapes with a shorter side are not verified: the known plate, 91 px wide, lacks the surroundings
that it needs there (score 0.34 at 128 px, 0.1 at 96 px, against 0.51 at 160 px)."""

MIN_SCORE = 0.3
"""Of each known object at each place; the lowest of the packaged models is 0.49."""

MIN_SHAPE_IOU = 0.5
"""The lowest of the packaged models is 0.8; there to tell objects apart, ``canary.MIN_IOU`` and the
usual canary to tell a shift."""


def can_verify(shape: Shape) -> bool:
    """Whether a tensor of [H, W] ``shape`` holds enough of the canary to verify anything."""
    return min(shape) >= SHORTEST_PX


def shape_picture(shape: Shape, label: Label) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The canary at its own scale, repeated until it fills a tensor: ordinary picture content.

    Where a side is shorter than the canary, the part around the known object is taken.

    Args:
        shape: height and width in pixels, see ``can_verify``.
        label: whose known object must be in it.

    Returns:
        uint8 [1, H, W, 3] RGB, and the boxes of the known object in each whole copy, float32
        [n, 4] in its pixels; the first is that in the upper left copy. In a copy that the border
        cuts the models may miss it.
    """
    pixels = canary_pixels()
    box, _ = known_objects()[label]
    size = np.minimum(shape, pixels.shape[:2])
    centre = np.array([box[1] + box[3], box[0] + box[2]]) / 2
    y, x = np.clip(np.rint(centre - size / 2), 0, pixels.shape[:2] - size).astype(int)
    part = pixels[y : y + size[0], x : x + size[1]]
    copies, whole = -(-np.array(shape) // size), np.array(shape) // size
    tensor = np.tile(part, (*copies, 1))[: shape[0], : shape[1]]
    rows, columns = np.divmod(np.arange(whole.prod()), whole[1])
    boxes = box + (np.stack([columns, rows] * 2, 1) * size[[1, 0, 1, 0]]) - [x, y, x, y]
    return np.ascontiguousarray(tensor)[None], boxes.astype(np.float32)


def run_shape_canaries(
    backend: InferenceBackend,
    shapes: Sequence[Shape],
    versions: Mapping[str, int],
    *,
    detectors: Sequence[DetectorContract],
    fingerprints: Mapping[str, str],
    timeout_s: float | None = None,
) -> None:
    """Let each detector find the known objects at each shape: one inference for each of both.

    Args:
        backend: who is judged.
        shapes: see ``can_verify``.
        versions: of the detectors, by model.
        detectors: who looks.
        fingerprints: of the graphs that must answer, by model; any graph if absent.
        timeout_s: limit for one inference.

    Raises:
        CanaryFailed: a model does not answer at a shape, or as no live model does, or it does not
            find each known object there.
        ServingError: a model is missing, or nobody answers in time.
    """
    asked = [(shape, contract) for shape in shapes for contract in detectors]
    places: list[NDArray[np.float32]] = []

    def requests() -> Iterator[Request]:
        for shape, contract in asked:
            tensor, boxes = shape_picture(shape, contract.label)
            places.append(boxes)
            yield Request(contract.name, {"image": tensor}, versions[contract.name])

    with closing(backend.infer_many(requests(), timeout_s=timeout_s)) as answers:
        for number, (shape, contract) in enumerate(asked):
            try:
                outputs = next(answers)
                look = read_answer(
                    outputs,
                    contract,
                    _whole(shape),
                    floor=MIN_SCORE,
                    fingerprint=fingerprints.get(contract.name),
                )
            except NoAnswer as error:
                raise unanswered(error) from error
            except (InsaneOutput, InferenceError) as error:
                raise _blind(contract, shape, error.what) from error
            overlap = pairwise_iou(places[number], look.boxes).max(axis=1, initial=0)
            if overlap.min() < MIN_SHAPE_IOU:
                lost = f"{int((overlap < MIN_SHAPE_IOU).sum())} of {len(overlap)}"
                what = f"{lost} known {contract.label}s are not found with score {MIN_SCORE}"
                raise _blind(contract, shape, what)


def _blind(contract: DetectorContract, shape: Shape, what: str) -> CanaryFailed:
    return failed(contract.name, f"at height {shape[0]} and width {shape[1]} px: {what}")


def _whole(shape: Shape) -> View:
    height, width = shape
    tile = Tile(0, 0, width, height, width, height)
    return View(Pass("canary", width, height), tile, width, height)
