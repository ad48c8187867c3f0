"""From a source file and boxes to a redacted file of the same format."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from pipeline.containers import png, tiff, webp, webp_stream
from pipeline.decode import decode_stored
from pipeline.images import ImageFormat, ImageInfo, raw_metadata
from pipeline.jpeg import rewrite
from pipeline.jpeg.encode import encode_jpeg
from pipeline.jpeg.metadata import CleanMetadata, clean
from pipeline.jpeg.replaced import replaced
from pipeline.jpeg.segments import JpegStructure, parse_jpeg
from pipeline.jpeg.sequential import SequentialScan
from pipeline.jpeg.splice import Spliced, splice_jpeg
from pipeline.jpeg.unspliceable import Unspliceable
from pipeline.noise import NoiseKey
from pipeline.policy import PrivacyPolicy
from pipeline.redaction import RedactionBox, redact_pixels

Pixels = NDArray[Any]
# Lossy WebP says nothing about its quality; at 90 the loss stays above 40 dB on photographs.
WEBP_QUALITY = 90


@dataclass(frozen=True, slots=True)
class RedactedImage:
    """A redacted file.

    Attributes:
        data: its bytes.
        route: ``metadata_only`` (coded picture bit for bit), ``spliced`` (all bits outside the
            changed blocks), ``rewritten`` (all coefficients outside them) or ``reencoded``.
        notes: what a reader of the outcome should know, for instance ``trailing_data_dropped``.
        spliced: for the output's check, where the route is ``spliced`` or ``rewritten``.
        pixels: the source's stored pixels where it had to be decoded.
    """

    data: bytes
    route: str
    notes: tuple[str, ...]
    spliced: Spliced | None = None
    pixels: Pixels | None = None


@dataclass(frozen=True)
class _Work:
    """One file on its way: what the formats' writers need."""

    data: bytes
    info: ImageInfo
    policy: PrivacyPolicy

    @cached_property
    def jpeg(self) -> JpegStructure:
        """The structure of a JPEG."""
        return parse_jpeg(self.data)

    @cached_property
    def metadata(self) -> CleanMetadata:
        """What may stay of the metadata."""
        if self.info.format == "jpeg":
            raw = rewrite.read_metadata(self.data, self.jpeg)
        else:
            raw = raw_metadata(self.data, self.info.format)
        return clean(raw, self.policy.metadata.keep)


def redact_image(
    data: bytes,
    info: ImageInfo,
    boxes: Sequence[RedactionBox],
    *,
    noise: NoiseKey,
    policy: PrivacyPolicy,
    scanned: SequentialScan | None = None,
) -> RedactedImage:
    """Redact ``boxes`` (upright pixels) and clean the metadata; same format, size, orientation.

    Args:
        data: the source file.
        info: of :func:`pipeline.images.inspect_image`.
        noise: keys the noise.
        scanned: of :func:`pipeline.jpeg.splice.scan_jpeg`, if at hand.

    Raises:
        ImageRefused: the source cannot be decoded.
    """
    work = _Work(data, info, policy)
    metadata = work.metadata
    hides = (info.format == "jpeg" or not boxes) and _hides_data(work)
    dropped: tuple[str, ...] = ("surplus_dropped",) if hides else ()
    if not boxes and info.format != "tiff" and not hides:
        output, notes = _CLEANERS[info.format](work)
        return RedactedImage(output, "metadata_only", metadata.notes + notes)
    placed = stored_boxes(boxes, info)
    if info.format == "jpeg" and boxes and policy.jpeg.quality == "source" and not hides:
        try:
            return _splice(work, placed, noise, scanned)
        except Unspliceable as error:
            dropped += (f"not_spliced_{error.reason}",)
    pixels = decode_stored(data, info)
    redacted = redact_pixels(pixels, placed, noise, alpha=info.alpha)
    output, notes = _WRITERS[info.format](work, redacted)
    return RedactedImage(output, "reencoded", metadata.notes + dropped + notes, pixels=pixels)


def _splice(
    work: _Work,
    boxes: Sequence[RedactionBox],
    noise: NoiseKey,
    scanned: SequentialScan | None,
) -> RedactedImage:
    """The JPEG with only the blocks under ``boxes`` (stored pixels) changed.

    Raises:
        Unspliceable: it has to be coded again.
    """
    found = work.jpeg
    spliced = splice_jpeg(work.data, found, boxes, noise, scanned=scanned)
    jfif = rewrite.jfif_without_thumbnail(work.data, found)
    output = rewrite.assemble(spliced.coded, work.data, found, jfif, work.metadata)
    notes = work.metadata.notes + _trailing(found.end, work.data)
    return RedactedImage(output, spliced.route, notes, spliced=spliced)


