"""Figures in a JSON file, for machines and for the page of another evaluation."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import StreetblurError

Figures = TypeVar("Figures")


class FiguresUnreadable(StreetblurError):
    """A file of figures is missing, damaged, or of another kind or format."""


@dataclass(frozen=True, slots=True)
class FiguresFile(Generic[Figures]):
    """How one kind of figures is kept.

    Attributes:
        kind: of the figures; written into the file.
        format: of the file, likewise. It rises when a reader of the last one would err.
        content: the dataclass that holds the figures; pydantic checks files against it.
        made_by: the command that writes the file.
    """

    kind: str
    format: int
    content: type[Figures]
    made_by: str

    def write(self, figures: Figures, path: Path) -> None:
        """Write the file, replacing another."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = self._adapter().dump_python(figures, mode="json")
        head = {"kind": self.kind, "format": self.format}
        partial = path.with_name(path.name + ".partial")
        partial.write_text(
            json.dumps({**head, **content}, indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )
        partial.replace(path)

    def read(self, path: Path) -> Figures:
        """Read what :meth:`write` wrote.

        Raises:
            FiguresUnreadable: the file is missing, damaged, or of another kind or format.
        """
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise self._unreadable(path, f"it cannot be read ({_why(error)})") from error
        try:
            found = json.loads(text, parse_float=_finite, parse_constant=_finite)
        except (ValueError, RecursionError) as error:
            raise self._unreadable(path, f"it is damaged, or no JSON ({error})") from error
        if not isinstance(found, dict) or found.get("kind") != self.kind:
            kind = found.get("kind") if isinstance(found, dict) else None
            raise self._unreadable(path, f"it holds {_told(kind)}, not {self.kind}")
        if found.get("format") != self.format:
            told = f"it is of format {found.get('format')}, this version reads {self.format}"
            raise self._unreadable(path, told)
        try:
            return self._adapter().validate_python(found)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise self._unreadable(path, f"it is damaged: {where}: {first['msg']}") from error

    def _adapter(self) -> TypeAdapter[Figures]:
        return TypeAdapter(self.content)

    def _unreadable(self, path: Path, why: str) -> FiguresUnreadable:
        return FiguresUnreadable(
            f"no figures on {self.kind}: {why}",
            where=str(path),
            fix=f"Give the file that `{self.made_by}` of this version writes",
        )


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no figure")
    return value


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def _told(kind: Any) -> str:
    return f"figures on {kind}" if isinstance(kind, str) else "something else"
