"""What travels through a job: work items, decisions and outcomes, with their Parquet schemas."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from serving.contracts import FEATURES
from serving.geometry import Label

Status = Literal["published", "quarantined", "failed"]
REDACTION_VERSION = 3
"""Raised whenever the same boxes would give other pixels; part of a result's identity."""

FEATURE_DECIMALS = 3
"""Features lie within -1..2. Measured on every fourth picture of dev, 9.3 candidates each: outcomes
take 370 bytes an image without features, 830 with three decimals, 1,780 with all digits."""

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("etag", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
    ]
)

DECISION_TYPE = pa.struct(
    [
        ("label", pa.string()),
        ("x1", pa.int32()),
        ("y1", pa.int32()),
        ("x2", pa.int32()),
        ("y2", pa.int32()),
        ("score", pa.float32()),
        ("probability", pa.float32()),
        ("features", pa.list_(pa.float32())),
        ("source", pa.string()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        ("threshold", pa.float32()),
    ]
)

SHADOW_TYPE = pa.struct(
    [
        ("model", pa.string()),
        ("version", pa.int32()),
        ("fingerprint", pa.string()),
        ("message", pa.string()),
        ("detections", pa.list_(DECISION_TYPE)),
    ]
)
"""What another version of a model made of a picture; ``message`` says why if it made nothing."""

OUTCOME_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("row", pa.int32()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("message", pa.string()),
        ("identity", pa.string()),
        ("source_etag", pa.string()),
        ("source_size", pa.int64()),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("orientation", pa.int32()),
        ("detections", pa.list_(DECISION_TYPE)),
        ("kept", pa.int32()),
        ("dropped", pa.int32()),
        ("peak_face", pa.float32()),
        ("peak_plate", pa.float32()),
        ("obscured_share", pa.float32()),
        ("output_size", pa.int64()),
        ("output_sha256", pa.string()),
        ("output_etag", pa.string()),
        ("route", pa.string()),
        ("notes", pa.list_(pa.string())),
        ("policy_digest", pa.string()),
        ("models", pa.string()),
        ("runtime", pa.string()),
        ("redaction_version", pa.int32()),
        ("ms_fetch", pa.float32()),
        ("ms_decode", pa.float32()),
        ("ms_detect", pa.float32()),
        ("ms_decide", pa.float32()),
        ("ms_redact", pa.float32()),
        ("ms_publish", pa.float32()),
        ("finished_at", pa.string()),
        ("shadows", pa.list_(SHADOW_TYPE)),
        ("secret_id", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class NamedBox:
    """A box given from outside the detectors: an override, or one an earlier run has blurred.

    Coordinates are integer pixels of the upright image, ``x2``/``y2`` exclusive.
    """

    label: Label
    x1: int
    y1: int
    x2: int
    y2: int


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One image that is due.

    Attributes:
        key: relative to input and output alike.
        etag: the listed source identity; reads insist on it.
        size: source size in bytes.
        shard: number of the shard the row lies in.
        row: position of the row within its shard.
        identity: the identity its result will carry.
        priors: boxes an earlier run over the same source has blurred.
        overrides: boxes to blur in any case.
        past: digests of other policies by which a run that was cut off may have published it.
    """

    key: str
    etag: str
    size: int
    shard: int
    row: int
    identity: str
    priors: tuple[NamedBox, ...] = ()
    overrides: tuple[NamedBox, ...] = ()
    past: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of one candidate, and why.

    Attributes:
        label: the class.
        x1, y1, x2, y2: integer pixels of the upright image, rounded outwards, inside the image.
        score: raw detector score 0..1 (1 for overrides and priors).
        probability: post-processor probability 0..1.
        source: detector pass, ``override`` or ``prior``.
        kept: whether the box is obscured.
        reason: for instance ``above_threshold`` or ``below_minimum``.
        threshold: the score threshold in force.
        features: what the post-processor judged by, as ``serving.contracts.FEATURES`` of its
            version, recorded with three decimals; empty if none looked.
    """

    label: Label
    x1: int
    y1: int
    x2: int
    y2: int
    score: float
    probability: float
    source: str
    kept: bool
    reason: str
    threshold: float
    features: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one manifest row ended; a row of the outcomes Parquet (see ``OUTCOME_SCHEMA``)."""

    key: str
    shard: int
    row: int
    status: Status
    reason: str
    identity: str
    source_etag: str
    source_size: int
    message: str = ""
    format: str = ""
    width: int = 0
    height: int = 0
    orientation: int = 1
    detections: tuple[Decision, ...] = ()
    peak_face: float = 0.0
    peak_plate: float = 0.0
    obscured_share: float = 0.0
    output_size: int = 0
    output_sha256: str = ""
    output_etag: str = ""
    route: str = ""
    notes: tuple[str, ...] = ()
    policy_digest: str = ""
    models: str = ""
    runtime: str = ""
    redaction_version: int = REDACTION_VERSION
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    finished_at: str = ""
    shadows: tuple[Mapping[str, Any], ...] = ()
    secret_id: str = ""

    def as_row(self) -> dict[str, Any]:
        """The outcome as one Parquet row."""
        row: dict[str, Any] = {
            name: getattr(self, name)
            for name in OUTCOME_SCHEMA.names
            if name not in {"detections", "kept", "dropped"} and not name.startswith("ms_")
        }
        row["notes"] = list(self.notes)
        row["shadows"] = list(self.shadows)
        row["detections"] = [decision_row(item) for item in self.detections]
        row["kept"] = sum(item.kept for item in self.detections)
        row["dropped"] = len(self.detections) - row["kept"]
        for name in OUTCOME_SCHEMA.names:
            if name.startswith("ms_"):
                row[name] = round(float(self.milliseconds.get(name[3:], 0.0)), 2)
        return row


def decision_row(item: Decision) -> dict[str, Any]:
    """As a value of ``DECISION_TYPE``."""
    row = {name: getattr(item, name) for name in Decision.__slots__}
    return {**row, "features": [round(value, FEATURE_DECIMALS) for value in item.features]}


def named_features(values: Sequence[float] | None) -> dict[str, float] | list[float]:
    """Recorded features by name; only as numbers where their number differs from today's."""
    plain = [round(value, FEATURE_DECIMALS) for value in values or ()]
    if len(plain) != len(FEATURES):
        return plain
    return dict(zip(FEATURES, plain, strict=True))


def outcomes_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Outcome rows as an Arrow table in manifest order."""
    ordered = sorted(rows, key=lambda row: row["row"])
    return pa.Table.from_pylist(ordered, schema=OUTCOME_SCHEMA)


def kept_boxes(row: Mapping[str, Any]) -> tuple[NamedBox, ...]:
    """The boxes that outcome ``row`` obscured, without duplicates, sorted."""
    boxes = {
        NamedBox(item["label"], item["x1"], item["y1"], item["x2"], item["y2"])
        for item in row["detections"] or ()
        if item["kept"]
    }
    return tuple(sorted(boxes, key=lambda b: (b.label, b.x1, b.y1, b.x2, b.y2)))


def result_identity(
    etag: str,
    *,
    policy_digest: str,
    models: Mapping[str, str],
    overrides: Iterable[NamedBox] = (),
    redaction_version: int = REDACTION_VERSION,
) -> str:
    """Identity of a result (24 hex digits): what must be equal for it to be still valid.

    Neither the secret nor the code version is part of it.
    """
    content = {
        "source": etag,
        "policy": policy_digest,
        "models": dict(sorted(models.items())),
        "redaction": redaction_version,
        "overrides": [[b.label, b.x1, b.y1, b.x2, b.y2] for b in overrides],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]
