"""``python -m evaluation.demo``: make the demo's input, run it, or draw before and after."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from evaluation.annotations import read_annotations
from evaluation.demo.folder import label_file, make_folder
from evaluation.demo.modes import make_modes_sheet
from evaluation.demo.run import run_demo
from evaluation.demo.sheet import make_sheet
from evaluation.demo.sources import fetch_photographs
from pipeline.errors import StreetblurError
from serving.errors import ServingError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 on an error, else 0 or the exit status of the job."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.demo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="write the demo's input folder and its labels")
    make.add_argument("folder", type=Path)
    sheet = commands.add_parser("sheet", help="draw the same crops before and after")
    sheet.add_argument("input", type=Path)
    sheet.add_argument("output", type=Path)
    sheet.add_argument("destination", type=Path)
    modes = commands.add_parser("modes", help="draw faces and plates redacted in every mode")
    modes.add_argument("destination", type=Path)
    run = commands.add_parser("run", help="make the input, blur it, report what was found")
    run.add_argument("--input", type=Path, help="your own pictures instead of the demo's")
    run.add_argument(
        "--output",
        type=Path,
        default=Path("demo") / "output",
        help="folder for the result; input/, labels and before-after.jpg are written beside it",
    )
    given = parser.parse_args(arguments)
    console = Console()
    try:
        if given.command == "run":
            return run_demo(given.input, given.output, console)
        if given.command == "modes":
            size = make_modes_sheet(fetch_photographs(log=console.print), given.destination)
            console.print(f"{given.destination}: {size} bytes")
            return 0
        if given.command == "make":
            labels = make_folder(given.folder, fetch_photographs(log=console.print))
            console.print(
                f"{len(labels)} pictures in {given.folder}, labels in {label_file(given.folder)}"
            )
            return 0
        labels = read_annotations(label_file(given.input))
        size = make_sheet(labels, given.input, given.output, given.destination)
        console.print(f"{given.destination}: {size} bytes")
    except (StreetblurError, ServingError) as error:
        Console(stderr=True).print(str(error), style="red", markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
