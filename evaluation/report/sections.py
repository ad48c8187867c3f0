"""Sections of the page on figures that were measured apart: fairness, and street scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.fairness.report import FairnessReport
from evaluation.fairness.spread import LEAST_PEOPLE, Spread
from evaluation.fairness.tables import (
    PLAIN,
    group_rows,
    looked_at,
    other_rows,
    overall_rows,
    p_text,
    points_text,
    spread_rows,
)
from evaluation.origin import Origin
from evaluation.report import plots
from evaluation.report.plots import Mark, MarkRow
from evaluation.scenes.figures import DAY, SIZES, SceneFigures
from evaluation.scenes.report import negative_rows, recall_rows
from evaluation.summary import Share

_PLOTS = (
    "Normal light, nothing worn. Dashed: the goal. Diamond: the smallest shortfall of the smallest "
    "group that would be found four times in five. Met: the interval's end and the diamond lie "
    "below the goal; missed: the interval begins above it and chance seldom gives it (p below "
    f"0.05); open: neither. Groups of fewer than {LEAST_PEOPLE} people are shown, but not compared."
)
_SPREADS = (
    "By lot: the mean spread if people were put into groups by lot; p: share of such lots with at "
    "least the spread found. Under all conditions {} spreads were looked at, {} with p below 0.05; "
    "about {} would be by chance."
)


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot and what it says, for those who do not see it."""

    title: str
    svg: str
    alt: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        title: above it.
        note: likewise, in words.
        rows: of texts, the head first.
        words: how many columns are words, from the left.
        folded: whether it is shown only when asked for.
    """

    title: str
    note: str
    rows: Sequence[Sequence[str]]
    words: int = 1
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Relation:
    """Whether figures are of the run that the page is about, in words.

    Attributes:
        text: the words.
        doubtful: whether models or policy are, or may be, others.
    """

    text: str
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page.

    Attributes:
        summary: what was measured, in a sentence or two.
        found: the answer, likewise; may be empty.
        relation: to the run that the page is about.
        made_of: name and value of what identifies the figures.
        plots, tables: of the figures.
        plot_note: how to read the plots.
        texts: title and paragraph of further findings.
    """

    summary: str
    found: str
    relation: Relation
    made_of: Sequence[tuple[str, str]]
    plots: Sequence[Plot]
    plot_note: str
    tables: Sequence[Table]
    texts: Sequence[tuple[str, str]] = ()


def relation(measured: Origin, run: Origin) -> Relation:
    """Whether figures of ``measured`` are of the models and policy of ``run``."""
    if not run.known:
        return Relation(
            "What made the outputs of this page is not known: these figures may be of other models "
            "or another policy.",
            doubtful=True,
        )
    if not measured.known:
        return Relation(
            "What made these figures is not known: they may be of other models or another policy "
            "than this page's run.",
            doubtful=True,
        )
    found = []
    if measured.policy != run.policy:
        found.append(f"policy {measured.policy} instead of {run.policy}")
    ours, theirs = measured.versions(), run.versions()
    found += [
        f"{name} {ours.get(name, 'none')} instead of {theirs.get(name, 'none')}"
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    ]
    if found:
        return Relation(f"Not of this page's run: {'; '.join(found)}.", doubtful=True)
    if measured.runtime != run.runtime:
        return Relation(
            f"Same policy and models as this page's run, but on {measured.runtime} where that was "
            f"on {run.runtime}: it finds slightly other boxes."
        )
    return Relation("Same policy, models and runtime as this page's run.")


def fairness_section(report: FairnessReport, run: Origin) -> Section:
    """Recall by group, spreads against the goal, worst groups and likely causes.

    Args:
        report: what was measured.
        run: what the page is about.
    """
    about = report.about
    plain = [one for one in report.spreads if one.condition == PLAIN]
    sizes = sorted(about.places)
    return Section(
        f"{about.people} labelled faces, each at the same places of the same street pictures "
        f"({', '.join(f'{about.places[size]} places at {size} px' for size in sizes)}), so that "
        "groups differ in the face alone. Only comparisons count: heads without bodies are harder "
        "than people, portraits easier. Intervals are 95 %, by drawing people again.",
        _goal(report),
        relation(about.origin, run),
        _made_of(about.origin, about.created, about.command),
        [
            *_spread_plot([(f"{o.dimension}, {o.size} px", o.spread) for o in plain], about.goal),
            *_group_plots(report, sizes),
        ],
        _PLOTS,
        [
            Table(
                "Spread between groups, normal light, nothing worn",
                _SPREADS.format(*looked_at(report)),
                spread_rows(report),
                4,
            ),
            Table("Worst groups and likely causes", "", _cause_rows(report), 6),
            Table("Recall by group", "", group_rows(report), 2, folded=True),
            Table("All faces, by condition", "", overall_rows(report), folded=True),
            Table(
                "Spread under other conditions",
                "Worst group, spread in points with its interval, p.",
                other_rows(report),
                2,
                folded=True,
            ),
        ],
        [
            (
                f"{one.dimension}, {one.condition}, {one.size} px: {one.worst.name}, "
                f"{points_text(one.spread.spread)} points behind {one.best.name}",
                f"{one.reading} To try: {one.proposal}.",
            )
            for one in report.causes
        ],
    )


