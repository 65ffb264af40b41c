"""Table 1 of "Unlocking Visual Secrets": three white-box attacks at several depths, against the floors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from lab.cell import run_cell
from lab.runfolder import RunFolder
from lab.studies.base import Cell, CellResult, Settings
from lab.studies.image import cell, keep_apart, plan, stage_ends
from lab.studies.visual_secrets_sheets import sheets
from lab.tables import Sheet
from lab.telling import table
from victims.base import Progress
from victims.image.victim import ImageVictim
from victims.registry import victim

_LABELS: Final = {"direct": "DO", "decoder": "DB", "diffusion": "DMB"}
"""Our name of an attack -> the paper's."""

_COLUMNS: Final = (
    ("resnet18", "L4"), ("resnet18", "L8"), ("resnet18", "L12"),
    ("resnet50", "L12"), ("resnet50", "L24"), ("resnet50", "L36"),
    ("vit-b-16", "L3"), ("vit-b-16", "L4"), ("vit-b-16", "L5"),
)  # fmt: skip

_PSNR: Final = {
    "direct": (29.3, 14.6, 9.51, 28.9, 15.3, 8.04, 28.5, 17.6, 9.42),
    "decoder": (35.2, 32.6, 18.6, 35.4, 33.0, 18.3, 36.8, 33.1, 19.9),
    "diffusion": (41.0, 36.3, 29.1, 40.2, 37.0, 29.9, 42.6, 38.9, 32.5),
}
_SSIM: Final = {
    "direct": (0.87, 0.58, 0.13, 0.85, 0.62, 0.09, 0.87, 0.66, 0.11),
    "decoder": (0.93, 0.90, 0.72, 0.92, 0.88, 0.70, 0.93, 0.90, 0.75),
    "diffusion": (0.97, 0.94, 0.86, 0.96, 0.95, 0.88, 0.98, 0.94, 0.91),
}

Published = Mapping[str, Mapping[str, float]]

PAPER: Final[Mapping[tuple[str, str], Published]] = {
    where: {name: {"psnr": _PSNR[name][i], "ssim": _SSIM[name][i]} for name in _LABELS}
    for i, where in enumerate(_COLUMNS)
}
"""(victim, layer) -> attack -> metric -> Table 1's value: means over 100 pictures of ImageNet, 224x224."""


class Whitebox:
    """A cell for each split point; by default the end of every residual stage."""

    name = "visual-secrets-whitebox"
    summary = "Unlocking Visual Secrets, Table 1: direct, decoder and diffusion by depth, floors, paired differences"
    source = "Unlocking Visual Secrets, Table 1 (100 pictures of ImageNet)"
    takes_victim = True

    def cells(self, settings: Settings) -> Sequence[Cell]:
        """``options``: those of :data:`lab.studies.image.OPTIONS`."""
        asked = plan(settings)
        return [cell(asked, split) for split in settings.splits or stage_ends(asked.victim)]

    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult:
        """Stream, invert when all has been heard, score, sum up."""
        keep_apart(cell)
        return run_cell(self.name, cell, RunFolder(work), progress)

    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]:
        """Pictures, differences, courses, and Table 1 as printed."""
        return [*sheets(results), *without(results), table_1(results)]

    def paper(self, cell: Cell) -> Published:
        """Table 1's values, where it has this layer of this victim."""
        return published(cell)


def published(cell: Cell) -> Published:
    """Table 1 at a cell's split point, under whichever of its names; empty for a victim that the paper has not."""
    found = victim(cell.stream.victim)
    if not isinstance(found, ImageVictim):
        return {}
    at = found.layers.get(cell.stream.split, cell.stream.split)
    for (name, layer), values in PAPER.items():
        if name == found.name and found.layers.get(layer) == at:
            return values
    return {}


def without(results: Sequence[CellResult]) -> list[Sheet]:
    """What did not run, and why."""
    rows = [
        [result.cell.title, attack, why]
        for result in results
        for attack, why in result.cell.columns.get("absent", {}).items()
    ]
    return [table("What did not run", ("cell", "attack", "why"), rows)] if rows else []


def table_1(results: Sequence[CellResult]) -> Sheet:
    """The paper's figures as printed, and ours of the same attacks above them."""
    rows: list[list[object]] = []
    for result in results:
        for attack in _LABELS:
            found = result.summary["scores"].get(attack, {})
            if found:
                values = [found[metric]["mean"] for metric in ("psnr", "ssim")]
                rows.append([f"ours: {result.cell.stream.victim}", result.cell.stream.split, attack, *values])
    for (name, layer), printed in PAPER.items():
        for attack, label in _LABELS.items():
            figures = (printed[attack]["psnr"], printed[attack]["ssim"])
            rows.append([f"the paper's: {name}", layer, f"{attack} ({label})", *figures])
    given = all("inception" in result.cell.measure for result in results)
    missed = () if given else ("Inception scores are not among our figures: no Inception network was given.",)
    return table(
        "Table 1, ours and the paper's",
        ("network", "split", "attack", "PSNR (dB)", "SSIM"),
        rows,
        (
            "The paper's rows are quoted: 100 pictures of ImageNet, 224x224, a private diffusion model trained on 385 "
            "million pictures, 1500 iterations. Ours are on other pictures, and with the prior that the card names.",
            "Layers count convolutions of residual blocks: ResNet-18 L4, L8, L12 are the ends of its stages 1 to 3; "
            "ResNet-50 L12, L24, L36 are layer2.0, layer3.0, layer3.4; ViT L3 to L5 are its third to fifth block. "
            "Depths of different networks compare by their share of the network, not by number.",
            *missed,
        ),
    )


STUDY = Whitebox()
