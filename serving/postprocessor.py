"""The false-positive filter: candidates -> the probability that each is a true object."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serving.backends.protocol import InferenceBackend, Request, Tensors
from serving.contracts import POSTPROCESSOR
from serving.crops import colour_crops, grey
from serving.errors import ModelMissing
from serving.features import box_array, features
from serving.geometry import Candidate
from serving.sanity import check_probabilities


class PostProcessor(Protocol):
    """Judges candidates in the light of the picture; it never drops one, the policy does."""

    @property
    def version(self) -> int:
        """Recorded with every result."""
        ...

    def judge(
        self, pixels: NDArray[np.uint8], candidates: Sequence[Candidate]
    ) -> tuple[Candidate, ...]:
        """The same candidates in the same order, each with its ``probability`` 0..1.

        Args:
            pixels: uint8 [H, W, 3] RGB, upright.
            candidates: boxes in those pixels.
        """
        ...


class PassThrough:
    """Version 0: nobody judges, so every candidate has probability 1 and no features."""

    version = 0

    def judge(
        self, pixels: NDArray[np.uint8], candidates: Sequence[Candidate]
    ) -> tuple[Candidate, ...]:
        """See ``PostProcessor.judge``; ``pixels`` are not looked at."""
        return tuple(dataclasses.replace(item, probability=1.0) for item in candidates)


class Filter:
    """Version 1 and above: the model ``postprocessor`` judges crops and features.

    Args:
        version: of the model.
        backend: runs it; not closed from here.
        timeout_s: limit for one inference.
        fingerprint: of the graph that must have answered, 16 hex digits; None takes any.
    """

    def __init__(
        self,
        version: int,
        backend: InferenceBackend,
        *,
        timeout_s: float | None = None,
        fingerprint: str | None = None,
    ) -> None:
        self.version = version
        self._backend = backend
        self._timeout_s = timeout_s
        self._fingerprint = fingerprint

    def judge(
        self, pixels: NDArray[np.uint8], candidates: Sequence[Candidate]
    ) -> tuple[Candidate, ...]:
        """See ``PostProcessor.judge``; sets ``features``, too. Asks nobody if there are none.

        Raises:
            InvalidInput: a candidate's box has no area.
            ModelMissing, ModelCorrupt: the backend has no such version.
            InferenceError: the model did not answer.
            InsaneOutput: it answered as no live model does.
            ServerUnavailable: nobody answers.
        """
        if not candidates:
            return ()
        seen = colour_crops(pixels, box_array(candidates))
        rows = features(pixels, candidates, colour_crops=seen)
        probabilities = self._ask(grey(seen), rows)
        return tuple(
            dataclasses.replace(item, probability=float(value), features=tuple(row.tolist()))
            for item, value, row in zip(candidates, probabilities, rows, strict=True)
        )

    def _ask(self, crops: NDArray[np.uint8], rows: NDArray[np.float32]) -> NDArray[np.float32]:
        most = POSTPROCESSOR.max_batch
        parts = [slice(start, start + most) for start in range(0, len(rows), most)]

        def requests() -> Iterator[Request]:
            for part in parts:
                inputs: Tensors = {"crops": crops[part], "features": rows[part]}
                yield Request(POSTPROCESSOR.name, inputs, self.version)

        answers = self._backend.infer_many(requests(), timeout_s=self._timeout_s)
        found = []
        for part, outputs in zip(parts, answers, strict=True):
            check_probabilities(POSTPROCESSOR, outputs, len(rows[part]), self._fingerprint)
            found.append(outputs["probability"])
        return np.concatenate(found)


def load_postprocessor(
    version: int,
    backend: InferenceBackend,
    *,
    timeout_s: float | None = None,
    fingerprint: str | None = None,
) -> PostProcessor:
    """The filter of that version; arguments as in ``Filter``.

    Whether a version above 0 exists shows at the first judgement, which the canary is.

    Raises:
        ModelMissing: the version is below 0.
    """
    if version < 0:
        raise ModelMissing(
            "there is no such version of the false-positive filter",
            where=f"postprocessor {version}",
            fix="Name version 0 or above in the policy's `models.postprocessor`",
        )
    if version == 0:
        return PassThrough()
    return Filter(version, backend, timeout_s=timeout_s, fingerprint=fingerprint)
