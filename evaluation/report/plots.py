"""Plots of an evaluation as SVG texts, drawn by matplotlib (extra ``evaluate``)."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.comparison import Difference
from evaluation.fairness.spread import Spread
from evaluation.summary import Recall
from evaluation.verdicts import CurvePoint, Latency
from pipeline.errors import ConfigurationError

# Okabe and Ito's colours, told apart by the colour-blind.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "os^DvPX"
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "streetblur",
    "text.parse_math": False,  # names of sets are no formulas
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "DejaVu Sans", "sans-serif"],
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


@dataclass(frozen=True, slots=True)
class Mark:
    """One point of a plot.

    Attributes:
        value: 0..1.
        interval: its 95 % interval; None where there is none.
    """

    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class MarkRow:
    """A row of :func:`side_by_side`: its name, what stands at its end, a mark a series."""

    name: str
    note: str
    marks: Sequence[Mark | None]


def side_by_side(
    rows: Sequence[MarkRow], series: Sequence[str], axis: str, target: float | None = None
) -> str:
    """Shares of several series, one below the other in each row, and the target.

    Args:
        rows: from top to bottom; a mark that is None is left out.
        series: names of the marks of a row.
        axis: what is shown, for the label.
        target: 0..1; None for no line.
    """
    step = 0.8 / len(series)
    figure, axes = _figure(6.4, 1.3 + len(rows) * (0.18 + 0.14 * len(series)))
    ends = [] if target is None else [target]
    for number, name in enumerate(series):
        colour, marker = COLOURS[number % len(COLOURS)], _MARKERS[number % len(_MARKERS)]
        axes.plot([], [], marker, color=colour, markersize=5, label=name)
        for place, row in enumerate(reversed(rows)):
            mark = row.marks[number]
            if mark is None:
                continue
            at = place + step * ((len(series) - 1) / 2 - number)
            if mark.interval is not None:
                axes.plot([100 * end for end in mark.interval], [at, at], color=colour, linewidth=2)
            filled = colour if mark.interval is not None else "none"
            axes.plot(
                100 * mark.value, at, marker, color=colour, markerfacecolor=filled, markersize=5
            )
            ends += [mark.value, *(mark.interval or ())]
    for place, row in enumerate(reversed(rows)):
        _row_name(axes, place, row.name, row.note)
        if place:
            axes.axhline(place - 0.5, color="#d5dce3", linewidth=0.6)
    axes.set_yticks([])
    axes.set_ylim(-0.5, len(rows) - 0.5)
    axes.set_xlim(max(100 * min(ends, default=0) - 3, -1), 101)
    if target is not None:
        axes.axvline(100 * target, color="#000000", linestyle="--", linewidth=1)
    axes.set_xlabel(axis)
    figure.legend(loc="outside upper center", ncols=len(series), fontsize=8.5, handletextpad=0.2)
    return _svg(figure)


def spreads(rows: Sequence[tuple[str, Spread]], goal: float) -> str:
    """How far groups lie apart, with what could have been found, against the goal (0..1)."""
    figure, axes = _figure(6.4, 0.9 + 0.3 * len(rows))
    colours = {"met": COLOURS[2], "missed": COLOURS[1], "open": "#888888"}
    for place, (name, one) in enumerate(reversed(rows)):
        colour = colours[one.verdict]
        ends = [100 * one.spread.low, 100 * one.spread.high]
        axes.plot(ends, [place, place], color=colour, linewidth=2)
        axes.plot(100 * one.spread.value, place, "o", color=colour, markersize=5)
        axes.plot(
            100 * one.detectable, place, "D", color="#000000", markerfacecolor="none", markersize=5
        )
        _row_name(axes, place, name, one.verdict)
    axes.axvline(100 * goal, color="#000000", linestyle="--", linewidth=1)
    axes.set_yticks([])
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xlim(left=-0.5)
    axes.set_xlabel("points between best and worst group, 95 % interval; diamond: detectable")
    return _svg(figure)


def _row_name(axes: Any, place: int, name: str, note: str) -> None:
    """``name`` left of a row, ``note`` right of it."""
    axes.text(-0.02, place, name, transform=axes.get_yaxis_transform(), ha="right", va="center")
    axes.annotate(
        note, (1.01, place), xycoords=("axes fraction", "data"), va="center", color="#666666"
    )


def recall_bars(rows: Sequence[tuple[str, Recall]], target: float | None) -> str:
    """Recall of named groups with intervals, one line each, and the target.

    Args:
        rows: name and figures, from top to bottom.
        target: 0..1; None for no line.
    """
    figure, axes = _figure(6.4, 0.9 + 0.3 * len(rows))
    for place, (name, row) in enumerate(reversed(rows)):
        axes.plot([100 * row.low, 100 * row.high], [place, place], color=COLOURS[0], linewidth=2)
        axes.plot(100 * row.recall, place, "o", color=COLOURS[0], markersize=5)
        _row_name(axes, place, name, f"{row.boxes}")
    axes.set_yticks([])
    axes.set_ylim(-0.7, len(rows) - 0.3)
    least = min([row.low for _, row in rows] + ([] if target is None else [target]))
    axes.set_xlim(max(100 * least - 3, -1), 101)
    if target is not None:
        axes.axvline(100 * target, color=COLOURS[1], linestyle="--", linewidth=1)
    axes.set_xlabel("obscured boxes in %, 95 % interval; right: boxes")
    return _svg(figure)


def curves(lines: Mapping[str, Sequence[CurvePoint]], in_force: Sequence[float]) -> str:
    """Recall against false blurs: one line a box height, one point a threshold.

    Args:
        lines: by name.
        in_force: thresholds of the policy, marked.
    """
    figure, axes = _figure(6.4, 4.0)
    for colour, (name, points) in zip(COLOURS * 2, lines.items(), strict=False):
        axes.plot(
            [100 * point.outside for point in points],
            [100 * point.recall for point in points],
            "-o",
            color=colour,
            markersize=3,
            linewidth=1.2,
            label=f"{name} ({points[0].boxes})",
        )
        for point in points:
            if point.threshold in in_force:
                axes.plot(
                    100 * point.outside,
                    100 * point.recall,
                    "o",
                    markersize=9,
                    markerfacecolor="none",
                    color=colour,
                )
    axes.set_xlabel("pixels changed outside in % (mean over pictures)")
    axes.set_ylabel("obscured boxes in %")
    axes.legend(loc="lower right", fontsize=8.5)
    return _svg(figure)


def differences(rows: Sequence[tuple[str, Difference]]) -> str:
    """Differences of two runs with their intervals, in points."""
    figure, axes = _figure(6.4, 0.9 + 0.3 * len(rows))
    colours = {"better": COLOURS[2], "worse": COLOURS[1], "no difference": "#888888"}
    for place, (name, row) in enumerate(reversed(rows)):
        colour = colours[row.verdict]
        axes.plot([100 * row.low, 100 * row.high], [place, place], color=colour, linewidth=2)
        axes.plot(100 * (row.after - row.before), place, "o", color=colour, markersize=5)
        axes.text(-0.02, place, name, transform=axes.get_yaxis_transform(), ha="right", va="center")
    axes.axvline(0, color="#000000", linewidth=0.8)
    axes.set_yticks([])
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xlabel("after minus before, points, 95 % interval")
    return _svg(figure)


def latencies(stages: Mapping[str, Latency]) -> str:
    """P50, P95 and P99 of each stage, in milliseconds on a logarithmic axis."""
    figure, axes = _figure(6.4, 0.9 + 0.3 * len(stages))
    for place, (name, one) in enumerate(reversed(list(stages.items()))):
        values = [max(value, 0.01) for value in (one.p50, one.p95, one.p99)]
        axes.plot(values, [place] * 3, "-", color="#bbbbbb", linewidth=1.5)
        for value, colour in zip(values, COLOURS, strict=False):
            axes.plot(value, place, "o", color=colour, markersize=5)
        axes.text(-0.02, place, name, transform=axes.get_yaxis_transform(), ha="right", va="center")
    axes.set_xscale("log")
    # whole decades, so that there is a label at either end
    every = [max(value, 0.01) for one in stages.values() for value in (one.p50, one.p95, one.p99)]
    axes.set_xlim(
        0.9 * 10 ** math.floor(math.log10(min(every))),
        1.1 * 10 ** math.ceil(math.log10(max(every))),
    )
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda *_: "")
    axes.set_yticks([])
    axes.set_ylim(-0.7, len(stages) - 0.3)
    axes.set_xlabel("milliseconds a picture: P50 (blue), P95 (orange), P99 (green)")
    return _svg(figure)


def require() -> Any:
    """matplotlib; asked for before anything that takes long.

    Raises:
        ConfigurationError: it is missing.
    """
    try:
        import matplotlib.figure
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "matplotlib is missing, which draws the report's plots",
            where="evaluation",
            fix="pip install 'streetblur[evaluate]'",
        ) from error
    return matplotlib


def _figure(width: float, height: float) -> tuple[Any, Any]:
    matplotlib = require()
    matplotlib.rcParams.update(_STYLE)
    # a figure of its own: nothing is shown, so no display is asked for
    figure = matplotlib.figure.Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Any) -> str:
    """The drawing without what differs from run to run."""
    buffer = io.StringIO()
    untold = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=untold)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
