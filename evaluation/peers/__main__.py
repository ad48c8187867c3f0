"""``python -m evaluation.peers --outputs DIR``: other tools on labelled pictures, scored as ours.

deface (faces) at its defaults and with boxes, and a cascade of OpenCV (plates) with a plain blur.
Each obscures one class only and runs on the sets where that one is labelled. Outputs go to
``DIR/TOOL/SET`` under the relative paths of their originals. On first use the tools are installed,
each into an environment of its own; they run without network. Ends with 2 if something is missing
from the table.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from evaluation.annotations import LabelledPicture, data_root, read_annotations
from evaluation.markdown import table
from evaluation.peers.environment import install
from evaluation.peers.page import PeerScore, as_json, page, remarks, rows
from evaluation.peers.run import run_peer
from evaluation.peers.tools import PEERS, Peer
from evaluation.refusals import positive
from evaluation.score import LABEL_FILE, score_set
from pipeline.errors import ConfigurationError, StreetblurError
from serving.errors import ServingError
from serving.geometry import Label

EXIT_INCOMPLETE = 2


def labelled_folders(data: Path, names: Sequence[str] | None) -> list[Path]:
    """The labelled folders under ``data``, or those of ``names``.

    Raises:
        ConfigurationError: there are none, or a name is not among them.
    """
    folders = {path.parent.name: path.parent for path in sorted(data.glob(f"*/{LABEL_FILE}"))}
    wanted = list(folders) if names is None else names
    unknown = [name for name in wanted if name not in folders]
    if unknown or not wanted:
        raise ConfigurationError(
            f"no labelled folder {', '.join(unknown)}".rstrip(),
            where=str(data),
            fix=f"Each holds an {LABEL_FILE}; there are: {', '.join(folders) or 'none'}",
        )
    return [folders[name] for name in wanted]


def chosen(folder: Path, label: Label, every: int) -> list[tuple[str, LabelledPicture]]:
    """Every n-th of the pictures where ``label`` was annotated, each with its line.

    Raises:
        AnnotationError: wrong labels.
    """
    file = folder / LABEL_FILE
    pictures = read_annotations(file)
    lines = [line for line in file.read_text("utf-8").splitlines() if line.strip()]
    labelled = [
        (line, one)
        for line, one in zip(lines, pictures, strict=True)
        if label in one.labelled_classes
    ]
    return labelled[::every]


def measure(
    peer: Peer, environment: Path, folder: Path, outputs: Path, every: int
) -> PeerScore | None:
    """Run a peer on a set and score it; None where its class is not labelled.

    Raises:
        StreetblurError: wrong labels, a missing picture, or a peer that writes nothing.
    """
    labelled = chosen(folder, peer.label, every)
    if not labelled:
        return None
    run = run_peer(peer, environment, [one for _, one in labelled], folder, outputs)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as labels:
        labels.write("".join(f"{line}\n" for line, _ in labelled))
        labels.flush()
        score = score_set(folder, outputs, Path(labels.name), name=folder.name)
    return PeerScore(peer, score, run)


def measure_all(
    peers: Sequence[Peer], folders: Sequence[Path], options: argparse.Namespace
) -> Iterator[PeerScore | str]:
    """The row of each peer and set, or why there is none."""
    for peer in peers:
        try:
            environment = install(peer, options.environments, log=_say)
        except ServingError as error:
            yield f"{peer.name}: {error}"
            continue
        for folder in folders:
            outputs = options.outputs / peer.name / folder.name
            try:
                measured = measure(peer, environment, folder, outputs, options.every)
            except StreetblurError as error:
                yield f"{peer.name}, {folder.name}: {error}"
                continue
            if measured is not None:
                _say(f"{peer.name}, {folder.name}: {measured.score.pictures} pictures")
                yield measured


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit status 2 when a row is missing."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.peers", description=__doc__)
    parser.add_argument("--outputs", type=Path, required=True, help="folder for their outputs")
    parser.add_argument("--data", type=Path, default=data_root() / "dev", help="default: dev data")
    parser.add_argument("--sets", nargs="+", help="folders under the data; by default all labelled")
    parser.add_argument("--only", nargs="+", choices=sorted(PEERS), help="tools; by default all")
    parser.add_argument("--every", type=positive, default=1, help="every n-th picture of a set")
    parser.add_argument("--environments", type=Path, default=Path(".peers"), help="of the tools")
    parser.add_argument("--markdown", type=Path, help="write the table as a page to this file")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    peers = [peer for name, peer in PEERS.items() if options.only is None or name in options.only]
    try:
        folders = labelled_folders(options.data, options.sets)
    except StreetblurError as error:
        _say(str(error))
        return EXIT_INCOMPLETE
    options.outputs.mkdir(parents=True, exist_ok=True)
    scores: list[PeerScore] = []
    broken: list[str] = []
    for result in measure_all(peers, folders, options):
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
