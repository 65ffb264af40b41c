"""Who hears what: vantage x victim knowledge x defense knowledge x TLS on the same frames, one table.

A cell of the table is a knowledge card and a stream. Its attacks are whatever the registry holds for the modality and
:meth:`attacker.knowledge.KnowledgeCard.entitles` lets through. Cards that come to the same attacks in the same place
share one run, made under the least of them: the listener's process is then granted nothing that any of them lacks.
Where TLS hides the wire, no card makes a difference, and the one run is that of the best-equipped listener.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from attacker.knowledge import DEFENSES, VANTAGES, VICTIMS, KnowledgeCard
from lab.cell import run_cell
from lab.measuring import scorer_of
from lab.metrics.base import ORACLE, Metric, Scorer
from lab.recorded import payload_digests
from lab.runfolder import RunFolder
from lab.stream import StreamSettings
from lab.studies.base import Cell, CellResult, Settings
from lab.studies.entitled import Offer, offered
from lab.tables import Entry, Sheet, estimate, figure
from victims.base import Progress
from wire.errors import InputError

FRAMES = {"quick": 16, "cpu": 48, "paper": 200}
"""One frame a street, so that every frame is an independent scene."""

QUERIES = 10_000
"""What a black-box card grants; no shipped attack asks for any."""


@dataclass(frozen=True)
class Place:
    """One cell of the table: what the listener knows and where it sits."""

    card: KnowledgeCard
    tls: bool

    @property
    def text(self) -> str:
        """``wire, TLS off, victim white, defense aware``."""
        tls = "on" if self.tls else "off"
        return f"{self.card.vantage}, TLS {tls}, victim {self.card.victim}, defense {self.card.defense}"

    @property
    def hidden(self) -> bool:
        """Whether the listener can see nothing but sizes and times, whatever it knows."""
        return self.tls and self.card.vantage == "wire"


class ThreatModel:
    """Twenty-four cells from as many runs as there are different listeners."""

    name = "threat-model"
    summary = "who hears what: vantage x victim knowledge x defense knowledge x TLS on the same frames, one table"
    source = ""

    def cells(self, settings: Settings) -> Sequence[Cell]:
        """A run for each different listener; ``options``: ``modality``, and the demo's ``defense`` and ``strength``."""
        if settings.tls:
            raise InputError("--tls: threat-model streams with and without it; leave it away")
        base = _base(settings)
        runs: dict[tuple[object, ...], list[Place]] = {}
        for place in places(base):
            runs.setdefault(_key(place, offered(place.card, base)), []).append(place)
        return [_cell(base, sharing) for sharing in runs.values()]

    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult:
        """Stream, score, sum up."""
        return run_cell(self.name, cell, RunFolder(work), progress)

    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]:
        """The table twice: as a grid to look at, and row by row with its reasons."""
        found = {text: result for result in results for text in result.cell.columns["places"]}
        return [_grid(found), _rows(found), _same_frames(results)]

    def paper(self, cell: Cell) -> Mapping[str, Mapping[str, float]]:
        """No paper has this table."""
        return {}


def places(base: StreamSettings) -> Iterator[Place]:
    """Every combination, the least knowing first."""
    for vantage, tls, knows, defense in product(VANTAGES, (False, True), VICTIMS, DEFENSES):
        aware = defense == "aware"
        card = KnowledgeCard(
            vantage=vantage,
            victim=knows,
            defense=defense,
            data=base.knowledge.data,
            queries=QUERIES if knows == "black" else 0,
            defense_name=base.defense if aware else "",
            defense_settings=dict(base.defense_settings) if aware else {},
        )
        yield Place(card, tls)


def _base(settings: Settings) -> StreamSettings:
    """The stream of the modality's demo, one frame a scene."""
    from lab.studies.registry import study  # the registry names this module

    modality = str(settings.options.get("modality", "lidar"))
    frames = settings.frames or FRAMES[settings.profile]
    handed = {key: settings.options[key] for key in ("defense", "strength") if key in settings.options}
    options = {"frames_per_street": 1, **handed}
    return study(f"demo-{modality}").cells(replace(settings, frames=frames, options=options))[0].stream


def _key(place: Place, offer: Offer) -> tuple[object, ...]:
    rows = () if place.hidden else tuple(choice.row for choice in offer.choices)
    return (place.card.vantage, place.tls, *rows)


def _cell(base: StreamSettings, sharing: Sequence[Place]) -> Cell:
    place = sharing[-1] if sharing[0].hidden else sharing[0]
    offer = offered(place.card, base)
    stream = replace(base, attacks=list(offer.choices), knowledge=place.card, tls=place.tls)
    return Cell(place.text, stream, {"places": [other.text for other in sharing]})


def _grid(found: Mapping[str, CellResult]) -> Sheet:
    """What the listener knows downwards, where it sits across."""
    base, measure = _any(found)
    metric = _headline(measure)
    columns = list(dict.fromkeys((p.card.vantage, p.tls) for p in places(base)))
    sheet = Sheet(
        f"Who hears what: the best attack that each listener may run, {metric.title}",
        ["victim", "defense", *[f"{vantage}{', TLS' if tls else ''}" for vantage, tls in columns]],
    )
    lines: dict[tuple[str, str], dict[tuple[str, bool], Entry]] = {}
    for place in places(base):
        result = found.get(place.text)
        entry = _best(place, result, base, measure) if result else Entry("–", why="this run has not finished")
        lines.setdefault((place.card.victim, place.card.defense), {})[place.card.vantage, place.tls] = entry
    for knows, entries in lines.items():
        sheet.add([*[Entry(text, kind="name") for text in knows], *[entries[column] for column in columns]])
    sheet.notes += [
        "Mean over frames, below it its 95 % bootstrap interval over independent scenes. Every figure is from a run in "
        "which edge, link, cloud and attacker were processes of their own; victim white: architecture and weights, "
        "black: queries only, none: nothing; defense aware: its kind and strength.",
        "Cells that come to the same attacks in the same place share one run, made under the least of their cards; in "
        "the next table they name the same one.",
    ]
    return sheet


