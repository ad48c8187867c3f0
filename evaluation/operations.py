"""What the quality commands do: find sets, run or judge, write the report."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from evaluation.annotations import data_root
from evaluation.candidates import DEFAULT_CACHE, open_cache
from evaluation.evaluate import JOB, evaluate_outputs, evaluate_pipeline
from evaluation.exposition import exposition
from evaluation.headlines import print_headlines, print_tuned
from evaluation.judge_sets import MOST_PROCESSES
from evaluation.labelled_sets import REVIEWED, AnyFormat, LabelledSet, find_sets
from evaluation.markdown import scores_page
from evaluation.tune import Goal, refuse_shared_pictures, tune_policy, with_candidates
from evaluation.verdicts import Verdicts
from pipeline.access import spec_of
from pipeline.errors import ConfigurationError
from pipeline.job import JobSpec
from pipeline.observer import Observer
from pipeline.policy import load_policy
from pipeline.progress import BarObserver, LogObserver
from serving.geometry import LABELS, Label

EXIT_TARGET_MISSED = 3
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


def tune(
    data: Path | None,
    report_on: Path | None,
    names: Mapping[str, Any],
    *,
    targets: str,
    budgets: str,
    policy: str,
    output: Path,
    cache: Path | None,
    processes: int | None,
    command: str,
) -> int:
    """Write a policy with thresholds chosen on ``data``; 0, or 3 where a target is missed.

    Args:
        names: ``sets``, ``format``, ``classes`` and ``reviewed``, see :func:`sets_of`.

    Raises:
        ConfigurationError: wrong targets, no such labels, or pictures that both folders hold.
    """
    goals = goals_of(targets, budgets)
    rules = load_policy(policy)
    options = dict(names)
    wanted = options.pop("sets")
    chosen_on = sets_of(data or data_root() / "train", wanted, **options)
    reported = sets_of(report_on, None, **options) if report_on else ()
    cached = open_cache(cache or DEFAULT_CACHE, rules)
    refuse_shared_pictures(chosen_on, reported, cached)
    workers = processes or min(os.cpu_count() or 1, MOST_PROCESSES)
    found = tune_policy(
        rules,
        goals,
        with_candidates(chosen_on, cached, workers),
        with_candidates(reported, cached, workers),
        command=command,
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(found.policy.to_yaml(), encoding="utf-8")
    console = Console()
    print_tuned(found, console)
    console.print(f"policy   {output}", markup=False)
    return 0 if found.met else EXIT_TARGET_MISSED


def goals_of(targets: str, budgets: str) -> dict[Label, Goal]:
    """What ``--target-recall`` and ``--max-pixel-fpr`` ask of each class.

    Raises:
        ConfigurationError: not of their form, or a class without a budget.
    """
    recalls = _shares(targets, "--target-recall")
    outside = _shares(budgets, "--max-pixel-fpr")
    every = outside.pop("", None)
    goals: dict[Label, Goal] = {}
    for label in LABELS:
        if label in recalls:
            budget = outside.get(label, every)
            if budget is None:
                raise ConfigurationError(f"no share for {label}", where="--max-pixel-fpr")
            goals[label] = Goal(recalls[label], budget)
    if len(goals) < len(recalls):
        raise ConfigurationError(
            f"of the form CLASS=SHARE,... with {' or '.join(LABELS)}", where="--target-recall"
        )
    return goals


def _shares(text: str, where: str) -> dict[str, float]:
    """``CLASS=SHARE,...``; a share alone has the name of no class."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.rpartition("=")
        try:
            share = float(value)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1 or name not in ("", *LABELS):
            raise ConfigurationError(
                f"not a share between 0 and 1 of a known class: {part!r}",
                where=where,
                fix="For instance face=0.97,plate=0.98",
            )
        found[name] = share
    return found
