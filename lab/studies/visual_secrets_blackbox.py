"""Table 4 of "Unlocking Visual Secrets": three inversion networks of one size that learn from queries, by depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from lab.studies.base import Cell, CellResult, Settings
from lab.studies.black_box import KINDS, black_box_cell, learners, learning, run_black_box
from lab.studies.image import cell, plan, stage_ends
from lab.studies.options import whole
from lab.studies.visual_secrets_sheets import sheets
from lab.tables import Sheet
from lab.telling import table
from victims.base import Progress

QUERIES: Final = {"quick": 1024, "cpu": 4096, "paper": 4096}
DIFFUSION_QUERIES: Final = {"quick": 256, "cpu": 1024, "paper": 4096}
"""Each step of its training goes through the whole sampler: 4096 queries and 96 epochs take ten hours on a core."""
EPOCHS: Final = {"quick": 16, "cpu": 40, "paper": 96}

_COLUMNS: Final = ("R18 L4", "R18 L8", "R18 L12", "R50 L12", "R50 L24", "R50 L36", "ViT L3", "ViT L4", "ViT L5")
_PSNR: Final = {
    "DO": (27.6, 11.1, 7.74, 26.3, 13.1, 7.11, 26.6, 13.2, 7.80),
    "DB": (34.3, 24.3, 9.6, 33.4, 27.0, 12.3, 35.3, 23.9, 11.5),
    "DMB": (40.4, 32.5, 20.6, 39.2, 31.4, 23.9, 41.6, 31.5, 19.5),
}
_SSIM: Final = {
    "DO": (0.84, 0.40, 0.08, 0.84, 0.54, 0.07, 0.85, 0.62, 0.08),
    "DB": (0.90, 0.78, 0.38, 0.92, 0.79, 0.43, 0.91, 0.80, 0.55),
    "DMB": (0.92, 0.84, 0.46, 0.94, 0.88, 0.67, 0.95, 0.88, 0.71),
}


class Blackbox:
    """A cell for each split point; by default the end of every residual stage."""

    name = "visual-secrets-blackbox"
    summary = "Unlocking Visual Secrets, Table 4: networks that learn from queries, by depth, one from other pictures"
    source = "Unlocking Visual Secrets, Table 4 (4096 queries, 1024 test pictures of ImageNet)"
    takes_victim = True

    def cells(self, settings: Settings) -> Sequence[Cell]:
        """``options``: those of the white-box study, ``queries``, ``diffusion_queries`` and ``epochs``."""
        asked = plan(settings, ("queries", "diffusion_queries", "epochs"), KINDS)
        rows = learners(
            asked,
            _number(settings, "queries", QUERIES),
            _number(settings, "diffusion_queries", DIFFUSION_QUERIES),
            {"epochs": _number(settings, "epochs", EPOCHS)},
        )
        return [
            black_box_cell(asked, cell(asked, split), rows) for split in settings.splits or stage_ends(asked.victim)
        ]

    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult:
        """Train on queries, stream, invert, score, sum up."""
        return run_black_box(self.name, cell, work, progress)

    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]:
        """Pictures, differences, what was learned, and Table 4 as printed."""
        return [*sheets(results), learning(results), table_4()]

    def paper(self, cell: Cell) -> Mapping[str, Mapping[str, float]]:
        """None of our victims at 32x32 is in the paper; its table stands as printed."""
        return {}


def _number(settings: Settings, key: str, by_profile: Mapping[str, int]) -> int:
    return whole(settings.options, key) if key in settings.options else by_profile[settings.profile]


def table_4() -> Sheet:
    """The paper's figures as printed."""
    rows = [
        [f"the paper's: {where}", attack, _PSNR[attack][i], _SSIM[attack][i]]
        for i, where in enumerate(_COLUMNS)
        for attack in _PSNR
    ]
    return table(
        "Table 4, as the paper prints it",
        ("network and layer", "attack", "PSNR (dB)", "SSIM"),
        rows,
        ("DO, DB, DMB are inversion-direct, inversion-decoder, inversion-diffusion; ImageNet at 224x224.",),
    )


STUDY = Blackbox()
