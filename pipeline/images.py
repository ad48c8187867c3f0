"""What a picture file is, read from its structure alone: format, size, depth, orientation.

Limits are checked here, before anything is decoded, so that a bomb costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.containers import png, tiff, webp
from pipeline.errors import ImageRefused
from pipeline.jpeg import rewrite, segments
from pipeline.jpeg.metadata import RawMetadata
from pipeline.orientation import IntBox, box_to_stored, upright_size

ImageFormat = Literal["jpeg", "png", "webp", "tiff"]
Mode = Literal["L", "LA", "RGB", "RGBA", "CMYK"]

# Lower-case suffix -> format; keys are selected by suffix, contents judged by their bytes.
FORMAT_SUFFIXES: dict[str, ImageFormat] = {
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".png": "png",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
}
CONTENT_TYPES: dict[ImageFormat, str] = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "tiff": "image/tiff",
}
# Every scan of a progressive JPEG is a pass over all its pixels: encoders write about 10.
MAX_SCANS = 64
MAX_SCANNED_PIXELS = 2_400_000_000


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is refused unseen.

    Attributes:
        max_bytes: of the file.
        max_pixels: width x height.
    """

    max_bytes: int = 256 * 2**20
    max_pixels: int = 120_000_000


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """A picture file's properties.

    Attributes:
        format: of the file.
        width, height: in pixels, as stored.
        mode: channels of the decoded, stored pixels; palettes count as expanded.
        bit_depth: bits a sample as decoded, 8 or 16.
        orientation: EXIF orientation 1..8.
        progressive: whether a JPEG is progressive.
        lossless: whether coding it again in the same way loses nothing.
        inverted: whether a CMYK JPEG stores inverted values (Adobe's convention).
    """

    format: ImageFormat
    width: int
    height: int
    mode: Mode
    bit_depth: int = 8
    orientation: int = 1
    progressive: bool = False
    lossless: bool = True
    inverted: bool = False

    @property
    def channels(self) -> int:
        """Channels of the decoded, stored pixels."""
        return len(self.mode)

    @property
    def alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.mode in ("LA", "RGBA")

    @property
    def upright_size(self) -> tuple[int, int]:
        """``(width, height)`` as displayed."""
        return upright_size(self.width, self.height, self.orientation)

    def stored_area(self, area: IntBox) -> IntBox:
        """Where ``(x1, y1, x2, y2)`` of the upright picture lies in the stored pixels."""
        return box_to_stored(area, self.orientation, self.upright_size)


def inspect_image(data: bytes, limits: ImageLimits) -> ImageInfo:
    """Read what ``data`` is and hold it against ``limits``; nothing is decoded.

    Raises:
        ImageRefused: ``empty``, ``too_large_bytes``, ``too_many_pixels``, ``too_many_scans``,
            ``unknown_format``, ``truncated``, ``corrupt`` or ``unsupported_<what>``.
    """
    if not data:
        raise ImageRefused("empty", "the file is empty")
    if len(data) > limits.max_bytes:
        raise ImageRefused(
            "too_large_bytes",
            f"the file has {len(data)} bytes, more than the limit of {limits.max_bytes}",
            fix="Raise the limit if such files are expected",
        )
    return _INSPECTORS[sniff_format(data)](data, limits)


def sniff_format(data: bytes) -> ImageFormat:
    """The format by the first bytes.

    Raises:
        ImageRefused: ``unknown_format``, ``unsupported_bigtiff``, ``truncated``.
    """
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[:8] == png.SIGNATURE:
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "tiff"
    if data[:4] in (b"II+\0", b"MM\0+"):
        raise ImageRefused("unsupported_bigtiff", "BigTIFF files are not supported")
    starts = (b"\xff\xd8\xff", png.SIGNATURE, b"II*\0", b"MM\0*", b"RIFF")
    if any(start.startswith(data[:12]) for start in starts):
        raise ImageRefused("truncated", "the file ends inside its signature")
    raise ImageRefused(
        "unknown_format",
        "the file is no JPEG, PNG, WebP or TIFF",
        fix="Convert it, or leave it out of the input",
    )


