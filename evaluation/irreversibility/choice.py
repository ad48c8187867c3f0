"""Which setting a policy may take: the weakest of each mode that no linear attacker beats.

The linear attacker is the strongest of all on faces and the cheapest: what holds against it is
worth the whole study.
"""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.irreversibility.results import ChoiceRow
from evaluation.irreversibility.treatments import Redacted
from evaluation.irreversibility.verdicts import holds
from evaluation.markdown import table

GRID: tuple[Redacted, ...] = (
    Redacted(0.4, 6),
    Redacted(0.8, 12),
    Redacted(1, 12),
    Redacted(1.4, 12),
    Redacted(2, 6),
    Redacted(2, 8),
    Redacted(2, 12),
    Redacted(1, 8, "pixelate"),
    Redacted(2, 8, "pixelate"),
    Redacted(2, 0, "solid"),
)

# Mode, strength, noise: of one mode, the weaker comes first.
Setting = tuple[str, float, float]


def weakest(rows: Sequence[ChoiceRow]) -> dict[str, str | None]:
    """The weakest treatment of each mode that holds, None where none does.

    Weakest is the smallest strength, then the smallest noise. It has to hold on every set of
    people that ``rows`` (of one effort) are about, and for every kind of copies.
    """
    found: dict[str, str | None] = {}
    everything = {(row.people, row.copies) for row in rows}
    for setting in _settings(rows):
        own = _of(rows, setting)
        seen = {(row.people, row.copies) for row in own}
        good = seen == everything and all(map(holds, own))
        found[setting[0]] = found.get(setting[0]) or (own[0].treatment if good else None)
    return found


def choice_page(rows: Sequence[ChoiceRow]) -> str:
    """Rank-1 rates and upper bounds of each setting, and the weakest of each mode that holds."""
    kinds = list(dict.fromkeys(row.copies for row in rows))
    lines = [["setting", "people", *kinds, "holds"]]
    for setting in _settings(rows):
        own = _of(rows, setting)
        for people in dict.fromkeys(row.people for row in own):
            by_copies = {row.copies: row for row in own if row.people == people}
            cells = [_cell(by_copies.get(copies)) for copies in kinds]
            good = all(map(holds, by_copies.values()))
            lines.append([own[0].treatment, people, *cells, "yes" if good else "no"])
    chosen = [
        f"- {mode}: {treatment or 'none that was attacked'}"
        for mode, treatment in weakest(rows).items()
    ]
    return (
        "Rank-1 of the linear attacker; upper 95 % bound above mean colours in points.\n\n"
        f"{table(lines)}\n\nThe weakest of each mode that holds:\n\n" + "\n".join(chosen)
    )


def _settings(rows: Sequence[ChoiceRow]) -> list[Setting]:
    return sorted({(row.mode, row.strength, row.noise) for row in rows})


def _of(rows: Sequence[ChoiceRow], setting: Setting) -> list[ChoiceRow]:
    return [row for row in rows if (row.mode, row.strength, row.noise) == setting]


def _cell(row: ChoiceRow | None) -> str:
    return "-" if row is None else f"{row.rank1.rate:.1%}, {100 * row.rank1.high:+.1f}"
