"""How the trade-off is told: in words, in two plots, row by row for each link, and how the front held up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lab.front import Aims, Figures, Row, advice, front, leaks
from lab.measuring import scorer_of
from lab.metrics.base import ORACLE, Declarations, Metric, Scorer
from lab.parts import STAGES
from lab.plots import Point, scatter, stage_bars
from lab.studies.base import CellResult
from lab.studies.entitled import trained_under
from lab.tables import Entry, Sheet, estimate

LATENCY = Metric(
    "total_ms", "ms", "lower", "From capture to answer, a frame that waits for no other; mean.", "measured", "latency"
)
PAYLOAD = Metric("payload_bytes", "kB", "lower", "Tensor bytes that leave the edge for a frame.", "measured", "payload")
CHOOSE, REPORT = "choose", "report"
"""The two sets of streets: the front is chosen on one, and every figure reported on the other."""


def sheets(results: Sequence[CellResult]) -> list[Sheet]:
    """All of the study's own tables."""
    measure = _measure(results[0])
    declared = Declarations.of(measure)
    leak, utility = declared[measure.headline], _utility(results, measure)
    by_id = {result.cell.id: result for result in results}
    told = [r for r in results if (_twin(r) or r.cell.id) in by_id and _worst(by_id[_twin(r) or r.cell.id], leak)]
    if utility is None or not told:
        return [_unanswerable(measure), _stages(results)]
    rows = {r.cell.id: _row(r, by_id, leak, utility) for r in told}
    links = list(dict.fromkeys(row.link for row in rows.values()))
    limits = Aims(**results[0].cell.columns["limits"])
    made = [_words(list(rows.values()), links, leak, utility, limits)]
    made.append(_plot([row for row in rows.values() if row.link == links[0]], links[0], leak, utility))
    for link in links:
        chosen = {key: row for key, row in rows.items() if row.link == link}
        made.append(_table(chosen, by_id, link, leak, utility))
        made.append(_held(list(chosen.values()), link, leak, utility))
    made.append(_worth([by_id[key] for key in rows if _twin(by_id[key]) is None], measure))
    made.append(_stages([by_id[key] for key in rows]))
    return made


def _row(result: CellResult, by_id: Mapping[str, CellResult], leak: Metric, utility: Metric) -> Row:
    columns, source = result.cell.columns, by_id[_twin(result) or result.cell.id]
    stream, worst = source.cell.stream, _worst(source, leak)
    undefended = stream.defense == "none"
    why = {a.row: trained_under(a, stream.defense, stream.defense_settings) for a in stream.attacks if a.files}
    silent = [row for row in why if not _scored(source, row, leak)]
    judged = undefended or any(not reason and row not in silent for row, reason in why.items())
    reasons = [f"{row}: {'it gave no value' if row in silent else reason}" for row, reason in why.items()]
    return Row(
        split=str(columns["split"]),
        defense="" if undefended else str(columns["defense"]),
        link=str(columns["link"]),
        attack=worst,
        unjudged="" if judged else "; ".join(reasons) or "no trained attack ran",
        chosen=_figures(result, source, CHOOSE, worst, leak, utility),
        reported=_figures(result, source, REPORT, worst, leak, utility),
    )


def _worst(result: CellResult, leak: Metric) -> str:
    """The attack that gets most on the choosing streets; "" where none has a value on both sets."""
    found = {
        name: values[leak.name]["mean"]
        for name, values in result.summary["halves"][CHOOSE]["scores"].items()
        if name != ORACLE and _scored(result, name, leak)
    }
    return max(found, key=lambda name: leaks(found[name], leak), default="")


def _scored(result: CellResult, attack: str, leak: Metric) -> bool:
    """Whether an attack has a value on the choosing and on the reporting streets."""
    halves = result.summary["halves"]
    return all(_valued(halves[half]["scores"].get(attack, {}), leak) for half in (CHOOSE, REPORT))


def _valued(values: Mapping[str, Any], metric: Metric) -> bool:
    return values.get(metric.name, {}).get("mean") is not None


