"""Choose thresholds and dilation: each setting redacts real pictures, and the scorer judges them.

``python -m evaluation.sweep --sets facemask_kaggle --vary face.threshold=0.15,0.2``

Detection is the slow part and depends on no policy, so each picture's candidates are found once
and kept in a cache (``evaluation/candidates.py``). What
follows is the product's own: decide, redact, re-encode; then the scorer on the files.

Thresholds are chosen on ``train/`` (the default). ``dev/`` is for the report at the end.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
from rich.console import Console

from evaluation.annotations import LABEL_FILE, LabelledPicture, data_root, read_annotations
from evaluation.candidates import DEFAULT_CACHE, CandidateCache, open_cache
from evaluation.judge import JudgedPicture, judge_file
from evaluation.summary import COUNTED_FROM_PX, SetScore, summarise
from pipeline.encode import redact_image
from pipeline.errors import ConfigurationError, StreetblurError
from pipeline.images import ImageLimits, inspect_image
from pipeline.noise import NoiseKey
from pipeline.policy import PrivacyPolicy, load_policy, parse_policy
from pipeline.stages.decide import decide
from pipeline.stages.redact import kept_areas
from serving.geometry import Candidate

_KEY = bytes(32)  # the noise matters to no figure: one key, so that settings compare


@dataclass(frozen=True, slots=True)
class Setting:
    """One point of the sweep: dotted policy fields and their values."""

    values: tuple[tuple[str, float], ...]

    def applied(self, policy: PrivacyPolicy) -> PrivacyPolicy:
        """``policy`` with these values.

        Raises:
            ConfigurationError: no such field, or a wrong value.
        """
        content = policy.model_dump(mode="json")
        for field, value in self.values:
            *path, last = field.split(".")
            place = content
            for part in path:
                place = place.get(part, {}) if isinstance(place, dict) else {}
            if not isinstance(place, dict) or last not in place:
                raise ConfigurationError("the policy has no such field", where=field)
            place[last] = int(value) if value.is_integer() else value
        return parse_policy(json.dumps(content), f"policy with {self}")

    def __str__(self) -> str:
        return " ".join(f"{field}={value:g}" for field, value in self.values) or "as it stands"


def settings_of(vary: Sequence[str]) -> list[Setting]:
    """Every combination of ``FIELD=V1,V2,...`` arguments.

    Raises:
        ConfigurationError: not of that form.
    """
    axes: list[list[tuple[str, float]]] = []
    for argument in vary:
        field, _, values = argument.partition("=")
        try:
            axes.append([(field, float(value)) for value in values.split(",")])
        except ValueError:
            raise ConfigurationError(
                "not of the form FIELD=NUMBER,NUMBER,...",
                where=argument,
                fix="For instance --vary face.threshold=0.15,0.2",
            ) from None
    return [Setting(tuple(point)) for point in itertools.product(*axes)]


def judge_setting(
    policy: PrivacyPolicy,
    pictures: Sequence[tuple[LabelledPicture, Sequence[Candidate]]],
    originals: Path,
) -> list[JudgedPicture]:
    """Redact ``pictures`` of the labelled folder ``originals`` under ``policy`` and judge them."""
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="streetblur-sweep-") as folder:
        for picture, candidates in pictures:
            data = (originals / picture.image).read_bytes()
            info = inspect_image(data, ImageLimits())
            boxes = kept_areas(decide(candidates, policy, *info.upright_size), policy)
            noise = NoiseKey(_KEY, picture.image)
            image = redact_image(data, info, boxes, noise=noise, policy=policy)
            path = Path(folder) / picture.image
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image.data)
            verdicts.append(judge_file(picture, originals, Path(folder)))
            path.unlink()
    return verdicts


def sweep(
    settings: Sequence[Setting],
    policy: PrivacyPolicy,
    folders: Sequence[Path],
    cached: CandidateCache,
    processes: int,
) -> Iterator[tuple[Setting, list[SetScore]]]:
    """The scores of every labelled folder under every setting, setting by setting."""
    labelled = {folder: read_annotations(folder / LABEL_FILE) for folder in folders}
    with ProcessPoolExecutor(
        processes, mp_context=get_context("forkserver"), initializer=_one_thread
    ) as pool:
        for setting in settings:
            rules = setting.applied(policy)
            running = {
                folder: [
                    pool.submit(
                        judge_setting,
                        rules,
                        [(one, cached.candidates(folder / one.image)) for one in part],
                        folder,
                    )
                    for part in (pictures[start::8] for start in range(8))
                    if part
                ]
                for folder, pictures in labelled.items()
            }
            yield (
                setting,
                [
                    summarise(folder.name, [v for future in parts for v in future.result()])
                    for folder, parts in running.items()
                ],
            )


def line(score: SetScore) -> str:
    """Recall of boxes of at least 12 px, and changed outside: mean and pooled."""
    row = max(
        (r for r in score.recalls if r.group == f">={COUNTED_FROM_PX} px"),
        key=lambda r: r.boxes,
        default=None,
    )
    recall = f"{row.label} {row.recall:6.1%}" if row else "no boxes"
    outside = f"{score.changed_outside_mean:5.2%} mean {score.changed_outside_pooled:5.2%} pooled"
    unrelated = f", {len(score.unrelated)} unrelated" if score.unrelated else ""
    return f"{score.name}: {recall}, outside {outside}{unrelated}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.sweep", description=__doc__)
    parser.add_argument("--sets", nargs="+", required=True, help="labelled folders")
    parser.add_argument("--data", type=Path, help="their root (default: the train data)")
    parser.add_argument("--policy", default="default", help="what is not varied")
    parser.add_argument("--vary", action="append", default=[], metavar="FIELD=V1,V2")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 8))
    given = parser.parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    try:
        root = given.data or data_root() / "train"
        folders = [root / name for name in given.sets]
        policy = load_policy(given.policy)
        settings = settings_of(given.vary)
        for setting in settings:
            setting.applied(policy)
        cached = open_cache(given.cache, policy)
        paths = [f / p.image for f in folders for p in read_annotations(f / LABEL_FILE)]
        cached.fill(paths, given.processes)
        results = []
        for setting, scores in sweep(settings, policy, folders, cached, given.processes):
            console.print(str(setting), style="bold")
            for score in scores:
                console.print(f"  {line(score)}")
            results.append(
                {"setting": dict(setting.values), "sets": [asdict(score) for score in scores]}
            )
    except StreetblurError as error:
        Console(stderr=True).print(str(error), style="red", markup=False)
        return 2
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


def _one_thread() -> None:
    cv2.setNumThreads(1)


if __name__ == "__main__":
    sys.exit(main())
