"""Do two runtimes find the same things, and does recall depend on which is used?

``python -m evaluation.agreement [--runtime auto] [--every N] [--sets NAME ...] [--markdown FILE]``

Every labelled picture of dev is judged by ONNX Runtime in float32 and by the other runtime. Each
detection of the one that the default policy would redact is matched with the detection of the
other that is most like it. Both are then redacted under the default policy, and the scorer judges
the outputs.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from evaluation.annotations import LABEL_FILE, LabelledPicture, data_root, read_annotations
from evaluation.judge import JudgedPicture
from evaluation.markdown import table
from evaluation.sweep import judge_setting
from pipeline.decode import decode_upright
from pipeline.errors import StreetblurError
from pipeline.images import ImageLimits, inspect_image
from pipeline.policy import DEFAULT_POLICY, ClassPolicy, PrivacyPolicy, load_policy
from serving.backends.local import LocalBackend
from serving.backends.runtimes.choice import RUNTIMES, runtime_in_force
from serving.contracts import GRAPH_FLOOR
from serving.detectors import DetectorSet
from serving.errors import ServingError
from serving.geometry import LABELS, Candidate, FloatArray, Label, pairwise_iou

SAME = 0.5
"""Detections of one runtime and the other that overlap by at least this IoU are one."""

CLOSE_IOU, CLOSE_SCORE = 0.98, 0.01


@dataclass(slots=True)
class Agreement:
    """How one label's detections differ.

    Attributes:
        iou: of each detection of float32 with its match.
        shift: score of the match minus score in float32.
        lost: scores of detections of float32 of which the other has none that is redacted.
        new: the reverse.
    """

    iou: list[float] = field(default_factory=list)
    shift: list[float] = field(default_factory=list)
    lost: list[float] = field(default_factory=list)
    new: list[float] = field(default_factory=list)

    def add(
        self, ours: Sequence[Candidate], theirs: Sequence[Candidate], policy: ClassPolicy
    ) -> None:
        """Compare one picture's detections of one label; ``ours`` are those of float32."""
        overlap = pairwise_iou(_boxes(ours), _boxes(theirs))
        for row, candidate in enumerate(ours):
            if not _redacted(candidate, policy):
                continue
            best = _match(candidate, overlap[row], theirs)
            if best is None:
                self.lost.append(candidate.score)
                continue
            self.iou.append(float(overlap[row, best]))
            self.shift.append(theirs[best].score - candidate.score)
            if not _redacted(theirs[best], policy):
                self.lost.append(candidate.score)
        known = np.array([_redacted(c, policy) for c in ours], dtype=np.bool_)
        for column, candidate in enumerate(theirs):
            if _redacted(candidate, policy) and overlap[known, column].max(initial=0.0) < SAME:
                self.new.append(candidate.score)

    def row(self, label: Label) -> list[str]:
        """One line of the table."""
        if not self.iou:
            return [label, "0", *["-"] * 8]
        iou, shift = np.array(self.iou), np.abs(self.shift)
        close = float(np.mean((iou >= CLOSE_IOU) & (shift <= CLOSE_SCORE)))
        return [
            label,
            str(len(iou)),
            f"{np.median(iou):.3f}",
            f"{np.quantile(iou, 0.05):.3f}",
            f"{np.quantile(iou, 0.01):.3f}",
            f"{shift.mean():.4f} ({np.mean(self.shift):+.4f})",
            f"{np.quantile(shift, 0.99):.3f}",
            f"{shift.max():.3f}",
            f"{close:.1%}",
            f"{_scores(self.lost)} / {_scores(self.new)}",
        ]


HEAD = [
    "class",
    "detections",
    "IoU, median",
    "5 % below",
    "1 % below",
    "score shift, mean size (mean)",
    "99 %",
    "largest",
    f"IoU >= {CLOSE_IOU} and score within {CLOSE_SCORE}",
    "redacted only in float32 / only here (highest score)",
]


def _boxes(candidates: Iterable[Candidate]) -> FloatArray:
    return np.array([c.box.as_tuple() for c in candidates], np.float32).reshape(-1, 4)


def _match(candidate: Candidate, overlap: FloatArray, others: Sequence[Candidate]) -> int | None:
    """Which of ``others`` is ``candidate``: it overlaps enough, most, and is scored most alike.

    Both count, because one object may have several boxes, of several passes.
    """
    likeness = {
        index: float(iou) - abs(others[index].score - candidate.score)
        for index, iou in enumerate(overlap)
        if iou >= SAME
    }
    return max(likeness, key=likeness.__getitem__, default=None)


def _redacted(candidate: Candidate, policy: ClassPolicy) -> bool:
    return candidate.score >= policy.threshold_at(candidate.box.height)


def _scores(scores: Sequence[float]) -> str:
    return f"{len(scores)} ({max(scores):.2f})" if scores else "0"


