"""Pixels from picture files, strictly: what a decoder merely warns about is refused here."""

from __future__ import annotations

import io
import struct
import warnings
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from pipeline.containers import png
from pipeline.errors import ImageRefused
from pipeline.images import ImageInfo
from pipeline.jpeg.segments import parse_jpeg, unusual_sampling
from pipeline.orientation import to_stored, to_upright
from pipeline.tone import refuse_steep_tones

Pixels = NDArray[Any]
Upright = NDArray[np.uint8]

# Hot pixels of a sensor: brighter than all that belongs to the scene.
HOT_SHARE = 1e-5
# Share of pixels beside another value in a window this wide: a mask's rim, soft over 10 pixels, has
# 0.2, a photograph 0.8 and more. A stencil of a few even areas cannot be told from a mask.
MAX_ALPHA_DETAIL = 0.3
MASK_WINDOW = 64
# The darkest of every second picture of the development set has 53 / 255 there.
DARK_LEVEL = 16 / 255

# What Pillow, OpenCV and libjpeg raise on damaged files; each was met while fuzzing or is
# documented for the plugin concerned.
DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    struct.error,
    cv2.error,
    Image.DecompressionBombError,
)

# The limits of ImageLimits were checked before; Pillow's own warning would only repeat them.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# OpenCV and libtiff print to stderr what is raised as ImageRefused anyway.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode_stored(data: bytes, info: ImageInfo) -> Pixels:
    """The pixels as stored, all channels and bits: [h, w] or [h, w, c], uint8 or uint16.

    CMYK of JPEGs is given as stored in the file (see ``info.inverted``), of TIFFs with 255 = full
    ink. Alpha is not multiplied in. The result may be read-only.

    Raises:
        ImageRefused: ``truncated``, ``corrupt`` or ``unsupported_jpeg_sampling``.
    """
    try:
        pixels = _DECODERS[info.format](data, info)
    except DECODER_ERRORS as error:
        reason = "truncated" if "truncated" in str(error).lower() else "corrupt"
        raise ImageRefused(reason, f"the picture cannot be decoded ({error})") from error
    expected = (info.height, info.width) + ((info.channels,) if info.channels > 1 else ())
    if pixels.shape != expected or pixels.dtype.itemsize * 8 != info.bit_depth:
        raise ImageRefused("corrupt", "the picture does not decode to what its header says")
    return pixels


def decode_upright(data: bytes, info: ImageInfo) -> Upright:
    """RGB pixels as displayed, [h, w, 3] uint8, C-contiguous.

    Alpha is ignored: a face under transparent pixels is still in the file.

    Raises:
        ImageRefused: ``truncated``, ``corrupt`` or ``unsupported_jpeg_sampling``.
    """
    return upright_rgb(decode_stored(data, info), info)


def decode_to_judge(data: bytes, info: ImageInfo) -> Upright:
    """As :func:`decode_upright`, for the detectors: what they would not see is refused.

    Raises:
        ImageRefused: ``truncated``, ``corrupt``, ``unsupported_jpeg_sampling``, ``tone_curve``,
            ``alpha_detail``, ``bilevel`` or ``too_dark``.
    """
    refuse_steep_tones(data, info)
    stored = decode_stored(data, info)
    refuse_unseen(stored, info, _transparency(data, stored, info))
    return upright_rgb(stored, info)


