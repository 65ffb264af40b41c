"""Figure 20 of "Unlocking Visual Secrets": what a listener gains from asking more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from lab.studies.base import Cell, CellResult, Settings
from lab.studies.black_box import KINDS, SHIFTED, black_box_cell, learners, learning, run_black_box
from lab.studies.image import cell, plan, stage_ends
from lab.studies.options import listed
from lab.studies.visual_secrets_sheets import sheets
from lab.tables import Sheet
from victims.base import Progress
from wire.errors import InputError

QUERIES: Final = {"quick": (128, 512, 2048), "cpu": (64, 256, 1024, 4096, 16384), "paper": (256, 512, 1024, 2048, 4096)}
STEPS: Final = {"quick": 400, "cpu": 1600, "paper": 3072}
"""Of training, the same for every number of queries: more epochs over fewer."""

BATCH: Final = 64


class Queries:
    """A cell for each number of queries, at one split point: the end of the middle stage."""

    name = "visual-secrets-queries"
    summary = "Unlocking Visual Secrets, Figure 20: what inversion networks gain from more queries, at equal steps"
    source = "Unlocking Visual Secrets, Figure 20"
    takes_victim = True

    def cells(self, settings: Settings) -> Sequence[Cell]:
        """``options``: those of the white-box study, and ``queries``: ``a,b,c``."""
        asked = plan(settings, ("queries",), KINDS)
        ends = stage_ends(asked.victim)
        found = []
        for split in settings.splits or (ends[len(ends) // 2],):
            for number in _numbers(settings):
                epochs = max(1, round(STEPS[settings.profile] * BATCH / number))
                rows = learners(asked, number, number, {"epochs": epochs, "batch": BATCH})
                kept = [row for row in rows if row.row not in (KINDS[2], SHIFTED)]
                one = black_box_cell(asked, cell(asked, split, f"{split}, {number} queries"), kept)
                found.append(replace(one, columns={**one.columns, "queries": number}))
        return found

    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult:
        """Train on queries, stream, invert, score, sum up."""
        return run_black_box(self.name, cell, work, progress)

    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]:
        """Pictures, differences, what was learned."""
        return [*sheets(results), learning(results)]

    def paper(self, cell: Cell) -> Mapping[str, Mapping[str, float]]:
        """The paper's figure has no numbers in print."""
        return {}


def _numbers(settings: Settings) -> list[int]:
    if "queries" not in settings.options:
        return list(QUERIES[settings.profile])
    named = listed(settings.options["queries"], "queries")
    if not all(name.isdigit() and int(name) >= 16 for name in named):
        raise InputError(f"--set queries={settings.options['queries']}; accepted: whole numbers from 16, as a,b,c")
    return [int(name) for name in named]


STUDY = Queries()
