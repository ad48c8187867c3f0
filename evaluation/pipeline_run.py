"""The product's own pipeline over labelled sets, as one job, and what its records tell of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.judge import locate
from evaluation.labelled_sets import LabelledSet
from evaluation.picture import PictureUnreadable
from evaluation.verdicts import Latency
from pipeline.errors import StreetblurError
from pipeline.job import JobSpec
from pipeline.ledger import Ledger
from pipeline.model_commands import models_for, probe_for, versions_for
from pipeline.observer import Observer
from pipeline.policy import PrivacyPolicy
from pipeline.records import OUTCOME_SCHEMA
from pipeline.result import Exit
from pipeline.runner import Runner
from serving.geometry import Box, Candidate

_STAGES = tuple(name[3:] for name in OUTCOME_SCHEMA.names if name.startswith("ms_"))
_COLUMNS = ("key", "status", "row", "detections", "policy_digest", "models", "runtime")


class EvaluationRunFailed(StreetblurError):
    """The pipeline did not get through the labelled pictures."""


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """What a job's records tell.

    Attributes:
        outputs: folder with a folder of outputs for each set.
        candidates: what the detectors found, kept or not, by set and picture.
        found: the boxes of those that were redacted, before they grew.
        rules: the policy that was in force.
        latency: by stage, and ``total``.
        policy, models, runtime: as outcomes name them.
        quarantined: how many pictures were refused.
    """

    outputs: Path
    candidates: Mapping[str, Mapping[str, tuple[Candidate, ...]]]
    found: Mapping[str, Mapping[str, tuple[Box, ...]]]
    rules: PrivacyPolicy
    latency: Mapping[str, Latency]
    policy: str
    models: str
    runtime: str
    quarantined: int


def gather(sets: Iterable[LabelledSet], folder: Path) -> None:
    """Lay the labelled pictures of all ``sets`` into ``folder``, a folder a set.

    Raises:
        PictureUnreadable: a labelled picture is missing.
    """
    for one in sets:
        for picture in one.pictures:
            source = locate(one.folder, picture.image)
            if source is None:
                raise PictureUnreadable(
                    "the labelled picture is missing",
                    where=str(one.folder / picture.image),
                    fix="Give the folder that holds the label file and the pictures",
                )
            target = folder / one.name / picture.image
            if target.exists() and target.samefile(source):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            try:
                os.link(source, target)
            except OSError:  # another file system
                shutil.copyfile(source, target)


def run_pipeline(spec: JobSpec, observers: Sequence[Observer] = ()) -> PipelineRun:
    """Run the job ``spec`` over what :func:`gather` laid out, into a local folder.

    Raises:
        EvaluationRunFailed: it did not get through.
        StreetblurError: whatever ends a run.
    """
    runner = Runner(
        spec,
        list(observers),
        models_for(spec.triton),
        available=versions_for(spec.triton),
        probe=probe_for(spec),
    )
    result = runner.run()
    if result.exit_code not in (Exit.COMPLETE, Exit.QUARANTINED):
        raise EvaluationRunFailed(
            f"the job over the labelled pictures ended with exit code {int(result.exit_code)}",
            where=spec.output,
            fix="`streetblur verify` on that folder tells what is missing",
        )
    return _told(result.workspace.ledger, Path(spec.output))


def _told(ledger: Ledger, outputs: Path) -> PipelineRun:
    candidates: dict[str, dict[str, tuple[Candidate, ...]]] = {}
    found: dict[str, dict[str, tuple[Box, ...]]] = {}
    times: dict[str, list[float]] = {}
    names: dict[str, str] = {}
    quarantined = 0
    columns = [*_COLUMNS, *(f"ms_{stage}" for stage in _STAGES)]
    for _, entry in ledger.shards():
        for row in ledger.outcomes(entry.shard, columns):
            if row["status"] != "published":
                quarantined += 1
                continue
            one, _, picture = row["key"].partition("/")
            seen = [(item["kept"], _candidate(item)) for item in row["detections"] or ()]
            candidates.setdefault(one, {})[picture] = tuple(item for _, item in seen)
            found.setdefault(one, {})[picture] = tuple(item.box for kept, item in seen if kept)
            spent = {stage: float(row[f"ms_{stage}"]) for stage in _STAGES}
            for stage, milliseconds in {**spent, "total": sum(spent.values())}.items():
                times.setdefault(stage, []).append(milliseconds)
            names |= {name: row[name] for name in ("policy_digest", "models", "runtime")}
    return PipelineRun(
        outputs,
        candidates,
        found,
        ledger.current().policy,
        {stage: _latency(values) for stage, values in times.items()},
        names.get("policy_digest", ""),
        names.get("models", ""),
        names.get("runtime", ""),
        quarantined,
    )


def _candidate(item: Mapping[str, Any]) -> Candidate:
    box = Box(float(item["x1"]), float(item["y1"]), float(item["x2"]), float(item["y2"]))
    return Candidate(item["label"], box, item["score"], item["probability"], item["source"])


def _latency(values: Sequence[float]) -> Latency:
    p50, p95, p99 = (float(value) for value in np.percentile(values, [50, 95, 99]))
    return Latency(len(values), p50, p95, p99)
