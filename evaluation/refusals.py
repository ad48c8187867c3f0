"""Does the check of outputs refuse good ones, and does it miss bad ones?

``python -m evaluation.refusals [--data DIR] [--sets NAME ...] [--every N] [--secrets N]``

Labelled pictures are redacted and checked as before publishing, good ones decoded as a whole, too.
Good outputs: the labelled boxes as the default policy has them; each found twice, as detectors do;
in each mode; at other strengths; with three random boxes that overlap them, of any mode. Forged
ones, one labelled box at a time: nothing redacted, cells of an eighth and a quarter of the policy's
size, a box left out among others that overlap it, nothing redacted under a hundred boxes, colours
left, the negative. Ends with 1 if a good output is refused, with 2 if it could not measure.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, get_args
from unittest import mock

import numpy as np

from evaluation.annotations import (
    LABEL_FILE,
    AnnotationError,
    LabelledPicture,
    data_root,
    read_annotations,
)
from evaluation.markdown import table
from pipeline import redaction
from pipeline.encode import redact_image
from pipeline.errors import ImageRefused, OutputRejected, StreetblurError
from pipeline.images import ImageInfo, ImageLimits, inspect_image
from pipeline.jpeg import coverage, splice
from pipeline.jpeg.dct import DECODED
from pipeline.noise import NoiseKey
from pipeline.output_check import check_output
from pipeline.policy import DEFAULT_POLICY, Style, load_policy
from pipeline.redaction import RedactionBox
from serving.errors import ServingError

POLICY = load_policy(DEFAULT_POLICY)
MODES: tuple[str, ...] = get_args(Style.model_fields["mode"].annotation)
SIZES = ((0, "< 20 px"), (20, "20-47 px"), (48, "48-99 px"), (100, "100 px and more"))
LEAST_SIDE = 8
NEIGHBOURS = (0.75, 0.85)
Counts = Counter[tuple[str, str, bool]]


@contextmanager
def smaller_cells(times: int) -> Iterator[None]:
    """Whoever redacts now takes cells that are ``times`` smaller."""
    right = redaction._cell_px

    def smaller(width: int, height: int, strength: float) -> int:
        return max(right(width, height, strength) // times, 1)

    with mock.patch.object(redaction, "_cell_px", smaller):
        yield


@contextmanager
def colours_left() -> Iterator[None]:
    """Whoever redacts a JPEG now redacts brightness alone."""

    def brightness(planes: Sequence[redaction.Plane], *rest: Any) -> None:
        redaction.redact_planes([one for one in planes if one.channel in (None, 0)], *rest)

    with (
        mock.patch.object(splice, "redact_planes", brightness),
        mock.patch.object(splice, "block_uses", _everything),
    ):
        yield


@contextmanager
def negatives() -> Iterator[None]:
    """Whoever redacts a JPEG now shows its negative in the box."""

    def inverted(
        planes: Sequence[redaction.Plane], boxes: Sequence[RedactionBox], *rest: Any
    ) -> None:
        redaction.redact_planes(planes, boxes, *rest)
        for plane, box in itertools.product(planes, boxes):
            rows = slice(
                max(box.y1 // plane.step_y - plane.top, 0), box.y2 // plane.step_y - plane.top
            )
            columns = slice(
                max(box.x1 // plane.step_x - plane.left, 0), box.x2 // plane.step_x - plane.left
            )
            plane.out[rows, columns] = 255 - plane.source[rows, columns]

    with (
        mock.patch.object(splice, "redact_planes", inverted),
        mock.patch.object(splice, "block_uses", _everything),
    ):
        yield


def _everything(*arguments: Any) -> Any:
    """Every block is decoded: what is left out of the redaction shows as it was."""
    return [np.full_like(one, DECODED) for one in coverage.block_uses(*arguments)]


class _Picture:
    """One labelled picture; ``boxes`` are the labelled ones as the policy has them.

    Raises:
        AnnotationError: the file that a line of ``file`` names cannot be read.
        ImageRefused: it is no picture that the pipeline takes.
    """

    def __init__(self, file: Path, labels: LabelledPicture) -> None:
        self.path = file.parent / labels.image
        try:
            self.data = self.path.read_bytes()
        except OSError as error:
            raise AnnotationError(
                f"{labels.image} cannot be read ({error.strerror})",
                where=str(file),
                fix="Put the picture there, or take its line out",
            ) from error
        self.info: ImageInfo = inspect_image(self.data, ImageLimits())
        self.boxes = [
            RedactionBox.around(one.box, POLICY.for_label(one.label).style, one.label)
            for one in labels.boxes
        ]

    def refused(
        self,
        written: Sequence[RedactionBox],
        asked: Sequence[RedactionBox],
        writer: Callable[[], AbstractContextManager[None]] = nullcontext,
        *,
        secret: int = 0,
        whole: bool = False,
    ) -> bool:
        """Whether the check refuses an output of ``written`` boxes where ``asked`` are due.

        Args:
            writer: within it, the output is written.
            secret: number of the secret that its noise is drawn from.
            whole: whether the output is decoded as a whole, too.
        """
        noise = NoiseKey(b"a secret of the measurement %8d" % secret, self.path.name)
        with writer():
            made = redact_image(self.data, self.info, written, noise=noise, policy=POLICY)
        try:
            check_output(
                self.data, self.info, made.data, asked, POLICY, spliced=made.spliced, whole=whole
            )
        except OutputRejected:
            return True
        return False


def size_of(box: RedactionBox) -> str:
    """In which row of :data:`SIZES` a box is, by its shorter side."""
    side = min(box.x2 - box.x1, box.y2 - box.y1)
    return next(name for least, name in reversed(SIZES) if side >= least)


def styled(boxes: Sequence[RedactionBox], **changes: object) -> list[RedactionBox]:
    """``boxes`` with some of their style changed."""
    return [
        RedactionBox(*one.area, one.style.model_copy(update=changes), one.label) for one in boxes
    ]


def hostile(picture: _Picture, draw: random.Random) -> list[RedactionBox]:
    """The labelled boxes and three others over them, of any size, mode, strength and noise."""
    boxes = list(picture.boxes)
    for _ in range(3):
        near = draw.choice(picture.boxes).area if picture.boxes else (0, 0, 100, 100)
        width, height = (int(draw.choice([8, 20, 40, 80, 160, 300]) * k) for k in (1, 0.8))
        x = int(draw.uniform(near[0] - width, near[2]))
        y = int(draw.uniform(near[1] - height, near[3]))
        style = Style.model_validate(
            {
                "mode": draw.choice(MODES),
                "strength": draw.choice([0.1, 0.2, 0.4, 1, 2]),
                "noise": draw.choice([0, 6, 20]),
                "feather": draw.choice([0, 0.03, 0.15, 0.5]),
            }
        )
        boxes.append(RedactionBox(x, y, x + width, y + height, style, "face"))
    return boxes


def found_twice(boxes: Sequence[RedactionBox], draw: random.Random) -> list[RedactionBox]:
    """``boxes``, and each as a model finds it at another resolution: up to a tenth off."""

    def moved(one: RedactionBox) -> RedactionBox:
        width, height = one.x2 - one.x1, one.y2 - one.y1
        x1, y1, x2, y2 = (
            round(edge + draw.uniform(-0.1, 0.1) * side)
            for edge, side in zip(one.area, (width, height, width, height), strict=True)
        )
        return one.moved((x1, y1, x2, y2))

    return [box for one in boxes for box in (one, moved(one))]


def measure_good(picture: _Picture, draw: random.Random, counts: Counts, secrets: int) -> None:
    """Count good outputs that are refused."""
    kinds: dict[str, list[RedactionBox]] = {}
    if picture.boxes:
        kinds = {mode: styled(picture.boxes, mode=mode) for mode in MODES}
        kinds["blur, each box found twice"] = found_twice(picture.boxes, draw)
        kinds |= {f"blur, strength {k}": styled(picture.boxes, strength=k) for k in (0.1, 1, 2)}
    kinds["with 3 random boxes of any style"] = hostile(picture, draw)
    for kind, boxes in kinds.items():
        largest = max(boxes, key=lambda one: min(one.x2 - one.x1, one.y2 - one.y1))
        for secret in range(secrets):
            refused = picture.refused(boxes, boxes, secret=secret, whole=True)
            counts[kind, size_of(largest), refused] += 1


def forgeries(
    box: RedactionBox,
) -> Iterator[tuple[str, list[RedactionBox], list[RedactionBox], Any]]:
    """Each forged output: its name, the boxes that are written and asked for, and the writer."""
    draw = random.Random(1)
    width, height = box.x2 - box.x1, box.y2 - box.y1
    corner = Style(strength=0.1, feather=0)
    tiny = RedactionBox(0, 0, 1, 1, corner, box.label)

    def moved(x: float, y: float) -> RedactionBox:
        left, top = int(box.x1 + x * width), int(box.y1 + y * height)
        return box.moved((left, top, left + width, top + height))

    many = [moved(draw.uniform(-0.4, 0.4), draw.uniform(-0.4, 0.4)) for _ in range(100)]
    yield "nothing redacted", [tiny], [box, tiny], nullcontext
    yield "nothing redacted, 100 boxes", [tiny], [*many, tiny], nullcontext
    yield "cells of 1/8", [box], [box], lambda: smaller_cells(8)
    yield "cells of 1/4", [box], [box], lambda: smaller_cells(4)
    yield "colours left", [box], [box], colours_left
    yield "negative", [box], [box], negatives
    for shift in NEIGHBOURS:
        beside = [moved(shift, 0), moved(-shift, 0)]
        yield f"left out between boxes {shift} beside it", beside, [box, *beside], nullcontext


def measure_forged(picture: _Picture, counts: Counts) -> None:
    """Count forged outputs that pass."""
    for box in picture.boxes:
        if min(box.x2 - box.x1, box.y2 - box.y1) < LEAST_SIDE:
            continue
        for name, written, asked, writer in forgeries(box):
            if name == "colours left" and picture.info.mode != "RGB":
                continue
            counts[name, size_of(box), not picture.refused(written, asked, writer)] += 1


def rows_of(counts: Counts, head: str) -> list[list[str]]:
    """A table: how many of how many, by kind and size."""
    rows = [[head, *(name for _, name in SIZES)]]
    for kind in dict.fromkeys(kind for kind, _, _ in counts):
        cells = [(counts[kind, n, True], counts[kind, n, False]) for _, n in SIZES]
        rows.append([kind, *(f"{yes} of {yes + no}" if yes + no else "-" for yes, no in cells)])
    return rows


def label_files(folder: Path, sets: Sequence[str] | None) -> list[Path]:
    """The label files of the folders in ``folder``, or of those named in ``sets``.

    Raises:
        AnnotationError: there are none.
    """
    files = sorted(folder.glob(f"*/{LABEL_FILE}"))
    files = [one for one in files if not sets or one.parent.name in sets]
    if not files:
        named = f" named {' or '.join(sets)}" if sets else ""
        raise AnnotationError(
            f"there is no folder{named} with an {LABEL_FILE}",
            where=str(folder),
            fix="Give the folder of labelled folders as --data, and names that are there as --sets",
        )
    return files


def measure(files: Sequence[Path], every: int, secrets: int = 1) -> tuple[Counts, Counts, str]:
    """Good outputs by whether they are refused, forged ones by whether they pass, and a remark.

    Args:
        every: forged ones are of every so many pictures alone.
        secrets: good ones are redacted with so many secrets each.

    Raises:
        AnnotationError: a label file is wrong, or a picture that it names is not there.
    """
    good: Counts = Counter()
    forged: Counts = Counter()
    draw, skipped = random.Random(5), 0
    labelled = [(file, picture) for file in files for picture in read_annotations(file)]
    for number, (file, labels) in enumerate(labelled):
        try:
            picture = _Picture(file, labels)
            measure_good(picture, draw, good, secrets)
            if picture.info.format == "jpeg" and number % every == 0:
                measure_forged(picture, forged)
        except ImageRefused:
            skipped += 1
    return good, forged, f"{len(labelled)} pictures, {skipped} that cannot be read"


def positive(text: str) -> int:
    """A whole number from 1 on, as an argument has it.

    Raises:
        argparse.ArgumentTypeError: it is something else.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(prog="evaluation.refusals", description=__doc__)
    parser.add_argument("--data", type=Path, default=data_root() / "dev")
    parser.add_argument("--sets", nargs="*", help="folders under DIR; by default all labelled")
    parser.add_argument(
        "--every", type=positive, default=1, help="forge for every n-th picture alone"
    )
    parser.add_argument(
        "--secrets", type=positive, default=1, help="redact good outputs with so many secrets each"
    )
    options = parser.parse_args(argv)
    try:
        good, forged, remark = measure(
            label_files(options.data, options.sets), options.every, options.secrets
        )
    except (StreetblurError, ServingError) as error:
        print(error, file=sys.stderr)
        return 2
    print(table(rows_of(good, "good outputs refused (size: the largest box)")))
    print()
    print(table(rows_of(forged, "forged outputs published")))
    print(f"\n{remark}")
    return 1 if any(refused for _, _, refused in good) else 0


if __name__ == "__main__":
    raise SystemExit(main())