def _figures(result: CellResult, source: CellResult, half: str, attack: str, leak: Metric, utility: Metric) -> Figures:
    ours = result.summary["halves"][half]
    costs = ours["costs"]
    return Figures(
        utility=ours["utility"][utility.name],
        leakage=source.summary["halves"][half]["scores"][attack][leak.name],
        latency=costs["total_ms"],
        payload=costs["payload_bytes"],
        frames=ours["frames"],
        groups=ours["groups"],
    )


def _words(rows: Sequence[Row], links: Sequence[str], leak: Metric, utility: Metric, limits: Aims) -> Sheet:
    sheet = Sheet("What it comes to", ["link", "in words"])
    for link in links:
        lines = advice([row for row in rows if row.link == link], leak, utility, limits)
        sheet.add([Entry(link, kind="name"), Entry(lines[0], tuple(lines[1:]), kind="words")])
    sheet.notes += [
        f"Chosen: of the rows on the front that keep {utility.title} within {limits.loss:g} of the best, the one that "
        f"leaks least ({leak.title}, strongest attack). It is recommended when its interval lies within the limit of "
        f"{limits.leak:g} (--set leak=..., --set loss=...).",
        "A defense can be recommended only where an attack that was trained under it stands in its row; the others say "
        "'naive only', are on no front, and may leak more than they show.",
        "Other attacks, other training, other scenes may get more: a small figure here is no guarantee.",
    ]
    return sheet


def _plot(rows: Sequence[Row], link: str, leak: Metric, utility: Metric) -> Sheet:
    members = front(rows, leak)
    points = [
        Point(
            f"{row.split} {row.defense or 'none'}" + ("" if row.judged else " (naive only)"),
            row.split,
            _triple(row.reported.utility),
            _triple(row.reported.leakage),
            front=row in members,
            hollow=not row.judged,
        )
        for row in rows
    ]
    note = "Large: on the front (chosen on other streets). Hollow: naive attack only, no bound. Bars: 95 % intervals."
    return Sheet(
        f"Leakage against utility, over {link}",
        picture=scatter(points, utility.title, f"leakage: {leak.title}", note),
        reads=f"A point for each row: {utility.title} to the right, {leak.title} of the strongest attack upwards.",
        notes=["Down and to the right is better: less leaks, more of the network's worth is left."],
    )


def _table(
    rows: Mapping[str, Row],
    by_id: Mapping[str, CellResult],
    link: str,
    leak: Metric,
    utility: Metric,
) -> Sheet:
    titles = [utility.title, f"leakage: {leak.title}", LATENCY.title, "95th percentile (ms)", PAYLOAD.title]
    sheet = Sheet(f"Every row over {link}: figures of the reporting streets", ["row", "front", *titles])
    members = front(list(rows.values()), leak)
    for key, row in rows.items():
        half = by_id[key].summary["halves"][REPORT]
        leakage = estimate(row.reported.leakage, leak)
        label: tuple[str, ...] = (row.attack,) if row.judged else (f"naive only: {row.attack}",)
        twin = _twin(by_id[key])
        if twin:
            equal = by_id[key].summary["payloads_equal"]["frames"]
            label = (*label, f"as over the first link: {equal} payloads equal byte for byte")
        sheet.add(
            [
                Entry(row.title, kind="name"),
                Entry("yes" if row in members else "no" if row.judged else "–", why=row.unjudged),
                estimate(row.reported.utility, utility),
                Entry(leakage.text, (*leakage.small, *label), leakage.why),
                estimate(row.reported.latency, LATENCY),
                Entry(f"{half['latency_ms']['total']['p95']:,.0f}"),
                _kilobytes(row.reported.payload),
            ]
        )
    sheet.notes.append(
        f"{next(iter(rows.values())).reported.groups} streets that had no part in choosing the front. A frame waits "
        "for no other, and the listener inverts when the stream has ended, so times are the victim's own, on this "
        "machine with whatever else ran on it."
    )
    return sheet


