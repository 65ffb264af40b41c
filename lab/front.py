"""The trade-off between utility, leakage and latency: which rows no other row beats, and what may be recommended.

Choosing and reporting on the same frames would report the luck of the choice, so each row carries its figures twice: on
the frames it is chosen on and on others (of other streets). A row whose defense no attack was trained under shows how
much a listener gets who was not expecting it; that is no bound, so such a row is never on the front, never recommended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.metrics.base import Metric
from lab.tables import figure

Summary = Mapping[str, Any]
"""mean, median, low, high, n: an object of ``summary.json``."""


@dataclass(frozen=True)
class Figures:
    """One row on one set of frames. utility, leakage, latency, payload: summaries. frames, groups: how many."""

    utility: Summary
    leakage: Summary
    latency: Summary
    payload: Summary
    frames: int
    groups: int


@dataclass(frozen=True)
class Row:
    """One setting that could be deployed.

    defense: "" for none. attack: the strongest on the frames that the front is chosen on. judged: an attack trained
    under the defense stands in the row, or there is no defense; unjudged: why not.
    """

    split: str
    defense: str
    link: str
    attack: str
    unjudged: str
    chosen: Figures
    reported: Figures

    @property
    def judged(self) -> bool:
        """Whether its leakage may be compared."""
        return not self.unjudged

    @property
    def title(self) -> str:
        """``conv3.0 without a defense``."""
        return f"{self.split} with {self.defense}" if self.defense else f"{self.split} without a defense"


@dataclass(frozen=True)
class Aims:
    """What a user can live with. leak: at most this much of the attack's metric. loss: at most this much utility below
    the best row's."""

    leak: float = 0.5
    loss: float = 0.05


def front(rows: Sequence[Row], leak: Metric, *, reported: bool = False) -> list[Row]:
    """The judged rows that no other judged row beats in utility (more), leakage and latency (less).

    A row is beaten by one that is no worse in all three and better in one. Means on the choosing frames, or on the
    reporting ones.
    """
    points = {id(row): _point(row.reported if reported else row.chosen, leak) for row in rows if row.judged}
    return [row for row in rows if row.judged and not any(_beats(other, points[id(row)]) for other in points.values())]


def leaks(value: float, leak: Metric) -> float:
    """More is more leakage, whichever way the attack's metric grows."""
    return -value if leak.better == "lower" else value


def advice(rows: Sequence[Row], leak: Metric, utility: Metric, aims: Aims) -> list[str]:
    """What the rows of one link come to, in sentences: chosen on one set of streets, figures of the other."""
    members = front(rows, leak)
    if not members:
        return ["Nothing can be recommended: no row has an attack that was trained under its defense."]
    best = max(float(row.chosen.utility["mean"]) for row in members)
    kept = [row for row in members if float(row.chosen.utility["mean"]) >= best - aims.loss]
    pick = min(kept, key=lambda row: leaks(float(row.chosen.leakage["mean"]), leak))
    found = pick.reported
    bound = found.leakage["high" if leak.better == "higher" else "low"]
    safe = bound is not None and leaks(float(bound), leak) <= leaks(aims.leak, leak)
    limit = (
        f"the limit asked for is {aims.leak:g}" if bound is not None else "there are too few streets for an interval"
    )
    lines = [
        f"Recommended: cut at {pick.title}."
        if safe
        else f"Nothing here can be recommended as private: {limit}. Of what keeps its use, the cut at {pick.title} "
        f"leaks least, and the listener still gets {leak.title} {_interval(found.leakage, leak)}."
    ]
    lines.append(
        f"It rests on {found.frames} frames of {found.groups} streets that had no part in the choice: "
        f"{leak.title} {_interval(found.leakage, leak)} by {pick.attack}, {utility.title} "
        f"{_interval(found.utility, utility)}, {found.latency['mean']:,.0f} ms from capture to answer over "
        f"{pick.link}, {found.payload['mean'] / 1000:,.0f} kB a frame."
    )
    if pick not in front(rows, leak, reported=True):
        lines.append("On those streets another row beats it in all three, so the order is not certain.")
    silent = [row.title for row in rows if not row.judged]
    if silent:
        lines.append(f"Not judged, because no attack was trained under the defense: {'; '.join(silent)}.")
    return lines


def _point(figures: Figures, leak: Metric) -> tuple[float, float, float]:
    """Utility, minus leakage, minus latency: more is better in each."""
    return (
        float(figures.utility["mean"]),
        -leaks(float(figures.leakage["mean"]), leak),
        -float(figures.latency["mean"]),
    )


def _beats(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a != b and all(x >= y for x, y in zip(a, b, strict=True))


def _interval(summary: Summary, metric: Metric) -> str:
    mean = figure(summary["mean"], metric)
    if summary["low"] is None:
        return f"{mean} (n {summary['n']}, no interval)"
    return f"{mean} ({figure(summary['low'], metric)} to {figure(summary['high'], metric)}, n {summary['n']})"
