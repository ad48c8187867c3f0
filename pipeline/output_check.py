"""The last look at an output before it is published: read again, compared with its source."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.containers import png, tiff, webp, webp_stream
from pipeline.decode import Upright, decode_stored, full_level, upright_rgb
from pipeline.embedded import find_pictures
from pipeline.errors import ImageRefused, StreetblurError
from pipeline.images import ImageFormat, ImageInfo, ImageLimits, inspect_image, sniff_format
from pipeline.jpeg import rewrite, segments
from pipeline.jpeg.replaced import replaced
from pipeline.orientation import IntBox, to_upright
from pipeline.policy import PrivacyPolicy, Style
from pipeline.redaction import RedactionBox

# A tile whose fine detail is weaker than this (grey levels, RMS) has nothing to hide.
FLAT_RMS = 2.0
# A tile is still sharp when its fine detail keeps more than this share of its strength and looks
# like the source's. Untouched tiles have 1 and 1. Of 4,000 tiles of photographs none had both
# after a blur; a block's edge that falls on an edge of the source can come near.
MAX_DETAIL_GAIN = 0.5
MAX_CORRELATION = {"blur": 0.7, "pixelate": 0.9, "solid": 0.7}
_MIN_TILE_PIXELS = 36
_TILES_A_SIDE = 4
# In smaller tiles the noise looks like the source too often: 4 of 660 good outputs were refused
# with 6 px, none with 12 px (facemask_kaggle).
_SHORTEST_TILE = 12
_JPEG_START = re.compile(rb"\xff\xd8\xff")
# By chance there is one in 16 MB.
_MANY_STARTS = 100


class OutputRejected(StreetblurError):
    """An output failed its check and must not be published.

    Args:
        reason: stable machine-readable code, for instance ``embedded_picture``.
        what: one sentence for people.
    """

    def __init__(self, reason: str, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what, where=where, fix=fix)
        self.reason = reason


def check_output(
    source: bytes,
    source_info: ImageInfo,
    output: bytes,
    boxes: Sequence[RedactionBox],
    policy: PrivacyPolicy,
    *,
    decoded: Upright | None = None,
) -> None:
    """See that ``output`` may be published as the redaction of ``source``.

    Args:
        boxes: in upright pixels.
        decoded: of :func:`pipeline.decode.decode_upright` for the source, if at hand.

    Raises:
        OutputRejected: ``undecodable``, ``format_changed``, ``size_changed``,
            ``orientation_changed``, ``embedded_picture``, ``not_obscured``.
    """
    try:
        info = inspect_image(output, ImageLimits(max_bytes=2**40, max_pixels=2**40))
        left = remaining_pictures(output)
        if left:
            raise OutputRejected("embedded_picture", f"the output still holds: {', '.join(left)}")
        _check_same(source_info, info)
        if not boxes and _same_coding(source, output, info.format):
            # the source was decoded strictly before detection: the same bytes decode again
            return
        stored = decode_stored(output, info)
    except ImageRefused as error:
        raise OutputRejected("undecodable", f"the output cannot be read: {error}") from error
    if not boxes:
        return
    full = None
    if decoded is None or source_info.bit_depth > 8:
        original = decode_stored(source, source_info)
        # both on the scale of the source: noise may reach above it
        full = full_level(original, source_info)
        decoded = upright_rgb(original, source_info, full)
    _check_obscured(decoded, upright_rgb(stored, info, full), boxes)
    if info.alpha:
        _check_alpha(to_upright(stored[..., -1], info.orientation), boxes)


def _check_same(source: ImageInfo, output: ImageInfo) -> None:
    if source.format != output.format:
        raise OutputRejected("format_changed", f"{source.format} became {output.format}")
    if (source.width, source.height) != (output.width, output.height):
        raise OutputRejected("size_changed", "the output has another size than the source")
    if source.orientation != output.orientation:
        raise OutputRejected("orientation_changed", "the output has another orientation")


def _same_coding(source: bytes, output: bytes, file_format: ImageFormat) -> bool:
    """Whether both files hold the same coded picture, bit for bit."""
    if file_format == "jpeg":
        a, b = segments.parse_jpeg(source), segments.parse_jpeg(output)
        return rewrite.coded_picture(source, a) == rewrite.coded_picture(output, b)
    if file_format == "png":
        kinds = (b"IHDR", b"PLTE", b"IDAT")
        left, right = png.parse_png(source).chunks, png.parse_png(output).chunks
        return [c for c in left if c[0] in kinds] == [c for c in right if c[0] in kinds]
    if file_format == "webp":
        kinds = (b"VP8 ", b"VP8L", b"ALPH")
        left, right = webp.parse_webp(source).chunks, webp.parse_webp(output).chunks
        return [c for c in left if c[0] in kinds] == [c for c in right if c[0] in kinds]
    return False


def _check_obscured(before: Upright, after: Upright, boxes: Sequence[RedactionBox]) -> None:
    height, width = before.shape[:2]
    for box in boxes:
        x1, y1 = max(box.x1, 0), max(box.y1, 0)
        x2, y2 = min(box.x2, width), min(box.y2, height)
        if x1 >= x2 or y1 >= y2:
            continue
        window = max(3, 2 * int(box.sigma_px / 2) + 1)
        source, result = (_detail(p[y1:y2, x1:x2], window) for p in (before, after))
        for tile in _tiles(x2 - x1, y2 - y1):
            if _keeps_detail(source, result, tile, box.style):
                raise OutputRejected(
                    "not_obscured", f"a {box.label} at {box.area} keeps its detail in the output"
                )


def _check_alpha(alpha: NDArray[Any], boxes: Sequence[RedactionBox]) -> None:
    height, width = alpha.shape
    for box in boxes:
        part = alpha[max(box.y1, 0) : min(box.y2, height), max(box.x1, 0) : min(box.x2, width)]
        if part.size and (part != part.flat[0]).any():
            raise OutputRejected("not_obscured", f"alpha varies within a {box.label} at {box.area}")


def _detail(pixels: Upright, window: int) -> NDArray[np.float32]:
    """Luma minus its local mean over ``window`` pixels: what a blur must have removed."""
    luma = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(luma - cv2.blur(luma, (window, window)), dtype=np.float32)


def _tiles(width: int, height: int) -> Iterator[IntBox]:
    """Up to 4 x 4 tiles, the corners among them (an ellipse would leave those sharp)."""
    across = _cuts(width)
    down = _cuts(height)
    for y1, y2 in pairwise(down):
        for x1, x2 in pairwise(across):
            yield (x1, y1, x2, y2)


def _cuts(length: int) -> list[int]:
    count = max(1, min(_TILES_A_SIDE, length // _SHORTEST_TILE))
    return [length * i // count for i in range(count + 1)]


def _keeps_detail(
    source: NDArray[np.float32], result: NDArray[np.float32], tile: IntBox, style: Style
) -> bool:
    x1, y1, x2, y2 = tile
    a, b = source[y1:y2, x1:x2], result[y1:y2, x1:x2]
    energy = float(np.mean(a * a))
    if a.size < _MIN_TILE_PIXELS or energy < FLAT_RMS**2:
        return False
    common = float(np.mean(a * b))
    gain = common / energy
    correlation = common / math.sqrt(energy * max(float(np.mean(b * b)), 1e-9))
    # the keyed noise correlates with the source by chance: three standard deviations are allowed
    chance = 3 * style.noise / math.sqrt(energy * a.size)
    return correlation > MAX_CORRELATION[style.mode] and gain > MAX_DETAIL_GAIN + min(chance, 0.3)


def remaining_pictures(data: bytes) -> list[str]:
    """Embedded pictures and previews in a JPEG, PNG, WebP or TIFF, each named by its place.

    Raises:
        ImageRefused: the file itself cannot be read.
    """
    return _SCANNERS[sniff_format(data)](data)


def _named(place: str, block: bytes) -> list[str]:
    return [f"{kind} in {place}" for kind in find_pictures(block)]


def _scan_jpeg(data: bytes) -> list[str]:
    found = segments.parse_jpeg(data)
    left: list[str] = []
    for segment in found.segments:
        if not segment.is_metadata:
            continue
        content = segment.payload(data)
        place = f"segment {segment.marker:#04x}"
        left += _named(place, content)
        if content.startswith((b"MPF\0", b"JFXX\0")):
            left.append(f"preview index in {place}")
        if content.startswith(b"JFIF\0") and content[12:14] not in (b"\0\0", b""):
            left.append("thumbnail in JFIF")
        if content.startswith(b"Exif\0\0"):
            left += _scan_exif(content[6:])
    return left + replaced(data, found) + _scan_rest(data[found.end :])


def _scan_exif(block: bytes) -> list[str]:
    """A second directory is the thumbnail's."""
    following = tiff.next_directory(block)
    return ["thumbnail directory in EXIF"] if following else []


