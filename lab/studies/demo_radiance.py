"""The radiance demo: a field is trained over the wire, and who sits in the cloud tries to see the room meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from defenses.registry import build
from lab.cell import run_cell
from lab.metrics.radiance import PSNR_AFFINE
from lab.runfolder import RunFolder
from lab.scores import read_scores
from lab.studies.base import Cell, CellResult, Settings
from lab.studies.options import number
from lab.studies.radiance import SPLIT, STRONGER, UNTRAINED, Amount, cell, choices, plan
from lab.studies.s2nerf_sheets import curves, knowledge, mean_of, shape
from lab.studies.s2nerf_views import views
from lab.tables import Sheet
from victims.base import Progress

ROWS: Final = ("surrogate-solved", "surrogate", "gradient-norms", UNTRAINED)
AMOUNT: Final = Amount({"steps": 600, "rays": 320, "samples": 32}, 64, 1, 5, 0.25)

RATES_HZ: Final = (1e-3, 1e3)
"""Steps a second that may be asked for."""

LIVE: Final[Mapping[str, Any]] = {
    "steps": 100_000, "rays": 384, "samples": 24, "pictures": 0, "curve_every": 16, "curve_views": 1, "rate_hz": 8.0,
}  # fmt: skip
"""Options of the live demo: hours of a training, in which the same view is asked for every two seconds."""


class DemoRadiance:
    """A room, 600 steps, one seed: pictures, not proof."""

    name = "demo-radiance"
    summary = (
        "a room is learnt by split training; the surrogate attack, gradient norms, and a surrogate that learnt nothing"
    )
    source = ""

    live: Mapping[str, Any] = LIVE

    def cells(self, settings: Settings) -> Sequence[Cell]:
        """One cell; ``options``: ``defense``, ``strength`` (its c or std), ``rate_hz`` (steps a second), and
        :data:`lab.studies.radiance.OPTIONS`."""
        own = {key: value for key, value in settings.options.items() if key not in ("defense", "strength", "rate_hz")}
        asked = plan(
            replace(settings, options={"seeds": 1, **own}), ROWS, most=dict.fromkeys(("quick", "cpu", "paper"), AMOUNT)
        )
        defense = str(settings.options.get("defense", "none"))
        given = {"strength": number(settings.options, "strength")} if "strength" in settings.options else {}
        build(defense, given)  # a wrong name or strength is answered before anything starts
        place, split = asked.places[0], settings.splits[0] if settings.splits else SPLIT
        attacks = choices(asked, place, STRONGER)
        made = cell(asked, place, attacks, split, defense, given, title=f"{place.name}, {split}, {defense}")
        rate_hz = number(settings.options, "rate_hz", *RATES_HZ) if "rate_hz" in settings.options else None
        return [replace(made, stream=replace(made.stream, rate_hz=rate_hz))]

    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult:
        """Train, listen, score, sum up."""
        return run_cell(self.name, cell, RunFolder(work), progress)

    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]:
        """The pictures under the caption, and how they came about."""
        shown = views(results)
        if shown is not None:
            shown.title = self.caption(results)
        found = [shown, shape(results), *curves(results), knowledge(results)]
        return [sheet for sheet in found if sheet is not None]

    def caption(self, results: Sequence[CellResult]) -> str:
        """Which of the listener's pictures beat a surrogate that learnt nothing, in one sentence."""
        return caption(results[0])

    def paper(self, cell: Cell) -> Mapping[str, Mapping[str, float]]:
        """No paper measured this room."""
        return {}


def caption(result: CellResult) -> str:
    """Each attack's mean over the held-out views against the floor's, colours fitted, and how many views are above."""
    scores = read_scores(RunFolder(result.folder))
    floor = scores.of(UNTRAINED, PSNR_AFFINE.name)
    said = []
    for row in (attack.row for attack in result.cell.stream.attacks if attack.row != UNTRAINED):
        pairs = [(value, floor.get(frame)) for frame, value in scores.of(row, PSNR_AFFINE.name).items()]
        gained = [ours - theirs for ours, theirs in pairs if ours is not None and theirs is not None]
        mean = mean_of(gained)
        if mean is None:
            said.append(f"{row} has no picture")
            continue
        verb, above = "beats" if mean > 0 else "does not beat", sum(value > 0 for value in gained)
        said.append(
            f"{row} {verb} the untrained surrogate ({mean:+.2f} dB, above it in {above} of {len(gained)} views)"
        )
    tail = "one training proves nothing: s2nerf-surrogate has the seeds"
    return f"With colours fitted, {'; '.join(said)} ({tail})." if said else "No picture was rebuilt."


STUDY = DemoRadiance()