def stored_boxes(boxes: Sequence[RedactionBox], info: ImageInfo) -> list[RedactionBox]:
    """Upright ``boxes`` in the coordinates of the stored pixels."""
    return [box.moved(info.stored_area(box.area)) for box in boxes]


def _clean_jpeg(work: _Work) -> tuple[bytes, tuple[str, ...]]:
    found = work.jpeg
    jfif = rewrite.jfif_without_thumbnail(work.data, found)
    coded = rewrite.coded_picture(work.data, found)
    output = rewrite.assemble(coded, work.data, found, jfif, work.metadata)
    return output, _trailing(found.end, work.data)


def _clean_png(work: _Work) -> tuple[bytes, tuple[str, ...]]:
    found = png.parse_png(work.data)
    keep = work.policy.metadata.keep
    output = png.assemble(found, found, work.metadata, keep, found.first(b"tRNS"))
    return output, _trailing(found.end, work.data)


def _hides_data(work: _Work) -> bool:
    """Whether the coded picture may hold more than a picture, so that only its pixels may go on.

    JPEG and PNG data was refused with surplus behind the picture when it was decoded before.
    """
    if work.info.format == "jpeg":
        return bool(replaced(work.data, work.jpeg))
    return work.info.format == "webp" and bool(webp_stream.surplus(webp.parse_webp(work.data)))


def _clean_webp(work: _Work) -> tuple[bytes, tuple[str, ...]]:
    found = webp.parse_webp(work.data)
    return webp.assemble(found, work.metadata), _trailing(found.end, work.data)


def _write_jpeg(work: _Work, pixels: Pixels) -> tuple[bytes, tuple[str, ...]]:
    found = work.jpeg
    new, notes = encode_jpeg(pixels, work.data, work.info, found, work.policy.jpeg.quality)
    jfif = rewrite.jfif_without_thumbnail(work.data, found)
    structure = parse_jpeg(new)
    coded = rewrite.coded_picture(new, structure)
    output = rewrite.assemble(coded, new, structure, jfif, work.metadata)
    return output, notes + _trailing(found.end, work.data)


def _write_png(work: _Work, pixels: Pixels) -> tuple[bytes, tuple[str, ...]]:
    found = png.parse_png(work.data)
    if work.info.bit_depth == 16:
        coded = png.encode_png(pixels)
    else:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        coded = buffer.getvalue()
    notes = ("palette_expanded",) if found.colour == 3 else ()
    output = png.assemble(
        png.parse_png(coded), found, work.metadata, work.policy.metadata.keep, png.key_colour(found)
    )
    return output, notes + _trailing(found.end, work.data)


def _write_webp(work: _Work, pixels: Pixels) -> tuple[bytes, tuple[str, ...]]:
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels)
    if work.info.lossless:
        # exact: colours under transparent alpha stay as they are
        picture.save(buffer, "WEBP", lossless=True, exact=True, quality=50)
    else:
        picture.save(buffer, "WEBP", quality=WEBP_QUALITY, exact=True)
    output = webp.assemble(webp.parse_webp(buffer.getvalue()), work.metadata)
    notes = () if work.info.lossless else (f"webp_quality_{WEBP_QUALITY}",)
    return output, notes + _trailing(webp.parse_webp(work.data).end, work.data)


def _write_tiff(work: _Work, pixels: Pixels) -> tuple[bytes, tuple[str, ...]]:
    found = tiff.parse_tiff(work.data)
    photometric = {"L": 1, "LA": 1, "RGB": 2, "RGBA": 2, "CMYK": 5}[work.info.mode]
    notes = ("tiff_rewritten",) + (("tiff_previews_dropped",) if found.previews else ())
    return tiff.encode_tiff(pixels, found, work.metadata, photometric), notes


def _trailing(end: int, data: bytes) -> tuple[str, ...]:
    return ("trailing_data_dropped",) if end < len(data) else ()


_Written = tuple[bytes, tuple[str, ...]]
_CLEANERS: dict[ImageFormat, Callable[[_Work], _Written]] = {
    "jpeg": _clean_jpeg,
    "png": _clean_png,
    "webp": _clean_webp,
}
_WRITERS: dict[ImageFormat, Callable[[_Work, Pixels], _Written]] = {
    "jpeg": _write_jpeg,
    "png": _write_png,
    "webp": _write_webp,
    "tiff": _write_tiff,
}
