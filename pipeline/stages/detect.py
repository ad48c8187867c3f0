"""Detect: thin; it calls serving."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ImageRefused
from pipeline.shadow import ShadowDetector
from pipeline.stages.envelope import Envelope, code_of, guarded
from serving.detectors import DetectionResult
from serving.errors import (
    EndsServer,
    InferenceError,
    InsaneOutput,
    RejectedInput,
    ServerUnavailable,
)


class Detector(Protocol):
    """What the stage needs of the detectors."""

    def detect(self, pixels: NDArray[np.uint8]) -> DetectionResult:
        """Candidates in ``pixels`` uint8 [H, W, 3] RGB, upright."""

    def check(self) -> bool:
        """Judge the canary picture; whether all that was judged since the last call counts.

        Raises:
            ServingError: the models do not find what is on it, and there are no others.
        """


GROUP_ROWS = 32
GROUP_BYTES = 64 << 20
"""A group ends with so many pictures or bytes of pixels (four pictures of 5 megapixels): each group
costs one canary, a hundredth of the time that its pictures take, and one at the shape of a tensor,
a few hundredths; the first group costs one at each of its shapes."""

OVERFLOW = "detector_overflow"
"""Reason of a picture with more objects than a model can report."""

REJECTED, ENDS_SERVER = "detector_error", "ends_server"
"""Reasons of pictures that models refuse, and of those over which servers end."""

IN_DOUBT = "in_doubt"
"""Reason of a picture after which servers fail, whatever they say of it."""

ATTEMPTS = 4
"""Often enough to lose all but one of as many servers, one after the other."""


class InsaneAnswer(InferenceError):
    """A model answered for one picture as no live model does."""


class Detect:
    """Runs both detectors and the filter on a picture's pixels, then lets the pixels go."""

    def __init__(self, detector: Detector, shadows: Sequence[ShadowDetector] = ()) -> None:
        self._detector = detector
        self._shadows = shadows

    def __call__(self, envelope: Envelope) -> Envelope:
        """Adds ``candidates``, ``peaks`` and ``shadows``.

        An answer that no live model gives is this image's fault if the canary still passes; that
        is for ``DetectGroup`` to find out.

        Raises:
            InferenceError: the models did not answer sanely for this image.
            ImageRefused: a model cannot judge it, or its answer was full: objects beyond it may
                have been lost.
            ServingError: the models are broken; that concerns the whole run.
        """
        if envelope.pixels is None:
            raise InferenceError("there are no pixels to judge", where=envelope.item.key)
        key = envelope.item.key
        try:
            result = self._detector.detect(envelope.pixels)
        except RejectedInput as error:
            raise ImageRefused(
                ENDS_SERVER if isinstance(error, EndsServer) else REJECTED,
                error.what,
                where=key,
                fix="Look at the picture: the models answer for others",
            ) from error
        except InsaneOutput as error:
            raise InsaneAnswer(error.what, where=key) from error
        full = [flag for flag in result.flags if flag.endswith("_rows_full")]
        if full:
            raise ImageRefused(
                OVERFLOW,
                f"more objects than the model can report ({', '.join(full)})",
                where=key,
                fix="Cut the picture into parts",
            )
        return dataclasses.replace(
            envelope,
            pixels=None,
            candidates=result.candidates,
            peaks={str(label): float(peak) for label, peak in result.peaks.items()},
            runtime=result.runtime,
            notes=(*envelope.notes, *result.flags),
            shadows=tuple(
                shadow.judge(envelope.pixels) for shadow in self._shadows if shadow.plan.wants(key)
            ),
        )


class DetectGroup:
    """Judges a group of pictures, and lets none of them go before the canary has passed again.

    The canary is judged when this is built, too: a model that is broken from the start is asked
    for no picture at all.

    Args:
        detector: judges pictures.
        shadows: judge some of them as well.

    Raises:
        ServingError: the models are broken, or nobody answers.
    """

    def __init__(self, detector: Detector, shadows: Sequence[ShadowDetector] = ()) -> None:
        self._detector, self._shadows = detector, shadows
        self._detect = Detect(detector, shadows)
        for _ in range(ATTEMPTS):
            if detector.check():
                return
        raise _in_doubt()

    def __call__(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        """The pictures with ``candidates`` or an ending, in order.

        Where a server that judged some of it cannot be relied on, or was lost meanwhile, each is
        judged again by itself: a picture that ends every server that sees it harms itself alone.

        Raises:
            ServingError: the canary fails and there is no other server to ask; nothing of the
                group may be published.
        """
        judged = [guarded("detect", self._detect, envelope) for envelope in envelopes]
        if not self._detector.check():
            suspects = [number for number, one in enumerate(judged) if one.ending is not None]
            others = [number for number, one in enumerate(judged) if one.ending is None]
            for number in (*others, *suspects):  # who may end a server comes last
                judged[number] = self._alone(envelopes[number])
        for shadow in self._shadows:
            if why := shadow.doubt():
                judged = [_without(envelope, shadow, why) for envelope in judged]
        return judged

    def _alone(self, envelope: Envelope) -> Envelope:
        """One picture; that nobody answers for it may stand in doubt, an answer may not."""
        if envelope.ending is not None:
            return envelope
        for _ in range(ATTEMPTS):
            judged = guarded("detect", self._detect, envelope)
            if self._detector.check() or _has_no_answer(judged):
                return judged
        if judged.ending is None or not self._detector.check():
            raise _in_doubt()
        what = f"whoever said this failed its canary or was gone then: {judged.ending.message}"
        return envelope.ended("failed", IN_DOUBT, what)


_ANSWERS = frozenset({OVERFLOW, REJECTED, code_of(InsaneAnswer(""))})
"""Reasons that somebody gave who may be wrong."""


def _has_no_answer(envelope: Envelope) -> bool:
    """Whether it ended for another reason than what a server said, which may be anything."""
    return envelope.ending is not None and envelope.ending.reason not in _ANSWERS


def groups(envelopes: Iterable[Envelope]) -> Iterator[list[Envelope]]:
    """Fetched pictures in groups as ``DetectGroup`` takes them, in order."""
    group: list[Envelope] = []
    size = 0
    for envelope in envelopes:
        group.append(envelope)
        size += 0 if envelope.pixels is None else envelope.pixels.nbytes
        if len(group) == GROUP_ROWS or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _without(envelope: Envelope, shadow: ShadowDetector, why: str) -> Envelope:
    shadows = (one.doubted(why) if one.plan == shadow.plan else one for one in envelope.shadows)
    return dataclasses.replace(envelope, shadows=tuple(shadows))


def _in_doubt() -> ServerUnavailable:
    return ServerUnavailable(
        f"{ATTEMPTS} times in a row a canary failed, or a server was lost or reached anew",
        where="detectors",
        fix="See the log, and run `streetblur models check` against each server; nothing doubtful "
        "was published",
    )
