"""Still plots for reports: what leaks against what a network is worth, and where a frame's time goes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lab.tables import STAGE_WORDS

_INK: Final = "#1c1f24"
_SOFT: Final = "#5c636e"
_PAGE: Final = "#fbfaf8"
_KIND_COLOURS: Final = ("#0b6bb3", "#e08a1e", "#2f8f5b", "#6b4fa0", "#b0413e", "#5c636e")
_STAGE_COLOURS: Final = (
    "#b9bec7", "#0b6bb3", "#e08a1e", "#8fc1e8", "#c9c3b6", "#6b4fa0", "#9fd0b5", "#2f8f5b", "#d8a7b1",
)  # fmt: skip
_MARKERS: Final = "osD^vPX*"


@dataclass(frozen=True)
class Point:
    """One row of a scatter plot; x and y are (mean, low, high), low and high None without an interval.

    kind: which rows share colour and marker (the split point). front: it is on the front. hollow: its y is no bound.
    """

    label: str
    kind: str
    x: tuple[float, float | None, float | None]
    y: tuple[float, float | None, float | None]
    front: bool = False
    hollow: bool = False


def scatter(points: Sequence[Point], x_title: str, y_title: str, note: str = "") -> bytes:
    """A PNG: every point with its interval, the front's joined by a line."""
    figure, axes = _figure(8.6, 5.0)
    kinds = list(dict.fromkeys(point.kind for point in points))
    for point in points:
        number = kinds.index(point.kind)
        colour = _KIND_COLOURS[number % len(_KIND_COLOURS)]
        for values, where in ((point.x, "xerr"), (point.y, "yerr")):
            mean, low, high = values
            if low is not None and high is not None:
                bars = {where: [[max(mean - low, 0)], [max(high - mean, 0)]]}
                axes.errorbar(point.x[0], point.y[0], **bars, ecolor=colour, elinewidth=1, alpha=0.7, fmt="none")
        axes.plot(
            point.x[0], point.y[0], _MARKERS[number % len(_MARKERS)], markersize=10 if point.front else 7,
            markerfacecolor=_PAGE if point.hollow else colour, markeredgecolor=colour, markeredgewidth=1.6,
        )  # fmt: skip
    members = sorted((point.x[0], point.y[0]) for point in points if point.front)
    if len(members) > 1:
        axes.plot(*zip(*members, strict=True), color=_INK, linewidth=1, linestyle="--", zorder=0)
    axes.set_xlabel(x_title)
    axes.set_ylabel(y_title)
    axes.margins(0.16, 0.16)
    _label(axes, points)
    if note:
        figure.text(0.01, -0.03, note, fontsize=7.5, color=_SOFT)
    return _png(figure)


def stage_bars(rows: Sequence[tuple[str, Mapping[str, float]]], stages: Sequence[str]) -> bytes:
    """A PNG: for each (title, stage -> milliseconds) a bar, its stages stacked in the order of a frame's way."""
    figure, axes = _figure(8.6, 1.3 + 0.34 * len(rows))
    left = [0.0] * len(rows)
    for number, stage in enumerate(stages):
        widths = [values.get(stage, 0.0) for _, values in rows]
        axes.barh(
            range(len(rows)), widths, left=left, height=0.62, label=f"{stage}: {STAGE_WORDS[stage]}",
            color=_STAGE_COLOURS[number % len(_STAGE_COLOURS)],
        )  # fmt: skip
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(rows)), [title for title, _ in rows])
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds a frame, medians of each stage")
    below = -0.5 / (0.34 * len(rows))
    axes.legend(fontsize=7.5, ncols=3, frameon=False, loc="upper center", bbox_to_anchor=(0.4, below))
    return _png(figure)


@dataclass(frozen=True)
class Line:
    """A curve. x, y: as long as each other. end: (low, high) of the interval at its last point, where there is one."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    end: tuple[float, float] | None = None


def lines(panels: Sequence[tuple[str, Sequence[Line]]], y_title: str, levels: Mapping[str, float]) -> bytes:
    """A PNG: for each (title of its x axis, lines) a panel beside the others, x logarithmic, one y axis.

    A label has the same colour in every panel. levels: horizontal lines, by name, that depend on nothing (floors).
    """
    names = list(dict.fromkeys(line.label for _, drawn in panels for line in drawn))
    figure, first = _figure(5.6 * len(panels), 4.2, len(panels))
    for axes, (title, drawn) in zip(first, panels, strict=True):
        for line in drawn:
            colour = _KIND_COLOURS[names.index(line.label) % len(_KIND_COLOURS)]
            axes.plot(line.x, line.y, color=colour, linewidth=2, label=line.label)
            if line.end is not None:
                bar = [[max(line.y[-1] - line.end[0], 0)], [max(line.end[1] - line.y[-1], 0)]]
                axes.errorbar(line.x[-1], line.y[-1], yerr=bar, color=colour, fmt="o", markersize=5, capsize=3)
        for number, (name, level) in enumerate(levels.items()):
            axes.axhline(level, color=_SOFT, linewidth=1, linestyle=("--", ":", "-.")[number % 3], label=name)
        axes.set_xscale("log")
        axes.set_xlabel(title)
    first[0].set_ylabel(y_title)
    first[0].legend(fontsize=8, frameon=False)
    return _png(figure)


def _label(axes: Any, points: Sequence[Point]) -> None:
    """Names beside the points, away from the right edge's, each nudged below the last where two would overlap."""
    axes.figure.canvas.draw()
    taken: dict[bool, list[float]] = {True: [], False: []}
    for point in sorted(points, key=lambda p: -p.y[0]):
        x, y = axes.transData.transform((point.x[0], point.y[0]))
        left = bool(0.4 < axes.transAxes.inverted().transform((x, y))[0] < 0.85)
        place = y
        while any(abs(place - other) < 16 for other in taken[left]):
            place -= 4
        taken[left].append(place)
        axes.annotate(
            point.label, (point.x[0], point.y[0]), xytext=(-9 if left else 9, (place - y) * 72 / axes.figure.dpi + 5),
            textcoords="offset points", ha="right" if left else "left", fontsize=8,
            color=_INK if point.front else _SOFT,
        )  # fmt: skip


def _figure(width: float, height: float, panels: int = 0) -> tuple[Any, Any]:
    """A figure and its axes; with ``panels`` a list of so many, side by side, that share their y axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, facecolor=_PAGE)
    FigureCanvasAgg(figure)
    drawn = figure.subplots(1, max(panels, 1), sharey=True, squeeze=False)[0]
    for axes in drawn:
        axes.set_facecolor(_PAGE)
        axes.grid(color="#dcd9d3", linewidth=0.6)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure, list(drawn) if panels else drawn[0]


def _png(figure: Any) -> bytes:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", facecolor=_PAGE, bbox_inches="tight")
    return drawn.getvalue()
