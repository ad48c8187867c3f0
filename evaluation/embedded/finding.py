"""What is reported: a hidden picture and its place, or a file that cannot be looked through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a file that may show what its visible pixels do not.

    Attributes:
        kind: what it is, for instance ``JPEG`` or ``EXIF thumbnail``.
        place: where it lies, for instance ``APP1 (Exif), IFD1``.
    """

    kind: str
    place: str

    def __str__(self) -> str:
        return f"{self.kind} at {self.place}"


class UnreadableImage(ValueError):
    """A file is no picture of a known format, or could not be looked through to its end.

    Args:
        what: one sentence for people.
        findings: what was found nevertheless.
    """

    def __init__(self, what: str, findings: Sequence[Finding] = ()) -> None:
        super().__init__(what)
        self.findings = tuple(findings)


class TooMuch(Exception):
    """A file holds more than may be looked through; the scan turns it into UnreadableImage."""