def _worth(results: Sequence[CellResult], measure: Scorer) -> Sheet:
    """Every utility metric; a link changes none of them."""
    halves = [result.summary["halves"][REPORT]["utility"] for result in results]
    metrics = [m for m in measure.utilities if any(m.name in half for half in halves)]
    sheet = Sheet("What the network is worth: every figure, reporting streets", ["cell", *[m.title for m in metrics]])
    for result, half in zip(results, halves, strict=True):
        sheet.add([Entry(result.cell.title, kind="name"), *[estimate(half.get(m.name), m) for m in metrics]])
    return sheet


def _held(rows: Sequence[Row], link: str, leak: Metric, utility: Metric) -> Sheet:
    sheet = Sheet(
        f"The front over {link}: where it was chosen, and on streets that had no part in it",
        ["row", "streets", utility.title, f"leakage: {leak.title}", LATENCY.title, "on their front"],
    )
    there = {False: front(rows, leak), True: front(rows, leak, reported=True)}
    for row in there[False]:
        for figures, words, reported in ((row.chosen, "chosen on", False), (row.reported, "reported on", True)):
            sheet.add(
                [
                    Entry(row.title, kind="name"),
                    Entry(f"{words} {figures.groups}"),
                    estimate(figures.utility, utility),
                    estimate(figures.leakage, leak),
                    estimate(figures.latency, LATENCY),
                    Entry("yes" if row in there[reported] else "no"),
                ]
            )
    return sheet


def _stages(results: Sequence[CellResult]) -> Sheet:
    shown = [stage for stage in STAGES if stage != "total"]
    rows = []
    sheet = Sheet("Where a frame's time goes", ["cell", *shown, "total"])
    for result in results:
        times = result.summary["halves"][REPORT]["latency_ms"]
        medians = {stage: float(found["p50"]) for stage, found in times.items()}
        rows.append((result.cell.title, {stage: medians.get(stage, 0.0) for stage in shown}))
        cells = [
            Entry(f"{medians[s]:,.1f}") if s in medians else Entry("–", why="not measured") for s in (*shown, "total")
        ]
        sheet.add([Entry(result.cell.title, kind="name"), *cells])
    sheet.picture = stage_bars(rows, shown)
    sheet.reads = "A bar for each cell: the medians of a frame's stages, one after the other."
    sheet.notes.append(
        "Medians in milliseconds, reporting streets; stages' medians need not add up to that of the total."
    )
    return sheet


def _twin(result: CellResult) -> str | None:
    twin = result.cell.columns.get("leakage_of")
    return str(twin) if twin else None


def _measure(result: CellResult) -> Scorer:
    return scorer_of(result.cell)


def _utility(results: Sequence[CellResult], measure: Scorer) -> Metric | None:
    """The first utility metric that has a value in both halves of every cell; None where there is no such metric."""
    for metric in measure.utilities:
        halves = [result.summary["halves"][half]["utility"] for result in results for half in (CHOOSE, REPORT)]
        if metric.better == "higher" and all(_valued(half, metric) for half in halves):
            return metric
    return None


def _unanswerable(measure: Scorer) -> Sheet:
    sheet = Sheet("What it comes to", ["in words"])
    wanted = " or ".join(metric.title for metric in measure.utilities if metric.better == "higher")
    text = f"Nothing can be compared: not every row has a value of {wanted} and of an attack on both sets of streets."
    sheet.add([Entry(text, ("More frames may have some.",), kind="words")])
    return sheet


def _kilobytes(summary: Mapping[str, Any]) -> Entry:
    scaled = {k: v if k == "n" or v is None else v / 1000 for k, v in summary.items()}
    entry = estimate(scaled, PAYLOAD)
    return Entry(f"{scaled['mean']:,.0f}", entry.small, entry.why)


def _triple(summary: Mapping[str, Any]) -> tuple[float, float | None, float | None]:
    return float(summary["mean"]), summary["low"], summary["high"]
