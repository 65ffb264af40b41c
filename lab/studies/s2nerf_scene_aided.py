"""S2NeRF's scene-aided attack: how far one leaked picture carries, and what listening adds to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lab.cell import run_cell
from lab.leaks import EXACT, Off, write_leak
from lab.runfolder import RunFolder
from lab.stream import AttackChoice
from lab.studies.base import Cell, CellResult, Settings
from lab.studies.options import listed
from lab.studies.radiance import FLOORS, PROFILES, SPLIT, Amount, Place, Plan, cell, choice, plan
from lab.studies.s2nerf_sheets import curves, gains, knowledge, shape, useful
from lab.studies.s2nerf_surrogate import SOURCE
from lab.studies.s2nerf_views import views
from lab.tables import Sheet
from lab.telling import table
from victims.base import Progress
from wire.errors import InputError

AIDED: Final = "scene-aided"
DEAF: Final = "leak-alone"
"""The second stage on a surrogate that learnt nothing from the gradients: what the leak is worth by itself."""

NEVER: Final[Mapping[str, Any]] = {"from_step": 1.0}
"""Begins to learn when the training is over."""

REFINED: Final = "scene-aided-refined"
ROUGHLY: Final = Off(degrees=3.0, shift=0.03)
"""What it knows of its picture's pose: to 3 degrees and 3 % of half the scene. It finds the rest."""

LEAKS: Final[Mapping[str, Sequence[int]]] = {"quick": (1, 3), "cpu": (1, 3, 6), "paper": (1, 3, 6)}
"""Numbers of leaked pictures; the paper's is one."""

AMOUNTS: Final[Mapping[str, Amount]] = {
    **{name: replace(amount, curve=3) for name, amount in PROFILES.items()},
    "quick": Amount({"steps": 500, "rays": 256, "samples": 24}, 48, 3, 2, 0.25),
}
"""Few points of a curve: the stage with the leak is done anew for every step that has pictures."""


class SceneAided:
    """A training for each scene, cut and seed; attacks that were given one picture or several."""

    name = "s2nerf-scene-aided"
    summary = "S2NeRF: the surrogate attack with leaked training views, against the same leak without listening"
    source = SOURCE

    def cells(self, settings: Settings) -> Sequence[Cell]:
        """``options``: those of :data:`lab.studies.radiance.OPTIONS`, and ``leaks``, numbers of pictures (``1,3``)."""
        numbers = _numbers(settings)
        rows = rows_of(numbers)
        asked = plan(settings, (*rows, "surrogate", *FLOORS), ("leaks",), AMOUNTS)
        cells = []
        for split in settings.splits or (SPLIT,):
            for place in asked.places:
                if max(numbers) > place.learnt:
                    raise InputError(f"--set leaks={max(numbers)}; accepted: 1 to {place.learnt} pictures")
                attacks = [_choice(asked, place, row, rows) for row in asked.wanted]
                leaks = [f"{number} training views with their poses" for number in numbers]
                given = {row: count for row, (count, _) in rows.items() if row in asked.wanted}
                cells.append(cell(asked, place, attacks, split, leaks=leaks, given=given))
        return cells

    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult:
        """Write the leaks, train, listen, score, sum up."""
        folder = RunFolder(work)
        if folder.finished:
            return CellResult(cell, folder.path, folder.read_summary())
        stream, named, attacks = cell.stream, dict[str, list[str]](), list[AttackChoice]()
        settings = {"seed": stream.seed, **stream.victim_settings}
        for attack in stream.attacks:
            count = cell.columns["given"].get(attack.row)
            if count is not None:
                path, off = work / "leaks" / f"{attack.row}.npz", ROUGHLY if attack.row == REFINED else EXACT
                named[attack.row] = write_leak(path, stream.source, settings, count, off)
                attack = replace(attack, files={**attack.files, "leak": path})
            attacks.append(attack)
        ready = replace(cell, stream=replace(stream, attacks=attacks), columns={**cell.columns, "leaked": named})
        result = run_cell(self.name, ready, folder, progress)
        return CellResult(cell, result.folder, result.summary)

    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]:
        """Views, gains over the untrained surrogate and over the leak alone, and what leaked."""
        found = [views(results), gains(results), gains(results, DEAF), useful(results), shape(results)]
        found += [*curves(results), _leaked(results), knowledge(results, _words)]
        return [sheet for sheet in found if sheet is not None]

    def paper(self, cell: Cell) -> Mapping[str, Mapping[str, float]]:
        """None: the tables of the paper could not be obtained."""
        return {}


Rows = Mapping[str, tuple[int, Mapping[str, Any]]]
"""Row -> how many pictures it is given, and its settings."""


def rows_of(numbers: Sequence[int]) -> Rows:
    """The paper's attack with each number of pictures; with the least, its pose to be found, and without listening."""
    least = min(numbers)
    rows: dict[str, tuple[int, Mapping[str, Any]]] = {
        AIDED if number == least else f"{AIDED}-{number}": (number, {"pose": "known"}) for number in sorted(numbers)
    }
    return {**rows, REFINED: (least, {"pose": "refined"}), DEAF: (least, {"pose": "known", **NEVER})}


def _choice(asked: Plan, place: Place, row: str, rows: Rows) -> AttackChoice:
    if row not in rows:
        return choice(asked, place, row)
    return choice(asked, place, AIDED, row, **rows[row][1])


def _numbers(settings: Settings) -> list[int]:
    if "leaks" not in settings.options:
        return list(LEAKS[settings.profile])
    named = listed(settings.options["leaks"], "leaks")
    if not all(text.isdigit() and int(text) for text in named):
        raise InputError(f"--set leaks={settings.options['leaks']}; accepted: whole numbers from 1, a,b,c")
    return [int(text) for text in named]


def _leaked(results: Sequence[CellResult]) -> Sheet:
    rows = [
        [result.cell.title, row, ", ".join(names)]
        for result in results
        for row, names in result.summary["columns"].get("leaked", {}).items()
    ]
    return table(
        "What leaked",
        ("cell", "attack", "training views"),
        rows,
        ("None of these is scored: scored are held-out views.",),
    )


def _words(row: str) -> str:
    if row == DEAF:
        return "leaked training views; does not learn from gradients"
    if row == REFINED:
        return f"a leaked training view, its pose {ROUGHLY.degrees:g} degrees and {ROUGHLY.shift:g} off; it refines it"
    return "leaked training views with their poses" if row.startswith(AIDED) else ""


STUDY = SceneAided()
