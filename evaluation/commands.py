"""Subcommands of ``streetblur`` that measure quality: one function each, no logic."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.cli_options import (
    AsJson,
    InsecureServers,
    JobFile,
    Judging,
    LogOption,
    Policy,
    Verbose,
    grouped,
)
from pipeline.logs import configure_logging, use_bar
from pipeline.policy import DEFAULT_POLICY

evaluate_app = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False)
tune_app = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False)

Data = Annotated[
    Path | None,
    typer.Argument(
        metavar="DATA",
        help="A labelled folder, or one that holds such; by default `dev` of the development data.",
        show_default=False,
    ),
]


Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="Only this labelled folder of DATA; may be repeated."),
]
Format = Annotated[
    Literal["auto", "native", "coco", "voc", "yolo"],
    typer.Option("--format", help="Of the labels; auto finds out by what lies in the folder."),
]
Classes = Annotated[
    list[str] | None,
    typer.Option(
        "--class",
        metavar="NAME=CLASS",
        help="What a class name of the labels is: face, plate or none (usual names are "
        "known); may be repeated.",
    ),
]
Reviewed = Annotated[
    bool,
    typer.Option(help="Ignore what a review has found to be a face or plate without a label."),
]


@evaluate_app.command()
@grouped
def evaluate(
    judging: Judging,
    data: Data = None,
    outputs: Annotated[
        Path | None,
        typer.Option(
            "--outputs",
            help="Judge these outputs, of whatever tool; by default the pipeline makes them.",
        ),
    ] = None,
    sets: Sets = None,
    format: Format = "auto",
    classes: Classes = None,
    policy: Policy = None,
    job_file: JobFile = None,
    insecure: InsecureServers = None,
    report: Annotated[Path, typer.Option("--report", help="Folder for the report.")] = Path(
        "evaluation-report"
    ),
    name: Annotated[
        str | None, typer.Option("--name", help="What the report calls this run or tool.")
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", help="Keep the pipeline's outputs here, and go on from them."),
    ] = None,
    reviewed: Reviewed = True,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="Pictures judged at once.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", help="verdicts.json of another run, to compare with."),
    ] = None,
    fairness: Annotated[
        Path | None,
        typer.Option(
            "--fairness",
            help="fairness.json of `python -m evaluation.fairness`, for the page to show.",
        ),
    ] = None,
    scenes: Annotated[
        Path | None,
        typer.Option(
            "--scenes",
            help="scenes.json of `python -m evaluation.scenes.report`, likewise.",
        ),
    ] = None,
    show_originals: Annotated[
        bool,
        typer.Option(
            "--show-originals",
            help="Show people in the report's thumbnails; by default nobody can be recognised.",
        ),
    ] = False,
    as_json: AsJson = False,
    log_format: LogOption = "auto",
    verbose: Verbose = False,
) -> None:
    """Measure recall, false blurs and conditions on labelled pictures, with intervals."""
    from evaluation import operations
    from evaluation.evaluate import OUTPUTS
    from evaluation.report import plots

    plots.require()
    configure_logging(log_format, verbose=verbose)
    measured = operations.measured_apart(fairness, scenes)
    found = operations.sets_of(data, sets, reviewed=reviewed, format=format, classes=classes)
    command = f"streetblur {shlex.join(sys.argv[1:])}"
    options = operations.ReportOptions(
        report,
        outputs,
        policy,
        against,
        show_originals=show_originals,
        measured=measured,
        as_json=as_json,
    )
    operations.require_readable(options)
    if outputs is not None:
        verdicts = operations.judge_outputs(found, outputs, name, command, processes)
        operations.write_report(verdicts, found, options)
        return
    flags = {**asdict(judging), "policy": policy, "job_file": job_file, "insecure": insecure}
    bar = use_bar(log_format, verbose=verbose)
    with operations.work_folder(keep) as work:
        verdicts = operations.run_and_judge(found, flags, name, command, work, processes, bar=bar)
        made = replace(options, outputs=work / OUTPUTS, policy=policy or DEFAULT_POLICY)
        operations.write_report(verdicts, found, made)


@tune_app.command()
def tune(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA",
            help="Labelled folders to choose by; by default `train` of the development data.",
            show_default=False,
        ),
    ] = None,
    target_recall: Annotated[
        str,
        typer.Option(
            "--target-recall",
            metavar="CLASS=SHARE,...",
            help="Least share of boxes of at least 12 px to be obscured.",
        ),
    ] = "face=0.97,plate=0.98",
    max_pixel_fpr: Annotated[
        str,
        typer.Option(
            "--max-pixel-fpr",
            metavar="SHARE or CLASS=SHARE,...",
            help="Largest mean share of pixels outside true objects that may change.",
        ),
    ] = "0.005",
    policy: Annotated[
        str, typer.Option("--policy", help="default, eu, us, or a YAML file: what else holds.")
    ] = "default",
    output: Annotated[Path, typer.Option("--output", help="YAML file for the new policy.")] = Path(
        "policy.yaml"
    ),
    report_on: Annotated[
        Path | None,
        typer.Option(
            "--report-on",
            help="Labelled folders with other pictures, to say what the thresholds give there.",
        ),
    ] = None,
    sets: Sets = None,
    format: Format = "auto",
    classes: Classes = None,
    reviewed: Reviewed = True,
    cache: Annotated[
        Path | None,
        typer.Option("--cache", help="Folder for what the detectors found; found again later."),
    ] = None,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="Pictures detected in at once.")
    ] = None,
) -> None:
    """Choose score thresholds by labelled pictures, and write a policy with the evidence.

    Recall comes first. Exit code 3: a target or the budget is missed, and the table says by how
    much.
    """
    from evaluation import operations

    configure_logging("text", verbose=False)
    names = {"sets": sets, "format": format, "classes": classes, "reviewed": reviewed}
    raise typer.Exit(
        operations.tune(
            data,
            report_on,
            names,
            targets=target_recall,
            budgets=max_pixel_fpr,
            policy=policy,
            output=output,
            cache=cache,
            processes=processes,
            command=f"streetblur {shlex.join(sys.argv[1:])}",
        )
    )
