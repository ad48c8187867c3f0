"""``python -m evaluation.peers --outputs DIR``: other tools and ours on labelled pictures.

deface (faces) at its defaults and with boxes, a cascade of OpenCV (plates) with a plain blur, and
streetblur, once for faces alone and once for plates alone. Each obscures one class only, runs on
the sets where that one is labelled, and is judged as ``streetblur evaluate`` judges: from its
outputs, reviewed regions left out. Outputs go to ``DIR/TOOL/SET`` under the relative paths of their
originals. On first use the other tools are installed, each into an environment of its own; they run
without network. Ends with 2 if something is missing from the table.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from evaluation.annotations import LabelledPicture, data_root
from evaluation.judge_sets import judge_set
from evaluation.labelled_sets import LabelledSet, find_sets
from evaluation.markdown import table
from evaluation.peers.environment import install
from evaluation.peers.ours import OURS, Ours, run_ours
from evaluation.peers.page import PeerScore, as_json, page, remarks, rows
from evaluation.peers.run import run_peer
from evaluation.peers.tools import PEERS, Peer
from evaluation.refusals import positive
from evaluation.summary import summarise
from pipeline.errors import StreetblurError
from serving.errors import ServingError
from serving.geometry import Label

EXIT_INCOMPLETE = 2
TOOLS: dict[str, Peer | Ours] = {**PEERS, **OURS}


def chosen(one: LabelledSet, label: Label, every: int) -> tuple[LabelledPicture, ...]:
    """Every n-th of the pictures where ``label`` was annotated."""
    return tuple(picture for picture in one.pictures if label in picture.labelled_classes)[::every]


def measure(
    tool: Peer | Ours, environment: Path, one: LabelledSet, outputs: Path, every: int
) -> PeerScore | None:
    """Run a tool on a set and score it; None where its class is not labelled.

    Raises:
        StreetblurError: wrong labels, a missing picture, or a peer that writes nothing.
    """
    pictures = chosen(one, tool.label, every)
    if not pictures:
        return None
    if isinstance(tool, Ours):
        run = run_ours(tool, pictures, one.folder, outputs)
    else:
        run = run_peer(tool, environment, pictures, one.folder, outputs)
    judged = judge_set(pictures, one.folder, outputs, name=one.name)
    return PeerScore(tool, summarise(one.name, judged), run)


def measure_all(
    tools: Sequence[Peer | Ours], sets: Sequence[LabelledSet], options: argparse.Namespace
) -> Iterator[PeerScore | str]:
    """The row of each tool and set, or why there is none."""
    for tool in tools:
        environment = options.environments
        try:
            if isinstance(tool, Peer):
                environment = install(tool, options.environments, log=_say)
        except ServingError as error:
            yield f"{tool.name}: {error}"
            continue
        for one in sets:
            outputs = options.outputs / tool.name / one.name
            try:
                measured = measure(tool, environment, one, outputs, options.every)
            except StreetblurError as error:
                yield f"{tool.name}, {one.name}: {error}"
                continue
            if measured is not None:
                _say(f"{tool.name}, {one.name}: {measured.score.pictures} pictures")
                yield measured


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit status 2 when a row is missing."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.peers", description=__doc__)
    parser.add_argument("--outputs", type=Path, required=True, help="folder for their outputs")
    parser.add_argument("--data", type=Path, default=data_root() / "dev", help="default: dev data")
    parser.add_argument("--sets", nargs="+", help="folders under the data; by default all labelled")
    parser.add_argument("--only", nargs="+", choices=sorted(TOOLS), help="tools; by default all")
    parser.add_argument("--every", type=positive, default=1, help="every n-th picture of a set")
    parser.add_argument("--environments", type=Path, default=Path(".peers"), help="of the tools")
    parser.add_argument("--markdown", type=Path, help="write the table as a page to this file")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    tools = [tool for name, tool in TOOLS.items() if options.only is None or name in options.only]
    try:
        sets = find_sets(options.data, options.sets or ())
    except StreetblurError as error:
        _say(str(error))
        return EXIT_INCOMPLETE
    options.outputs.mkdir(parents=True, exist_ok=True)
    scores: list[PeerScore] = []
    broken: list[str] = []
    for result in measure_all(tools, sets, options):
        if isinstance(result, str):
            _say(result)
            broken.append(result)
        else:
            scores.append(result)
    if not scores and not broken:
        broken.append("no set has labels of a class that these tools obscure")
    print(table(rows(scores), texts=3))
    for line in remarks(scores, broken):
        _say(line)
    if options.markdown:
        given = shlex.join(arguments if arguments is not None else sys.argv[1:])
        text = page(scores, broken, called=f"python -m evaluation.peers {given}")
        options.markdown.write_text(text, encoding="utf-8")
    if options.json:
        content = json.dumps(as_json(scores, broken), indent=2)
        options.json.write_text(content + "\n", encoding="utf-8")
    return EXIT_INCOMPLETE if broken else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
