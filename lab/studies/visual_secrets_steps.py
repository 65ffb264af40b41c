"""Table 3 of "Unlocking Visual Secrets": what more sampling steps inside the diffusion attack bring, and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from lab.cell import run_cell
from lab.contacts import contact
from lab.course import courses
from lab.metrics.pictures import PSNR, SSIM
from lab.runfolder import RunFolder
from lab.scores import read_scores
from lab.studies.base import Cell, CellResult, Settings
from lab.studies.image import cell, choice, keep_apart, needs_diffusion, plan, stage_ends
from lab.studies.options import listed
from lab.studies.visual_secrets_sheets import differences
from lab.tables import Entry, Sheet, estimate
from lab.telling import table
from victims.base import Progress
from wire.errors import InputError

STEPS: Final[Mapping[str, Sequence[int]]] = {
    "quick": (2, 5, 10),
    "cpu": (2, 5, 10, 15, 20),
    "paper": (10, 15, 20, 25, 30),
}

PAPER_SSIM: Final = {10: 0.80, 15: 0.87, 20: 0.88, 25: 0.89, 30: 0.89}
"""ResNet-50 at L36, Table 3; it has SSIM and inception scores, no PSNR."""


class Steps:
    """One cell, a row for each number of steps: the same captured features for all."""

    name = "visual-secrets-steps"
    summary = "Unlocking Visual Secrets, Table 3: the diffusion attack with more and more sampling steps"
    source = "Unlocking Visual Secrets, Table 3 (ResNet-50, L36)"
    takes_victim = True

    def cells(self, settings: Settings) -> Sequence[Cell]:
        """``options``: those of :data:`lab.studies.image.OPTIONS` and ``steps`` (``5,10,20``)."""
        asked = plan(settings, ("steps",))
        needs_diffusion(asked, self.name)
        steps = STEPS[settings.profile]
        if "steps" in settings.options:
            steps = [_steps(text) for text in listed(settings.options["steps"], "steps")]
        splits = settings.splits or stage_ends(asked.victim)[1:2]
        return [
            cell(
                asked,
                split,
                attacks=[
                    choice(asked, "prior-sample", split),
                    *[choice(asked, "diffusion", split, f"diffusion-{n}-steps", steps=n) for n in steps],
                ],
                steps=list(steps),
            )
            for split in splits
        ]

    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult:
        """Stream, invert when all has been heard, score, sum up."""
        keep_apart(cell)
        return run_cell(self.name, cell, RunFolder(work), progress)

    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]:
        """Pictures, quality and cost by steps, differences, the paper's row."""
        printed = table(
            "Table 3 as printed",
            ("steps", "SSIM"),
            [[n, value] for n, value in PAPER_SSIM.items()],
            ("The paper's: ResNet-50 at L36, ImageNet, its own prior. Its inception scores are left out.",),
        )
        found = [contact(results), *(_by_steps(result) for result in results), differences(results), printed]
        return [sheet for sheet in found if sheet is not None]

    def paper(self, cell: Cell) -> Mapping[str, Mapping[str, float]]:
        """None beside ours: the paper's table is of another network."""
        return {}


def _by_steps(result: CellResult) -> Sheet:
    folder = RunFolder(result.folder)
    found = courses(folder, read_scores(folder).groups, result.cell.stream.seed)
    sheet = Sheet(
        f"Steps of the sampler: {result.cell.title}",
        ["steps", "iterations", "CPU-seconds a picture", f"{PSNR.title} ↑", f"{SSIM.title} ↑"],
        notes=["Every row has the same iterations: what more steps cost is in the CPU-seconds."],
    )
    for n in result.cell.columns["steps"]:
        row = f"diffusion-{n}-steps"
        scores = result.summary["scores"].get(row, {})
        effort = (Entry("–", why="no picture was rebuilt"), Entry("–", why="no picture was rebuilt"))
        if row in found.by_attack:
            effort = (Entry(str(found.iterations([row]))), Entry(f"{found.cpu_s([row]):.3g}"))
        figures = [estimate(scores.get(metric.name), metric) for metric in (PSNR, SSIM)]
        sheet.add([Entry(str(n), kind="name"), *effort, *figures])
    return sheet


def _steps(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) <= 1000:
        raise InputError(f"--set steps={text}; accepted: whole numbers from 1 to 1000, a,b,c")
    return int(text)


STUDY = Steps()