def raw_metadata(data: bytes, file_format: ImageFormat) -> RawMetadata:
    """The metadata blocks of ``data``, whose structure has been inspected before."""
    if file_format == "jpeg":
        return rewrite.read_metadata(data, segments.parse_jpeg(data))
    if file_format == "png":
        return png.read_metadata(png.parse_png(data))
    if file_format == "webp":
        return webp.read_metadata(webp.parse_webp(data))
    return tiff.read_metadata(data, tiff.parse_tiff(data))


def _check_pixels(width: int, height: int, limits: ImageLimits) -> None:
    if width * height > limits.max_pixels:
        raise ImageRefused(
            "too_many_pixels",
            f"{width} x {height} pixels are more than the limit of {limits.max_pixels}",
            fix="Raise the limit if such pictures are expected",
        )


def _inspect_jpeg(data: bytes, limits: ImageLimits) -> ImageInfo:
    found = segments.parse_jpeg(data)
    _check_pixels(found.width, found.height, limits)
    if found.precision != 8:
        raise ImageRefused(
            "unsupported_jpeg_precision", f"JPEGs of {found.precision} bits are not supported"
        )
    modes: dict[int, Mode] = {1: "L", 3: "RGB", 4: "CMYK"}
    if len(found.components) not in modes:
        raise ImageRefused(
            "unsupported_channels", f"JPEGs of {len(found.components)} channels are not supported"
        )
    if found.scans > MAX_SCANS or found.scans * found.width * found.height > MAX_SCANNED_PIXELS:
        raise ImageRefused("too_many_scans", f"the JPEG's {found.scans} scans cost too much time")
    segments.quantisation_tables(data, found)
    return ImageInfo(
        "jpeg",
        found.width,
        found.height,
        modes[len(found.components)],
        orientation=rewrite.read_metadata(data, found).orientation,
        progressive=found.progressive,
        lossless=False,
        inverted=rewrite.adobe_transform(data, found) is not None,
    )


def _inspect_png(data: bytes, limits: ImageLimits) -> ImageInfo:
    found = png.parse_png(data)
    _check_pixels(found.width, found.height, limits)
    modes: dict[int, Mode] = {0: "L", 2: "RGB", 3: "RGB", 4: "LA", 6: "RGBA"}
    mode = modes[found.colour]
    if found.colour == 3 and found.first(b"tRNS") is not None:
        mode = "RGBA"
    return ImageInfo(
        "png",
        found.width,
        found.height,
        mode,
        bit_depth=16 if found.depth == 16 else 8,
        orientation=png.read_metadata(found).orientation,
    )


def _inspect_webp(data: bytes, limits: ImageLimits) -> ImageInfo:
    found = webp.parse_webp(data)
    _check_pixels(found.width, found.height, limits)
    return ImageInfo(
        "webp",
        found.width,
        found.height,
        "RGBA" if found.alpha else "RGB",
        orientation=webp.read_metadata(found).orientation,
        lossless=found.lossless,
    )


def _inspect_tiff(data: bytes, limits: ImageLimits) -> ImageInfo:
    found = tiff.parse_tiff(data)
    _check_pixels(found.width, found.height, limits)
    modes: dict[tuple[int, int], Mode] = {
        (0, 1): "L",
        (1, 1): "L",
        (1, 2): "LA",
        (2, 3): "RGB",
        (2, 4): "RGBA",
        (3, 1): "RGB",
        (5, 4): "CMYK",
        (6, 3): "RGB",
    }
    mode = modes.get((found.photometric, found.channels))
    if mode is None:
        raise ImageRefused(
            "unsupported_tiff_colour",
            f"TIFF colour {found.photometric} with {found.channels} channels is not supported",
        )
    return ImageInfo(
        "tiff",
        found.width,
        found.height,
        mode,
        bit_depth=16 if found.depth == 16 else 8,
        orientation=tiff.read_metadata(data, found).orientation,
    )


_INSPECTORS = {
    "jpeg": _inspect_jpeg,
    "png": _inspect_png,
    "webp": _inspect_webp,
    "tiff": _inspect_tiff,
}