def _detected(
    detectors: DetectorSet, folder: Path, picture: LabelledPicture
) -> tuple[Candidate, ...]:
    data = (folder / picture.image).read_bytes()
    upright = decode_upright(data, inspect_image(data, ImageLimits()))
    return detectors.detect(upright).candidates


def _flips(
    before: Sequence[JudgedPicture], after: Sequence[JudgedPicture], log: Console
) -> tuple[int, int]:
    """Labelled boxes that are obscured only before, and only after; each is told to ``log``."""
    lost = gained = 0
    for one, other in zip(before, after, strict=True):
        for old, new in zip(one.boxes, other.boxes, strict=True):
            lost += old.obscured and not new.obscured
            gained += new.obscured and not old.obscured
            if old.obscured != new.obscured:
                log.print(
                    f"{one.image}: {old.label} of {old.height:.0f} px, "
                    f"{old.share:.0%} obscured in float32, {new.share:.0%} here",
                    markup=False,
                )
    return lost, gained


def compare_set(
    folder: Path,
    every: int,
    sides: tuple[DetectorSet, DetectorSet],
    policy: PrivacyPolicy,
    agreements: dict[Label, Agreement],
) -> list[str]:
    """Compare one labelled folder, add to ``agreements``; its line of the table of recall."""
    pictures = read_annotations(folder / LABEL_FILE)[::every]
    judged: tuple[list[JudgedPicture], list[JudgedPicture]] = ([], [])
    for picture in pictures:
        found = [_detected(side, folder, picture) for side in sides]
        for label in LABELS:
            ours, theirs = ([c for c in side if c.label == label] for side in found)
            agreements[label].add(ours, theirs, getattr(policy, label))
        for verdicts, candidates in zip(judged, found, strict=True):
            verdicts += judge_setting(policy, [(picture, candidates)], folder)
    boxes = sum(len(verdict.boxes) for verdict in judged[0])
    lost, gained = _flips(*judged, Console(stderr=True))
    obscured = [sum(b.obscured for v in side for b in v.boxes) for side in judged]
    changed = [
        sum(v.changed.changed for v in side if v.changed)
        / max(1, sum(v.changed.outside for v in side if v.changed))
        for side in judged
    ]
    recall = [f"{n / boxes:.2%}" if boxes else "-" for n in obscured]
    outside = [f"{share:.3%}" for share in changed]
    return [folder.name, str(len(pictures)), str(boxes), *recall, f"{lost} / {gained}", *outside]


def report(runtime: str, every: int, lines: list[list[str]], found: dict[Label, Agreement]) -> str:
    """The Markdown that ``main`` prints."""
    names = ("onnxruntime", "openvino", "numpy", "opencv-python-headless")
    head = ["set", "pictures", "boxes", "recall, float32", "recall, here", "lost / gained"]
    head += ["changed outside, float32", "here"]
    agreement = table([HEAD, *(item.row(label) for label, item in found.items())])
    return (
        f"`{runtime}` against `onnxruntime f32`, "
        f"{'every picture' if every == 1 else f'every {every}th picture'}; "
        f"{platform.machine()}, {os.cpu_count()} cores; "
        f"{', '.join(f'{name} {version(name)}' for name in names)}\n\n"
        f"{agreement}\n\n{table([head, *lines])}\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.agreement", description=__doc__)
    parser.add_argument("--runtime", choices=RUNTIMES, default="auto")
    parser.add_argument("--every", type=int, default=1, help="take every Nth picture")
    parser.add_argument("--sets", nargs="+", help="labelled folders (default: all)")
    parser.add_argument("--data", type=Path, help="their root (default: the dev data)")
    parser.add_argument("--markdown", type=Path, help="also write the tables to this file")
    given = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    try:
        policy = load_policy(DEFAULT_POLICY)
        floor: dict[Label, float] = dict.fromkeys(LABELS, GRAPH_FLOOR)
        versions = policy.models.model_dump()
        sides = (
            DetectorSet(LocalBackend(runtime="onnxruntime"), versions, floor),
            DetectorSet(LocalBackend(runtime=given.runtime), versions, floor),
        )
        root = given.data or data_root() / "dev"
        folders = sorted(path.parent for path in root.glob(f"*/{LABEL_FILE}"))
        found: dict[Label, Agreement] = {label: Agreement() for label in LABELS}
        lines = []
        for folder in folders:
            if given.sets is None or folder.name in given.sets:
                lines.append(compare_set(folder, given.every, sides, policy, found))
                Console(stderr=True).print(" ".join(lines[-1]), markup=False)
    except (StreetblurError, ServingError) as error:
        Console(stderr=True).print(str(error), style="red", markup=False)
        return 2
    text = report(runtime_in_force(given.runtime), given.every, lines, found)
    print(text)
    if given.markdown:
        given.markdown.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
