"""How a run ended, and the exit code that says so."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from pipeline.job import Revision
from pipeline.override_check import OverrideCheck
from pipeline.verify import Verification
from pipeline.workspace import Workspace


class Exit(IntEnum):
    """Exit codes; they describe the whole job, also on a resume."""

    COMPLETE = 0
    ERROR = 1
    USAGE = 2
    QUARANTINED = 3
    INCOMPLETE = 4
    NOTHING_DETECTED = 5
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended.

    Attributes:
        workspace: where the records are.
        revision: the rules in force.
        verification: the reconciled state of the whole job.
        processed: images this run worked on.
        seconds: wall time of the waves.
        exit_code: as documented.
        overrides: those that hide nothing.
    """

    workspace: Workspace
    revision: Revision
    verification: Verification
    processed: int
    seconds: float
    exit_code: Exit
    overrides: OverrideCheck = field(default_factory=OverrideCheck)


def exit_code(verification: Verification, *, allow_empty: bool) -> Exit:
    """The exit code that describes the whole job."""
    if not verification.complete:
        return Exit.INCOMPLETE
    tally = verification.tally
    nothing_seen = tally.with_detections == 0 and (tally.published or not tally.quarantined)
    if nothing_seen and not allow_empty:
        return Exit.NOTHING_DETECTED
    if tally.quarantined:
        return Exit.QUARANTINED
    return Exit.COMPLETE
