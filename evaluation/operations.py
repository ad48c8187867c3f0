"""What the quality commands do: find sets, run or judge, write the report."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from evaluation.annotations import data_root
from evaluation.candidates import DEFAULT_CACHE, open_cache
from evaluation.comparison import Difference, compare
from evaluation.evaluate import JOB, evaluate_outputs, evaluate_pipeline, output_folders
from evaluation.exposition import exposition
from evaluation.fairness.report import FairnessReport
from evaluation.headlines import print_headlines, print_tuned
from evaluation.judge_sets import MOST_PROCESSES
from evaluation.labelled_sets import REVIEWED, AnyFormat, LabelledSet, find_sets
from evaluation.markdown import scores_page
from evaluation.report.page import Extras, write_page
from evaluation.report.thumbnails import worst_false_blurs, worst_misses
from evaluation.scenes.figures import SceneFigures
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
HTML = "report.html"


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
    work: Path,
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
            work=work,
            observers=[observer],
            processes=processes,
        )


@contextmanager
def work_folder(keep: Path | None) -> Iterator[Path]:
    """``keep``, or a folder that is removed afterwards."""
    if keep is not None:
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="streetblur-evaluate-") as folder:
        yield Path(folder)


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures that were measured apart from the run."""

    fairness: FairnessReport | None = None
    scenes: SceneFigures | None = None


NOTHING_APART = Measured()


def measured_apart(fairness: Path | None, scenes: Path | None) -> Measured:
    """What ``evaluation.fairness`` and ``evaluation.scenes.report`` have written, if given.

    Raises:
        FiguresUnreadable: a file is missing, damaged, or of another kind or format.
    """
    return Measured(
        FairnessReport.read(fairness) if fairness else None,
        SceneFigures.read(scenes) if scenes else None,
    )


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What a report shows besides its figures.

    Attributes:
        folder: where it is written.
        outputs: where the judged outputs lie, a folder a set; None where they are gone.
        policy: whose thresholds are marked; None for none.
        against: verdicts of another run.
        show_originals: whether thumbnails show people.
        measured: apart from the run, see :func:`measured_apart`.
        as_json: print JSON instead of a table.
    """

    folder: Path
    outputs: Path | None = None
    policy: str | None = None
    against: Path | None = None
    show_originals: bool = False
    measured: Measured = NOTHING_APART
    as_json: bool = False


def require_readable(options: ReportOptions) -> None:
    """See, before anything that takes long, that what the report needs is there.

    Raises:
        VerdictsUnreadable: ``against`` is no file of verdicts.
        ConfigurationError: there is no such policy.
    """
    if options.against is not None:
        Verdicts.read(options.against)
    if options.policy is not None:
        load_policy(options.policy)


def write_report(verdicts: Verdicts, sets: Sequence[LabelledSet], options: ReportOptions) -> None:
    """Write all files of the report and print the figures.

    Raises:
        VerdictsUnreadable: ``against`` is no file of verdicts.
        ConfigurationError: it does not compare, or the library that draws plots is missing.
    """
    folder, scores = options.folder, verdicts.scores()
    other = None if options.against is None else Verdicts.read(options.against)
    verdicts.write(folder / VERDICTS)
    against = None if other is None else (other.about.name, compare(other, verdicts))
    content: dict[str, Any] = {
        "about": asdict(verdicts.about),
        "sets": [asdict(score) for score in scores],
    }
    if against is not None:
        content["against"] = {
            "name": against[0],
            "differences": [{**asdict(one), "verdict": one.verdict} for one in against[1]],
        }
    text = json.dumps(content, indent=1) + "\n"
    (folder / SCORES).write_text(text, encoding="utf-8")
    about = verdicts.about
    page = scores_page(scores, title=f"Quality of {about.name}", command=about.command)
    (folder / PAGE).write_text(page, encoding="utf-8")
    (folder / METRICS).write_bytes(exposition(about, scores))
    write_page(verdicts, scores, _extras(verdicts, sets, options, against), folder / HTML)
    if options.as_json:
        print(text, end="")
        return
    console = Console()
    print_headlines(scores, console)
    console.print(f"report   {folder / HTML}", markup=False)


def _extras(
    verdicts: Verdicts,
    sets: Sequence[LabelledSet],
    options: ReportOptions,
    against: tuple[str, Sequence[Difference]] | None,
) -> Extras:
    show = options.show_originals
    outputs = {} if options.outputs is None else output_folders(sets, options.outputs)
    rules = load_policy(options.policy) if options.policy else None
    return Extras(
        misses=worst_misses(verdicts.sets, sets, show=show),
        false_blurs=worst_false_blurs(verdicts.sets, sets, outputs, show=show),
        shows_originals=show,
        against=against,
        thresholds={label: tuple(rules.for_label(label).threshold.values()) for label in LABELS}
        if rules
        else {},
        fairness=options.measured.fairness,
        scenes=options.measured.scenes,
    )


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
        if not 0 <= share <= 1 or name not in ("", *LABELS) or name in found:
            raise ConfigurationError(
                f"not a share between 0 and 1 of a known class, or a second one: {part!r}",
                where=where,
                fix="For instance face=0.97,plate=0.98",
            )
        found[name] = share
    return found
