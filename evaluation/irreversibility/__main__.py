"""``python -m evaluation.irreversibility``: attack the default policy, and what is too weak.

Faces: who is it? Attackers compare, learn, restore and average; each is held against itself on
boxes filled with their mean colour. Plates: what does it say? See docs/irreversibility.md.
Needs ``pip install 'streetblur[attack]'``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.annotations import data_root
from evaluation.irreversibility.treatments import (
    Clear,
    Gaussian,
    MeanColour,
    Redacted,
    Treatment,
    default_treatment,
)
from pipeline.errors import StreetblurError
from serving.errors import ServingError

try:
    from evaluation.irreversibility.study import Study
except ImportError as error:
    if error.name not in ("torch", "sklearn", "skimage", "dlib", "_dlib_pybind11"):
        raise
    print(f"attackers need more packages ({error}): pip install 'streetblur[attack]'")
    sys.exit(2)

# Nothing done and what is too weak: attackers have to break these, or they prove nothing.
WEAK: tuple[Treatment, ...] = (Clear(), Gaussian(0.05), Gaussian(0.05, noise=40, public=True))
# What other tools do, and the target's own measure.
OTHERS: tuple[Treatment, ...] = (Gaussian(0.25), MeanColour())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        1 if an attacker beats the target or none breaks a weak control, 2 if it could not run.
    """
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.irreversibility", description=__doc__
    )
    parser.add_argument("what", choices=("faces", "plates", "sizes", "all"))
    parser.add_argument("--data", type=Path, help="data folder (STREETBLUR_DATA)")
    parser.add_argument("--output", type=Path, default=Path("irreversibility.json"))
    parser.add_argument(
        "--setting",
        action="append",
        type=_setting,
        default=[],
        metavar="MODE:STRENGTH:NOISE",
        help="also attack this one; may be given several times (blur:1:12)",
    )
    parser.add_argument("--no-controls", action="store_true", help="only the default and --setting")
    parser.add_argument("--quick", action="store_true", help="fewer places, runs and steps")
    options = parser.parse_args(arguments)
    face, plate = default_treatment("face"), default_treatment("plate")
    try:
        study = Study(options.data or data_root(), options.output, quick=options.quick)
        weak, others = ((), ()) if options.no_controls else (WEAK, OTHERS)
        if options.what in ("faces", "all"):
            study.faces([face, *options.setting], [*weak, *others[:1]])
        if options.what in ("plates", "all"):
            study.plates([plate, *options.setting], [*weak, *others])
        if options.what in ("sizes", "all"):
            study.sizes([face])
    except (StreetblurError, ServingError) as error:
        print(error, file=sys.stderr)
        return 2
    print(study.page())
    unbroken = [one.name for one in weak if options.what != "sizes" and not study.breaks(one.name)]
    for name in unbroken:
        print(f"no attacker breaks {name}: the suite proves nothing", file=sys.stderr)
    return int(bool(unbroken) or not all(study.holds(own.name) for own in (face, plate)))


def _setting(text: str) -> Redacted:
    try:
        mode, strength, noise = text.split(":")
        made = Redacted(float(strength), float(noise), mode)
        made.style("face")
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no setting; write MODE:STRENGTH:NOISE as in a policy's style, "
            "for instance blur:1:12 or pixelate:2:8"
        ) from error
    return made


if __name__ == "__main__":
    sys.exit(main())
