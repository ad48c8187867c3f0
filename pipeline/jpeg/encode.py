"""Coding a JPEG again, as the source was coded: tables, subsampling, progressive or not."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.images import ImageInfo
from pipeline.jpeg.colours import stores_rgb
from pipeline.jpeg.frame import ZIGZAG
from pipeline.jpeg.segments import JpegStructure, quantisation_tables


def encode_jpeg(
    pixels: NDArray[Any],
    data: bytes,
    info: ImageInfo,
    structure: JpegStructure,
    quality: Literal["source"] | int,
) -> tuple[bytes, tuple[str, ...]]:
    """A JPEG of ``pixels`` coded like the source ``data``, and notes on what differs.

    Args:
        pixels: as stored, [h, w], [h, w, 3] or [h, w, 4] uint8 (CMYK as in the source file).
        quality: ``source`` for the source's quantisation tables, or 50..100 for libjpeg's.
    """
    options: dict[str, Any] = {"progressive": info.progressive}
    notes: tuple[str, ...] = ()
    tables = _natural(quantisation_tables(data, structure))
    if info.mode == "RGB":
        options["keep_rgb"] = stores_rgb(data, structure)
        subsampling = _subsampling(structure)
        if options["keep_rgb"] and subsampling != "4:4:4":
            subsampling = None
        options["subsampling"] = subsampling or "4:4:4"
        if subsampling is None:
            notes = ("jpeg_subsampling_444",)
    if info.mode == "CMYK":
        # Pillow codes CMYK with one table: the finest of the source's keeps its quality
        tables = [[min(column) for column in zip(*tables, strict=True)]]
        # Pillow wants 255 = full ink, and writes Adobe's inverted convention
        pixels = 255 - pixels if info.inverted else pixels
        notes = ("jpeg_cmyk_rewritten",)
    if quality == "source":
        options["qtables"] = tables
    else:
        options["quality"] = quality
    buffer = io.BytesIO()
    mode = {"L": "L", "RGB": "RGB", "CMYK": "CMYK"}[info.mode]
    contiguous = np.ascontiguousarray(pixels)
    picture = Image.frombuffer(mode, (info.width, info.height), contiguous, "raw", mode, 0, 1)
    picture.save(buffer, "JPEG", **options)
    return buffer.getvalue(), notes


def _natural(tables: tuple[tuple[int, ...], ...]) -> list[list[int]]:
    """Zigzag tables in natural order; 16-bit steps are cut to 255, which is finer."""
    natural: list[list[int]] = []
    for table in tables:
        values = [0] * 64
        for position, value in zip(ZIGZAG.tolist(), table, strict=True):
            values[position] = min(max(value, 1), 255)
        natural.append(values)
    return natural


def _subsampling(structure: JpegStructure) -> str | None:
    """``4:4:4``, ``4:2:2`` or ``4:2:0``; None for what the encoder cannot write."""
    luma, *chroma = structure.components
    if any((c.horizontal, c.vertical) != (1, 1) for c in chroma):
        same = all((c.horizontal, c.vertical) == (luma.horizontal, luma.vertical) for c in chroma)
        return "4:4:4" if same else None
    known = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}
    return known.get((luma.horizontal, luma.vertical))
