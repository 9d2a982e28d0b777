"""Draws the charts of the page as SVG: scores by task, attribution, the funnel, what rows are like.

Figures are narrow, so that their letters stay readable on a phone; letters are text, not outlines,
so that they take the page's typeface. Colours are placeholders that :mod:`tasks.reporting.pictures`
replaces by the page's own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from markupsafe import Markup

from tasks.records import TASKS
from tasks.reporting.figures import write_count, write_share
from tasks.reporting.measure_names import name_measure, name_task
from tasks.reporting.pictures import embed_svg
from tasks.reporting.sections.scoring import NO_RUBRICS, find_measure, list_models
from tasks.scores import Measure

_INK, _SOFT, _LINE = "#010101", "#020202", "#030303"
_SERIES = tuple(f"#0{place}0a0b" for place in range(6))
_ACCEPTED, _REJECTED = "#090101", "#090202"
_COLOURS = {
    _INK: "var(--ink)",
    _SOFT: "var(--soft)",
    _LINE: "var(--line)",
    **{drawn: f"var(--series-{place})" for place, drawn in enumerate(_SERIES)},
    _ACCEPTED: "var(--series-1)",
    _REJECTED: "var(--bad)",
}

_WIDTH = 5.2
"""Inches; at 72 points an inch, letters of 9.5 points are 9 pixels high on a 390-pixel phone."""

_ROW = 0.52
_FURNITURE = 0.75
_SPREAD = 0.17
"""How far the models of one row stand apart, in rows."""


@dataclass(frozen=True, slots=True)
class FunnelBar:
    """One stage of the funnel."""

    name: str
    accepted: int
    rejected: int


@dataclass(frozen=True, slots=True)
class LengthLine:
    """Tokens that a row of one node took: the quantiles of 5, 25, 50, 75 and 95 %, and the most."""

    name: str
    rows: int
    quantiles: tuple[float, ...]
    most: int


@dataclass(frozen=True, slots=True)
class ShareBar:
    """One bar; ``share`` is of 1."""

    name: str
    share: float


def draw_scores(
    measures: Sequence[Measure], judge: str, rubrics: Mapping[str, str] = NO_RUBRICS
) -> Markup | None:
    """Return a dot with its interval for every task and model; ``None`` without scores.

    The axis is the whole scale from 1 to 5: a cut one would make small differences look large.
    """
    judged = [item for item in measures if item.judge == judge]
    rows: list[tuple[str, str, str]] = [
        (name_measure("persona_score", judge, rubrics), "persona_score", "")
    ]
    rows += [(name_task(task), "score", task) for task in TASKS]
    rows = [row for row in rows if any((item.name, item.task) == row[1:] for item in judged)]
    models = list_models(judged)

    def paint(axes: Any) -> None:
        for place, model in enumerate(models):
            shift = _SPREAD * (place - (len(models) - 1) / 2)
            for row, (_, name, task) in enumerate(rows):
                measure = find_measure(judged, name, model, judge, task)
                if measure is not None and measure.mean is not None:
                    _dot(axes, measure, row + shift, place)
            axes.plot([], [], "o", color=_colour(place), label=model)
        axes.set_xlim(0.9, 5.1)
        axes.set_xticks([1, 2, 3, 4, 5])
        _add_legend(axes, len(models))

    label = f"Scores by task, judge {judge}, with 95 % intervals"
    return _draw(paint, [name for name, _, _ in rows], "scores", label) if rows else None


def draw_attribution(measures: Sequence[Measure]) -> Markup | None:
    """Return bars of attribution a model, with a line where guessing is; ``None`` without any."""
    kinds: tuple[tuple[str, str], ...] = (
        ("random candidates", "attribution"),
        ("alike candidates", "attribution_hard"),
    )
    rows = [row for row in kinds if any(item.name == row[1] for item in measures)]
    found = [item for item in measures if item.name in ("attribution", "attribution_hard")]
    models = list_models(found)

    def paint(axes: Any) -> None:
        thick = 0.8 / len(models)
        for place, model in enumerate(models):
            shift = thick * (place - (len(models) - 1) / 2)
            for row, (_, name) in enumerate(rows):
                measure = find_measure(found, name, model)
                if measure is not None and measure.mean is not None:
                    _bar(axes, measure, row + shift, 0.86 * thick, place)
            axes.plot([], [], "s", color=_colour(place), label=model)
        for row, (_, name) in enumerate(rows):
            chance = next((item.chance for item in found if item.name == name), None)
            if chance is not None:
                axes.plot([100 * chance] * 2, [row - 0.46, row + 0.46], "--", color=_INK, lw=1)
        axes.plot([], [], "--", color=_INK, lw=1, label="chance")
        axes.set_xlim(0, 100)
        axes.set_xlabel("% of held-out answers likeliest under their own character")
        _add_legend(axes, len(models) + 1)

    if not rows:
        return None
    names = [name for name, _ in rows]
    label = "Character attribution by model, with chance"
    return _draw(paint, names, "attribution", label, height=max(1.0, 0.5 * len(models)))


def draw_funnel(bars: Sequence[FunnelBar]) -> Markup | None:
    """Return accepted and rejected rows a stage as stacked bars; ``None`` without stages."""

    def paint(axes: Any) -> None:
        most = max(bar.accepted + bar.rejected for bar in bars) or 1
        for row, bar in enumerate(bars):
            end = bar.accepted + bar.rejected
            axes.barh(row, bar.accepted, height=0.62, color=_ACCEPTED)
            axes.barh(row, bar.rejected, left=bar.accepted, height=0.62, color=_REJECTED)
            axes.text(end + 0.015 * most, row, write_count(bar.accepted), va="center")
        axes.plot([], [], "s", color=_ACCEPTED, label="accepted")
        axes.plot([], [], "s", color=_REJECTED, label="rejected")
        axes.set_xlim(0, 1.16 * most)
        axes.set_xticks([])
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        _add_legend(axes, 2)

    label = "Rows accepted and rejected, stage by stage"
    return _draw(paint, [bar.name for bar in bars], "funnel", label, height=0.72) if bars else None


def draw_lengths(lines: Sequence[LengthLine]) -> Markup | None:
    """Return a node's middle half thick, nine rows in ten thin, the median as a dot."""

    def paint(axes: Any) -> None:
        colour = _colour(1)
        for row, line in enumerate(lines):
            low, lower, median, upper, high = line.quantiles
            axes.plot([low, high], [row, row], color=colour, lw=1.5, solid_capstyle="butt")
            axes.plot([lower, upper], [row, row], color=colour, lw=7, solid_capstyle="butt")
            axes.plot([median], [row], "o", color=_INK, ms=5)
        axes.set_xlim(left=0)
        axes.set_xlabel("generated tokens a row: median, middle half, 5 to 95 %")

    label = "Generated tokens a row, node by node"
    return _draw(paint, [line.name for line in lines], "lengths", label, 0.72) if lines else None


