"""A study of the tiny victim: one short stream through the four processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from attacker.knowledge import KnowledgeCard
from lab.cell import run_cell
from lab.runfolder import RunFolder
from lab.stream import AttackChoice, StreamSettings
from lab.studies.base import Cell, CellResult, Settings
from lab.tables import Sheet
from victims.base import Progress


class TinyStudy:
    """``options``: ``strength``; above 9 it asks for a source that does not exist, so that its edge gives up."""

    name = "tiny"
    summary = "a study for tests: the tiny victim under noise"
    source = ""

    def cells(self, settings: Settings) -> Sequence[Cell]:
        strength = float(settings.options.get("strength", 1.0))
        stream = StreamSettings(
            victim="tiny",
            split="conv3.0",
            victim_settings={"preset": "street"},
            attacks=[AttackChoice("coordinates")],
            knowledge=KnowledgeCard(),
            source="nowhere" if strength > 9 else "procedural",
            frames=settings.frames or 6,
            seed=settings.seed,
            defense="feature_centric",
            defense_settings={"strength": strength},
        )
        return [Cell(f"strength {strength:g}", stream)]

    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult:
        return run_cell(self.name, cell, RunFolder(work), progress)

    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]:
        return []

    def paper(self, cell: Cell) -> Mapping[str, Mapping[str, float]]:
        return {}


STUDY = TinyStudy()
