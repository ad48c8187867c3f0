"""Small pictures of published outputs for reports."""

from __future__ import annotations

import io

from PIL import Image

from pipeline.decode import decode_upright
from pipeline.images import ImageInfo

SIDE = 360


def thumbnail(data: bytes, info: ImageInfo) -> bytes:
    """A JPEG of at most ``SIDE`` pixels a side, upright, without metadata.

    Args:
        data: a picture.
        info: its header.
    """
    image = Image.fromarray(decode_upright(data, info))
    image.thumbnail((SIDE, SIDE))
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=80)
    return sink.getvalue()
