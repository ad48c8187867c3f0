"""Who beats the target, and who fails to break what is too weak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.irreversibility.results import FaceRow, PlateRow
from evaluation.irreversibility.treatments import Clear, Gaussian, MeanColour, Treatment

# Points that an attacker may be better than on mean colours, or than chance: upper 95 % bound.
TARGET = 0.03

AnyRow = FaceRow | PlateRow

TEXT_READER, TRAINED_READER, BRUTE_FORCE = "text reader", "trained network", "brute force"
LINEAR, NETWORK, EMBEDDING, RESTORATION = "linear", "network", "embedding", "restoration"


@dataclass(frozen=True, slots=True)
class Control:
    """What is too weak, and who has to break it, or proves nothing.

    Attributes:
        treatment: what is too weak.
        faces, plates: families of attackers, each of which has to break it.
    """

    treatment: Treatment
    faces: tuple[str, ...]
    plates: tuple[str, ...]


_ON_FACES = (LINEAR, NETWORK, EMBEDDING)
_ON_PLATES = (TRAINED_READER, BRUTE_FORCE)
# As measured: behind a sigma of 0.05 the text reader, made for sharp letters, reads none of 117
# plates; the trained network reads about half of 500, brute force most.
WEAK = (
    Control(Clear(), _ON_FACES, (TEXT_READER, *_ON_PLATES)),
    Control(Gaussian(0.05), _ON_FACES, _ON_PLATES),
    Control(Gaussian(0.05, noise=40, public=True), _ON_FACES, _ON_PLATES),
)
# What other tools do, and the target's own measure: attacked to compare, not asked to break.
OTHERS: tuple[Treatment, ...] = (Gaussian(0.25), MeanColour())


def family(attacker: str) -> str:
    """The family of an attacker on faces; readers of plates are one each."""
    if attacker.endswith("then embedding"):
        return RESTORATION
    return EMBEDDING if attacker.startswith(EMBEDDING) else attacker


def holds(row: AnyRow) -> bool:
    """Whether this attacker stays below the target; one rule for each kind of attacker.

    Faces: the upper bound of the difference to mean colours is at most 3 points. A text reader
    reads no whole plate at all. Brute force and the trained network choose one of 1,000 endings,
    so that chance alone makes them right at times: upper bound at most chance + 3 points.
    """
    if isinstance(row, FaceRow):
        return row.rank1.high <= TARGET
    if row.attacker == TEXT_READER:
        return row.exact == 0
    return row.high <= row.chance + TARGET


def breaks(row: AnyRow) -> bool:
    """Whether this attacker is surely better than the target allows: by its lower bound."""
    if isinstance(row, FaceRow):
        return row.rank1.low > TARGET
    return row.low > row.chance + TARGET


def dead(rows: Sequence[AnyRow], wanted: Sequence[str]) -> list[str]:
    """Those of the families ``wanted`` of which none of ``rows`` breaks anything."""
    alive = {family(row.attacker) for row in rows if breaks(row)}
    return [one for one in wanted if one not in alive]


def told(row: AnyRow) -> str:
    """One line about how good an attacker is."""
    if isinstance(row, FaceRow):
        return (
            f"{row.attacker}, {row.copies}, on {row.people}: "
            f"up to {100 * row.rank1.high:+.1f} points above mean colours"
        )
    return (
        f"{row.attacker}, {row.what}, copies {row.copies}: {row.exact} of {row.plates}, "
        f"up to {row.high:.1%}"
    )
