"""One image on its way through the stages, and the guard that turns its errors into an outcome."""

from __future__ import annotations

import dataclasses
import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigurationError, ImageRefused, LeaseError, StorageError
from pipeline.images import ImageInfo
from pipeline.records import Decision, Outcome, WorkItem
from pipeline.shadow import Shadow
from pipeline.storage import PreconditionFailed
from serving.errors import InferenceError, ServingError
from serving.geometry import Candidate

log = logging.getLogger(__name__)

FATAL = (LeaseError, ConfigurationError)
"""Errors that concern the run, not one image: they stop it."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why an image goes no further."""

    status: Literal["quarantined", "failed"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Published:
    """What was written for one image."""

    size: int
    sha256: str
    etag: str
    route: str


@dataclass(frozen=True, slots=True)
class Envelope:
    """An image and all that is known of it so far; stages return changed copies.

    Attributes:
        item: the manifest row.
        data: the source's bytes, from fetch until publish.
        info: what its header says.
        pixels: uint8 [H, W, 3] RGB, upright; from fetch until detect only.
        candidates: what the detectors propose; None until a good detection pass.
        peaks: highest raw score by class.
        runtime: what the models ran on.
        decisions: what the policy makes of the candidates; None until decided.
        published: set once the output is written.
        ending: set when the image goes no further.
        notes: remarks for the outcome.
        shadows: what other model versions made of it.
        milliseconds: wall time by stage.
    """

    item: WorkItem
    data: bytes | None = None
    info: ImageInfo | None = None
    pixels: NDArray[np.uint8] | None = None
    candidates: tuple[Candidate, ...] | None = None
    peaks: dict[str, float] = field(default_factory=dict)
    runtime: str = ""
    decisions: tuple[Decision, ...] | None = None
    obscured_share: float = 0.0
    published: Published | None = None
    ending: Ending | None = None
    notes: tuple[str, ...] = ()
    shadows: tuple[Shadow, ...] = ()
    milliseconds: dict[str, float] = field(default_factory=dict)

    def ended(
        self, status: Literal["quarantined", "failed"], reason: str, message: str
    ) -> Envelope:
        """This image with an ending, its pixels and bytes let go."""
        return dataclasses.replace(
            self, data=None, pixels=None, ending=Ending(status, reason, message[:500])
        )


Stage = Callable[[Envelope], Envelope]


def guarded(name: str, stage: Stage, envelope: Envelope) -> Envelope:
    """Run ``stage`` on one image; whatever goes wrong with it becomes its ending.

    Raises:
        LeaseError, ConfigurationError, ServingError: what concerns the whole run.
    """
    if envelope.ending is not None:
        return envelope
    start = time.perf_counter()
    try:
        result = stage(envelope)
    except FATAL:
        raise
    except ImageRefused as error:
        result = envelope.ended("quarantined", error.reason, str(error))
    except PreconditionFailed as error:
        result = envelope.ended("failed", "source_changed", str(error))
    except StorageError as error:
        result = envelope.ended("failed", code_of(error), str(error))
    except InferenceError as error:
        result = envelope.ended("failed", code_of(error), str(error))
    except ServingError:
        raise
    except MemoryError:
        result = envelope.ended("failed", "out_of_memory", f"no memory left in stage {name}")
    except Exception as error:  # one image never takes others with it (invariant 7)
        log.exception("unexpected error in stage %s", name)
        text = f"{type(error).__name__} in stage {name}, {_place(error)}"
        result = envelope.ended("failed", "internal_error", text)
    spent = {**result.milliseconds}
    spent[name] = spent.get(name, 0.0) + 1000 * (time.perf_counter() - start)
    return dataclasses.replace(result, milliseconds=spent)


def _place(error: Exception) -> str:
    """``module.py:line`` that raised: never the message, which may hold parts of a picture."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "place unknown"


def code_of(error: Exception) -> str:
    """Names an error in outcomes: ``InferenceError`` is ``inference``."""
    name = type(error).__name__.removesuffix("Error")
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


class Provenance(TypedDict, total=False):
    """What every outcome of a run says of the run: see ``OUTCOME_SCHEMA``."""

    policy_digest: str
    models: str
    secret_id: str


def outcome_of(envelope: Envelope, **run: Unpack[Provenance]) -> Outcome:
    """The outcome of an image that has been through every stage of ``run``."""
    item, info, done, ending = envelope.item, envelope.info, envelope.published, envelope.ending
    if (done is None) == (ending is None):
        envelope = envelope.ended(
            "failed", "internal_error", "the image left the stages unfinished"
        )
        done, ending = None, envelope.ending
    return Outcome(
        key=item.key,
        shard=item.shard,
        row=item.row,
        status="published" if ending is None else ending.status,
        reason="" if ending is None else ending.reason,
        message="" if ending is None else ending.message,
        identity=item.identity,
        source_etag=item.etag,
        source_size=item.size,
        format="" if info is None else info.format,
        width=0 if info is None else info.width,
        height=0 if info is None else info.height,
        orientation=1 if info is None else info.orientation,
        detections=_recorded(envelope),
        peak_face=envelope.peaks.get("face", 0.0),
        peak_plate=envelope.peaks.get("plate", 0.0),
        obscured_share=envelope.obscured_share,
        output_size=0 if done is None else done.size,
        output_sha256="" if done is None else done.sha256,
        output_etag="" if done is None else done.etag,
        route="" if done is None else done.route,
        notes=envelope.notes,
        runtime=envelope.runtime,
        milliseconds=envelope.milliseconds,
        shadows=tuple(shadow.as_row() for shadow in envelope.shadows),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        **run,
    )


def _recorded(envelope: Envelope) -> tuple[Decision, ...]:
    """All decisions; before any were made, the priors alone, so that no rerun forgets them."""
    if envelope.decisions is not None:
        return envelope.decisions
    return tuple(
        Decision(b.label, b.x1, b.y1, b.x2, b.y2, 1.0, 1.0, "prior", True, "blurred_before", 0.0)
        for b in envelope.item.priors
    )
