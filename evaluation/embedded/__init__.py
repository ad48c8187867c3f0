"""Pictures hidden in a picture file, looked for without any of the pipeline's own code.

A second pair of eyes: written from the formats' specifications, so that it does not share the
pipeline's mistakes. ``python -m evaluation.embedded FILE_OR_FOLDER [...]`` scans files.
"""

from __future__ import annotations

from evaluation.embedded.finding import Finding, UnreadableImage
from evaluation.embedded.scan import embedded_pictures

__all__ = ["Finding", "UnreadableImage", "embedded_pictures"]
