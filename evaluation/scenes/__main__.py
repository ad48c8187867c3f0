"""``python -m evaluation.scenes OUTPUT``: labelled scenes of 2448 x 2048 pixels, in variations.

They are put together from labelled pictures, by default those of the development data's ``dev``;
no picture is enlarged. OUTPUT is a labelled folder for ``streetblur evaluate``; ``negatives.jsonl``
in it says where things lie that are no face and no plate, ``scenes.jsonl`` what was put where.
Scenes of faces and of plates take turns. The same seed and data give the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.annotations import data_root
from evaluation.labelled_sets import find_sets
from evaluation.scenes.folder import Wanted, make_scenes
from evaluation.scenes.variations import VARIATIONS
from pipeline.errors import StreetblurError
from serving.errors import ServingError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 on an error."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.scenes", description=__doc__)
    parser.add_argument("output", type=Path, help="a new or empty folder")
    parser.add_argument(
        "--data", type=Path, default=data_root() / "dev", help="labelled folders; default: dev data"
    )
    parser.add_argument("--set", nargs="+", default=(), dest="sets", help="only these of them")
    parser.add_argument("--count", type=int, default=10, help="scenes, each in every variation")
    parser.add_argument("--seed", type=int, default=0, help="of the first scene")
    parser.add_argument(
        "--variation",
        nargs="+",
        default=list(VARIATIONS),
        help=f"default: {' '.join(VARIATIONS)}",
    )
    options = parser.parse_args(arguments)
    wanted = Wanted(options.count, options.seed, tuple(dict.fromkeys(options.variation)))
    try:
        sets = find_sets(options.data, options.sets)
        pictures = make_scenes(sets, options.output, wanted, log=_say)
    except (StreetblurError, ServingError) as error:
        _say(str(error))
        return 1
    _say(f"{pictures} pictures in {options.output}")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
