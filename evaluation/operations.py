"""What the quality commands do: find sets, run or judge, write the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from evaluation.annotations import data_root
from evaluation.evaluate import JOB, evaluate_outputs, evaluate_pipeline
from evaluation.exposition import exposition
from evaluation.headlines import print_headlines
from evaluation.labelled_sets import REVIEWED, AnyFormat, LabelledSet, find_sets
from evaluation.markdown import scores_page
from evaluation.verdicts import Verdicts
from pipeline.access import spec_of
from pipeline.errors import ConfigurationError
from pipeline.job import JobSpec
from pipeline.observer import Observer
from pipeline.progress import BarObserver, LogObserver
from serving.geometry import LABELS, Label

VERDICTS, SCORES, PAGE, METRICS = "verdicts.json", "scores.json", "report.md", "metrics.prom"


def sets_of(
    data: Path | None,
    names: Sequence[str] | None,
    *,
    reviewed: bool = True,
    format: AnyFormat = "auto",
    classes: Sequence[str] | None = None,
) -> tuple[LabelledSet, ...]:
    """The labelled sets of ``data``, by default of the development data's ``dev``.

    Args:
        classes: ``NAME=face``, ``NAME=plate`` or ``NAME=none`` for class names of the data set.

    Raises:
        ConfigurationError: there are no such labels.
        AnnotationError: wrong labels.
    """
    return find_sets(
        data or data_root() / "dev",
        names or (),
        format=format,
        classes=_classes(classes or ()),
        reviewed=REVIEWED if reviewed else None,
    )


def _classes(given: Sequence[str]) -> dict[str, Label | None]:
    found: dict[str, Label | None] = {}
    for one in given:
        name, _, label = one.rpartition("=")
        if not name or label not in (*LABELS, "none"):
            raise ConfigurationError(
                f"not of the form NAME=face, NAME=plate or NAME=none: {one}", where="--class"
            )
        found[name] = next((known for known in LABELS if known == label), None)
    return found


def judge_outputs(
    sets: Sequence[LabelledSet],
    outputs: Path,
    name: str | None,
    command: str,
    processes: int | None,
) -> Verdicts:
    """See :func:`evaluation.evaluate.evaluate_outputs`; named after the folder by default."""
    return evaluate_outputs(
        sets, outputs, name=name or outputs.resolve().name, command=command, processes=processes
    )


def run_and_judge(
    sets: Sequence[LabelledSet],
    flags: Mapping[str, Any],
    name: str | None,
    command: str,
    keep: Path | None,
    processes: int | None,
    *,
    bar: bool,
) -> Verdicts:
    """See :func:`evaluation.evaluate.evaluate_pipeline`; ``flags`` are those of ``run``."""

    def spec_for(originals: Path, outputs: Path) -> JobSpec:
        places = {"input": str(originals), "output": str(outputs), "job": JOB}
        return spec_of(**{**flags, **places, "endpoint_url": None})

    with ExitStack() as stack:
        observer: Observer = LogObserver()
        if bar:
            observer = stack.enter_context(BarObserver(Console(stderr=True)))
        return evaluate_pipeline(
            sets,
            spec_for,
            name=name or "streetblur",
            command=command,
            keep=keep,
            observers=[observer],
            processes=processes,
        )


def write_report(verdicts: Verdicts, folder: Path, *, as_json: bool) -> None:
    """Write all files of the report into ``folder`` and print the figures."""
    scores = verdicts.scores()
    verdicts.write(folder / VERDICTS)
    content = {"about": asdict(verdicts.about), "sets": [asdict(score) for score in scores]}
    text = json.dumps(content, indent=1) + "\n"
    (folder / SCORES).write_text(text, encoding="utf-8")
    about = verdicts.about
    page = scores_page(scores, title=f"Quality of {about.name}", command=about.command)
    (folder / PAGE).write_text(page, encoding="utf-8")
    (folder / METRICS).write_bytes(exposition(about, scores))
    if as_json:
        print(text, end="")
        return
    console = Console()
    print_headlines(scores, console)
    console.print(f"report   {folder}", markup=False)
