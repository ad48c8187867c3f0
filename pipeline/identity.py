"""Whether an outcome still stands: the identity its row must have under a revision's rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.job import Revision
from pipeline.overrides import named
from pipeline.records import result_identity

ModelsInForce = Callable[[dict[str, int]], dict[str, str]]
"""Gives ``version:fingerprint`` of versions, by model."""


def row_identity(revision: Revision, key: str, etag: str) -> str:
    """Identity that a result for ``key`` must carry under ``revision``'s rules."""
    return result_identity(
        etag,
        policy_digest=revision.policy_digest,
        models=revision.models,
        overrides=named(revision.overrides, key),
        redaction_version=revision.redaction_version,
    )


def is_valid(row: Mapping[str, Any], identity: str) -> bool:
    """Whether an outcome row still stands; a failure never does."""
    return row["status"] in {"published", "quarantined"} and row["identity"] == identity


def model_versions(models: Mapping[str, str]) -> dict[str, int]:
    """Of ``{model: "version:fingerprint"}`` the versions, by model."""
    found = {name: value.partition(":")[0] for name, value in models.items()}
    return {name: int(value) for name, value in found.items() if value.isdigit()}


def fingerprints(models: Mapping[str, str]) -> dict[str, str]:
    """Of ``{model: "version:fingerprint"}`` the fingerprints, by model."""
    found = {name: value.partition(":")[2] for name, value in models.items()}
    return {name: value for name, value in found.items() if re.fullmatch("[0-9a-f]{16}", value)}
