"""S2NeRF's surrogate model attack: what who trains half of a radiance field sees of the scene, against floors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lab.cell import run_cell
from lab.runfolder import RunFolder
from lab.studies.base import Cell, CellResult, Settings
from lab.studies.radiance import FLOORS, SPLIT, STRONGER, SURROGATES, cell, choices, plan
from lab.studies.s2nerf_sheets import by_render, curves, gains, knowledge, shape, useful
from lab.studies.s2nerf_views import views
from lab.tables import Sheet
from victims.base import Progress

SOURCE = "S2NeRF (Zhang et al. 2024), whose table values are not known to us"


class Surrogate:
    """A training for each scene, cut and seed; all attacks hear the same one."""

    name = "s2nerf-surrogate"
    summary = "S2NeRF: the surrogate attack from the cloud and from the wire, against an untrained surrogate and floors"
    source = SOURCE

    def cells(self, settings: Settings) -> Sequence[Cell]:
        """``options``: those of :data:`lab.studies.radiance.OPTIONS`, and ``ATTACK.SETTING``."""
        asked = plan(settings, (*SURROGATES, *STRONGER, *FLOORS))
        cells = [
            cell(asked, place, choices(asked, place, STRONGER), split)
            for split in settings.splits or (SPLIT,)
            for place in asked.places
        ]
        return [replace(cell, reference=cell.id) for cell in cells]  # its own render is the paper's reference

    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult:
        """Train, listen, score, sum up."""
        return run_cell(self.name, cell, RunFolder(work), progress)

    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]:
        """Views, gains over seeds, courses, and who knows what."""
        found = [views(results), gains(results), useful(results), shape(results), by_render(results)]
        found += [*curves(results), knowledge(results)]
        return [sheet for sheet in found if sheet is not None]

    def paper(self, cell: Cell) -> Mapping[str, Mapping[str, float]]:
        """None: the tables of the paper could not be obtained."""
        return {}


STUDY = Surrogate()
