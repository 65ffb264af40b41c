"""The main job: a car streams along streets that no training saw, and a listener rebuilds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from defenses.registry import build
from lab.cell import run_cell
from lab.runfolder import RunFolder
from lab.stream import StreamSettings
from lab.studies.base import Cell, CellResult, Settings
from lab.studies.lidar import DEPTHS, FLOORS, aware, concretizer, knowledge
from lab.tables import Sheet
from victims.base import Progress
from wire.errors import InputError

FRAMES = 50
FRAMES_PER_STREET = 5
"""Ten streets: enough independent scenes for an interval."""

SPLIT = "conv3.0"
VIEW = "camera"
"""What the published detector is fed: +-40.7 degrees ahead. The whole half-circle doubles the demo's time."""

STRENGTH = 0.5
"""Standard deviation of the demo's noise, in units of the features' root mean square."""


class DemoLidar:
    """Fifty frames of procedural streets, cut at conv3.0, under Gaussian noise on the features."""

    name = "demo-lidar"
    summary = "the main job: procedural streets, conv3.0, feature noise; truth beside what the listener rebuilt"
    source = ""
    live: Mapping[str, Any] = {"strength": 0.0, "preset": "near"}
    """Options of the live demo: twice a second, head, tail, inversion, scores and page share two cores."""

    def cells(self, settings: Settings) -> Sequence[Cell]:
        """One cell; ``options``: ``defense``, ``strength``, ``preset``, ``frames_per_street``."""
        split = settings.splits[0] if settings.splits else SPLIT
        if split not in DEPTHS:
            raise InputError(f"--split {split!r}: no attack is trained for it; there are: {', '.join(DEPTHS)}")
        defense = str(settings.options.get("defense", "feature_centric"))
        strength = float(settings.options.get("strength", STRENGTH))
        defense_settings = {} if defense == "none" else {"strength": strength}
        build(defense, defense_settings)  # a wrong name or strength is answered before anything starts
        attacks = [FLOORS[0], concretizer(split)]
        if split == SPLIT:
            attacks.append(aware(split))
        stream = StreamSettings(
            victim="second",
            split=split,
            victim_settings={
                "preset": str(settings.options.get("preset", "street")),
                "weights": "shipped",
                "view": VIEW,
                "frames_per_street": int(settings.options.get("frames_per_street", FRAMES_PER_STREET)),
            },
            attacks=attacks,
            knowledge=knowledge(defense, defense_settings, attacks),
            source=str(settings.data[0]) if settings.data else "procedural",
            frames=settings.frames or FRAMES,
            seed=settings.seed,
            defense=defense,
            defense_settings=defense_settings,
            tls=settings.tls,
            record=settings.record,
            record_gb=settings.record_gb,
            device=settings.device,
        )
        return [Cell(f"{split}, {defense}", stream, {"split": split, "defense": defense})]

    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult:
        """Stream, score, sum up."""
        return run_cell(self.name, cell, RunFolder(work), progress)

    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]:
        """None beside the standard ones."""
        return []

    def paper(self, cell: Cell) -> Mapping[str, Mapping[str, float]]:
        """No paper measured these streets."""
        return {}


STUDY = DemoLidar()
