"""``report.html``: pictures first, then tables; one file that opens from disk and loads nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jinja2
import tomli_w

from lab import tables
from lab.clouds import ERROR_SPAN_M, SHOWN_POINTS, Box, box_of, packed
from lab.metrics.base import ORACLE, Declarations, Scorer, scorer
from lab.recorded import Rebuilt, reconstructions, truths
from lab.runfolder import RunFolder
from lab.scores import Scores, read_scores
from victims.view import Picture, View, view
from wire.errors import InputError
from wire.payload import Meta, Payload
from wire.seeds import generator

TEMPLATES: Final = Path(__file__).with_name("report_template")

PICTURE_BYTES: Final = 7_000_000
"""What all pictures may take; with plotly.js (4.8 MB) the file stays below 12 MB, which a mail still carries."""

MAX_FRAMES: Final = 12
"""More positions of the slider than this nobody looks at."""

_FINE_POINTS: Final = 10_000  # with so many, more frames are worth more than more points
_MIN_POINTS: Final = 4_000  # below this a street is no longer recognised
_BYTES_PER_POINT: Final = 11  # 6 of position, 1 of value, 1 of error, in base64


@dataclass(frozen=True)
class CellPage:
    """One cell of the report.

    settings: the victim's (its preset, say). paper: attack -> metric -> the paper's value, where the study gives any.
    payload: frame -> what crossed the wire, for the middle picture; None where it was not kept.
    """

    title: str
    folder: RunFolder
    summary: Mapping[str, Any]
    modality: str
    settings: Mapping[str, Meta] = field(default_factory=dict)
    paper: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    payload: Callable[[int], Payload | None] | None = None


def render(
    run: RunFolder,
    cells: Sequence[CellPage],
    *,
    title: str,
    command: str,
    extra: Sequence[tables.Sheet] = (),
    after: Sequence[tables.Sheet] = (),
    paper_source: str = "",
) -> Path:
    """Write ``report.html`` into ``run`` and return its path.

    command: the line that makes these figures again. extra: the study's own tables, shown above ours; after: below.
    The same run gives the same file. InputError when there is no cell, or cells of different modalities.
    """
    if not cells:
        raise InputError(f"{run.name}: nothing to report, no cell has finished")
    modalities = sorted({cell.modality for cell in cells})
    if len(modalities) > 1:
        raise InputError(f"{run.name}: cells of {' and '.join(modalities)}; a report pictures one modality")
    pictured, measure = view(modalities[0]), scorer(modalities[0], cells[0].settings)
    declared = Declarations.of(measure)
    scored = [read_scores(cell.folder) for cell in cells]
    frames, limit = _budget(cells, scored)
    store = _Store()
    seed = int(run.config.get("seed", 0))
    data = {
        "errorSpan": ERROR_SPAN_M,
        "headline": measure.headline,
        "oracleIs": measure.oracle_is,
        "metrics": {
            m.name: {"title": m.title, "definition": m.definition, "bounds": m.bounds} for m in measure.metrics
        },
        "cells": [
            _cell_data(cell, scores, measure, pictured, store, frames, limit, seed)
            for cell, scores in zip(cells, scored, strict=True)
        ],
        "pictures": store.all(),
        "stageWords": tables.STAGE_WORDS,
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    text = environment.get_template("report.html.j2").render(
        title=title,
        run=run.name,
        command=command,
        sees=pictured.sees,
        findings=[_finding(cell, measure, declared) for cell in cells],
        sheets=[*extra, *_sheets(cells, measure, declared, paper_source), *after],
        each=[(cell.title, _cell_sheets(cell, measure, declared)) for cell in cells],
        cards=_cards(cells),
        metrics=declared.by_name.values(),
        config=tomli_w.dumps(run.config),
        cell_configs=[(c.title, tomli_w.dumps(c.folder.config)) for c in cells if c.folder.path != run.path],
        data=_embeddable(data),
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "report.js").read_text(encoding="utf-8"),
        plotly=_plotly(),
    )
    return run.write("report.html", text)


def chosen_frames(available: Sequence[int], count: int) -> list[int]:
    """``count`` frames evenly spaced over the stream, first and last included: none is picked by its score."""
    if len(available) <= count:
        return list(available)
    if count == 1:
        return [available[0]]
    return [available[round(i * (len(available) - 1) / (count - 1))] for i in range(count)]


def _budget(cells: Sequence[CellPage], scored: Sequence[Scores]) -> tuple[int, int]:
    """Frames a cell and points a cloud, so that all pictures together stay below :data:`PICTURE_BYTES`."""
    streams = {tuple(scores.groups) + tuple(r.sample for r in scores.rows[:1]) for scores in scored}
    own = sum(len(set(s.attacks) - {ORACLE}) + (c.payload is not None) for c, s in zip(cells, scored, strict=True))
    clouds = own + 2 * len(streams)  # truth and oracle are stored once for all cells that saw the same stream
    for most, enough in ((MAX_FRAMES, _FINE_POINTS), (MAX_FRAMES // 2, _MIN_POINTS)):
        for count in range(most, 0, -1):
            points = PICTURE_BYTES // (_BYTES_PER_POINT * clouds * count)
            if points >= enough:
                return count, min(points, SHOWN_POINTS)
    return 1, _MIN_POINTS


class _Store:
    """Pictures by content: what several cells share is carried once."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}

    def add(self, picture: dict[str, Any]) -> int:
        return self._index.setdefault(json.dumps(picture, allow_nan=False, separators=(",", ":")), len(self._index))

    def all(self) -> list[Any]:
        return [json.loads(text) for text in self._index]


