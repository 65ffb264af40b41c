"""The image demo: pictures stream from a camera, and networks that only asked questions rebuild them as they pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attacker.knowledge import KnowledgeCard
from defenses.registry import build
from lab.cell import run_cell
from lab.runfolder import RunFolder
from lab.stream import AttackChoice, StreamSettings
from lab.studies.base import Cell, CellResult, Settings
from lab.studies.image_files import PRIOR
from lab.tables import Sheet
from victims.base import Progress, weights_folder
from wire.errors import InputError

VICTIM: Final = "cifar-resnet20"
SPLIT: Final = "layer2.2"
SPLITS: Final = ("layer1.2", "layer2.2", "layer3.2")
FRAMES: Final = 96
FRAMES_PER_SCENE: Final = 4
STRENGTH: Final = 0.5

MEAN: Final = "cifar-mean.npz"
"""The mean of CIFAR-10's training pictures, as an array file of one picture: what a listener may know without any
payload."""

ASKED: Final = "CIFAR-10 training pictures that have been through JPEG, asked of the query oracle"


class DemoImage:
    """Procedural scenes, cut at the end of the second stage, under Gaussian noise on the features."""

    name = "demo-image"
    summary = "pictures through a small ResNet, layer2.2, feature noise; a black-box inverter that keeps up"
    source = ""
    live: Mapping[str, Any] = {"strength": 0.0}

    def cells(self, settings: Settings) -> Sequence[Cell]:
        """One cell; ``options``: ``defense``, ``strength``, ``frames_per_scene``, ``set`` (of CIFAR-10's files)."""
        split = settings.splits[0] if settings.splits else SPLIT
        defense = str(settings.options.get("defense", "feature_centric"))
        strength = float(settings.options.get("strength", STRENGTH))
        defense_settings = {} if defense == "none" else {"strength": strength}
        build(defense, defense_settings)  # a wrong name or strength is answered before anything starts
        attacks = inverters(split)
        knows = defense != "none" and any(attack.row.endswith("-aware") for attack in attacks)
        card = KnowledgeCard(
            victim="black",
            queries=4096,
            data=ASKED,
            defense="aware" if knows else "unaware",
            defense_name=defense if knows else "",
            defense_settings=defense_settings if knows else {},
        )
        stream = StreamSettings(
            victim=VICTIM,
            split=split,
            victim_settings={
                "weights": "shipped",
                "frames_per_scene": int(settings.options.get("frames_per_scene", FRAMES_PER_SCENE)),
                "set": str(settings.options.get("set", "lossless-test")),
            },
            attacks=attacks,
            knowledge=card,
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
        """No paper measured these pictures."""
        return {}


def inverters(split: str) -> list[AttackChoice]:
    """The floor and every shipped inverter of a split point. InputError where none is shipped."""
    folder = weights_folder()
    attacks = [AttackChoice("mean-picture", "", {}, {"auxiliary": folder / MEAN})]
    for row in ("inversion-direct", "inversion-direct-aware", "inversion-decoder", "inversion-diffusion"):
        path = folder / f"{row}-{VICTIM}-{split}.safetensors"
        if path.is_file():
            name = row.removesuffix("-aware")
            prior = {} if name == "inversion-direct" else {"prior": folder / PRIOR}
            attacks.append(AttackChoice(name, row if row != name else "", {}, {"inverter": path, **prior}))
    if len(attacks) == 1:
        raise InputError(f"--split {split!r}: no inverter is shipped for it; there are: {', '.join(shipped())}")
    return attacks


def shipped() -> list[str]:
    """The split points of :data:`SPLITS` for which an inverter is shipped."""
    folder = weights_folder()
    return [split for split in SPLITS if (folder / f"inversion-direct-{VICTIM}-{split}.safetensors").is_file()]


STUDY = DemoImage()
