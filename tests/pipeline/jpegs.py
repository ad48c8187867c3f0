"""JPEGs as many encoders write them, and their coefficients as another library reads them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import jpeglib
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from tests.pipeline.pictures import Pixels, camera_exif, saved, segment, srgb_profile

Maker = Callable[[Pixels], bytes]
Factors = tuple[tuple[int, int], ...]


def by_libjpeg(
    version: str, quality: int, flags: tuple[str, ...], factors: Factors | None
) -> Maker:
    """Written by one of the libjpeg family; ``factors`` are (vertical, horizontal)."""

    def make(pixels: Pixels) -> bytes:
        before = jpeglib.version.get()
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "a.jpg")
            jpeglib.version.set(version)
            try:
                picture = jpeglib.from_spatial(np.ascontiguousarray(pixels))
                if factors is not None:
                    picture.samp_factor = factors
                picture.write_spatial(path, qt=quality, flags=list(flags))
            finally:
                jpeglib.version.set(before)
            return Path(path).read_bytes()

    return make


def by_opencv(**options: int) -> Maker:
    """Written by OpenCV."""
    flags = [v for name, value in options.items() for v in (getattr(cv2, name), value)]
    return lambda pixels: bytes(cv2.imencode(".jpg", pixels[:, :, ::-1], flags)[1].tobytes())


def by_pillow(mode: str | None = None, **options: Any) -> Maker:
    """Written by Pillow."""
    return lambda pixels: saved(pixels, "JPEG", mode, **options)


def by_simplejpeg(subsampling: str, quality: int = 90) -> Maker:
    """Written by simplejpeg."""
    return lambda p: bytes(
        simplejpeg.encode_jpeg(np.ascontiguousarray(p), quality, "RGB", subsampling)
    )


def _laden(pixels: Pixels) -> bytes:
    """Metadata in an unusual order: comments and APPn between tables, ICC before EXIF."""
    plain = by_simplejpeg("420")(pixels)
    start = 4 + int.from_bytes(plain[4:6], "big")
    parts = [
        segment(0xFE, b"a comment"),
        segment(0xE2, b"ICC_PROFILE\0\1\1" + srgb_profile()),
        segment(0xEF, b"unknown"),
        segment(0xE1, b"Exif\0\0" + camera_exif()),
        plain[2:start],
        segment(0xFE, b"another"),
    ]
    return plain[:2] + b"".join(parts) + plain[start:]


def _filled(pixels: Pixels) -> bytes:
    """Fill bytes before markers, which are legal (T.81, B.1.1.2)."""
    plain = by_simplejpeg("444")(pixels)
    at = plain.index(b"\xff\xdb")
    return plain[:at] + b"\xff\xff" + plain[at:]


SAMPLINGS: dict[str, Factors] = {
    "444": ((1, 1), (1, 1), (1, 1)),
    "422": ((1, 2), (1, 1), (1, 1)),
    "440": ((2, 1), (1, 1), (1, 1)),
    "420": ((2, 2), (1, 1), (1, 1)),
    "411": ((1, 4), (1, 1), (1, 1)),
    "441": ((4, 1), (1, 1), (1, 1)),
}
_LIBJPEG: dict[str, tuple[str, int, tuple[str, ...], str]] = {
    "6b": ("6b", 75, (), "420"),
    "6b-optimised": ("6b", 90, ("+OPTIMIZE_CODING",), "422"),
    "7": ("7", 85, (), "420"),
    "8d": ("8d", 95, (), "444"),
    "8d-progressive": ("8d", 85, ("+PROGRESSIVE_MODE",), "440"),
    "9e": ("9e", 85, (), "422"),
    "9e-optimised": ("9e", 60, ("+OPTIMIZE_CODING",), "420"),
    "9e-progressive": ("9e", 90, ("+PROGRESSIVE_MODE",), "411"),
    "turbo-440": ("turbo210", 85, (), "440"),
    "turbo-411": ("turbo210", 85, ("+OPTIMIZE_CODING",), "411"),
    "turbo-441": ("turbo210", 85, (), "441"),
    "turbo-441-progressive": ("turbo210", 85, ("+PROGRESSIVE_MODE",), "441"),
    "turbo-coarse": ("turbo210", 10, (), "420"),
    "turbo-fine": ("turbo210", 100, ("+OPTIMIZE_CODING",), "444"),
    "moz": ("mozjpeg403", 80, (), "420"),
    "moz-444": ("mozjpeg403", 90, (), "444"),
    "moz-early": ("mozjpeg101", 85, ("+OPTIMIZE_CODING",), "420"),
}

# name -> maker of a file that shows the given RGB pixels
VARIANTS: dict[str, Maker] = {
    **{
        f"libjpeg-{name}": by_libjpeg(version, quality, flags, SAMPLINGS[sampling])
        for name, (version, quality, flags, sampling) in _LIBJPEG.items()
    },
    **{f"simplejpeg-{s}": by_simplejpeg(s) for s in ("420", "422", "440", "444", "411")},
    "opencv": by_opencv(),
    "opencv-progressive": by_opencv(IMWRITE_JPEG_PROGRESSIVE=1),
    "opencv-optimised": by_opencv(IMWRITE_JPEG_OPTIMIZE=1, IMWRITE_JPEG_QUALITY=70),
    "opencv-restart": by_opencv(IMWRITE_JPEG_RST_INTERVAL=3),
    "opencv-restart-each": by_opencv(IMWRITE_JPEG_RST_INTERVAL=1),
    "opencv-chroma": by_opencv(IMWRITE_JPEG_LUMA_QUALITY=95, IMWRITE_JPEG_CHROMA_QUALITY=30),
    "opencv-restart-progressive": by_opencv(
        IMWRITE_JPEG_PROGRESSIVE=1, IMWRITE_JPEG_RST_INTERVAL=2
    ),
    "pillow": by_pillow(quality=85),
    "pillow-grey": by_pillow("L", quality=85),
    "pillow-grey-progressive": by_pillow("L", progressive=True),
    "pillow-grey-restart": by_pillow("L", restart_marker_blocks=5),
    "pillow-rgb": by_pillow(keep_rgb=True, quality=85),
    "pillow-cmyk": by_pillow("CMYK", quality=85),
    "pillow-cmyk-progressive": by_pillow("CMYK", quality=85, progressive=True),
    "pillow-restart-row": by_pillow(restart_marker_rows=1, subsampling="4:2:0"),
    "pillow-streamed": by_pillow(quality=85, streamtype=0),
    "ycck": lambda p: bytes(
        simplejpeg.encode_jpeg(np.asarray(Image.fromarray(p).convert("CMYK")), 90, "CMYK", "420")
    ),
    "metadata-everywhere": _laden,
    "fill-bytes": _filled,
}
ARITHMETIC: dict[str, Maker] = {
    "sequential": by_libjpeg("turbo210", 85, ("+ARITH_CODE",), None),
    "progressive": by_libjpeg("turbo210", 85, ("+ARITH_CODE", "+PROGRESSIVE_MODE"), None),
}


def coefficients(data: bytes) -> list[NDArray[np.int16]]:
    """Each component's quantised coefficients [rows, columns, 8, 8], read by libjpeg itself."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jpg"
        path.write_bytes(data)
        found = jpeglib.read_dct(str(path))
        planes = [found.Y, found.Cb, found.Cr, found.K]
        return [np.array(plane) for plane in planes if plane is not None]


def decoded(data: bytes) -> NDArray[np.uint8]:
    """The pixels that libjpeg-turbo shows, in the file's own colours where it can."""
    mode = {1: "GRAY", 3: "RGB", 4: "CMYK"}[_components(data)]
    return np.asarray(simplejpeg.decode_jpeg(data, mode, strict=True))


def _components(data: bytes) -> int:
    at = 2
    while data[at + 1] not in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA):
        at += 1 if data[at + 1] == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data[at + 9]
