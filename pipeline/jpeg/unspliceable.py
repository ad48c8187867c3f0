"""Why a JPEG's coded data cannot be changed in place."""

from __future__ import annotations


class Unspliceable(Exception):
    """The file is left to the next route; never an error of the picture by itself.

    Args:
        reason: stable machine-readable code, which notes name: ``not_spliced_<reason>``.
        what: one sentence for people.
    """

    def __init__(self, reason: str, what: str) -> None:
        super().__init__(what)
        self.reason = reason
