"""All scenes composed, coded, looked at by the detector and judged, in several processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from evaluation.fairness.crops import FaceCrop
from evaluation.fairness.judged import judge_boxes
from evaluation.fairness.places import Background
from evaluation.fairness.scenes import CONDITIONS, Condition, Scene, Stage, plan_scenes
from evaluation.origin import UNKNOWN, Origin
from pipeline.decode import decode_upright
from pipeline.errors import ConfigurationError
from pipeline.images import ImageLimits, inspect_image
from pipeline.policy import PrivacyPolicy
from serving.backends.local import LocalBackend
from serving.contracts import DETECTORS, GRAPH_FLOOR
from serving.detectors import DetectorSet

_BLOCK = 20
Verdict = tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """The verdicts on every face at every place under every condition.

    Attributes:
        sizes: [places], height of the faces at each place of all backgrounds, in pixels.
        conditions: in the order of the first axis.
        obscured: bool [conditions, places, faces].
        critical: float64, likewise, see :class:`evaluation.fairness.judged.JudgedFaces`.
        touched: float64, likewise.
        origin: what the verdicts are of.
    """

    sizes: NDArray[np.int64]
    conditions: tuple[Condition, ...]
    obscured: NDArray[np.bool_]
    critical: NDArray[np.float64]
    touched: NDArray[np.float64]
    origin: Origin = UNKNOWN

    def write(self, path: Path) -> None:
        """Write the verdicts, without a pixel of anyone."""
        path.parent.mkdir(parents=True, exist_ok=True)
        names = np.array([[one.light, one.occlusion] for one in self.conditions])
        with path.open("wb") as file:
            np.savez_compressed(
                file,
                sizes=self.sizes,
                conditions=names,
                obscured=self.obscured,
                critical=self.critical,
                touched=self.touched,
                origin=np.array(astuple(self.origin)),
            )

    @classmethod
    def read(cls, path: Path) -> Trial:
        """Read what :meth:`write` wrote.

        Raises:
            ConfigurationError: there is no such file, or it is none.
        """
        try:
            with np.load(path) as found:
                names = [(str(light), str(what)) for light, what in found["conditions"]]
                known = {(str(one.light), str(one.occlusion)): one for one in CONDITIONS}
                return cls(
                    found["sizes"],
                    tuple(known[name] for name in names),
                    found["obscured"],
                    found["critical"],
                    found["touched"],
                    Origin(*found["origin"].tolist()),
                )
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise ConfigurationError(
                f"no verdicts of an earlier run can be read ({type(error).__name__})",
                where=str(path),
                fix="Run without --reuse",
            ) from error

    def hits(self, condition: int, size: int | None = None) -> NDArray[np.float64]:
        """[faces] share of each face's places, of one size or all, where it is obscured."""
        return np.asarray(self.at(self.obscured, condition, size).mean(axis=0), np.float64)

    def hits_at(self, threshold: float, condition: int, size: int) -> NDArray[np.float64]:
        """The same at one threshold for all heights."""
        found = self.at(self.critical, condition, size) >= threshold
        return np.asarray(found.mean(axis=0), np.float64)

    def places(self, size: int | None = None) -> int:
        """How many places there are for faces of a size, or all."""
        return int(np.count_nonzero(self._of(size)))

    def at(self, values: NDArray[Any], condition: int, size: int | None) -> NDArray[Any]:
        """Those of ``values`` (as ``obscured``) of a condition and a size: [places, faces]."""
        return np.asarray(values[condition, self._of(size)])

    def _of(self, size: int | None) -> NDArray[np.bool_]:
        return np.ones(len(self.sizes), np.bool_) if size is None else self.sizes == size


def face_detectors(policy: PrivacyPolicy) -> DetectorSet:
    """The face detector alone, down to the lowest score that leaves its graph."""
    return DetectorSet(
        LocalBackend(None, threads=1),
        policy.models.model_dump(),
        {"face": GRAPH_FLOOR},
        detectors=[one for one in DETECTORS if one.label == "face"],
    )


def run_trial(
    crops: Sequence[FaceCrop],
    backgrounds: Sequence[Background],
    policy: PrivacyPolicy,
    *,
    origin: Origin = UNKNOWN,
    conditions: Sequence[Condition] = CONDITIONS,
    processes: int = 1,
) -> Trial:
    """Judge every face at every place under every condition.

    Args:
        crops: the faces.
        backgrounds: where they stand.
        policy: which models look, and what is redacted.
        origin: of the verdicts, for the record.
        conditions: light and occlusions.
        processes: at once; 1 is this one.
    """
    counts = [len(one.places) for one in backgrounds]
    starts = np.concatenate([[0], np.cumsum(counts)])
    scenes = list(plan_scenes(len(crops), counts, len(conditions)))
    shape = (len(conditions), int(starts[-1]), len(crops))
    obscured, critical, touched = np.zeros(shape, np.bool_), np.zeros(shape), np.zeros(shape)
    given = (tuple(crops), tuple(backgrounds), tuple(conditions), policy)
    blocks = [scenes[start : start + _BLOCK] for start in range(0, len(scenes), _BLOCK)]
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("scenes", total=len(scenes))
        for block, verdicts in zip(blocks, _judged(blocks, given, processes), strict=True):
            for scene, (hit, at, near) in zip(block, verdicts, strict=True):
                first = starts[scene.background]
                places = np.arange(first, first + len(scene.faces))
                obscured[scene.condition, places, scene.faces] = hit
                critical[scene.condition, places, scene.faces] = at
                touched[scene.condition, places, scene.faces] = near
            progress.advance(task, len(block))
    sizes = np.array([place.size for one in backgrounds for place in one.places], np.int64)
    return Trial(sizes, tuple(conditions), obscured, critical, touched, origin)


_Given = tuple[tuple[FaceCrop, ...], tuple[Background, ...], tuple[Condition, ...], PrivacyPolicy]


class _Judge:
    """What one process needs."""

    def __init__(self, given: _Given) -> None:
        crops, backgrounds, conditions, self._policy = given
        self._stage = Stage(crops, backgrounds, conditions)
        self._detectors = face_detectors(self._policy)

    def verdicts(self, scenes: Sequence[Scene]) -> list[Verdict]:
        return [self._verdict(scene) for scene in scenes]

    def _verdict(self, scene: Scene) -> Verdict:
        data = self._stage.jpeg(scene)
        pixels = decode_upright(data, inspect_image(data, ImageLimits()))
        candidates = self._detectors.detect(pixels).candidates
        boxes = [item.box for item in self._stage.labels(scene, "").boxes]
        height, width = pixels.shape[:2]
        found = judge_boxes(boxes, candidates, self._policy, width, height)
        return found.obscured, found.critical, found.touched


_judge: _Judge | None = None


def _start(given: _Given) -> None:
    global _judge
    cv2.setNumThreads(1)
    _judge = _Judge(given)


def _verdicts(scenes: Sequence[Scene]) -> list[Verdict]:
    if _judge is None:
        raise RuntimeError("the process was not started with _start")
    return _judge.verdicts(scenes)


def _judged(
    blocks: Sequence[Sequence[Scene]], given: _Given, processes: int
) -> Iterator[list[Verdict]]:
    if processes == 1:
        yield from map(_Judge(given).verdicts, blocks)
        return
    # a fresh interpreter: forking a process that runs threads may deadlock
    with ProcessPoolExecutor(
        processes,
        mp_context=get_context("forkserver"),
        initializer=_start,
        initargs=(given,),
    ) as pool:
        yield from pool.map(_verdicts, blocks)
