"""Subcommands of ``streetblur`` that measure quality: one function each, no logic."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
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

evaluate_app = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False)

Data = Annotated[
    Path | None,
    typer.Argument(
        metavar="DATA",
        help="A labelled folder, or one that holds such; by default `dev` of the development data.",
        show_default=False,
    ),
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
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="Only this labelled folder of DATA; may be repeated."),
    ] = None,
    format: Annotated[
        Literal["auto", "native", "coco", "voc", "yolo"],
        typer.Option("--format", help="Of the labels; auto finds out by what lies in the folder."),
    ] = "auto",
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="NAME=CLASS",
            help="What a class name of the labels is: face, plate or none (usual names are "
            "known); may be repeated.",
        ),
    ] = None,
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
    reviewed: Annotated[
        bool,
        typer.Option(help="Ignore what a review has found to be a face or plate without a label."),
    ] = True,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="Pictures judged at once.")
    ] = None,
    as_json: AsJson = False,
    log_format: LogOption = "auto",
    verbose: Verbose = False,
) -> None:
    """Measure recall, false blurs and conditions on labelled pictures, with intervals."""
    from evaluation import operations

    configure_logging(log_format, verbose=verbose)
    found = operations.sets_of(data, sets, reviewed=reviewed, format=format, classes=classes)
    command = f"streetblur {shlex.join(sys.argv[1:])}"
    if outputs is not None:
        verdicts = operations.judge_outputs(found, outputs, name, command, processes)
    else:
        flags = {**asdict(judging), "policy": policy, "job_file": job_file, "insecure": insecure}
        bar = use_bar(log_format, verbose=verbose)
        verdicts = operations.run_and_judge(found, flags, name, command, keep, processes, bar=bar)
    operations.write_report(verdicts, report, as_json=as_json)
