"""White-box inversion at photo size: a detector that looks at photographs, a segmenter that looks at a street.

The published FastestDet (352x352) and ESPNet (512x256) stream what they were made for, and ``direct`` and ``decoder``
(with the autoencoder of TAESD, whose latents are an eighth of the picture's sides) rebuild it. There is no diffusion
prior for pictures of this size, so ``diffusion`` does not run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lab.cell import run_cell
from lab.runfolder import RunFolder
from lab.studies.base import Cell, CellResult, Settings
from lab.studies.image import cell, keep_apart, plan
from lab.studies.image_files import real_data
from lab.studies.visual_secrets_sheets import sheets
from lab.studies.visual_secrets_whitebox import without
from lab.tables import Sheet
from victims.base import Progress
from wire.errors import InputError

VICTIMS: Final = ("fastestdet", "espnet-512")

STREAMED: Final = {"fastestdet": "images/photos", "espnet-512": "video/drive_half_second"}
AUXILIARY: Final = {"fastestdet": "video", "espnet-512": "images/photos"}
"""In ``EAVESPLIT_DATA``: what a victim streams, and the public pictures, of another kind, of the listener."""

TAESD: Final = "weights/taesd"

SPLITS: Final[Mapping[str, Mapping[str, Sequence[str]]]] = {
    "fastestdet": {
        "quick": ("backbone.maxpool",),
        "cpu": ("backbone.first_conv", "backbone.maxpool", "backbone.stage2.3", "SPP"),
    },
    "espnet-512": {"quick": ("b2",), "cpu": ("b2", "level3_0", "b3")},
}

FRAMES: Final = {"quick": 2, "cpu": 8, "paper": 16}
ITERATIONS: Final = {
    "quick": {"direct": 200, "direct-waves": 200, "decoder": 80},
    "cpu": {"direct": 3000, "direct-waves": 3000, "decoder": 1000},
    "paper": {"direct": 1500, "direct-waves": 1500, "decoder": 1500},
}
"""One iteration of ``decoder`` on one picture takes 0.8 CPU-seconds, one of ``direct`` 0.03 to 0.1."""

SHARED: Final[Mapping[str, Any]] = {
    "decoder.at_once": 1,  # the decoder keeps 1 GB a picture for its gradient
    "decoder.precision": "bfloat16",
    "direct.at_once": 4,
    "direct-waves.at_once": 4,
    **{
        f"{attack}.auxiliary_frames": 8
        for attack in ("mean-picture", "nearest-picture", "direct", "direct-waves", "decoder")
    },
}


class Photos:
    """A cell for each victim and split point."""

    name = "visual-secrets-photos"
    summary = "photographs and a street through FastestDet and ESPNet, rebuilt by direct and decoder (TAESD)"
    source = ""
    takes_victim = True

    def cells(self, settings: Settings) -> Sequence[Cell]:
        """``options``: those of :data:`lab.studies.image.OPTIONS`; without ``victim``, both."""
        chosen = [str(settings.options["victim"])] if "victim" in settings.options else list(VICTIMS)
        if unknown := [name for name in chosen if name not in VICTIMS]:
            raise InputError(f"--victim {unknown[0]}: {self.name} attacks {', '.join(VICTIMS)}")
        if settings.splits and len(chosen) > 1:
            raise InputError(f"--split {settings.splits[0]}: of which network? Give --victim as well")
        return [made for name in chosen for made in _cells(settings, name)]

    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult:
        """Stream, invert when all has been heard, score, sum up."""
        keep_apart(cell)
        return run_cell(self.name, cell, RunFolder(work), progress)

    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]:
        """Pictures, differences, courses, and what did not run."""
        return [*sheets(results), *without(results)]

    def paper(self, cell: Cell) -> Mapping[str, Mapping[str, float]]:
        """The paper attacks neither of these networks."""
        return {}


def _cells(settings: Settings, name: str) -> list[Cell]:
    options: dict[str, Any] = {**_defaults(name, settings), **SHARED, **settings.options, "victim": name}
    if "iterations" not in settings.options:
        told = ITERATIONS[settings.profile]
        options = {**{f"{attack}.iterations": number for attack, number in told.items()}, **options}
    data, frames = real_data(), settings.frames or FRAMES[settings.profile]
    if not settings.data and data and (data / STREAMED[name]).is_dir():
        settings = replace(settings, data=(data / STREAMED[name],))
    asked = plan(replace(settings, options=options, frames=frames))
    splits = settings.splits or SPLITS[name].get(settings.profile, SPLITS[name]["cpu"])
    return [cell(asked, split) for split in splits]


def _defaults(name: str, settings: Settings) -> dict[str, Any]:
    """Prior and auxiliary pictures where the real data is, as far as they were not given."""
    data = real_data()
    found = {"prior": data / TAESD, "auxiliary": data / AUXILIARY[name]} if data else {}
    return {key: str(path) for key, path in found.items() if path.is_dir() and key not in settings.options}


STUDY = Photos()