def _cell_data(
    cell: CellPage,
    scores: Scores,
    measure: Scorer,
    pictured: View,
    store: _Store,
    count: int,
    limit: int,
    seed: int,
) -> dict[str, Any]:
    numbered = sorted(scores.groups) or [frame for frame, _ in truths(cell.folder.edge)]
    chosen = chosen_frames(numbered, count)
    rebuilt: dict[int, dict[str, Rebuilt]] = {}
    for found in reconstructions(cell.folder.reconstructions):
        if found.frame in chosen:
            rebuilt.setdefault(found.frame, {})[found.attack] = found
    attacks = [attack for attack, _ in tables.ordered(cell.summary["scores"], measure.floors)]
    shown = []
    for frame, truth in truths(cell.folder.edge):
        if frame not in chosen:
            continue
        arrays = {attack: found.arrays for attack, found in rebuilt.get(frame, {}).items()}
        best = measure.oracle(truth)
        if best is not None:
            arrays[ORACLE] = best
        # Only what entered the network can be rebuilt, so that is the part that is pictured.
        box = box_of(pictured.reconstruction(best)) if best is not None else None
        seen, payload = pictured.sample(truth), cell.payload(frame) if cell.payload else None

        def stored(picture: Picture, frame: int = frame, box: Box | None = box, truth: Picture | None = None) -> int:
            # The same stream for every picture of a frame: cells that saw the same scan store the same cloud.
            return store.add(packed(picture, generator(seed, "report", frame=frame), limit, box, truth))

        shown.append(
            {
                "frame": frame,
                "name": truth.name,
                "box": [[float(v) for v in corner] for corner in box] if box else None,
                "truth": stored(seen),
                "payload": stored(pictured.payload(payload)) if payload else None,
                "rebuilt": {
                    attack: stored(pictured.reconstruction(arrays[attack]), truth=seen)
                    for attack in attacks
                    if attack in arrays
                },
            }
        )
    curves = {m.name: {a: list(scores.of(a, m.name).items()) for a in attacks} for m in measure.metrics}
    return {
        "title": cell.title,
        "attacks": [{"name": a, "role": tables.role_of(a, measure.floors)} for a in attacks],
        "frames": shown,
        "curves": curves,
        "summary": {a: found.get(measure.headline) for a, found in cell.summary["scores"].items()},
        "paper": {a: values.get(measure.headline) for a, values in cell.paper.items()},
        "latency": cell.summary["latency_ms"],
    }


