"""Pixels -> candidates: both detectors over all passes and tiles, merged and judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.backends.protocol import InferenceBackend, Request
from serving.contracts import DETECTORS, GRAPH_FLOOR, DetectorContract
from serving.errors import InsaneOutput, InvalidInput, ServingError
from serving.geometry import Box, Candidate, Label
from serving.looks import Look, View, plan_views, read_answer, tensors
from serving.merging import merge
from serving.postprocessor import load_postprocessor
from serving.shapes import Shape, Verified

DEFAULT_FLOOR = 0.1
"""Lowest score that becomes a candidate unless told; the policy's threshold decides later."""

IMPLAUSIBLE_COUNT = 400
"""More candidates of one class in one picture are flagged for review, never dropped."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class DetectionResult:
    """What was found in one picture.

    Attributes:
        candidates: by label, then falling score; boxes in pixels of the picture, cut to it.
        peaks: highest raw score of each detector over all passes, never 0.
        versions: model versions that judged, by model, ``postprocessor`` included.
        runtime: what computed, see ``InferenceBackend``.
        flags: for instance ``many_faces``, ``face_rows_full``; sorted.
    """

    candidates: tuple[Candidate, ...]
    peaks: dict[Label, float]
    versions: dict[str, int]
    flags: tuple[str, ...]
    runtime: str = ""


class DetectorSet:
    """The face detector, the plate detector and the false-positive filter as one.

    Args:
        backend: runs the models; closed by ``close``.
        versions: version of each detector, and of ``postprocessor`` (0 if absent).
        floor: lowest score that becomes a candidate, by label; ``DEFAULT_FLOOR`` if absent.
        timeout_s: limit for one inference.
        fingerprints: of the graphs that must have answered, by model; any graph if absent.
        detectors: which detectors look; all by default.
        least_probability: 0..1, by label: what the canary's known objects must reach, because the
            rules keep nothing below it; see ``run_canary``.

    Raises:
        InvalidInput: a detector has no version, or a floor lies below the graph's own.
        ModelMissing: the post-processor's version is below 0.
    """

    def __init__(
        self,
        backend: InferenceBackend,
        versions: Mapping[str, int],
        floor: Mapping[Label, float] | None = None,
        *,
        timeout_s: float | None = None,
        fingerprints: Mapping[str, str] | None = None,
        detectors: Sequence[DetectorContract] = DETECTORS,
        least_probability: Mapping[Label, float] | None = None,
    ) -> None:
        self._backend = backend
        self._least_probability = dict(least_probability or {})
        self._used: set[Shape] = set()  # at most all that tiles can have: 41 x 41
        self._verified = Verified()
        self._timeout_s = timeout_s
        self._fingerprints = dict(fingerprints or {})
        self._filter = load_postprocessor(
            versions.get("postprocessor", 0),
            backend,
            timeout_s=timeout_s,
            fingerprint=self._fingerprints.get("postprocessor"),
        )
        self._detectors = tuple(detectors)
        self._floor = {c.label: (floor or {}).get(c.label, DEFAULT_FLOOR) for c in detectors}
        if missing := [c.name for c in detectors if c.name not in versions]:
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
        self.versions = {c.name: versions[c.name] for c in detectors}
        self.versions["postprocessor"] = self._filter.version

    def detect(self, pixels: Pixels) -> DetectionResult:
        """Everything that may be a face or a plate in ``pixels`` uint8 [H, W, 3] RGB, upright.

        The same pixels give the same result, to the bit, at every call.

        Raises:
            InvalidInput: not such a picture.
            InferenceError: a model did not answer.
            InsaneOutput: a model answered as no live model does.
            ServerUnavailable: nobody answers.
        """
        if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
            raise InvalidInput(f"shape is {pixels.shape}, not [H, W, 3]", where="pixels")
        if pixels.dtype != np.uint8:
            raise InvalidInput(f"dtype is {pixels.dtype}, not uint8", where="pixels")
        looks = self._looks(pixels)
        found = [c for label, items in looks.items() for c in _candidates(label, items)]
        return DetectionResult(
            candidates=self._filter.judge(pixels, found),
            peaks={label: max(item.peak for item in items) for label, items in looks.items()},
            versions=dict(self.versions),
            flags=tuple(sorted(_flags(found, looks))),
            runtime=self._backend.runtime,
        )

    def check(self) -> bool:
        """Judge the canary picture wherever pictures were judged since the last call.

        Also at the tensor shapes that those pictures had: at each that has not been verified there
        yet, and at one of the others in turn (``serving.shapes``, ``serving.shape_canary``).
        Where it fails nothing is asked any more, and whatever was judged since then is in doubt.

        Returns:
            Whether all that was judged since then can be relied on.

        Raises:
            CanaryFailed: the canary fails, and there is nobody else to ask.
            ServingError: likewise, a model is missing or nobody answers.
        """
        sound = True
        for replica in self._backend.replicas():
            try:
                self._check(replica)
            except ServingError as error:
                self._verified.forget(replica.name)
                if not self._backend.exclude(replica, error):
                    raise
                sound = False
        if not self._backend.steady():
            self._verified.forget()  # one that comes back may be another
            sound = False
        self._used.clear()
        return sound

    def close(self) -> None:
        """Close the backend."""
        self._backend.close()

    def _check(self, replica: InferenceBackend) -> None:
        from serving.canary import run_canary
        from serving.shape_canary import can_verify, run_shape_canaries

        run_canary(self._on(replica), self._least_probability)
        if not replica.name and replica is not self._backend:
            self._verified.forget("")  # nobody knows whether it is the one of the last time
        due = self._verified.due(replica.name, filter(can_verify, self._used))
        run_shape_canaries(
            replica,
            due,
            self.versions,
            timeout_s=self._timeout_s,
            fingerprints=self._fingerprints,
            detectors=self._detectors,
        )
        self._verified.passed(replica.name, due)

    def _on(self, backend: InferenceBackend) -> DetectorSet:
        return DetectorSet(
            backend,
            self.versions,
            self._floor,
            timeout_s=self._timeout_s,
            fingerprints=self._fingerprints,
            detectors=self._detectors,
        )

    def _looks(self, pixels: Pixels) -> dict[Label, list[Look]]:
        height, width = pixels.shape[:2]
        looks: dict[Label, list[Look]] = {contract.label: [] for contract in self._detectors}
        asked: list[tuple[DetectorContract, View, Shape]] = []

        def requests() -> Iterator[Request]:
            for view, tensor in tensors(pixels, plan_views(width, height)):
                for contract in self._detectors:
                    asked.append((contract, view, (tensor.shape[1], tensor.shape[2])))
                    yield Request(contract.name, {"image": tensor}, self.versions[contract.name])

        # closing: after an insane answer, what is under way is let go before anything else is asked
        with closing(self._backend.infer_many(requests(), timeout_s=self._timeout_s)) as answers:
            for number, outputs in enumerate(answers):
                contract, view, shape = asked[number]
                self._used.add(shape)
                looks[contract.label].append(
                    read_answer(
                        outputs,
                        contract,
                        view,
                        floor=self._floor[contract.label],
                        fingerprint=self._fingerprints.get(contract.name),
                    )
                )
        return looks


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


def _candidates(label: Label, looks: list[Look]) -> Iterator[Candidate]:
    boxes = np.concatenate([look.boxes for look in looks])
    points = np.concatenate([look.points for look in looks])
    scores = np.concatenate([look.scores for look in looks])
    cut = np.concatenate([look.cut for look in looks])
    sources = [look.source for look in looks for _ in look.scores]
    for index in merge(boxes, scores, cut):
        x1, y1, x2, y2 = (float(value) for value in boxes[index])
        spots = tuple(float(value) for value in points[index])
        box = Box(x1, y1, x2, y2)
        yield Candidate(label, box, float(scores[index]), 0.0, sources[index], spots)


def _flags(found: list[Candidate], looks: Mapping[Label, list[Look]]) -> Iterator[str]:
    for label, items in looks.items():
        if sum(candidate.label == label for candidate in found) > IMPLAUSIBLE_COUNT:
            yield f"many_{label}s"
        if any(item.full for item in items):
            yield f"{label}_rows_full"
        _check_alive(label, items)


def _check_alive(label: Label, looks: list[Look]) -> None:
    """Two looks at different scales that give the very same rows come from a stuck model."""
    seen: dict[bytes, str] = {}
    for look in looks:
        if len(look.scores) == 0:
            continue
        key = look.scores.tobytes()
        if seen.setdefault(key, look.source) != look.source and len(look.scores) > 1:
            error = InsaneOutput(
                f"passes {seen[key]} and {look.source} have the very same scores",
                where=f"{label}_detector",
                fix="Run `streetblur models check`; nothing was published on this answer",
            )
            error.model = f"{label}_detector"
            raise error
