"""The page: headline, curves, subsets, scenes, fairness, worst cases, latency, comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from jinja2 import Environment, PackageLoader, select_autoescape

from evaluation.comparison import Difference
from evaluation.fairness.report import FairnessReport
from evaluation.headlines import percent
from evaluation.report import plots
from evaluation.report.sections import fairness_section, scenes_section
from evaluation.report.thumbnails import Thumbnail
from evaluation.scenes.figures import SceneFigures
from evaluation.summary import COUNTED_FROM_PX, HEIGHT_BINS, Recall, SetScore, Share
from evaluation.verdicts import ALL_SETS, CurvePoint, Verdicts

FLOORS: Mapping[str, float] = {"face": 0.89, "plate": 0.94}
AIMS: Mapping[str, float] = {"face": 0.95, "plate": 0.97}
"""The least recall that the product promises, by class."""
_COUNTED = f">={COUNTED_FROM_PX} px"
_PLAIN = {"all", _COUNTED, *(name for _, _, name in HEIGHT_BINS)}
_SIZES = [name for low, _, name in HEIGHT_BINS if low >= COUNTED_FROM_PX]
# A group below this many boxes is listed in the table, but not drawn.
_FEWEST_DRAWN = 10


@dataclass(frozen=True, slots=True)
class Extras:
    """What a page may show besides the verdicts.

    Attributes:
        misses, false_blurs: thumbnails.
        shows_originals: whether they show people.
        against: differences to another run, and its name.
        thresholds: of the policy in force, by class, marked on the curves.
        fairness, scenes: measured apart.
    """

    misses: Sequence[Thumbnail] = ()
    false_blurs: Sequence[Thumbnail] = ()
    shows_originals: bool = False
    against: tuple[str, Sequence[Difference]] | None = None
    thresholds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    fairness: FairnessReport | None = None
    scenes: SceneFigures | None = None


@dataclass(frozen=True, slots=True)
class _Tile:
    title: str
    value: str
    note: str
    bad: bool


def write_page(verdicts: Verdicts, scores: Sequence[SetScore], extras: Extras, path: Path) -> None:
    """Write the page as one HTML file without anything to be fetched.

    Raises:
        ConfigurationError: the library that draws plots is missing.
    """
    environment = Environment(
        loader=PackageLoader("evaluation"), autoescape=select_autoescape(["html.j2"])
    )
    environment.filters |= {
        "percent": lambda value: f"{value:.1%}",
        "share": partial(percent, decimals=2),
        "recall": lambda row: percent(Share(row.recall, row.low, row.high), 1),
    }
    template = environment.get_template("quality.html.j2")
    against, run = extras.against, verdicts.about.origin
    text = template.render(
        about=verdicts.about,
        tiles=_tiles(scores),
        bars=_bars(scores),
        curves=[
            (label, plots.curves(_drawn(lines), extras.thresholds.get(label, ())))
            for label, lines in verdicts.curves.items()
            if _drawn(lines)
        ],
        scores=scores,
        counted=_COUNTED,
        sizes=_SIZES,
        conditions=_conditions(scores[-1]),
        scenes=extras.scenes and scenes_section(extras.scenes, run, FLOORS),
        fairness=extras.fairness and fairness_section(extras.fairness, run),
        misses=extras.misses,
        false_blurs=extras.false_blurs,
        shows_originals=extras.shows_originals,
        latency=plots.latencies(verdicts.about.latency) if verdicts.about.latency else "",
        against=against[0] if against else "",
        drawn=plots.differences(_headline(against[1])) if against else "",
        differences=[one for one in against[1] if one.verdict != "no difference"]
        if against
        else [],
    )
    path.write_text(text, encoding="utf-8")


def _tiles(scores: Sequence[SetScore]) -> list[_Tile]:
    """The headline over all sets: the last score."""
    total = scores[-1]
    tiles = []
    for label, floor in FLOORS.items():
        row = total.recall(label, _COUNTED)
        if row is not None:
            aims = f"floor {floor:.0%}, aim {AIMS[label]:.0%}"
            note = f"{row.low:.1%} to {row.high:.1%} of {row.boxes}; {aims}"
            tiles.append(_Tile(f"{label}s obscured", f"{row.recall:.1%}", note, row.low < floor))
    outside = f"{total.changed_outside_low:.2%} to {total.changed_outside_high:.2%}"
    over = total.changed_outside_pooled > 0.02
    value = f"{total.changed_outside_pooled:.2%}"
    tiles.append(_Tile("pixels changed outside", value, f"{outside}; target 1 to 2 %", over))
    regions = total.false_regions
    note = f"{regions.low:.2f} to {regions.high:.2f} a picture"
    tiles.append(_Tile("false areas", f"{regions.value:.2f}", note, bad=False))
    left = total.judged < total.pictures
    tiles.append(_Tile("pictures judged", str(total.judged), f"of {total.pictures}", left))
    return tiles


def _bars(scores: Sequence[SetScore]) -> list[tuple[str, str]]:
    """For each class recall by set, then by size over all sets."""
    out = []
    for label, floor in FLOORS.items():
        rows = [(score.name, row) for score in scores if (row := score.recall(label, _COUNTED))]
        rows += [(f"{name}", row) for name in _SIZES if (row := scores[-1].recall(label, name))]
        if rows:
            out.append((label, plots.recall_bars(rows, floor)))
    return out


def _drawn(lines: Mapping[str, Sequence[CurvePoint]]) -> dict[str, Sequence[CurvePoint]]:
    """The curves of enough boxes, of at least 12 px."""
    wanted = (_COUNTED, *_SIZES)
    found = {name: lines[name] for name in wanted if name in lines}
    return {name: one for name, one in found.items() if one[0].boxes >= _FEWEST_DRAWN}


def _conditions(total: SetScore) -> list[tuple[str, list[Recall]]]:
    """Rows of the conditions over all sets, by class."""
    labels = sorted({row.label for row in total.recalls})
    return [
        (label, [r for r in total.recalls if r.label == label and r.group not in _PLAIN])
        for label in labels
    ]


def _headline(found: Sequence[Difference]) -> list[tuple[str, Difference]]:
    """The rows of a comparison that are drawn."""
    rows = []
    for one in found:
        if one.metric == "recall" and one.group == _COUNTED and one.count >= _FEWEST_DRAWN:
            rows.append((f"{one.set_name}: {one.label}s", one))
        elif one.metric == "changed_outside":
            rows.append((f"{one.set_name}: changed outside", one))
    return rows or [(ALL_SETS, one) for one in found[:1]]
