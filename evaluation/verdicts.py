"""What an evaluation found, picture by picture, in one JSON file: all figures are made from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from evaluation.annotations import LabelledBox, LabelledPicture
from evaluation.judge import JudgedPicture
from evaluation.origin import Origin
from evaluation.summary import SetScore, summarise
from pipeline.errors import StreetblurError

FORMAT = 1
# Name of the figures over all sets together.
ALL_SETS = "all sets"


class VerdictsUnreadable(StreetblurError):
    """A file of verdicts is missing or is none."""


@dataclass(frozen=True, slots=True)
class Latency:
    """How long a stage took, in milliseconds a picture."""

    pictures: int
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What one threshold for all sizes would give, estimated from detections.

    Attributes:
        threshold: of the score.
        recall, low, high: share of boxes that would be obscured, and its 95 % interval.
        outside: mean share of pixels outside that would change.
        boxes: how many there are.
    """

    threshold: float
    recall: float
    low: float
    high: float
    outside: float
    boxes: int


@dataclass(frozen=True, slots=True)
class About:
    """What was evaluated, and on what.

    Attributes:
        name: of the tool or run, for people.
        command: that made the verdicts.
        created: UTC time, ISO 8601.
        data: digest of all labels, see :func:`digest_of_labels`.
        machine: processor, cores, Python.
        versions: of packages, by name.
        policy: digest of the policy; empty where other outputs were judged.
        models: the models' versions and fingerprints, as outcomes name them; empty likewise.
        runtime: what ran the models; empty likewise.
        model_bytes: size of each model's files, by name.
        latency: by stage.
    """

    name: str
    command: str
    created: str
    data: str
    machine: str
    versions: Mapping[str, str] = field(default_factory=dict)
    policy: str = ""
    models: str = ""
    runtime: str = ""
    model_bytes: Mapping[str, int] = field(default_factory=dict)
    latency: Mapping[str, Latency] = field(default_factory=dict)

    @property
    def origin(self) -> Origin:
        """What made the outputs, and on which data."""
        return Origin(self.data, self.policy, self.models, self.runtime)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The verdicts on every picture of some labelled sets.

    Attributes:
        about: what they are of.
        sets: by name of the set.
        curves: by class and box height, where the detections are known.
        format: of the file.
    """

    about: About
    sets: Mapping[str, tuple[JudgedPicture, ...]]
    curves: Mapping[str, Mapping[str, tuple[CurvePoint, ...]]] = field(default_factory=dict)
    format: int = FORMAT

    def scores(self) -> tuple[SetScore, ...]:
        """The figures of each set, and of all together where there are several."""
        found = [summarise(name, pictures) for name, pictures in self.sets.items()]
        if len(found) > 1:
            every = [picture for pictures in self.sets.values() for picture in pictures]
            found.append(summarise(ALL_SETS, every))
        return tuple(found)

    def write(self, path: Path) -> None:
        """Write the file, replacing another."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        content = _ADAPTER.dump_python(self, mode="json", exclude_defaults=True)
        text = json.dumps({"format": self.format, **content}, separators=(",", ":"))
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)

    @classmethod
    def read(cls, path: Path) -> Verdicts:
        """Read a file that :meth:`write` made.

        Raises:
            VerdictsUnreadable: it is missing, damaged or of another format.
        """
        try:
            content = path.read_bytes()
            found = json.loads(content).get("format")
            if found != FORMAT:
                raise VerdictsUnreadable(
                    f"the verdicts are of format {found}, this version reads {FORMAT}",
                    where=str(path),
                    fix="Evaluate again with this version",
                )
            return _ADAPTER.validate_json(content)
        except (OSError, ValueError, AttributeError, ValidationError) as error:
            raise VerdictsUnreadable(
                f"no verdicts can be read ({type(error).__name__})",
                where=str(path),
                fix="Give the verdicts.json of a report of `streetblur evaluate`",
            ) from error


_ADAPTER = TypeAdapter(Verdicts)


def digest_of_labels(sets: Mapping[str, Sequence[LabelledPicture]]) -> str:
    """16 hex digits that change with any label: figures compare only where they agree."""
    rows = [
        (name, one.image, one.width, one.height, one.labelled_classes, [_row(b) for b in one.boxes])
        for name, pictures in sorted(sets.items())
        for one in pictures
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def _row(item: LabelledBox) -> tuple[object, ...]:
    known = (item.label, item.box.as_tuple(), item.ignore, item.occlusion, item.text)
    return (*known, list(item.attrs.items()))