def upright_rgb(stored: Pixels, info: ImageInfo, full: int | None = None) -> Upright:
    """Stored pixels (see :func:`decode_stored`) as upright RGB, [h, w, 3] uint8, C-contiguous.

    Args:
        full: the grey level that becomes 255; by default :func:`full_level` of ``stored``.
    """
    pixels = stored
    if pixels.dtype == np.uint16:
        full = full_level(stored, info) if full is None else full
        # rounds to the nearest of 256 levels, without the wrap that adding half a level gives
        pixels = np.minimum((pixels.astype(np.uint32) * 255 + full // 2) // full, 255)
        pixels = pixels.astype(np.uint8)
    if info.mode == "CMYK":
        pixels = _cmyk_to_rgb(pixels if info.inverted else 255 - pixels)
    elif info.mode in ("L", "LA"):
        grey = pixels if pixels.ndim == 2 else pixels[:, :, 0]
        pixels = np.repeat(grey[:, :, None], 3, axis=2)
    return np.ascontiguousarray(to_upright(pixels[:, :, :3], info.orientation), dtype=np.uint8)


def _cmyk_to_rgb(inverted: Pixels) -> Pixels:
    """Plain conversion without profile of ``inverted`` CMYK (255 = no ink): colour x black."""
    product = inverted[:, :, :3].astype(np.uint16) * inverted[:, :, 3:]
    return ((product + 127) // 255).astype(np.uint8)


def full_level(stored: Pixels, info: ImageInfo) -> int:
    """The grey level that counts as full: 255 of 8 bits; of 16 bits as many as are in use.

    Cameras write 10 or 12 bits into 16 as they are: taken for 16 bits they are black to the
    detectors, but not to whoever stretches them. A few hot pixels do not count.
    """
    if stored.dtype == np.uint8:
        return 255
    colours = stored[..., :-1] if info.alpha else stored
    above = np.cumsum(np.bincount(colours.reshape(-1), minlength=65536)[::-1])[::-1]
    brightest = int(np.count_nonzero(above > HOT_SHARE * colours.size)) - 1
    return int((1 << max(brightest.bit_length(), 8)) - 1)


def refuse_unseen(stored: Pixels, info: ImageInfo, transparency: Pixels | None) -> None:
    """Refuse what a person could make out in a picture and the detectors could not.

    Args:
        transparency: [h, w] alpha, or which pixels are transparent; None where there is none.

    Raises:
        ImageRefused: ``alpha_detail``: the alpha channel is no plain mask and may hold a picture of
            its own; ``bilevel``: two values draw it, so that its faces may be dithered;
            ``too_dark``: nearly all of 16 bits is black beside a few bright pixels.
    """
    if transparency is not None and _finest(transparency) > MAX_ALPHA_DETAIL:
        raise ImageRefused(
            "alpha_detail",
            "the transparency is no plain mask and may show faces",
            fix="Flatten the picture, or give it a mask of even areas",
        )
    colours = stored[..., :-1] if info.alpha else stored
    if info.format != "jpeg" and _two_valued(colours):
        raise ImageRefused(
            "bilevel",
            "the picture has only two colours, in which detectors see no faces",
            fix="Take it from a source with shades of grey",
        )
    if stored.dtype == np.uint16 and stored.min() != stored.max():
        level = float(np.percentile(colours, 99)) / full_level(stored, info)
        if level < DARK_LEVEL:
            raise ImageRefused(
                "too_dark",
                "99 % of the picture is nearly black in the range of its 16 bits",
                fix="Convert it to the brightness at which it is to be seen",
            )


def _transparency(data: bytes, stored: Pixels, info: ImageInfo) -> Pixels | None:
    if info.alpha:
        return np.asarray(stored[..., -1])
    key = png.key_colour(png.parse_png(data)) if info.format == "png" else None
    if key is None:
        return None
    return np.asarray((np.atleast_3d(stored) == np.frombuffer(key, ">u2")).all(axis=-1))


def _two_valued(colours: Pixels) -> bool:
    """Whether exactly two values draw ``colours``, [h, w] or [h, w, c]."""
    channels = colours.shape[2] if colours.ndim == 3 else 1
    for part in (colours[::16, ::16], colours):  # a photograph is done with after the first
        pixels = part.reshape(-1, channels)
        others = pixels[(pixels != pixels[0]).any(axis=1)]
        if (others != others[:1]).any():
            return False
    return len(others) > 0


def _finest(mask: Pixels) -> float:
    """Largest share of pixels in a window of ``mask`` [h, w] that differ from a neighbour."""
    edges = np.zeros(mask.shape, np.float32)
    edges[1:] = mask[1:] != mask[:-1]
    edges[:, 1:] = np.maximum(edges[:, 1:], mask[:, 1:] != mask[:, :-1])
    window = (min(MASK_WINDOW, mask.shape[1]), min(MASK_WINDOW, mask.shape[0]))
    return float(cv2.blur(edges, window, borderType=cv2.BORDER_REPLICATE).max())


def _decode_jpeg(data: bytes, info: ImageInfo) -> Pixels:
    space = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}[info.mode]
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, space, fastdct=False, strict=True)
    except ValueError as error:
        if "subsampling" in str(error) and unusual_sampling(parse_jpeg(data)):
            raise ImageRefused(
                "unsupported_jpeg_sampling",
                "the JPEG's colours are sampled in a way that its decoder does not know",
                fix="Save it anew with 4:2:0, 4:2:2 or 4:4:4 sampling",
            ) from error
        raise
    return pixels[:, :, 0] if info.mode == "L" else pixels


def _decode_png(data: bytes, info: ImageInfo) -> Pixels:
    structure = png.parse_png(data)
    png.check_stream(structure)
    if structure.colour in (0, 2) and structure.first(b"tRNS") is not None:
        # a transparent colour is kept as it is (see encode): it must not become a channel here
        data = png.join_chunks(chunk for chunk in structure.chunks if chunk[0] != b"tRNS")
    if info.bit_depth == 16:
        return _decode_deep(data, info)
    return _decode_pillow(data, info)


def _decode_webp(data: bytes, info: ImageInfo) -> Pixels:
    return _decode_pillow(data, info)


def _decode_tiff(data: bytes, info: ImageInfo) -> Pixels:
    if info.bit_depth == 16:
        return _decode_deep(data, info)
    # Pillow turns TIFFs upright by itself; turn them back
    return np.ascontiguousarray(to_stored(_decode_pillow(data, info), info.orientation))


def _decode_pillow(data: bytes, info: ImageInfo) -> Pixels:
    with warnings.catch_warnings():
        # a decoder's warning means pixels that other decoders may show differently
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data), formats=[info.format.upper()]) as picture:
            picture.load()
            if picture.mode != info.mode:
                return np.asarray(picture.convert(info.mode))
            return np.asarray(picture)


def _decode_deep(data: bytes, info: ImageInfo) -> Pixels:
    """16 bits a sample, which Pillow would cut to 8 for colours."""
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ImageRefused("corrupt", "the picture cannot be decoded")
    if info.mode == "L":
        return np.asarray(pixels)
    order = {"LA": [0, 3], "RGB": [2, 1, 0], "RGBA": [2, 1, 0, 3]}[info.mode]
    if pixels.ndim != 3 or pixels.shape[2] <= max(order):
        raise ImageRefused("corrupt", "the picture does not decode to what its header says")
    return np.ascontiguousarray(pixels[:, :, order])


_DECODERS = {
    "jpeg": _decode_jpeg,
    "png": _decode_png,
    "webp": _decode_webp,
    "tiff": _decode_tiff,
}
