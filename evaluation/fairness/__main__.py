"""``python -m evaluation.fairness``: are faces of all groups, sizes and lights obscured alike?

Labelled face crops stand in the same street backgrounds at the same places and sizes, in normal,
dark and back light, bare and behind sunglasses, masks and caps; the project's own detector and
policy judge them. Needs the development data. See docs/benchmarks/fairness.md.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2

from evaluation.annotations import data_root
from evaluation.candidates import DEFAULT_CACHE, open_cache
from evaluation.fairness.check import Check, check_redaction
from evaluation.fairness.crops import FaceCrop, read_crops
from evaluation.fairness.group_view import LOWER
from evaluation.fairness.page import page
from evaluation.fairness.places import WIDTH, Background, choose_backgrounds
from evaluation.fairness.real_sets import (
    SETS,
    OcclusionRecall,
    ThresholdCost,
    recalls_by_occlusion,
    threshold_costs,
)
from evaluation.fairness.report import FairnessReport, about_run, make_report
from evaluation.fairness.scenes import CONDITIONS, Stage, digest_of_scenes, plan_scenes
from evaluation.fairness.trial import Trial, face_detectors, run_trial
from evaluation.labelled_sets import find_sets
from evaluation.origin import origin_of
from evaluation.tune import with_candidates
from pipeline.errors import ConfigurationError, StreetblurError
from pipeline.policy import PrivacyPolicy, load_policy
from serving.contracts import GRAPH_FLOOR
from serving.detectors import load_detectors
from serving.errors import ServingError
from serving.geometry import LABELS

VERDICTS = "trial.npz"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0, or 2 if it could not run.
    """
    given = _parser().parse_args(arguments)
    called = shlex.join(
        ["python", "-m", "evaluation.fairness", *(sys.argv[1:] if arguments is None else arguments)]
    )
    try:
        report = measure(given, load_policy(given.policy), called)
    except (StreetblurError, ServingError) as error:
        print(error, file=sys.stderr)
        return 2
    report.write(given.output / "fairness.json")
    text = page(report)
    if given.markdown:
        given.markdown.parent.mkdir(parents=True, exist_ok=True)
        given.markdown.write_text(text, encoding="utf-8")
    print(text)
    return 0


def measure(given: argparse.Namespace, policy: PrivacyPolicy, called: str) -> FairnessReport:
    """Everything that the command's arguments ask for.

    Raises:
        StreetblurError: data are missing or wrong.
        ServingError: the models are.
    """
    _check_arguments(given)
    cv2.setNumThreads(1)
    data = given.data or data_root()
    crops = read_crops(data)
    # before anything slow: a size that would enlarge a crop is refused
    _refuse_enlarging(crops, given.sizes)
    photographs, costs = _photographs(data, policy, given) if given.photographs else ((), ())
    backgrounds = choose_backgrounds(
        data,
        given.backgrounds,
        given.sizes,
        given.places,
        face_detectors(policy),
        width=given.width,
    )
    trial = _trial(given, crops, backgrounds, policy)
    check = _check(crops, backgrounds, policy, given.check)
    names = [one.name for one in backgrounds]
    return make_report(
        trial,
        crops,
        about_run(trial, len(crops), names, policy, called),
        policy,
        photographs=photographs,
        costs=costs,
        check=check,
    )


def _trial(
    given: argparse.Namespace,
    crops: Sequence[FaceCrop],
    backgrounds: Sequence[Background],
    policy: PrivacyPolicy,
) -> Trial:
    stored = given.output / VERDICTS
    origin = origin_of(policy, digest_of_scenes(crops, backgrounds))
    if not given.reuse:
        trial = run_trial(crops, backgrounds, policy, origin=origin, processes=given.processes)
        trial.write(stored)
        return trial
    trial = Trial.read(stored)
    if trial.origin != origin:
        raise ConfigurationError(
            "the verdicts are of another run: other faces, sizes, places, policy, models or "
            "runtime",
            where=str(stored),
            fix="Run without --reuse",
        )
    return trial


def _photographs(
    data: Path, policy: PrivacyPolicy, given: argparse.Namespace
) -> tuple[tuple[OcclusionRecall, ...], tuple[ThresholdCost, ...]]:
    cached = open_cache(given.cache, policy)
    found = with_candidates(find_sets(data / "dev", SETS), cached, given.processes)
    return (
        tuple(
            row
            for name, pictures in found.items()
            for row in recalls_by_occlusion(name, pictures, policy)
        ),
        tuple(
            row
            for name, pictures in found.items()
            for row in threshold_costs(name, pictures, policy, LOWER)
        ),
    )


def _check(
    crops: Sequence[FaceCrop],
    backgrounds: Sequence[Background],
    policy: PrivacyPolicy,
    count: int,
) -> Check | None:
    if not count:
        return None
    planned = list(
        plan_scenes(len(crops), [len(one.places) for one in backgrounds], len(CONDITIONS))
    )
    detectors = load_detectors(policy.models.model_dump(), floor=dict.fromkeys(LABELS, GRAPH_FLOOR))
    spread = planned[:: max(1, len(planned) // count)][:count]
    return check_redaction(Stage(crops, backgrounds), spread, policy, detectors)


def _check_arguments(given: argparse.Namespace) -> None:
    wrong = [
        f"--{name} {value}"
        for name, value, least in (
            ("sizes", min(given.sizes), 8),
            ("backgrounds", given.backgrounds, 1),
            ("places", given.places, 1),
            ("width", given.width, 200),
            ("processes", given.processes, 1),
            ("check", given.check, 0),
        )
        if value < least
    ]
    if wrong or len(set(given.sizes)) < len(given.sizes):
        raise ConfigurationError(
            f"{', '.join(wrong)} is too small" if wrong else "a size is given twice",
            where="arguments",
            fix="Sizes are heights of faces in pixels, from 8 on, each once",
        )


def _refuse_enlarging(crops: Sequence[FaceCrop], sizes: Sequence[int]) -> None:
    smallest = min(crops, key=lambda crop: crop.face_height)
    if max(sizes) > smallest.face_height:
        raise ConfigurationError(
            f"its face is {smallest.face_height:.0f} px high and would be enlarged to "
            f"{max(sizes)} px",
            where=smallest.name,
            fix="Ask for smaller --sizes",
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evaluation.fairness", description=__doc__)
    parser.add_argument("--data", type=Path, help="data folder (STREETBLUR_DATA)")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[16, 24, 48], help="heights of faces, px"
    )
    parser.add_argument("--policy", default="default", help="what is redacted")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("fairness"),
        help="folder for fairness.json and the verdicts",
    )
    parser.add_argument("--markdown", type=Path, help="write the page to this file")
    parser.add_argument("--backgrounds", type=int, default=5, help="street pictures")
    parser.add_argument("--places", type=int, default=5, help="in each picture, for each size")
    parser.add_argument(
        "--width",
        type=int,
        default=WIDTH,
        help="of the scenes, px; those of up to 800 px are also seen at double size",
    )
    parser.add_argument(
        "--check", type=int, default=60, help="scenes that are also redacted and judged"
    )
    parser.add_argument(
        "--no-photographs",
        dest="photographs",
        action="store_false",
        help="leave out the annotated photographs with masks",
    )
    parser.add_argument(
        "--reuse", action="store_true", help="take the verdicts of the last run in --output"
    )
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="candidates, kept")
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 8))
    return parser


if __name__ == "__main__":
    sys.exit(main())