def _rows(found: Mapping[str, CellResult]) -> Sheet:
    base, measure = _any(found)
    metric = _headline(measure)
    columns = ("vantage", "TLS", "victim", "defense", f"best attack, {metric.title}", "floor", "heard", "run")
    sheet = Sheet("Every listener, its floor and its reasons", columns)
    for place in places(base):
        result = found.get(place.text)
        if result is None:
            continue
        card = place.card
        names = [Entry(text, kind="name") for text in (card.vantage, "on" if place.tls else "off", card.victim)]
        best = _best(place, result, base, measure)
        floor = _top(place, result, base, measure, floors=True)
        heard = result.summary["frames"]
        sheet.add(
            [
                *names,
                Entry(card.defense, kind="name"),
                best,
                Entry(figure(floor[1]["mean"], metric), (floor[0],)) if floor else Entry("–", why=_why_hidden(result)),
                Entry(f"{heard['captured']} of {heard['sent']} frames"),
                Entry(result.cell.id),
            ]
        )
    sheet.notes.append(f"Defense: {base.defense} {_settings(base)}; cut at {base.split}.")
    return sheet


def _best(place: Place, result: CellResult, base: StreamSettings, measure: Scorer) -> Entry:
    """The best entitled attack's figure; what may not run, and why, as the footnote."""
    top = _top(place, result, base, measure)
    if top is None:
        return Entry("–", why=_why_hidden(result))
    name, summary = top
    entry = estimate(summary, _headline(measure))
    floor = name in measure.floors
    small = (f"{name} (a floor: learns nothing)" if floor else name, *entry.small)
    return replace(entry, small=small, why="; ".join(filter(None, (entry.why, _why_no_better(place, base)))))


def _top(
    place: Place, result: CellResult, base: StreamSettings, measure: Scorer, *, floors: bool = False
) -> tuple[str, Mapping[str, Any]] | None:
    """The best row that the place's own card entitles to (of the floors alone)."""
    metric = _headline(measure)
    entitled = {choice.row for choice in offered(place.card, base).choices}
    values = {
        name: by_metric[metric.name]
        for name, by_metric in result.summary["scores"].items()
        if name in entitled and name != ORACLE and by_metric.get(metric.name, {}).get("mean") is not None
    }
    values = {name: value for name, value in values.items() if not floors or name in measure.floors}
    if not values:
        return None
    sign = -1 if metric.better == "lower" else 1
    name = max(values, key=lambda n: sign * values[n]["mean"])
    return name, values[name]


def _why_no_better(place: Place, base: StreamSettings) -> str:
    """Why nothing stronger runs here, in the attacks' own words."""
    said = {
        "none": "What runs here reads only what a payload says of itself. ",
        "black": "No attack of this modality queries the victim, so no query oracle was started. ",
    }.get(place.card.victim, "")
    refused = [f"{name}: {why}" for name, why in offered(place.card, base).refusals.items()]
    return f"{said}Not run here: {'; '.join(refused)}." if refused else said.strip()


def _why_hidden(result: CellResult) -> str:
    """What was measured where nothing was captured."""
    frames, heard = result.summary["frames"], result.summary["heard"]
    if heard["encrypted_bytes"]:
        return (
            f"TLS on the wire: sizes and times only; {heard['encrypted_bytes']:,} bytes heard, "
            f"{frames['captured']} of {frames['sent']} frames captured."
        )
    return f"{frames['captured']} of {frames['sent']} frames were captured, and no attack gave a value."


def _same_frames(results: Sequence[CellResult]) -> Sheet:
    """Whether the runs sent the same bytes."""
    digests = [set(payload_digests(RunFolder(result.folder).capture).items()) for result in results]
    heard = [found for found in digests if found]
    same = len(set.intersection(*heard)) if heard else 0
    sheet = Sheet("The same frames", ["runs", "that captured payloads", "payloads equal byte for byte in all of them"])
    sheet.add([Entry(str(len(results))), Entry(str(len(heard))), Entry(f"{same} of {max(map(len, heard), default=0)}")])
    return sheet


def _any(found: Mapping[str, CellResult]) -> tuple[StreamSettings, Scorer]:
    """What all runs share, from any of them: the victim, its defense, how it is measured."""
    cell = next(iter(found.values())).cell
    rows = {choice.row: choice for result in found.values() for choice in result.cell.stream.attacks}
    return replace(cell.stream, attacks=list(rows.values())), scorer_of(cell)


def _headline(measure: Scorer) -> Metric:
    return next(metric for metric in measure.metrics if metric.name == measure.headline)


def _settings(base: StreamSettings) -> str:
    return ", ".join(f"{key} {value}" for key, value in base.defense_settings.items()) or "without settings"


STUDY = ThreatModel()
