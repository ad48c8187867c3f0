"""Files that hide a picture, one kind after the other, each with a twin that hides nothing.

The twin has the same structure, with something harmless where the picture was. The files are put
together byte by byte: no writer of the pipeline takes part.
"""

from __future__ import annotations

from tests.evaluation.embedded_exif_cases import EXIF_CASES
from tests.evaluation.embedded_jpeg_cases import JPEG_CASES
from tests.evaluation.embedded_parts import Case
from tests.evaluation.embedded_png import PNG_CASES
from tests.evaluation.embedded_tiff import TIFF_CASES
from tests.evaluation.embedded_webp import WEBP_CASES

CASES: dict[str, Case] = {
    **EXIF_CASES,
    **JPEG_CASES,
    **PNG_CASES,
    **WEBP_CASES,
    **TIFF_CASES,
}
"""Every way to hide a picture that is tested, by name."""
