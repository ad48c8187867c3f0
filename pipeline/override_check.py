"""Overrides that hide nothing: of pictures that are not there, or boxes outside their picture."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.due import shards_around
from pipeline.identity import is_valid, row_identity
from pipeline.job import Revision
from pipeline.ledger import Ledger

log = logging.getLogger(__name__)

NAMED = 10
"""Keys named in a warning; all of them are counted."""


@dataclass(frozen=True, slots=True)
class OverrideCheck:
    """Keys of overrides that hide nothing, sorted.

    Attributes:
        unlisted: not among the pictures of the input.
        outside: with a box wholly outside their picture.
    """

    unlisted: Sequence[str] = field(default_factory=list)
    outside: Sequence[str] = field(default_factory=list)


def warn_of_unlisted(keys: Sequence[str]) -> None:
    """Log overrides for keys that the listing did not have.

    A warning, not an error: the same file may serve the folders of several days.
    """
    if keys:
        log.warning(
            "overridden keys that are not among the pictures of the input: %d (%s). Their boxes "
            "hide nothing. Check the spelling; keys are relative to the input",
            len(keys),
            _first(keys),
        )


def warn_of_outside(keys: Sequence[str]) -> None:
    """Log overrides whose box lies wholly outside their picture."""
    if keys:
        log.warning(
            "pictures with an override box wholly outside of them: %d (%s). It hides nothing. "
            "Boxes are [x1, y1, x2, y2] in pixels of the upright picture",
            len(keys),
            _first(keys),
        )


def _first(keys: Sequence[str]) -> str:
    return ", ".join([*map(repr, keys[:NAMED]), *(["..."] if len(keys) > NAMED else [])])


def keys_with_boxes_outside(ledger: Ledger, revision: Revision) -> list[str]:
    """Overridden keys whose outcome under ``revision`` has a box outside its picture, sorted.

    Only shards that may hold such keys are read.
    """
    found = set()
    columns = ("key", "status", "identity", "source_etag", "detections")
    for _, entry in shards_around(ledger, sorted(revision.overrides)):
        for row in ledger.outcomes(entry.shard, columns):
            key = row["key"]
            if (
                key in revision.overrides
                and is_valid(row, row_identity(revision, key, row["source_etag"]))
                and any(_is_outside(item) for item in row["detections"] or ())
            ):
                found.add(key)
    return sorted(found)


def _is_outside(detection: dict[str, object]) -> bool:
    return detection["source"] == "override" and not detection["kept"]
