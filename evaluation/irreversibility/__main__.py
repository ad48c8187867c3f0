"""``python -m evaluation.irreversibility``: attack the default policy, and what is too weak.

Faces: who is it? Attackers compare, learn, restore and average; each is held against itself on
boxes filled with their mean colour. Plates: what does it say? ``choose`` compares settings and
names the weakest that hold. See docs/irreversibility.md.
Needs ``pip install 'streetblur[attack]'``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.annotations import data_root
from evaluation.irreversibility.choice import GRID
from evaluation.irreversibility.results import Section
from evaluation.irreversibility.treatments import Redacted, default_treatment
from evaluation.irreversibility.verdicts import OTHERS, WEAK
from pipeline.errors import StreetblurError
from serving.errors import ServingError

try:
    from evaluation.irreversibility.study import Study
except ImportError as error:
    if error.name not in ("torch", "sklearn", "skimage", "dlib", "_dlib_pybind11"):
        raise
    print(f"attackers need more packages ({error}): pip install 'streetblur[attack]'")
    sys.exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        1 if an attacker beats the target, one that should break a weak control does not, or (for
        ``choose``) no setting holds; 2 if it could not run.
    """
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.irreversibility", description=__doc__
    )
    parser.add_argument("what", choices=("faces", "plates", "sizes", "all", "choose"))
    parser.add_argument("--data", type=Path, help="data folder (STREETBLUR_DATA)")
    parser.add_argument("--output", type=Path, default=Path("irreversibility.json"))
    parser.add_argument(
        "--setting",
        action="append",
        type=_setting,
        default=[],
        metavar="MODE:STRENGTH:NOISE",
        help="also attack this one (blur:1:12); may be given several times; choose: instead of "
        "its own grid",
    )
    parser.add_argument("--no-controls", action="store_true", help="only the default and --setting")
    parser.add_argument("--quick", action="store_true", help="fewer places, runs and steps")
    options = parser.parse_args(arguments)
    try:
        study = Study(options.data or data_root(), options.output, quick=options.quick)
        if options.what == "choose":
            return _choose(study, options.setting)
        sections: tuple[Section, ...] = ("faces", "plates", "sizes")
        if options.what != "all":
            sections = (options.what,)
        return _attack(study, sections, options.setting, controls=not options.no_controls)
    except (StreetblurError, ServingError) as error:
        print(error, file=sys.stderr)
        return 2


def _attack(
    study: Study, sections: Sequence[Section], settings: Sequence[Redacted], *, controls: bool
) -> int:
    weak = WEAK if controls else ()
    others = OTHERS if controls else ()
    face, plate = default_treatment("face"), default_treatment("plate")
    weak_ones = [control.treatment for control in weak]
    if "faces" in sections:
        study.faces(list(dict.fromkeys([face, *settings])), [*weak_ones, *others[:1]])
    if "plates" in sections:
        study.plates(list(dict.fromkeys([plate, *settings])), [*weak_ones, *others])
    if "sizes" in sections:
        study.sizes([face])
    print(study.page())
    wrong = []
    for section in sections:
        own = plate if section == "plates" else face
        misses = study.misses(section, own.name)
        wrong += [f"{section}: {own.name} does not hold: {miss}" for miss in misses]
        for control in weak if section != "sizes" else ():
            wrong += [
                f"{section}: {attacker} does not break {control.treatment.name}: "
                "what it finds of others proves nothing"
                for attacker in study.dead(section, control)
            ]
    for line in wrong:
        print(line, file=sys.stderr)
    return int(bool(wrong))


def _choose(study: Study, settings: Sequence[Redacted]) -> int:
    study.choose(settings or GRID)
    page, any_holds = study.choice()
    print(page)
    return int(not any_holds)


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
