"""The whole way once: make or take an input folder, blur it, say what was found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from evaluation.annotations import LabelledPicture
from evaluation.demo.folder import label_file, make_folder
from evaluation.demo.sheet import make_sheet
from evaluation.demo.sources import fetch_photographs
from evaluation.judge_sets import judge_set
from evaluation.summary import summarise
from pipeline.errors import ConfigurationError

_STREETBLUR = "import sys; from pipeline.cli import main; sys.exit(main())"


def run_demo(own_input: Path | None, output: Path, console: Console) -> int:
    """Blur ``own_input``, or the demo pictures, into ``output``; returns an exit status.

    The demo pictures go to ``input`` beside ``output``, a contact sheet to ``before-after.jpg``.

    Args:
        own_input: a folder of pictures; None makes the demo's.
        output: folder for the result.
        console: where to print.

    Raises:
        FetchFailed: the demo's photographs cannot be fetched.
        ConfigurationError: the place of the demo pictures holds something else.
    """
    labels: Sequence[LabelledPicture] = ()
    if own_input is None:
        source = output.parent / "input"
        _refuse_strangers(source)
        photographs = fetch_photographs(log=lambda line: console.print(line, markup=False))
        labels = make_folder(source, photographs)
        console.print(f"{len(labels)} pictures made in {source}", markup=False)
    else:
        source = own_input
    # A process of its own, as a user would start it: its exit status is the demo's.
    done = subprocess.run(
        [sys.executable, "-c", _STREETBLUR, "run", str(source), str(output)], check=False
    )
    if done.returncode:
        return done.returncode
    if labels:
        _report(labels, source, output, console)
    console.print(f"Blurred pictures: {output}", markup=False)
    return 0


def _refuse_strangers(source: Path) -> None:
    """Nothing that somebody else put beside the output is replaced or blurred."""
    if not source.exists() or label_file(source).is_file():
        return
    if not source.is_dir() or any(source.iterdir()):
        raise ConfigurationError(
            "the demo puts its pictures here, but something else is here already",
            where=str(source),
            fix="Choose another OUTPUT, or give these pictures with INPUT",
        )


def _report(
    labels: Sequence[LabelledPicture], source: Path, output: Path, console: Console
) -> None:
    judged = judge_set(labels, source, output, name="demo", processes=1)
    score = summarise("demo", judged)
    for label, plural in (("face", "faces"), ("plate", "plates")):
        row = score.recall(label)
        if row is not None:
            console.print(f"{plural} obscured: {row.obscured} of {row.boxes} known", markup=False)
    console.print(f"pixels changed elsewhere: {score.changed_outside_pooled:.2%}", markup=False)
    sheet = output.parent / "before-after.jpg"
    make_sheet(labels, source, output, sheet)
    console.print(f"Before and after: {sheet}", markup=False)
