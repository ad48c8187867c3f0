"""Pixels -> candidates: both detectors over all passes and tiles, merged and judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.backends.protocol import InferenceBackend
from serving.contracts import DETECTORS, GRAPH_FLOOR, ModelContract
from serving.errors import InsaneOutput, InvalidInput
from serving.geometry import Box, Candidate, FloatArray, Label, clip
from serving.merging import merge
from serving.postprocessor import load_postprocessor
from serving.sanity import check_outputs
from serving.tiling import LARGEST_UPSCALED, Pass, Tile, plan_passes, plan_tiles

DEFAULT_FLOOR = 0.1
"""Lowest score that becomes a candidate unless told; the policy's threshold decides later."""

IMPLAUSIBLE_COUNT = 400
"""More candidates of one class in one picture are flagged for review, never dropped."""

_BORDER_PX = 2.0

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class DetectionResult:
    """What was found in one picture.

    Attributes:
        candidates: by label, then falling score; boxes in pixels of the picture, cut to it.
        peaks: highest raw score of each detector over all passes, never 0.
        versions: model versions that judged, by model, ``postprocessor`` included.
        flags: for instance ``many_faces``, ``face_rows_full``; sorted.
    """

    candidates: tuple[Candidate, ...]
    peaks: dict[Label, float]
    versions: dict[str, int]
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Look:
    """Rows of one tile in pixels of the picture: ``boxes`` [n, 4], ``scores`` and ``cut`` [n]."""

    source: str
    boxes: FloatArray
    scores: FloatArray
    cut: NDArray[np.bool_]
    peak: float
    full: bool


