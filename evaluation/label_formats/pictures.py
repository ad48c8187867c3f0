"""The pictures that label files speak of: where they lie and how large they are."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from evaluation.annotations import AnnotationError

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

_ORIENTATION = 0x0112
_QUARTER_TURNS = frozenset({5, 6, 7, 8})


def pictures_in(folder: Path) -> list[Path]:
    """The pictures directly in ``folder`` by their suffix, by name; none if it is missing."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height once turned as EXIF says, from the header alone.

    Raises:
        AnnotationError: missing, or not a picture.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION) in _QUARTER_TURNS
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise AnnotationError(
            f"the labelled picture cannot be read ({error})",
            where=str(path),
            fix="Put the picture there, or take it out of the labels",
        ) from error
    return (height, width) if turned else (width, height)


def checked_size(path: Path, declared: tuple[int, int] | None, where: str) -> tuple[int, int]:
    """The upright size, which must be the declared one where the label file has one.

    Raises:
        AnnotationError: they differ, or the picture cannot be read.
    """
    size = upright_size(path)
    if declared is None or declared == size:
        return size
    fix = ""
    if declared == size[::-1]:
        fix = "Labels must be for the picture as its EXIF orientation turns it"
    raise AnnotationError(
        f"the labels are for {declared[0]}x{declared[1]} pixels, the upright picture "
        f"{path.name} has {size[0]}x{size[1]}",
        where=where,
        fix=fix,
    )


def inside(folder: Path, picture: Path, where: str) -> str:
    """The picture's path relative to the labelled folder, with forward slashes.

    Raises:
        AnnotationError: it lies elsewhere.
    """
    if ".." in picture.parts or not picture.is_relative_to(folder):
        raise AnnotationError(f"the picture {picture} is not in {folder}", where=where)
    return picture.relative_to(folder).as_posix()
