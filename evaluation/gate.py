"""Fails when quality on the development data has dropped beyond noise: ``make quality``.

``python -m evaluation.gate [--baseline FILE] [--data ROOT] [--set NAME ...] [--verdicts FILE]
[--update]``

The pipeline runs over the labelled pictures (in float32, so that machines agree), and each figure
is compared with the stored baseline picture by picture. It is worse when the whole 95 % interval
of the difference lies on the wrong side, and the difference is more than a trifle. Outputs of the
baseline that are missing now fail the gate as well.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from evaluation.annotations import data_root
from evaluation.comparison import Difference, compare
from evaluation.evaluate import JOB, evaluate_pipeline
from evaluation.headlines import print_headlines
from evaluation.labelled_sets import REVIEWED, find_sets
from evaluation.summary import COUNTED_FROM_PX
from evaluation.verdicts import Verdicts
from pipeline.errors import ConfigurationError, StreetblurError
from pipeline.job import JobSpec, load_spec
from pipeline.logs import configure_logging

BASELINE = Path(__file__).parents[1] / "docs" / "benchmarks" / "quality.json"
# What a difference must exceed besides its interval: shares of boxes and of pixels, areas.
TRIFLES = {"recall": 0.005, "changed_outside": 0.001, "false_regions": 0.05}
_GROUPS = ("", "all", f">={COUNTED_FROM_PX} px")
EXIT_WORSE, EXIT_NOT_JUDGED = 1, 2


def compact(verdicts: Verdicts) -> Verdicts:
    """Only what the gate compares, to be stored: no places, no conditions."""
    return dataclasses.replace(
        verdicts,
        about=dataclasses.replace(verdicts.about, name="baseline", command="", latency={}),
        curves={},
        sets={
            name: tuple(
                dataclasses.replace(
                    picture,
                    boxes=tuple(
                        dataclasses.replace(
                            box,
                            height=round(box.height, 1),
                            share=round(box.share, 3),
                            pixels=0.0,
                            overlap=0.0,
                            occlusion=None,
                            groups=(),
                            box=None,
                        )
                        for box in picture.boxes
                    ),
                )
                for picture in pictures
            )
            for name, pictures in verdicts.sets.items()
        },
    )


def regressions(baseline: Verdicts, now: Verdicts) -> tuple[Difference, ...]:
    """What is worse now, on the pictures that both have.

    Raises:
        ConfigurationError: they do not compare.
    """
    return tuple(
        one
        for one in compare(baseline, now)
        if one.group in _GROUPS
        and one.verdict == "worse"
        and abs(one.after - one.before) > TRIFLES[one.metric]
    )


def lost_outputs(baseline: Verdicts, now: Verdicts, sets: Iterable[str]) -> list[str]:
    """A line for each of ``sets`` of which outputs are missing now.

    What has no output counts nowhere, so a run that refuses what is hard would look better.
    """
    lost = []
    for name in sets:
        published = {one.image for one in now.sets.get(name, ()) if one.status != "not_published"}
        before = [one.image for one in baseline.sets[name] if one.status != "not_published"]
        missing = sum(image not in published for image in before)
        if missing:
            lost.append(f"{name}: {missing} of {len(before)} pictures have no output any more")
    return lost


def told(differences: Iterable[Difference]) -> list[str]:
    """A line for each."""
    return [
        f"{one.set_name}: {one.metric} {one.label} {one.group} {one.before:.4f} -> {one.after:.4f} "
        f"(95 % of the difference: {one.low:+.4f} to {one.high:+.4f}, of {one.count})"
        for one in differences
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the gate; 1 when something is worse, 2 when nothing could be judged."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.gate", description=__doc__)
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument("--data", type=Path, help="labelled folders (default: the dev data)")
    parser.add_argument("--set", action="append", default=[], help="only this labelled folder")
    parser.add_argument(
        "--verdicts", type=Path, help="verdicts.json of `streetblur evaluate` instead of a run"
    )
    parser.add_argument("--update", action="store_true", help="store today's figures instead")
    given = parser.parse_args(arguments)
    if given.update and given.set:
        parser.error("--update stores all sets: leave out --set")
    configure_logging("text", verbose=False)
    console = Console(soft_wrap=True)
    try:
        baseline = None if given.update else Verdicts.read(given.baseline)
        if baseline is not None:
            _require_known(given.set, baseline)
        now = Verdicts.read(given.verdicts) if given.verdicts else _run(given.data, given.set)
        print_headlines(now.scores(), console)
        if baseline is None:
            compact(now).write(given.baseline)
            console.print(f"stored in {given.baseline}", markup=False)
            return 0
        worse = told(regressions(baseline, now))
        wanted = [name for name in baseline.sets if not given.set or name in given.set]
        worse += lost_outputs(baseline, now, wanted)
    except StreetblurError as error:
        Console(stderr=True, soft_wrap=True).print(str(error), style="red", markup=False)
        return EXIT_NOT_JUDGED
    for line in worse:
        console.print(line, style="red", markup=False)
    console.print("worse than the baseline" if worse else "no worse than the baseline")
    return EXIT_WORSE if worse else 0


def _require_known(names: Iterable[str], baseline: Verdicts) -> None:
    """A set that the baseline lacks would be held against nothing, and pass."""
    if unknown := sorted(set(names) - set(baseline.sets)):
        raise ConfigurationError(
            f"the baseline has no set {', '.join(unknown)}",
            where="--set",
            fix=f"Name some of: {', '.join(baseline.sets)}",
        )


def _run(data: Path | None, names: Sequence[str]) -> Verdicts:
    sets = find_sets(data or data_root() / "dev", names, reviewed=REVIEWED)
    with tempfile.TemporaryDirectory(prefix="streetblur-quality-") as folder:
        return evaluate_pipeline(
            sets, _spec, name="quality", command="python -m evaluation.gate", work=Path(folder)
        )


def _spec(originals: Path, outputs: Path) -> JobSpec:
    return load_spec(
        None,
        input=str(originals),
        output=str(outputs),
        job=JOB,
        engine="local",
        runtime="onnxruntime",
    )


if __name__ == "__main__":
    sys.exit(main())