class DetectorSet:
    """The face detector, the plate detector and the false-positive filter as one.

    Args:
        backend: runs the models; closed by ``close``.
        versions: version of ``face_detector`` and ``plate_detector``, and of ``postprocessor``
            (0 if absent).
        floor: lowest score that becomes a candidate, by label; ``DEFAULT_FLOOR`` if absent.
        timeout_s: limit for one inference.

    Raises:
        InvalidInput: a detector has no version, or a floor lies below the graph's own.
        ModelMissing: there is no such post-processor.
    """

    def __init__(
        self,
        backend: InferenceBackend,
        versions: Mapping[str, int],
        floor: Mapping[Label, float] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> None:
        self._backend = backend
        self._filter = load_postprocessor(versions.get("postprocessor", 0))
        self._timeout_s = timeout_s
        self._floor = {c.label: (floor or {}).get(c.label, DEFAULT_FLOOR) for c in DETECTORS}
        if missing := [c.name for c in DETECTORS if c.name not in versions]:
            raise InvalidInput(
                f"no version is given for {', '.join(missing)}",
                where="versions",
                fix="Name it in the policy's `models`",
            )
        if low := [f"{k} {v}" for k, v in self._floor.items() if not GRAPH_FLOOR <= v <= 1]:
            raise InvalidInput(
                f"{', '.join(low)} is not within {GRAPH_FLOOR}..1",
                where="floor",
                fix="Lower scores never leave the models",
            )
        self.versions = {c.name: versions[c.name] for c in DETECTORS}
        self.versions["postprocessor"] = self._filter.version

    def detect(self, pixels: Pixels) -> DetectionResult:
        """Everything that may be a face or a plate in ``pixels`` uint8 [H, W, 3] RGB, upright.

        The same pixels give the same result, to the bit, at every call.

        Raises:
            InvalidInput: not such a picture.
            InferenceError: a model did not answer.
            InsaneOutput: a model answered as no live model does.
        """
        if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
            raise InvalidInput(f"shape is {pixels.shape}, not [H, W, 3]", where="pixels")
        if pixels.dtype != np.uint8:
            raise InvalidInput(f"dtype is {pixels.dtype}, not uint8", where="pixels")
        height, width = pixels.shape[:2]
        looks: dict[Label, list[_Look]] = {contract.label: [] for contract in DETECTORS}
        for view in plan_passes(width, height):
            scaled = _scale(pixels, view)
            for tile in plan_tiles(view.width, view.height):
                tensor = _tensor(scaled, tile)
                for contract in DETECTORS:
                    look = self._look(contract, tensor, view, tile, (width, height))
                    looks[contract.label].append(look)
        found = [c for label, items in looks.items() for c in _candidates(label, items)]
        return DetectionResult(
            candidates=self._filter.judge(pixels, found),
            peaks={label: max(item.peak for item in items) for label, items in looks.items()},
            versions=dict(self.versions),
            flags=tuple(sorted(_flags(found, looks))),
        )

    def check(self) -> None:
        """Judge the canary picture.

        Raises:
            InferenceError: a model did not answer.
            InsaneOutput: the canary's face or plate was not found as known.
        """
        from serving.canary import run_canary

        run_canary(self)

    def close(self) -> None:
        """Close the backend."""
        self._backend.close()

    def _look(
        self,
        contract: ModelContract,
        tensor: Pixels,
        view: Pass,
        tile: Tile,
        size: tuple[int, int],
    ) -> _Look:
        outputs = self._backend.infer(
            contract.name,
            {"image": tensor},
            version=self.versions[contract.name],
            timeout_s=self._timeout_s,
        )
        check_outputs(contract, outputs, batch=1)
        return _rows(outputs, contract.label, self._floor[contract.label], view, tile, size)


def load_detectors(
    versions: Mapping[str, int],
    *,
    repository: str | Path | None = None,
    floor: Mapping[Label, float] | None = None,
    threads: int = 1,
) -> DetectorSet:
    """The detectors of a model repository behind the local backend.

    Args:
        versions: as in ``DetectorSet``.
        repository: see ``registry.find_repository``.
        floor: as in ``DetectorSet``.
        threads: threads of each model.
    """
    from serving.backends.local import LocalBackend

    return DetectorSet(LocalBackend(repository, threads=threads), versions, floor)


def _scale(pixels: Pixels, view: Pass) -> Pixels:
    height, width = pixels.shape[:2]
    if (view.width, view.height) == (width, height):
        return pixels
    shrinks = view.width < width or view.height < height
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    scaled = cv2.resize(pixels, (view.width, view.height), interpolation=how)
    return np.asarray(scaled, dtype=np.uint8)


def _tensor(scaled: Pixels, tile: Tile) -> Pixels:
    # Padding repeats the picture's edge: the plate detector takes a band of one colour for a
    # plate (score 0.97), which quadrupled the false plates on pictures of people.
    part = scaled[tile.y : tile.y + tile.height, tile.x : tile.x + tile.width]
    below, beside = tile.padded_height - tile.height, tile.padded_width - tile.width
    return np.pad(part, ((0, below), (0, beside), (0, 0)), mode="edge")[None]


def _rows(
    outputs: Mapping[str, NDArray[Any]],
    label: Label,
    floor: float,
    view: Pass,
    tile: Tile,
    size: tuple[int, int],
) -> _Look:
    count = int(outputs["count"][0])
    rows = outputs["boxes"][0, :count]
    rows = rows[rows[:, 4] >= np.float32(floor)]
    if view.upscaled:
        sides = (rows[:, 2:4] - rows[:, :2]).max(axis=1, initial=0)
        rows = rows[sides <= LARGEST_UPSCALED[label]]
    boxes = rows[:, :4]
    cut = (tile.x > 0) & (boxes[:, 0] < _BORDER_PX)
    cut |= (tile.y > 0) & (boxes[:, 1] < _BORDER_PX)
    cut |= (tile.x + tile.width < view.width) & (boxes[:, 2] > tile.width - _BORDER_PX)
    cut |= (tile.y + tile.height < view.height) & (boxes[:, 3] > tile.height - _BORDER_PX)
    boxes = boxes + np.array([tile.x, tile.y, tile.x, tile.y], dtype=np.float32)
    width, height = size
    back_x, back_y = width / view.width, height / view.height
    boxes = clip(boxes * np.array([back_x, back_y, back_x, back_y], np.float32), width, height)
    # What lies in the padding alone has no area in the picture.
    real = ((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])).astype(np.bool_)
    peak = float(outputs["peak"][0])
    full = count == outputs["boxes"].shape[1]
    return _Look(view.name, boxes[real], rows[real, 4], cut[real], peak, full)


def _candidates(label: Label, looks: list[_Look]) -> Iterator[Candidate]:
    boxes = np.concatenate([look.boxes for look in looks])
    scores = np.concatenate([look.scores for look in looks])
    cut = np.concatenate([look.cut for look in looks])
    sources = [look.source for look in looks for _ in look.scores]
    for index in merge(boxes, scores, cut):
        x1, y1, x2, y2 = (float(value) for value in boxes[index])
        yield Candidate(label, Box(x1, y1, x2, y2), float(scores[index]), 0.0, sources[index])


def _flags(found: list[Candidate], looks: Mapping[Label, list[_Look]]) -> Iterator[str]:
    for label, items in looks.items():
        if sum(candidate.label == label for candidate in found) > IMPLAUSIBLE_COUNT:
            yield f"many_{label}s"
        if any(item.full for item in items):
            yield f"{label}_rows_full"
        _check_alive(label, items)


def _check_alive(label: Label, looks: list[_Look]) -> None:
    """Two looks at different scales that give the very same rows come from a stuck model."""
    seen: dict[bytes, str] = {}
    for look in looks:
        if len(look.scores) == 0:
            continue
        key = look.scores.tobytes()
        if seen.setdefault(key, look.source) != look.source and len(look.scores) > 1:
            raise InsaneOutput(
                f"passes {seen[key]} and {look.source} have the very same scores",
                where=f"{label}_detector",
                fix="Run `streetblur models check`; nothing was published on this answer",
            )
