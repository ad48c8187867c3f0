"""An evaluation: labelled sets through the pipeline, or outputs of any tool, to verdicts."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from evaluation.judge_sets import judge_set
from evaluation.labelled_sets import LabelledSet
from evaluation.operating_points import ClassCandidates
from evaluation.pipeline_run import PipelineRun, gather, run_pipeline
from evaluation.summary import COUNTED_FROM_PX, HEIGHT_BINS
from evaluation.tuning import GRID
from evaluation.verdicts import About, CurvePoint, Verdicts, digest_of_labels
from pipeline.errors import ConfigurationError
from pipeline.job import JobSpec
from pipeline.observer import Observer
from serving.geometry import LABELS
from serving.registry import find_repository

PACKAGES = ("streetblur", "onnxruntime", "openvino", "numpy", "opencv-python-headless", "pillow")
JOB = "evaluation"
OUTPUTS = "blurred"


def evaluate_outputs(
    sets: Sequence[LabelledSet],
    outputs: Path,
    *,
    name: str,
    command: str,
    processes: int | None = None,
) -> Verdicts:
    """Judge what any tool has made of the pictures of ``sets``.

    Args:
        outputs: a folder a set, or the folder of the one set, with the originals' relative paths.
        name: of the tool.
        command: that is being run, for the record.
        processes: pictures judged at once.

    Raises:
        ConfigurationError: there are no outputs.
        StreetblurError: labels or originals are wrong.
    """
    about = _about(sets, name, command)
    folders = output_folders(sets, outputs)
    judged = {
        one.name: judge_set(
            one.pictures, one.folder, folders[one.name], name=one.name, processes=processes
        )
        for one in sets
    }
    return Verdicts(about, judged)


def output_folders(sets: Sequence[LabelledSet], outputs: Path) -> dict[str, Path]:
    """Where the outputs of each set lie: in a folder of its name, or, of one set, right there."""
    alone = len(sets) == 1 and not (outputs / sets[0].name).is_dir()
    return {one.name: outputs if alone else outputs / one.name for one in sets}


def evaluate_pipeline(
    sets: Sequence[LabelledSet],
    spec_for: Callable[[Path, Path], JobSpec],
    *,
    name: str,
    command: str,
    work: Path,
    observers: Sequence[Observer] = (),
    processes: int | None = None,
) -> Verdicts:
    """Run the pictures of ``sets`` through the pipeline and judge its outputs.

    Args:
        spec_for: makes the job of an input and an output folder.
        name: of the run.
        command: that is being run, for the record.
        work: folder for originals and outputs (``blurred``); a second run there does what is due
            only.
        observers: are told how the job goes on.
        processes: pictures judged at once.

    Raises:
        EvaluationRunFailed: the pipeline did not get through.
        StreetblurError: labels or originals are wrong, or what ends any run.
    """
    originals = work / "originals"
    gather(sets, originals)
    run = run_pipeline(spec_for(originals, work / OUTPUTS), observers)
    judged = {
        one.name: judge_set(
            one.pictures,
            originals / one.name,
            run.outputs / one.name,
            name=one.name,
            redacted=run.found.get(one.name, {}),
            processes=processes,
        )
        for one in sets
    }
    return Verdicts(_about(sets, name, command, run), judged, _curves(sets, run))


def _curves(
    sets: Sequence[LabelledSet], run: PipelineRun
) -> dict[str, dict[str, tuple[CurvePoint, ...]]]:
    """What other thresholds would have given, by class and box height."""
    pictures = [
        (picture, run.candidates[one.name][picture.image])
        for one in sets
        for picture in one.pictures
        if picture.image in run.candidates.get(one.name, {})
    ]
    bins = [(COUNTED_FROM_PX, math.inf, f">={COUNTED_FROM_PX} px"), *HEIGHT_BINS]
    found: dict[str, dict[str, tuple[CurvePoint, ...]]] = {}
    for label in LABELS:
        for low, high, name in bins:
            own = ClassCandidates(label, pictures, run.rules, (low, high))
            points = own.curve(GRID)
            if points[GRID[0]].boxes:
                found.setdefault(label, {})[name] = tuple(
                    CurvePoint(
                        threshold,
                        point.recall.value,
                        point.recall.low,
                        point.recall.high,
                        point.outside_mean,
                        point.boxes,
                    )
                    for threshold, point in points.items()
                )
    return found


def _about(
    sets: Sequence[LabelledSet], name: str, command: str, run: PipelineRun | None = None
) -> About:
    if not sets:
        raise ConfigurationError("no labelled set is left to evaluate")
    return About(
        name=name,
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        data=digest_of_labels({one.name: one.pictures for one in sets}),
        machine=f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        versions={package: version(package) for package in PACKAGES},
        policy=run.policy if run else "",
        models=run.models if run else "",
        runtime=run.runtime if run else "",
        model_bytes=_model_bytes() if run else {},
        latency=run.latency if run else {},
    )


def _model_bytes() -> Mapping[str, int]:
    """Size of the graphs of each model in the repository."""
    sizes: dict[str, int] = {}
    for path in sorted(find_repository().rglob("*.onnx")):
        model = path.parent.parent.name
        sizes[model] = sizes.get(model, 0) + path.stat().st_size
    return sizes
