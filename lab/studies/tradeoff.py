"""What privacy costs: split points x defenses x links on the same frames, and what may be recommended.

Utility is the victim's first utility metric (for LiDAR the agreement with its undefended self). Leakage is the
strongest attack of the row; it counts as a bound only where an attack that was trained under the defense is among them,
or where there is no defense. Frames come one from each street; streets are dealt out in turn to two sets: the front is
chosen on one and reported on the other.

A link changes when bytes arrive, not which. So the attacks run over the first link only; over any other the study
streams again for the times, checks that the captured payloads are equal byte for byte, and then takes the leakage from
the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from attacker.registry import attack
from defenses.registry import build
from lab.cell import run_cell
from lab.front import Aims
from lab.parts import Parts
from lab.recorded import payload_digests
from lab.runfolder import RunFolder
from lab.scores import Scores
from lab.stream import StreamSettings
from lab.studies.base import Cell, CellResult, Settings
from lab.studies.entitled import trained_under
from lab.studies.tradeoff_sheets import CHOOSE, REPORT, sheets
from lab.tables import Sheet
from victims.base import Progress
from victims.registry import victim
from wire.errors import InputError, RunError
from wire.profiles import profile

Choice = tuple[str, Mapping[str, Any]]
"""A defense's name and its settings."""

NONE: Choice = ("none", {})


@dataclass(frozen=True)
class Amount:
    """How much a profile does.

    judged: defenses at split points whose attacks were trained under them. naive: defenses elsewhere, at the deepest
    split point or, with ``everywhere``, at each. links: the attacks run over the first; over the others, the undefended
    streams and those of ``elsewhere`` are timed, from the split point number ``timed`` on.
    """

    frames: int
    links: Sequence[str]
    judged: Sequence[Choice]
    naive: Sequence[Choice]
    everywhere: bool = False
    elsewhere: Sequence[Choice] = ()
    timed: int = 0


def _noise(*strengths: float) -> list[Choice]:
    return [("feature_centric", {"strength": strength}) for strength in strengths]


FILLED: Choice = ("distributed", {"strength": 1.0, "fill": 0.02})
_ALL_LINKS = ("lan", "wifi", "5g", "lte", "satellite")
_LONG = ([*_noise(0.25, 0.5, 1.0, 2.0), FILLED], _noise(1.0, 2.0), True, _noise(2.0))

PROFILES: Mapping[str, Amount] = {
    "quick": Amount(26, ("lan", "lte"), _noise(1.0, 2.0), _noise(1.0), timed=1),
    "cpu": Amount(40, _ALL_LINKS, *_LONG),
    "paper": Amount(200, _ALL_LINKS, *_LONG),
}
"""Either half needs eight streets with a value, or there are no intervals; on some the detector finds nothing."""


class Tradeoff:
    """Rows to choose between, a front, and words."""

    name = "tradeoff"
    summary = "what privacy costs: split points x defenses x links; leakage, utility, latency, bytes, a recommendation"
    source = ""

    def cells(self, settings: Settings) -> Sequence[Cell]:
        """``options``: ``modality``, ``strengths`` (of feature noise, ``0.5,1``), ``links`` (``lan,lte``), and ``leak``
        and ``loss``: what a recommendation may leak, and may cost in utility."""
        amount, limits = _amount(settings), _limits(settings)
        cells: list[Cell] = []
        bases = _bases(settings, amount)
        for number, base in enumerate(bases):
            others = amount.links[1:] if number >= min(amount.timed, len(bases) - 1) else ()
            for choice in _defenses(base, amount, deepest=base is bases[-1]):
                first = _cell(base, choice, amount.links[0], limits)
                reference = cells[0].reference if cells else first.id
                cells.append(replace(first, reference=reference))
                for link in others if choice == NONE or choice in amount.elsewhere else ():
                    floors = [listed for listed in base.attacks if not listed.files]
                    other = _cell(replace(base, attacks=floors[:1]), choice, link, limits)
                    columns = {**other.columns, "leakage_of": first.id}
                    cells.append(replace(other, columns=columns, reference=reference))
        return cells

    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult:
        """Stream, score, sum up by halves; over another link, hold the payloads against those of the first."""
        result = run_cell(self.name, cell, RunFolder(work), progress, part=halves)
        twin = cell.columns.get("leakage_of")
        if twin and "payloads_equal" not in result.summary:
            ours, theirs = (payload_digests(RunFolder(f).capture) for f in (work, work.parent / twin))
            if ours != theirs or not ours:
                differ = sum(ours.get(frame) != digest for frame, digest in theirs.items())
                raise RunError(
                    f"{cell.title}: {differ} of {len(theirs)} payloads differ from those over the first link"
                )
            summary = {**result.summary, "payloads_equal": {"cell": twin, "frames": len(ours)}}
            RunFolder(work).write_summary(summary)
            return replace(result, summary=summary)
        return result

    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]:
        """In words, plots, a table for each link, the front where it was chosen and reported, stages."""
        return sheets(results)

    def paper(self, cell: Cell) -> Mapping[str, Mapping[str, float]]:
        """No paper measured these streets."""
        return {}


