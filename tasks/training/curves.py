"""Draws how a training went, from its metrics: loss, learning rate, gradient norm, speed.

This is the training stage's only door to matplotlib. Nothing is set globally and no window system
is asked: a figure is drawn on a canvas of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from statistics import median
from typing import Any, Literal

Record = Mapping[str, object]
"""One line of the metrics file; keys may be missing, values null."""

_SMOOTHED_FROM = 120
_WINDOWS = 40
"""A smoothed line averages over a fortieth of the run: enough to calm it, too little to lag."""
_DRAWN = 1_000
_INCHES = (8.4, 5.4)
_ONE_ROW_INCHES = (8.4, 2.9)


@dataclass(frozen=True, slots=True)
class _Palette:
    """Set of colours; the vector one must be read on light and on dark pages."""

    ink: str
    grid: str
    line: str
    accent: str
    background: str


_PAPER = _Palette("#3d444d", "#e4e7eb", "#2f6fb3", "#c8553d", "#ffffff")
# Mid tones with a contrast of at least 3:1 against white and against a dark page (#0d1117).
_ANY_PAGE = _Palette("#7d8590", "#7d859040", "#3f8ae0", "#d9663f", "none")


@dataclass(frozen=True, slots=True)
class _Panel:
    """One plot: its title, the metric it shows, how numbers are written, what is noted.

    ``note`` is ``ends`` (the last number), ``median`` or ``held out`` (first and last evaluation).
    """

    title: str
    key: str
    show: Callable[[float], str]
    note: Literal["held out", "ends", "median"]
    noisy: bool = True


def _show_rate(value: float) -> str:
    return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e") if value else "0"


def _show_count(value: float) -> str:
    if abs(value) >= 100_000:
        return f"{value / 1_000:,.0f} k"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _show_plain(value: float) -> str:
    return f"{value:.3g}"


_PANELS = (
    _Panel("loss", "loss", _show_plain, "held out"),
    _Panel("learning rate", "learning_rate", _show_rate, "ends", noisy=False),
    _Panel("gradient norm", "grad_norm", _show_plain, "median"),
    _Panel("tokens a second", "tokens_per_s", _show_count, "median"),
)


def draw_curves(records: Sequence[Record], kind: Literal["png", "svg"]) -> bytes:
    """Return the picture of a training's metrics.

    ``png`` has white ground, for cards; ``svg`` has none and greys that are read on light and
    dark pages, for reports. Panels without numbers are left out, numbers that are not finite leave
    a gap; long runs are drawn thinned and smoothed over a faint original. The same records give
    the same bytes.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    palette = _PAPER if kind == "png" else _ANY_PAGE
    shown = [panel for panel in _PANELS if _read(records, panel.key)[0] or _also(records, panel)]
    with matplotlib.rc_context(_style(palette)):
        size = _INCHES if len(shown) > 2 else _ONE_ROW_INCHES
        figure = Figure(figsize=size, dpi=160, layout="constrained")
        FigureCanvasAgg(figure)
        figure.patch.set_facecolor(palette.background)
        if not shown:
            figure.text(0.5, 0.5, "no metrics were recorded", ha="center", va="center")
        else:
            rows = 2 if len(shown) > 2 else 1
            grid = figure.subplots(rows, -(-len(shown) // rows), squeeze=False).flatten()
            for axes in grid[len(shown) :]:
                axes.remove()
            for axes, panel in zip(grid, shown, strict=False):
                _draw_panel(axes, panel, records, palette)
        sink = BytesIO()
        metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(sink, format=kind, metadata=metadata)
    return sink.getvalue()


def _draw_panel(axes: Any, panel: _Panel, records: Sequence[Record], palette: _Palette) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    steps, values = _read(records, panel.key)
    evaluated = _read(records, "eval_loss") if panel.key == "loss" else ([], [])
    axes.set_title(panel.title, loc="left", weight="bold")
    axes.set_title(_write_note(panel, values, evaluated[1]), loc="right", fontsize=8.5)
    if len(values) >= _SMOOTHED_FROM and panel.noisy:
        axes.plot(*_thin(steps, values), color=palette.line, alpha=0.28, linewidth=0.7)
        axes.plot(*_thin(steps, _smooth(values)), color=palette.line, label="training")
    elif values:
        mark = "o" if len(values) == 1 else None
        axes.plot(*_thin(steps, values), color=palette.line, marker=mark, label="training")
    if evaluated[0]:
        axes.plot(*evaluated, color=palette.accent, marker="o", zorder=3, label="held out")
        if values:
            axes.legend(loc="upper right")
    if panel.key != "loss":
        finite = [value for value in values if math.isfinite(value)]
        axes.set_ylim(0, max(*finite, 0.0, 1e-12) * 1.08)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: panel.show(value)))
    else:
        axes.ticklabel_format(axis="y", useOffset=False, style="plain")
    drawn = steps + evaluated[0]
    if min(drawn) == max(drawn):
        axes.set_xlim(drawn[0] - 1, drawn[0] + 1)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _show_count(value)))
    axes.set_xlabel("step")
    axes.margins(x=0.02)