def _scan_rest(rest: bytes) -> list[str]:
    return [*_named("trailing data", rest), "trailing data"] if rest else []


def _scan_png(data: bytes) -> list[str]:
    found = png.parse_png(data)
    left: list[str] = []
    for kind, payload in found.chunks:
        if kind != b"IDAT":
            left += _named(
                f"chunk {kind.decode('latin-1')}", payload + png.inflated_text(kind, payload)
            )
        if kind == b"eXIf":
            left += _scan_exif(payload)
    return left + _scan_rest(data[found.end :])


def _scan_webp(data: bytes) -> list[str]:
    found = webp.parse_webp(data)
    left: list[str] = []
    for kind, payload in found.chunks:
        place = f"chunk {kind.decode('latin-1')}"
        if kind in (b"VP8 ", b"VP8L", b"ALPH"):
            left += [f"jpeg in {place}"] if _holds_jpeg(payload) else []
        else:
            left += _named(place, payload)
        if kind == b"EXIF":
            left += _scan_exif(payload.removeprefix(b"Exif\0\0"))
    left += [f"surplus in chunk {name}" for name in webp_stream.surplus(found)]
    return left + _scan_rest(data[found.end :])


def _holds_jpeg(coded: bytes) -> bool:
    """Whether a whole JPEG begins in ``coded``; now and then its signature is there by chance."""
    starts = [match.start() for match in _JPEG_START.finditer(coded)]
    return len(starts) > _MANY_STARTS or any(_is_jpeg(coded[start:]) for start in starts)


def _is_jpeg(data: bytes) -> bool:
    try:
        segments.parse_jpeg(data)
    except ImageRefused:
        return False
    return True


def _scan_tiff(data: bytes) -> list[str]:
    found = tiff.parse_tiff(data)
    left = ["further pages"] if found.previews else []
    return left + _named("tags", tiff.outside_picture(data, found))


_SCANNERS: dict[ImageFormat, Callable[[bytes], list[str]]] = {
    "jpeg": _scan_jpeg,
    "png": _scan_png,
    "webp": _scan_webp,
    "tiff": _scan_tiff,
}
