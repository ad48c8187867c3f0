"""One output picture judged against its original and its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from evaluation.annotations import AnnotationError, LabelledBox, LabelledPicture
from evaluation.changed import ChangedOutside, changes, outside_map
from evaluation.conditions import Group, conditions
from evaluation.obscured import is_obscured, obscured_share
from evaluation.picture import PictureUnreadable, Pixels, read_upright, same_scene
from serving.geometry import Box, Label, pairwise_iou

# judged: both pictures were compared.
# not_published: there is no output; its boxes are counted apart, neither found nor missed.
# unrelated: the output cannot be decoded, has another size or shows another scene; all its
# boxes count as missed, and it has no changed-outside share.
Status = Literal["judged", "not_published", "unrelated"]


@dataclass(frozen=True, slots=True)
class JudgedBox:
    """One labelled box that counts.

    Attributes:
        label: its class.
        height: in pixels.
        occlusion: as annotated, or None.
        share: share of its pixels that are obscured, 0..1.
        obscured: whether the box counts as obscured.
        pixels: its area, in pixels.
        overlap: the largest IoU with what was redacted, 0..1: see :func:`judge`.
        groups: names and values of its conditions, see :mod:`evaluation.conditions`.
        box: its place, in pixels of the upright picture.
    """

    label: Label
    height: float
    occlusion: str | None
    share: float
    obscured: bool
    pixels: float = 0.0
    overlap: float = 0.0
    groups: tuple[Group, ...] = ()
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class JudgedPicture:
    """The verdict on one picture.

    Attributes:
        image: as labelled.
        status: whether it could be judged.
        boxes: the labelled boxes that count.
        changed: what changed outside; None unless the status is ``judged``.
        changed_pixels: all that changed, inside boxes and outside.
        false_regions: connected areas that changed and touch no labelled or ignored box.
    """

    image: str
    status: Status
    boxes: tuple[JudgedBox, ...]
    changed: ChangedOutside | None
    changed_pixels: int = 0
    false_regions: int = 0


def judge_file(
    picture: LabelledPicture,
    originals: Path,
    outputs: Path,
    *,
    set_name: str | None = None,
    redacted: Sequence[Box] | None = None,
) -> JudgedPicture:
    """Judge one picture of a labelled folder.

    Args:
        picture: the labels.
        originals: folder that the label's path is relative to, or the picture's own folder.
        outputs: folder with the same layout; the output keeps its original's relative path.
        set_name: see :func:`judge`.
        redacted: see :func:`judge`.

    Raises:
        PictureUnreadable: the original cannot be read (an output that cannot is ``unrelated``).
        AnnotationError: the original's upright size is not the labelled one.
    """
    source_path, output_path = locate(originals, picture.image), locate(outputs, picture.image)
    if source_path is None:
        raise PictureUnreadable(
            "the labelled picture is missing",
            where=str(originals / picture.image),
            fix="Give the folder that holds the label file, or the one that holds the pictures",
        )
    if output_path is None:
        return _without_output(picture, "not_published", None, set_name)
    source = read_upright(source_path)
    if source.shape[:2] != (picture.height, picture.width):
        raise AnnotationError(
            f"the labels are for {picture.width}x{picture.height} pixels, the upright picture "
            f"has {source.shape[1]}x{source.shape[0]}",
            where=str(source_path),
        )
    try:
        output = read_upright(output_path)
    except PictureUnreadable:
        return _without_output(picture, "unrelated", source, set_name)
    return judge(picture, source, output, set_name=set_name, redacted=redacted)


def judge(
    picture: LabelledPicture,
    source: Pixels,
    output: Pixels,
    *,
    set_name: str | None = None,
    redacted: Sequence[Box] | None = None,
) -> JudgedPicture:
    """Judge decoded pictures, both uint8 [H, W, 3] RGB and upright.

    Args:
        picture: the labels.
        source: the original.
        output: what a tool made of it.
        set_name: of the set that the picture belongs to, for its conditions.
        redacted: the boxes that the tool found, before it grew them; they count for nothing but
            overlaps. Where a tool does not say, areas that changed are taken: grown boxes overlap
            less, and boxes side by side share an area.
    """
    every_box = [item.box for item in picture.boxes]
    outside = outside_map(picture.width, picture.height, every_box)
    if not same_scene(source, output, outside):
        return _without_output(picture, "unrelated", source, set_name)
    found = changes(source, output, every_box)
    counted = [item for item in picture.boxes if not item.ignore]
    overlaps = _overlaps(counted, found.regions if redacted is None else redacted)
    boxes = [
        _judged(item, obscured_share(source, output, item.box), overlap, source, set_name)
        for item, overlap in zip(counted, overlaps, strict=True)
    ]
    return JudgedPicture(
        picture.image, "judged", tuple(boxes), found.outside, found.changed, found.false_regions
    )


def _without_output(
    picture: LabelledPicture, status: Status, source: Pixels | None, set_name: str | None
) -> JudgedPicture:
    """The verdict where there is no output to compare: nothing is obscured."""
    boxes = [_judged(item, 0.0, 0.0, source, set_name) for item in picture.boxes if not item.ignore]
    return JudgedPicture(picture.image, status, tuple(boxes), None)


def _judged(
    item: LabelledBox, share: float, overlap: float, source: Pixels | None, set_name: str | None
) -> JudgedBox:
    return JudgedBox(
        label=item.label,
        height=item.box.height,
        occlusion=item.occlusion,
        share=share,
        obscured=is_obscured(share),
        pixels=item.box.width * item.box.height,
        overlap=overlap,
        groups=() if source is None else conditions(source, item, set_name),
        box=item.box,
    )


def _overlaps(items: Sequence[LabelledBox], regions: Sequence[Box]) -> list[float]:
    """The largest IoU of each object with any of ``regions``."""
    if not items or not regions:
        return [0.0] * len(items)
    ours, theirs = (
        np.array([box.as_tuple() for box in boxes], np.float32)
        for boxes in ([item.box for item in items], regions)
    )
    return [float(value) for value in pairwise_iou(ours, theirs).max(axis=1)]


def locate(folder: Path, image: str) -> Path | None:
    """The file for a label's ``image`` path under ``folder``.

    The label files say ``images/x.jpg``; a folder of pictures holds ``x.jpg``. So the path is
    tried as it stands, then without its first folder.
    """
    parts = Path(image).parts
    candidates = [folder / image]
    if len(parts) > 1:
        candidates.append(folder.joinpath(*parts[1:]))
    return next((path for path in candidates if path.is_file()), None)