def _sheets(
    cells: Sequence[CellPage], measure: Scorer, declared: Declarations, paper_source: str
) -> list[tables.Sheet]:
    named = [(cell.title, cell.summary) for cell in cells]
    with_paper = [(cell.title, cell.summary, cell.paper) for cell in cells]
    key = [declared[name] for name in measure.key]
    told = tables.Roles(measure.floors, measure.oracle_is)
    sheets = [tables.score_sheet("How much the listener got back", with_paper, key, told, paper_source)]
    if any(summary.get("segments") for _, summary in named):
        sheets.append(tables.segment_sheet(named, declared[measure.headline], measure.floors))
    if any(summary["utility"] for _, summary in named):
        sheets.append(tables.utility_sheet(named, declared))
    return [*sheets, tables.byte_sheet(named), tables.frame_sheet(named)]


def _cell_sheets(cell: CellPage, measure: Scorer, declared: Declarations) -> list[tables.Sheet]:
    only = [(cell.title, cell.summary, cell.paper)]
    roles = tables.Roles(measure.floors, measure.oracle_is)
    sheets = [tables.score_sheet("Every metric", only, measure.metrics, roles, "see above")]
    if cell.summary.get("differences"):
        sheets.append(tables.difference_sheet(cell.summary, [declared[name] for name in measure.key]))
    if cell.summary["latency_ms"]:
        sheets.append(tables.latency_sheet(cell.summary))
    return sheets


def _finding(cell: CellPage, measure: Scorer, declared: Declarations) -> str:
    """The cell in one sentence: the best attack's headline figure between its floor and its ceiling."""
    metric = declared[measure.headline]
    means = {a: f[metric.name]["mean"] for a, f in cell.summary["scores"].items() if f.get(metric.name)}
    means = {attack: mean for attack, mean in means.items() if mean is not None}
    by_role: dict[str, list[str]] = {}
    for attack in means:
        by_role.setdefault(tables.role_of(attack, measure.floors), []).append(attack)
    sign = -1 if metric.better == "lower" else 1
    best = {role: max(names, key=lambda a: sign * means[a]) for role, names in by_role.items()}
    parts = []
    if "attack" in best:
        n = cell.summary["scores"][best["attack"]][metric.name]["n"]
        parts.append(f"{best['attack']} reached {metric.title} {means[best['attack']]:.3f} (mean of {n} frames)")
    if "floor" in best:
        parts.append(f"{best['floor']}, which learns nothing, {means[best['floor']]:.3f}")
    if ORACLE in best:
        parts.append(f"the {measure.oracle_is} is {means[best[ORACLE]]:.3f}")
    return f"{cell.title}: {'; '.join(parts)}." if parts else f"{cell.title}: nothing was rebuilt."


def _cards(cells: Sequence[CellPage]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each knowledge card once, headed by the cells it holds for."""
    holders: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for cell in cells:
        holders.setdefault(tuple(_card(cell.summary["knowledge"])), []).append(cell.title)
    if len(holders) == 1 and len(cells) > 1:
        return [("Every cell", list(next(iter(holders))))]
    return [(", ".join(titles), list(card)) for card, titles in holders.items()]


def _card(knowledge: Any) -> list[tuple[str, str]]:
    """The knowledge card as lines; values as they stand in the run."""
    if not isinstance(knowledge, Mapping):
        return [("knowledge", str(knowledge))]
    lines = []
    for key, value in knowledge.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{k}: {v}" for k, v in value.items())
        elif isinstance(value, list | tuple):
            value = ", ".join(str(v) for v in value)
        lines.append((str(key), str(value) if value not in ("", None) else "none"))
    return lines


def _embeddable(data: Mapping[str, Any]) -> str:
    """JSON that no browser ends a script at, and no NaN."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs()).replace("</script", "<\\/script")
