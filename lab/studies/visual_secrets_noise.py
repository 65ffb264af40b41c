"""Noise on the features against white-box inversion: what is left of the picture, and of the network's use.

The attacks here do not know of the noise and were not trained under it, so what they lose is no bound on the leak; what
the noise guarantees stands beside it (:mod:`lab.privacy`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from defenses.registry import build
from lab.cell import run_cell
from lab.contacts import contact
from lab.measuring import scorer_of
from lab.metrics.pictures import PSNR, SSIM
from lab.runfolder import RunFolder
from lab.studies.base import Cell, CellResult, Settings
from lab.studies.image import FLOORS, cell, keep_apart, listed, plan, stage_ends
from lab.tables import Entry, Sheet, estimate
from victims.base import Progress
from wire.errors import InputError

STRENGTHS: Final[Mapping[str, Sequence[float]]] = {
    "quick": (0.25, 1.0),
    "cpu": (0.1, 0.25, 0.5, 1.0, 2.0),
    "paper": (0.1, 0.25, 0.5, 1.0, 2.0),
}
"""Deviation of the noise in units of the clean features' root mean square."""

KINDS: Final = ("gaussian", "laplace")
ATTACKS: Final = (*FLOORS, "direct", "decoder")


class Noise:
    """A cell for each kind and strength of noise, after one without; the same pictures in all."""

    name = "visual-secrets-noise"
    summary = "white-box inversion of pictures under Gaussian and Laplace noise: leak, use and guarantee"
    source = ""
    takes_victim = True

    def cells(self, settings: Settings) -> Sequence[Cell]:
        """``options``: those of :data:`lab.studies.image.OPTIONS`, ``strengths`` (``0.25,1``) and ``kinds``."""
        asked = plan(settings, ("strengths", "kinds"))
        wanted = asked.wanted if "attacks" in settings.options else [a for a in asked.wanted if a in ATTACKS]
        asked = replace(asked, wanted=wanted)
        strengths = STRENGTHS[settings.profile]
        if "strengths" in settings.options:
            strengths = [_strength(text) for text in listed(settings.options["strengths"], "strengths")]
        kinds = listed(settings.options.get("kinds", KINDS[0]), "kinds")
        if unknown := [kind for kind in kinds if kind not in KINDS]:
            raise InputError(f"--set kinds={unknown[0]}; accepted: {', '.join(KINDS)}")
        cells: list[Cell] = []
        for split in settings.splits or stage_ends(asked.victim)[1:2]:
            bare = cell(asked, split, f"{asked.victim.name}, {split}, no noise", defense="none")
            cells.append(replace(bare, reference=bare.id))
            for kind in kinds:
                cells += [_noised(bare, kind, {"strength": strength}) for strength in strengths]
        return cells

    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult:
        """Stream, invert when all has been heard, score, sum up."""
        keep_apart(cell)
        return run_cell(self.name, cell, RunFolder(work), progress)

    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]:
        """Pictures, and what is left of leak and use."""
        found = [contact(results), _by_noise(results)]
        return [sheet for sheet in found if sheet is not None]

    def paper(self, cell: Cell) -> Mapping[str, Mapping[str, float]]:
        """The paper names noise as a defense and does not measure it."""
        return {}


def _noised(bare: Cell, kind: str, given: Mapping[str, Any]) -> Cell:
    build(kind, given)  # a strength out of range is answered before anything starts
    stream = replace(bare.stream, defense=kind, defense_settings=dict(given))
    told = f"{kind} {given['strength']:g}"
    title = f"{stream.victim}, {stream.split}, {told}"
    return replace(bare, title=title, stream=stream, columns={**bare.columns, "defense": told}, reference=bare.id)


def _by_noise(results: Sequence[CellResult]) -> Sheet:
    measure = scorer_of(results[0].cell)
    sheet = Sheet(
        "Under noise",
        ["split", "noise", "attack", f"{PSNR.title} ↑", f"{SSIM.title} ↑", *[u.title for u in measure.utilities]],
        notes=[
            "Strength: deviation in units of the clean features' root mean square. The attacks were not told of the "
            "noise: an attack that is may get more.",
        ],
    )
    for result in results:
        useful = [
            estimate(found, metric)
            if (found := result.summary["utility"].get(metric.name))
            else Entry("–", why="no labels, or no undefended run to compare with")
            for metric in measure.utilities
        ]
        for choice in result.cell.stream.attacks:
            scores = result.summary["scores"].get(choice.row, {})
            figures = [estimate(scores.get(metric.name), metric) for metric in (PSNR, SSIM)]
            where = [Entry(result.cell.stream.split, kind="name"), Entry(str(result.cell.columns["defense"]))]
            sheet.add([*where, Entry(choice.row), *figures, *useful])
    return sheet


def _strength(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--set strengths={text}; accepted: numbers, a,b,c") from None


STUDY = Noise()
