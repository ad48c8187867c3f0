"""The last look at an output before it is published: read again, compared with its source."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from pipeline.containers import png, webp
from pipeline.decode import Pixels, decode_stored, full_level, upright_rgb
from pipeline.errors import ImageRefused, OutputRejected
from pipeline.expected import cell_side
from pipeline.images import ImageFormat, ImageInfo, ImageLimits, inspect_image
from pipeline.jpeg import rewrite, segments
from pipeline.jpeg.splice import Spliced
from pipeline.orientation import to_upright
from pipeline.pixel_check import check_obscured
from pipeline.policy import PrivacyPolicy
from pipeline.redaction import RedactionBox
from pipeline.reencoded_check import check_alike, check_exact
from pipeline.remaining import remaining_pictures
from pipeline.splice_check import check_outside, check_spliced


def is_sampled(key: str, share: float) -> bool:
    """Whether ``key`` belongs to the ``share`` of all keys that is looked at more closely."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def check_output(
    source: bytes,
    source_info: ImageInfo,
    output: bytes,
    boxes: Sequence[RedactionBox],
    policy: PrivacyPolicy,
    *,
    pixels: Pixels | None = None,
    spliced: Spliced | None = None,
    whole: bool = True,
) -> None:
    """See that ``output`` may be published as the redaction of ``source``.

    Args:
        boxes: in upright pixels.
        pixels: of :func:`pipeline.decode.decode_stored` for the source, if at hand.
        spliced: how the output was made, if it was spliced: then its coefficients are compared.
        whole: whether a spliced output is decoded as a whole, too; all others are.

    Raises:
        OutputRejected: ``undecodable``, ``format_changed``, ``size_changed``,
            ``orientation_changed``, ``embedded_picture``, ``not_obscured``, ``changed_outside``.
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
        placed = [box.moved(source_info.stored_area(box.area)) for box in boxes]
        for box in placed:
            # too little is left in a few cells to see in the output how large they were
            if box.cell_px != cell_side(box):
                raise OutputRejected(
                    "not_obscured",
                    f"a {box.label} at {box.area} was averaged over {box.cell_px} px, not over "
                    f"{cell_side(box)}",
                )
        if spliced is not None:
            check_spliced(source, output, spliced, placed, policy.check.max_detail_gain)
            if not whole:
                return
        stored = decode_stored(output, info)
    except ImageRefused as error:
        raise OutputRejected("undecodable", f"the output cannot be read: {error}") from error
    original = decode_stored(source, source_info) if pixels is None else pixels
    if spliced is not None:
        check_outside(spliced.source.frame, placed, original, stored)
    else:
        _check_coded_again(original, stored, source_info, info, boxes)
    check_obscured(
        original,
        stored,
        info,
        placed,
        policy.check.max_detail_gain,
        luma=spliced is not None,
        tables=_tables(output) if info.format == "jpeg" else (),
    )
    if info.alpha:
        _check_alpha(to_upright(stored[..., -1], info.orientation), boxes)


def _tables(jpeg: bytes) -> tuple[tuple[int, ...], ...]:
    return segments.quantisation_tables(jpeg, segments.parse_jpeg(jpeg))


def _check_coded_again(
    original: Pixels,
    stored: Pixels,
    source_info: ImageInfo,
    info: ImageInfo,
    boxes: Sequence[RedactionBox],
) -> None:
    """See that a picture that was coded again (``stored``) shows outside ``boxes`` what it did."""
    was, now = (to_upright(one, info.orientation) for one in (original, stored))
    if source_info.lossless or source_info.mode != info.mode:
        check_exact(was, now, boxes)
        return
    # both on the scale of the source: noise may reach above it
    full = full_level(original, source_info)
    check_alike(upright_rgb(original, source_info, full), upright_rgb(stored, info, full), boxes)
    if info.alpha:
        check_exact(was[..., -1], now[..., -1], boxes)


def _check_same(source: ImageInfo, output: ImageInfo) -> None:
    if source.format != output.format:
        raise OutputRejected("format_changed", f"{source.format} became {output.format}")
    if (source.width, source.height) != (output.width, output.height):
        raise OutputRejected("size_changed", "the output has another size than the source")
    if source.orientation != output.orientation:
        raise OutputRejected("orientation_changed", "the output has another orientation")


def _same_coding(source: bytes, output: bytes, file_format: ImageFormat) -> bool:
    """Whether both files hold the same coded picture, bit for bit.

    Raises:
        OutputRejected: ``changed_outside``, they do, and show it in other colours.
    """
    if file_format == "jpeg":
        a, b = segments.parse_jpeg(source), segments.parse_jpeg(output)
        if rewrite.coded_picture(source, a) != rewrite.coded_picture(output, b):
            return False
        if rewrite.colour_coding(source, a) != rewrite.colour_coding(output, b):
            raise OutputRejected("changed_outside", "the output's colours are coded in another way")
        return True
    if file_format == "png":
        kinds = (b"IHDR", b"PLTE", b"IDAT")
        left, right = png.parse_png(source).chunks, png.parse_png(output).chunks
        return [c for c in left if c[0] in kinds] == [c for c in right if c[0] in kinds]
    if file_format == "webp":
        kinds = (b"VP8 ", b"VP8L", b"ALPH")
        left, right = webp.parse_webp(source).chunks, webp.parse_webp(output).chunks
        return [c for c in left if c[0] in kinds] == [c for c in right if c[0] in kinds]
    return False


def _check_alpha(alpha: NDArray[Any], boxes: Sequence[RedactionBox]) -> None:
    height, width = alpha.shape
    for box in boxes:
        part = alpha[max(box.y1, 0) : min(box.y2, height), max(box.x1, 0) : min(box.x2, width)]
        if part.size and (part != part.flat[0]).any():
            raise OutputRejected("not_obscured", f"alpha varies within a {box.label} at {box.area}")
