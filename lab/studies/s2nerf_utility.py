"""Does splitting cost anything? Split training against the same training in one process, at every cut and precision;
and what a cut and a precision give to who listens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lab.cell import run_cell
from lab.runfolder import RunFolder
from lab.studies.base import Cell, CellResult, Settings
from lab.studies.radiance import FLOORS, PROFILES, SPLIT, STRONGER, SURROGATES, Amount, cell, choices, plan
from lab.studies.s2nerf_sheets import curves, gains, knowledge, shape, useful
from lab.studies.s2nerf_surrogate import SOURCE
from lab.studies.s2nerf_views import views
from lab.tables import Sheet
from lab.telling import table
from lab.unsplit import compared, reference
from victims.base import Progress
from victims.radiance.networks import SPLITS
from wire.errors import InputError

PRECISIONS: Final = ("float32", "bfloat16")

LONGER: Final[Mapping[str, Amount]] = {
    **PROFILES,
    "quick": Amount({"steps": 1000, "rays": 256, "samples": 32}, 48, 1, 5, 0.25),
}
"""``quick``: one seed, since splitting either changes nothing or rounds; ``--set seeds=3`` for intervals."""

LISTENER: Final = "surrogate-solved"

UNSPLIT_SHARE: Final = 0.35
"""Part of a cell's progress bar that the unsplit training takes."""


class Utility:
    """Every cut in float32, and the paper's in bfloat16, with one attack beside the floors."""

    name = "s2nerf-utility"
    summary = (
        "S2NeRF: what split training of a radiance field costs its user; cuts, precision, and the unsplit training"
    )
    source = SOURCE

    def cells(self, settings: Settings) -> Sequence[Cell]:
        """``options``: those of :data:`lab.studies.radiance.OPTIONS`, and ``precisions`` (``float32,bfloat16``), of
        which all but the first run at the first cut only."""
        asked = plan(settings, (LISTENER, *FLOORS), ("precisions",), LONGER, (*SURROGATES, *STRONGER))
        named = settings.options.get("precisions", ",".join(PRECISIONS))
        precisions = [str(word) for word in (named if isinstance(named, list) else str(named).split(","))]
        if wrong := [word for word in precisions if word not in PRECISIONS]:
            raise InputError(f"--set precisions={wrong[0]}; accepted: {', '.join(PRECISIONS)}")
        splits = settings.splits or (SPLIT, *[split for split in SPLITS if split != SPLIT])
        variants = [(split, precisions[0]) for split in splits] + [(splits[0], word) for word in precisions[1:]]
        cells = []
        for split, precision in variants:
            crossing = replace(asked, victim={**asked.victim, "precision": precision})
            for place in asked.places:
                title = f"{place.name}, {split}, {precision}"
                attacks = choices(crossing, place, STRONGER)
                cells.append(cell(crossing, place, attacks, split, title=title, precision=precision))
        return cells

    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult:
        """Train unsplit, then split, and compare what both render."""
        folder = RunFolder(work)

        def alone(done: float, total: float, note: str = "") -> None:
            progress(UNSPLIT_SHARE * done / max(total, 1.0), 1.0, f"{cell.title}: {note}")

        def split(done: float, total: float, note: str = "") -> None:
            progress(UNSPLIT_SHARE + (1 - UNSPLIT_SHARE) * done / max(total, 1e-9), 1.0, note)

        file = reference(cell.stream, work.parent / "unsplit", alone)
        result = run_cell(self.name, cell, folder, split)
        summary = dict(result.summary)
        if "unsplit" not in summary:
            summary["unsplit"] = compared(folder, file)
            folder.write_summary(summary)
        return CellResult(cell, folder.path, summary)

    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]:
        """Views, use over seeds, split against unsplit, bytes, and what each cut gives away."""
        found = [views(results), useful(results), _unsplit(results), gains(results), shape(results)]
        found += [*curves(results), knowledge(results)]
        return [sheet for sheet in found if sheet is not None]

    def paper(self, cell: Cell) -> Mapping[str, Mapping[str, float]]:
        """None: the tables of the paper could not be obtained."""
        return {}


def _unsplit(results: Sequence[CellResult]) -> Sheet:
    rows: list[list[Any]] = []
    for result in results:
        found = result.summary["unsplit"]
        equal = [f"{found[f'{what}_equal']} of {found[what]}" for what in ("steps", "pictures")]
        figures = [found["most_loss"], found["most"], result.summary["bytes"]["payload_mean"] / 1000]
        rows.append([result.cell.title, *equal, *figures])
    return table(
        "Split training against the unsplit one",
        (
            "cell", "losses equal bit for bit", "pictures equal bit for bit", "largest difference of a loss",
            "largest difference of a colour (0 to 1)", "tensors to the cloud (kB a frame)",
        ),
        rows,
        (
            "The same batches, jitter and optimisers in one process. In bfloat16 what crosses is rounded, so those two "
            "trainings differ.",
        ),
    )  # fmt: skip


STUDY = Utility()