def draw_shares(bars: Sequence[ShareBar], name: str, label: str) -> Markup | None:
    """Return a bar a share with its figure beside it; ``name`` tells the picture from others."""

    def paint(axes: Any) -> None:
        most = max(bar.share for bar in bars) or 1
        for row, bar in enumerate(bars):
            axes.barh(row, 100 * bar.share, height=0.62, color=_colour(1))
            axes.text(100 * (bar.share + 0.015 * most), row, write_share(bar.share), va="center")
        axes.set_xlim(0, 116 * most)
        axes.set_xticks([])
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)

    return _draw(paint, [bar.name for bar in bars], name, label, 0.6) if bars else None


def _draw(
    paint: Callable[[Any], None], names: Sequence[str], name: str, label: str, height: float = 1.0
) -> Markup:
    """Return a picture with a named row each, first on top; ``height`` is of one row."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sink = BytesIO()
    inches = _FURNITURE + _ROW * height * len(names)
    with matplotlib.rc_context(_style()), warnings.catch_warnings():
        # Letters are text in the page's own typeface: what ours lacks only shifts the layout.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure = Figure(figsize=(_WIDTH, inches), layout="constrained")
        FigureCanvasAgg(figure)
        figure.patch.set_visible(False)
        axes = figure.subplots()
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="both", length=0)
        axes.grid(visible=False, axis="y")
        paint(axes)
        figure.savefig(sink, format="svg", metadata={"Date": None})
    return embed_svg(sink.getvalue().decode(), name, label, _COLOURS)


def _dot(axes: Any, measure: Measure, row: float, place: int) -> None:
    colour = _colour(place)
    if measure.low is not None and measure.high is not None:
        # An interval may reach beyond the scale; what is drawn does not.
        ends = [max(measure.low, 1.0), min(measure.high, 5.0)]
        axes.plot(ends, [row, row], color=colour, lw=2, solid_capstyle="round")
    axes.plot([measure.mean], [row], "o", color=colour, ms=6)


def _bar(axes: Any, measure: Measure, row: float, thick: float, place: int) -> None:
    assert measure.mean is not None
    axes.barh(row, 100 * measure.mean, height=thick, color=_colour(place))
    if measure.low is not None and measure.high is not None:
        ends = [100 * max(measure.low, 0.0), 100 * min(measure.high, 1.0)]
        axes.plot(ends, [row, row], color=_INK, lw=1.2)


def _colour(place: int) -> str:
    return _SERIES[place % len(_SERIES)]


def _add_legend(axes: Any, entries: int) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=min(entries, 4),
        borderaxespad=0,
        handletextpad=0.4,
        columnspacing=1.2,
    )


def _style() -> dict[str, Any]:
    return {
        "svg.fonttype": "none",
        "text.parse_math": False,
        "svg.hashsalt": "opencharacter",
        "font.family": "DejaVu Sans",
        "font.size": 9.5,
        "text.color": _INK,
        "axes.labelcolor": _SOFT,
        "axes.edgecolor": _LINE,
        "axes.facecolor": "none",
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": _LINE,
        "grid.linewidth": 0.8,
        "xtick.color": _SOFT,
        "ytick.color": _INK,
        "legend.frameon": False,
        "legend.fontsize": 9.5,
    }
