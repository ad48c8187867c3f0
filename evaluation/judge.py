"""One output picture judged against its original and its labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evaluation.annotations import AnnotationError, LabelledPicture
from evaluation.changed import ChangedOutside, changed_outside, outside_map
from evaluation.obscured import is_obscured, obscured_share
from evaluation.picture import PictureUnreadable, Pixels, read_upright, same_scene
from serving.geometry import Label

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
    """

    label: Label
    height: float
    occlusion: str | None
    share: float
    obscured: bool


@dataclass(frozen=True, slots=True)
class JudgedPicture:
    """The verdict on one picture; ``changed`` is None unless the status is ``judged``."""

    image: str
    status: Status
    boxes: tuple[JudgedBox, ...]
    changed: ChangedOutside | None


def judge_file(picture: LabelledPicture, originals: Path, outputs: Path) -> JudgedPicture:
    """Judge one picture of a labelled folder.

    Args:
        picture: the labels.
        originals: folder that the label's path is relative to, or the picture's own folder.
        outputs: folder with the same layout; the output keeps its original's relative path.

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
        return without_pixels(picture, "not_published")
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
        return without_pixels(picture, "unrelated")
    return judge(picture, source, output)


def judge(picture: LabelledPicture, source: Pixels, output: Pixels) -> JudgedPicture:
    """Judge decoded pictures, both uint8 [H, W, 3] RGB and upright."""
    every_box = [item.box for item in picture.boxes]
    outside = outside_map(picture.width, picture.height, every_box)
    if not same_scene(source, output, outside):
        return without_pixels(picture, "unrelated")
    boxes: list[JudgedBox] = []
    for item in picture.boxes:
        if item.ignore:
            continue
        share = obscured_share(source, output, item.box)
        boxes.append(
            JudgedBox(item.label, item.box.height, item.occlusion, share, is_obscured(share))
        )
    changed = changed_outside(source, output, every_box)
    return JudgedPicture(picture.image, "judged", tuple(boxes), changed)


def without_pixels(picture: LabelledPicture, status: Status) -> JudgedPicture:
    """The verdict where there is no output to compare: nothing is obscured."""
    boxes = tuple(
        JudgedBox(item.label, item.box.height, item.occlusion, 0.0, False)
        for item in picture.boxes
        if not item.ignore
    )
    return JudgedPicture(picture.image, status, boxes, None)


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
