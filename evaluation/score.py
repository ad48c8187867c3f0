"""Score a folder of outputs against originals and labels, whatever tool made them.

``python -m evaluation.score --originals DIR --outputs DIR`` for one labelled folder, or
``python -m evaluation.score --outputs ROOT [--data ROOT]`` for every labelled folder of a data
root at once (outputs in a folder of the same name each).

Faces are rarely labelled where plates are, and the reverse: a tool that obscures both is charged
with changing pixels outside on its correct boxes of the unlabelled class. To compare tools on
that figure, let each obscure only the labelled class of a set.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from evaluation.annotations import data_root, read_annotations
from evaluation.judge_sets import judge_set, require_folders
from evaluation.markdown import scores_page
from evaluation.summary import SetScore, summarise
from pipeline.errors import ConfigurationError, StreetblurError
from pipeline.policy import load_policy

LABEL_FILE = "annotations.jsonl"
EXIT_OVER_BUDGET = 1
EXIT_NOT_SCORED = 2


def score_set(
    originals: Path,
    outputs: Path,
    annotations: Path | None = None,
    *,
    name: str | None = None,
    processes: int | None = None,
) -> SetScore:
    """Score one labelled folder.

    Args:
        originals: folder with the pictures.
        outputs: folder with the same relative paths.
        annotations: label file; ``annotations.jsonl`` in ``originals`` by default.
        name: of the set; the folder's name by default.
        processes: see :func:`evaluation.judge_sets.judge_set`.

    Raises:
        ConfigurationError: a folder is missing, or not one output is there.
        AnnotationError: wrong labels.
        PictureUnreadable: an original cannot be decoded.
    """
    require_folders(originals, outputs)
    name = name or originals.resolve().name
    pictures = read_annotations(annotations or originals / LABEL_FILE)
    verdicts = judge_set(pictures, originals, outputs, name=name, processes=processes)
    return summarise(name, verdicts)


def score_all(data: Path, outputs: Path, *, processes: int | None = None) -> tuple[SetScore, ...]:
    """Score every folder under ``data`` that has labels and outputs of the same name.

    Raises:
        ConfigurationError: no labelled folder, or none has outputs.
    """
    labelled = sorted(path.parent for path in data.glob(f"*/{LABEL_FILE}"))
    scored = [folder for folder in labelled if (outputs / folder.name).is_dir()]
    if not scored:
        raise ConfigurationError(
            f"{len(labelled)} labelled folders, none with outputs under {outputs}",
            where=str(data),
            fix="Write the outputs of each folder to a folder of the same name",
        )
    return tuple(score_set(folder, outputs / folder.name, processes=processes) for folder in scored)


def over_budget(scores: Sequence[SetScore], budget: float) -> tuple[SetScore, ...]:
    """The sets whose pooled changed-outside share exceeds ``budget`` (0..1)."""
    return tuple(score for score in scores if score.changed_outside_pooled > budget)


def print_scores(scores: Sequence[SetScore], console: Console) -> None:
    """Print one table for all sets and one line for what was not compared."""
    table = Table(title="Obscured boxes, judged from the output pictures")
    for heading in ("set", "class", "group"):
        table.add_column(heading)
    for heading in ("boxes", "obscured", "recall", "95 % interval"):
        table.add_column(heading, justify="right")
    for score in scores:
        for row in score.recalls:
            table.add_row(
                score.name,
                row.label,
                row.group,
                str(row.boxes),
                str(row.obscured),
                f"{row.recall:.1%}",
                f"{row.low:.1%} - {row.high:.1%}",
            )
        table.add_section()
    console.print(table)
    outside = Table(title="Pixels changed outside every box grown by 25 %")
    for heading in (
        "set",
        "judged",
        "not published (boxes)",
        "unrelated",
        "mean",
        "pooled",
        "95 %",
    ):
        outside.add_column(heading, justify="left" if heading == "set" else "right")
    for score in scores:
        outside.add_row(
            score.name,
            str(score.judged),
            f"{score.not_published} ({score.boxes_not_published})",
            str(len(score.unrelated)),
            f"{score.changed_outside_mean:.2%}",
            f"{score.changed_outside_pooled:.2%}",
            f"{score.changed_outside_low:.2%} - {score.changed_outside_high:.2%}",
        )
    console.print(outside)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit status 1 over the pixel budget, 2 when nothing could be scored."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.score", description=__doc__)
    parser.add_argument("--outputs", type=Path, required=True, help="folder of outputs")
    parser.add_argument("--originals", type=Path, help="one labelled folder of originals")
    parser.add_argument("--annotations", type=Path, help="label file, where it lies elsewhere")
    parser.add_argument("--data", type=Path, help="root of labelled folders (default: dev data)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--markdown", type=Path, help="write them as a page to this file")
    parser.add_argument("--policy", help="fail when this policy's pixel budget is exceeded")
    parser.add_argument("--processes", type=int, help="pictures judged at once")
    given = parser.parse_args(arguments)
    errors = Console(stderr=True)
    try:
        budget = load_policy(given.policy).pixel_fpr_budget if given.policy else None
        if given.originals:
            scores: tuple[SetScore, ...] = (
                score_set(
                    given.originals, given.outputs, given.annotations, processes=given.processes
                ),
            )
        else:
            data = given.data or data_root() / "dev"
            scores = score_all(data, given.outputs, processes=given.processes)
    except StreetblurError as error:
        errors.print(str(error), style="red", markup=False)
        return EXIT_NOT_SCORED
    print_scores(scores, Console())
    if given.json:
        content = json.dumps({"sets": [asdict(score) for score in scores]}, indent=2)
        given.json.write_text(content + "\n", encoding="utf-8")
    if given.markdown:
        called = shlex.join(arguments if arguments is not None else sys.argv[1:])
        page = scores_page(
            scores,
            title="Obscured boxes and changed pixels",
            command=f"python -m evaluation.score {called}",
        )
        given.markdown.write_text(page, encoding="utf-8")
    exceeded = over_budget(scores, budget) if budget is not None else ()
    for score in exceeded:
        errors.print(
            f"{score.name}: {score.changed_outside_pooled:.2%} of the pixels outside changed, "
            f"over the budget of {budget:.2%} in policy {given.policy}",
            style="red",
            markup=False,
        )
    return EXIT_OVER_BUDGET if exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
