"""Compile all that is compiled on first use, once, so that no worker has to.

``python -m pipeline.warm_up`` belongs into the making of an environment or image. What is compiled
is kept beside the source (see :mod:`pipeline.compiled`); without this the first picture of a new
installation takes half a minute longer.
"""

from __future__ import annotations

import io
import itertools

import numpy as np
from PIL import Image

from pipeline.compiled import forget_old_code
from pipeline.encode import redact_image
from pipeline.images import ImageLimits, inspect_image
from pipeline.jpeg.quarter import quarter_picture
from pipeline.jpeg.segments import parse_jpeg
from pipeline.jpeg.splice import scan_jpeg
from pipeline.noise import NoiseKey
from pipeline.output_check import check_output
from pipeline.policy import DEFAULT_POLICY, load_policy
from pipeline.redaction import RedactionBox, redact_pixels

SIDE = 96
# so large that coded data is followed at two places
LARGE_SIDE = 400


def warm_up() -> None:
    """Redact drawn pictures of each kind that takes code of its own."""
    forget_old_code()
    policy = load_policy(DEFAULT_POLICY)
    noise = NoiseKey(b"no secret: these pictures go nowhere", "")
    box = RedactionBox(10, 10, 70, 60, policy.face.style, "face")
    even = policy.plate.style.model_copy(update={"mode": "pixelate"})
    boxes = [box, RedactionBox(10, 70, 40, 80, even, "plate")]
    large = np.random.default_rng(0).integers(0, 255, (LARGE_SIDE, LARGE_SIDE, 3), np.uint8)
    pixels = large[:SIDE, :SIDE].copy()
    for picture, progressive in ((pixels, False), (pixels, True), (large, False)):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", progressive=progressive)
        data = buffer.getvalue()
        info = inspect_image(data, ImageLimits())
        made = redact_image(data, info, boxes, noise=noise, policy=policy)
        check_output(data, info, made.data, boxes, policy, spliced=made.spliced)
        if not progressive:
            quarter_picture(scan_jpeg(data, parse_jpeg(data)))
    for depth, channels in itertools.product((np.uint8, np.uint16), (3, 1)):
        picture = np.squeeze(pixels[:, :, :channels]).astype(depth)
        for writeable in (True, False):
            # decoders give either, and each is compiled for itself
            picture.flags.writeable = writeable
            redact_pixels(picture, [box], noise)


if __name__ == "__main__":
    warm_up()
