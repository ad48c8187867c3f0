"""Boxes to blur in any case, by key: ``--overrides FILE``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, model_validator

from pipeline.errors import ConfigurationError
from pipeline.policy import describe_validation
from pipeline.records import NamedBox
from pipeline.yaml_files import read_yaml

Coordinate = Annotated[int, Field(ge=-1_000_000, le=1_000_000)]


class OverrideBox(BaseModel):
    """One box: class and ``[x1, y1, x2, y2]`` in integer pixels of the upright image."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    label: Literal["face", "plate"]
    xyxy: tuple[Coordinate, Coordinate, Coordinate, Coordinate]

    @model_validator(mode="after")
    def _ordered(self) -> OverrideBox:
        x1, y1, x2, y2 = self.xyxy
        if x2 <= x1 or y2 <= y1:
            raise ValueError("a box needs x1 < x2 and y1 < y2")
        return self


class _File(RootModel[dict[str, list[OverrideBox]]]):
    pass


Overrides = dict[str, list[tuple[str, int, int, int, int]]]


def load_overrides(path: str) -> Overrides:
    """Read an overrides file (YAML or JSON): a mapping of keys to lists of boxes.

    Raises:
        ConfigurationError: unreadable, or a wrong value (key and field named).
    """
    content = read_yaml(Path(path))
    if content is None:
        raise ConfigurationError("the file is empty", where=path, fix="Write {} to name no box")
    try:
        boxes = _File.model_validate(content).root
    except ValidationError as error:
        raise ConfigurationError(
            describe_validation(error.errors()),
            where=path,
            fix="Each key has a list of {label: face|plate, xyxy: [x1, y1, x2, y2]}",
        ) from error
    return {key: sorted((b.label, *b.xyxy) for b in found) for key, found in boxes.items() if found}


def named(overrides: Overrides, key: str) -> tuple[NamedBox, ...]:
    """The boxes for ``key``."""
    return tuple(
        NamedBox("face" if label == "face" else "plate", x1, y1, x2, y2)
        for label, x1, y1, x2, y2 in overrides.get(key, ())
    )
