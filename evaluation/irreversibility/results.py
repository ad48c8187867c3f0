"""What attackers found, row by row, in a JSON file that grows as the study goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from evaluation.irreversibility.bounds import Area, Difference
from pipeline.errors import ConfigurationError

EffortName = Literal["full", "little", "quick"]
Section = Literal["faces", "sizes", "plates", "choices"]

# What files say of people, that were written before rows told the effort.
_LITTLE = ", little effort"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Row(_Frozen):
    """One attacker against one treatment.

    Attributes:
        treatment: what was done.
        attacker: who.
        effort: how hard the attacker tried: ``full``, ``little`` (controls, which need no more)
            or ``quick``. Rows of one effort neither replace nor judge those of another.
    """

    treatment: str
    attacker: str
    effort: EffortName = "full"

    @property
    def replaces(self) -> tuple[str, ...]:
        """Rows are replaced by those for which this is the same."""
        return (self.treatment, self.effort)


class FaceRow(Row):
    """See :class:`evaluation.irreversibility.faces.Attack`."""

    people: str
    copies: str
    rank1: Difference
    chance: float
    verification: Area | float

    @property
    def replaces(self) -> tuple[str, ...]:
        """Each set of people stands for itself."""
        return (self.treatment, self.effort, self.people)

    @model_validator(mode="before")
    @classmethod
    def _told_by_the_name(cls, row: Any) -> Any:
        if isinstance(row, dict) and str(row.get("people", "")).endswith(_LITTLE):
            people = row["people"].removesuffix(_LITTLE)
            return {"effort": "little", **row, "people": people}
        return row


class SizeRow(FaceRow):
    """The same at one size of boxes, in pixels."""

    size: int

    @property
    def replaces(self) -> tuple[str, ...]:
        """Each size stands for itself."""
        return (*super().replaces, str(self.size))


class ChoiceRow(FaceRow):
    """The same for one of the settings of which one is chosen."""

    mode: str
    strength: float
    noise: float


class PlateRow(Row):
    """One reader of plates.

    Attributes:
        what: which plates, and what of them.
        copies: how many redacted copies were averaged.
        chance: share that a guess reads.
        exact, plates, symbols: see :class:`evaluation.irreversibility.plates.Read`.
        low, high: 95 % interval of the share that is read, 0..1.
    """

    what: str
    copies: int
    chance: float
    exact: int
    plates: int
    symbols: float
    low: float
    high: float


class Results(_Frozen):
    """All rows."""

    faces: tuple[FaceRow, ...] = ()
    plates: tuple[PlateRow, ...] = ()
    sizes: tuple[SizeRow, ...] = ()
    choices: tuple[ChoiceRow, ...] = ()

    def with_rows(self, section: Section, rows: Sequence[Row]) -> Results:
        """These results and ``rows``, instead of what stood there of the same attacks."""
        new = {row.replaces for row in rows}
        kept = [row for row in getattr(self, section) if row.replaces not in new]
        return self.model_copy(update={section: (*kept, *rows)})


RowT = TypeVar("RowT", bound=Row)


def attacked(rows: Sequence[RowT], treatment: str, effort: EffortName) -> list[RowT]:
    """Those of ``rows`` that are about ``treatment`` and of that effort."""
    return [row for row in rows if (row.treatment, row.effort) == (treatment, effort)]


class ResultsFile:
    """Results and the file that keeps them.

    Args:
        path: what is there already is kept, but for what is attacked again.

    Raises:
        ConfigurationError: it holds something else, or nothing can be written there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self.results = _read(path)
        # attacks take hours: better now than then
        self._write("")
        self._part.unlink()

    def keep(self, section: Section, rows: Sequence[Row]) -> None:
        """Add ``rows``; the file is replaced as a whole or not at all."""
        self.results = self.results.with_rows(section, rows)
        self._write(json.dumps({"rows": self.results.model_dump()}, indent=1))
        self._part.replace(self._path)

    def _write(self, text: str) -> None:
        try:
            self._part.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(
                f"results cannot be written there ({error.strerror})",
                where=str(self._path),
                fix="Create the folder, or choose another file by --output",
            ) from error


def _read(path: Path) -> Results:
    if not path.exists():
        return Results()
    try:
        if not path.is_file():
            raise ValueError("it is no regular file")
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or set(found) != {"rows"}:
            raise ValueError('it is no {"rows": ...}')
        return Results.model_validate(found["rows"])
    except (OSError, ValueError) as error:
        why = _first(error) if isinstance(error, ValidationError) else str(error)
        raise ConfigurationError(
            f"these are no results of attacks: {why}",
            where=str(path),
            fix="Choose another file by --output; one that does not exist is created",
        ) from error


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