def halves(scores: Scores) -> Parts:
    """Streets dealt out in turn, by their first frame: every frame of a street falls into the same half."""
    streets = list(dict.fromkeys(scores.groups[frame] for frame in sorted(scores.groups)))
    side = {street: (CHOOSE, REPORT)[number % 2] for number, street in enumerate(streets)}
    dealt: dict[str, list[int]] = {CHOOSE: [], REPORT: []}
    for frame, street in sorted(scores.groups.items()):
        dealt[side[street]].append(frame)
    return {"halves": dealt}


def _amount(settings: Settings) -> Amount:
    amount, told = PROFILES[settings.profile], settings.options
    if "strengths" in told:
        strengths = [_number("strengths", value) for value in _listed(told["strengths"])]
        amount = replace(amount, judged=_noise(*strengths), naive=_noise(*strengths))
    if "links" in told:
        amount = replace(amount, links=[profile(name).name for name in _listed(told["links"])])
    for name, given in [*amount.judged, *amount.naive]:
        build(name, given)  # a strength out of range is answered before anything starts
    return replace(amount, frames=settings.frames or amount.frames)


def _limits(settings: Settings) -> Aims:
    told = settings.options
    return Aims(_number("leak", told.get("leak", Aims.leak)), _number("loss", told.get("loss", Aims.loss)))


def _listed(value: Any) -> list[str]:
    found = [str(item).strip() for item in (value if isinstance(value, list) else str(value).split(","))]
    if not all(found) or not found:
        raise InputError(f"tradeoff: {value!r} has an empty value; accepted: a,b,c")
    return list(dict.fromkeys(found))


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"tradeoff: {name} is {value!r}; accepted: numbers") from None


def _bases(settings: Settings, amount: Amount) -> list[StreamSettings]:
    """The modality's demo, undefended, at every split point that it has attacks for; one frame a scene."""
    from lab.studies.registry import study  # the registry names this module

    demo = study(f"demo-{settings.options.get('modality', 'lidar')}")
    options = {"defense": "none", "frames_per_street": 1}
    plain = replace(settings, frames=amount.frames, options=options)
    splits = settings.splits or victim(demo.cells(plain)[0].stream.victim).splits
    found = []
    for split in splits:
        try:
            found.append(demo.cells(replace(plain, splits=(split,)))[0].stream)
        except InputError:
            if settings.splits:
                raise
    return found


def _defenses(base: StreamSettings, amount: Amount, *, deepest: bool) -> Iterator[Choice]:
    yield NONE
    judged = [c for c in amount.judged if any(not trained_under(a, *c) for a in base.attacks)]
    yield from judged
    if not judged and (deepest or amount.everywhere):
        yield from amount.naive


def _cell(base: StreamSettings, choice: Choice, link: str, limits: Aims) -> Cell:
    """One stream, a frame at a time, inverted when it has ended: times are then the victim's own."""
    name, given = choice
    attacks = [a for a in base.attacks if name != "none" or attack(a.name).needs.defense == "unaware"]
    aware = any(attack(a.name).needs.defense == "aware" for a in attacks)
    card = replace(
        base.knowledge,
        defense="aware" if aware else "unaware",
        defense_name=name if aware else "",
        defense_settings=dict(given) if aware else {},
    )
    stream = replace(
        base,
        defense=name,
        defense_settings=dict(given),
        attacks=attacks,
        knowledge=card,
        link=profile(link).role(),
        in_flight=1,
        invert_after=True,
        workers=2,
    )
    text = " ".join([name, *(f"{key}={value:g}" for key, value in given.items())])
    columns = {"split": base.split, "defense": text, "link": link, "limits": asdict(limits)}
    return Cell(f"{base.split}, {text}, {link}", stream, columns)


STUDY = Tradeoff()