def _write_note(panel: _Panel, values: Sequence[float], evaluated: Sequence[float]) -> str:
    if panel.note == "held out":
        told = [value for value in evaluated if math.isfinite(value)]
        shown = [f"{value:.3f}" for value in (told[0], told[-1])] if told else []
        return f"held out {' → '.join(dict.fromkeys(shown))}" if shown else ""
    finite = [value for value in values if math.isfinite(value)]
    number = finite[-1] if panel.note == "ends" else median(finite)
    return f"{panel.note} {'at ' if panel.note == 'ends' else ''}{panel.show(number)}"


def _read(records: Sequence[Record], key: str) -> tuple[list[float], list[float]]:
    """Return steps and values of a metric; what is not finite becomes a gap between points."""
    steps: list[float] = []
    values: list[float] = []
    for record in records:
        step, value = record.get("step"), record.get(key)
        if _is_number(step) and _is_number(value):
            steps.append(float(step))  # type: ignore[arg-type]
            values.append(float(value) if math.isfinite(value) else math.nan)  # type: ignore[arg-type]
    return (steps, values) if any(math.isfinite(value) for value in values) else ([], [])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _also(records: Sequence[Record], panel: _Panel) -> bool:
    return panel.key == "loss" and bool(_read(records, "eval_loss")[0])


def _smooth(values: Sequence[float]) -> list[float]:
    """Return the mean over a window around each value; gaps are passed over."""
    reach = max(1, len(values) // (2 * _WINDOWS))
    sums, counts = [0.0], [0]
    for value in values:
        sums.append(sums[-1] + (value if math.isfinite(value) else 0.0))
        counts.append(counts[-1] + math.isfinite(value))
    smoothed = []
    for place in range(len(values)):
        first, last = max(0, place - reach), min(len(values), place + reach + 1)
        count = counts[last] - counts[first]
        smoothed.append((sums[last] - sums[first]) / count if count else math.nan)
    return smoothed


def _thin(steps: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    every = -(-len(steps) // _DRAWN)
    return list(steps[::every]), list(values[::every])


def _style(palette: _Palette) -> dict[str, Any]:
    return {
        "svg.fonttype": "path",
        "svg.hashsalt": "opencharacter",
        "font.family": "DejaVu Sans",
        "font.size": 8.5,
        "text.color": palette.ink,
        "axes.labelcolor": palette.ink,
        "axes.edgecolor": palette.ink,
        "axes.titlecolor": palette.ink,
        "axes.titlesize": 10,
        "axes.facecolor": "none",
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": palette.grid,
        "grid.linewidth": 0.6,
        "xtick.color": palette.ink,
        "ytick.color": palette.ink,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "lines.linewidth": 1.5,
        "lines.markersize": 3.8,
    }