def _goal(report: FairnessReport) -> str:
    """On which sizes and dimensions the goal is met, missed or open."""
    told = []
    for verdict in ("missed", "open", "met"):
        own: dict[int, list[str]] = {}
        for one in report.spreads:
            if (one.condition, one.spread.verdict) == (PLAIN, verdict):
                own.setdefault(one.size, []).append(one.dimension)
        sizes = "; ".join(
            f"{size}\N{NO-BREAK SPACE}px: {', '.join(own[size])}" for size in sorted(own)
        )
        told += [f"{verdict} at {sizes}"] if own else []
    if not told:
        return "No two groups have enough people to be compared."
    goal = f"Groups less than {100 * report.about.goal:g} points apart in recall?"
    return f"{goal} {'. '.join(one[0].upper() + one[1:] for one in told)}."


def _spread_plot(rows: Sequence[tuple[str, Spread]], goal: float) -> list[Plot]:
    if not rows:
        return []
    told = "; ".join(
        f"{name} {100 * one.spread.value:.1f} points, goal {one.verdict}" for name, one in rows
    )
    return [Plot("best against worst group", plots.spreads(rows, goal), f"Spread by size: {told}")]


def _group_plots(report: FairnessReport, sizes: Sequence[int]) -> list[Plot]:
    found = []
    for dimension in dict.fromkeys(one.dimension for one in report.spreads):
        by_size = {size: report.spread(dimension, size, PLAIN) for size in sizes}
        people: dict[str, str] = {}
        recalls: dict[tuple[str, int], Share] = {}
        for size, one in by_size.items():
            for group in one.groups if one else ():
                people[group.name] = f"{group.people}" if group.counted else f"({group.people})"
                recalls[group.name, size] = group.recall
        if not people:
            continue
        rows = [
            MarkRow(name, count, [_mark(recalls.get((name, size))) for size in sizes])
            for name, count in people.items()
        ]
        svg = plots.side_by_side(
            rows,
            [f"{size} px" for size in sizes],
            "obscured faces in %, 95 % interval; right: people (too few to compare)",
        )
        alt = f"Recall by {dimension} and size of the face; the table Recall by group has it"
        found.append(Plot(f"by {dimension}", svg, alt))
    return found


def _mark(share: Share | None) -> Mark | None:
    return None if share is None else Mark(share.value, (share.low, share.high))


def _cause_rows(report: FairnessReport) -> list[list[str]]:
    head = ["by", "condition", "size", "worst", "best", "likely cause", "spread, points", "p"]
    return [
        head,
        *(
            [
                one.dimension,
                one.condition,
                f"{one.size} px",
                one.worst.name,
                one.best.name,
                one.likely,
                points_text(one.spread.spread),
                p_text(one.spread.p),
            ]
            for one in report.causes
        ),
    ]


def scenes_section(figures: SceneFigures, run: Origin, targets: Mapping[str, float]) -> Section:
    """Recall by size and variation on whole street scenes, and blurs on what is no object.

    Args:
        figures: what was measured.
        run: what the page is about.
        targets: the least recall that is promised, by class, 0..1.
    """
    about = figures.about
    labels = list(dict.fromkeys(row.label for row in figures.recalls))
    against = "Against day: points from the same scenes by day, of boxes that count in both."
    tables = [Table(f"{label}s", against, recall_rows(figures, label)) for label in labels]
    if figures.negatives:
        note = "How many had a tenth of their pixels changed at least."
        title = "Things that are no face and no plate"
        tables.append(Table(title, note, negative_rows(figures), folded=True))
    return Section(
        f"{about.scenes} street scenes put together from labelled pictures, none of them enlarged; "
        f"{about.pictures} pictures with all variations, judged from the output pictures. "
        "Intervals are 95 %, by drawing scenes again; none (a hollow mark) where fewer than five "
        "scenes have such boxes.",
        "",
        relation(about.origin, run),
        _made_of(about.origin, about.created, about.command),
        [_scene_plot(figures, label, targets.get(label)) for label in labels],
        "Dashed: the least recall that is promised.",
        tables,
    )


def _scene_plot(figures: SceneFigures, label: str, target: float | None) -> Plot:
    variations = figures.variations(label)
    rows = []
    for size in SIZES:
        found = [figures.recall(label, variation, size) for variation in variations]
        marks = [Mark(one.recall.value, one.recall.interval) if one else None for one in found]
        boxes = [one.boxes for one in found if one]
        if boxes:
            rows.append(MarkRow(size, f"{max(boxes)}", marks))
    axis = "obscured boxes in %, 95 % interval; right: boxes"
    day = [(size, figures.recall(label, DAY, size)) for size in SIZES]
    told = ", ".join(f"{size} {one.recall.value:.1%}" for size, one in day if one)
    alt = f"Recall of {label}s by size in {len(variations)} variations"
    svg = plots.side_by_side(rows, variations, axis, target)
    return Plot(f"{label}s", svg, f"{alt}; by day: {told}" if told else alt)


def _made_of(origin: Origin, created: str, command: str) -> list[tuple[str, str]]:
    return [
        ("command", command),
        ("made", created),
        ("digest of the data", origin.data or "unknown"),
        ("policy", origin.policy or "unknown"),
        ("models", origin.models or "unknown"),
        ("runtime", origin.runtime or "unknown"),
    ]
