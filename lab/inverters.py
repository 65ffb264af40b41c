"""The shipped inversion networks: trained on queries in processes of their own, published with one card for all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors import safe_open
from safetensors.torch import save_file

from attacker.attacks.image.inversion_networks.trained import load_trained
from attacker.knowledge import KnowledgeCard
from lab.calibrating import calibration_of
from lab.fitting import FitSettings, fit
from lab.stream import AttackChoice
from lab.studies.demo_image import MEAN
from victims.base import Progress, weights_folder
from victims.image import cifar
from wire.errors import InputError

CARD: Final = "inversion.md"
_TOLD: Final = "told"
SET: Final = "jpeg-train"
CALIBRATED_ON: Final = 4
"""Procedural pictures in whose features a defense's strength is measured, as the edge does at the start of a stream."""


@dataclass(frozen=True)
class InverterTraining:
    """How a shipped inverter is trained.

    victim, weights: whose features. data: folder with CIFAR-10's array files. queries, epochs, width: of the training.
    defense, strength: what the oracle answers under. prior: folder, for the attacks that need one. publish: write the
    result into ``weights/``, or ``into``.
    """

    seed: int = 0
    victim: str = "cifar-resnet20"
    weights: str = "shipped"
    data: str = ""
    queries: int = 4096
    epochs: int = 40
    width: int = 16
    defense: str = "none"
    strength: float = 0.0
    prior: str = ""
    publish: bool = False
    into: str = ""

    @property
    def row(self) -> str:
        """What the name of an aware network ends in."""
        return "" if self.defense == "none" else "-aware"


def train_inverter(attack: str, split: str, work: Path, settings: InverterTraining, progress: Progress) -> Path:
    """Train ``attack`` for ``split`` in ``work``, going on from what is there; the path of the trained file.

    InputError where the data, the victim or the prior is not there.
    """
    pictures = cifar.find(Path(settings.data), SET) if settings.data else None
    if pictures is None:
        raise InputError(f"--set data={settings.data}: accepted: the folder with CIFAR-10's array files")
    made = fit(_fit(attack, split, pictures, settings), work, progress)
    if not settings.publish:
        return made.made
    into = Path(settings.into) if settings.into else weights_folder()
    under = "none" if settings.defense == "none" else f"{settings.defense} strength={settings.strength:g}"
    told = {"queries": made.queries, "cpu_min": made.cpu_s / 60, "under": under}
    _halved(made.made, into / f"{attack}{settings.row}-{settings.victim}-{split}.safetensors", told)
    _write_mean(pictures, into / MEAN)
    return write_card(into)


def _fit(attack: str, split: str, pictures: Path, settings: InverterTraining) -> FitSettings:
    victim_settings = {"weights": settings.weights}
    defense = {} if settings.defense == "none" else {"strength": settings.strength}
    own = {"epochs": settings.epochs, "width": settings.width, "queries": settings.queries}
    return FitSettings(
        victim=settings.victim,
        split=split,
        victim_settings=victim_settings,
        attack=AttackChoice(attack, "", own, {"prior": Path(settings.prior)} if settings.prior else {}),
        knowledge=KnowledgeCard(victim="black", queries=settings.queries, data=f"pictures of {pictures.name}"),
        data=str(pictures),
        frames=settings.queries,
        defense=settings.defense,
        defense_settings=defense,
        calibration=calibration_of(
            settings.victim,
            split,
            victim_settings,
            settings.defense,
            defense,
            source="procedural",
            samples={"seed": 0},
            frames=CALIBRATED_ON,
        ),
        seed=settings.seed,
    )


def _halved(path: Path, target: Path, told: Mapping[str, Any]) -> None:
    """A trained file in half precision; the digests of what was asked stay as they are. told: for the card."""
    with safe_open(path, framework="pt") as file:
        metadata = {**file.metadata(), _TOLD: json.dumps(told)}
        tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    half = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    save_file(half, part, metadata=metadata)
    os.replace(part, target)


def _write_mean(pictures: Path, target: Path) -> None:
    """The mean of the pictures, as an array file of one picture."""
    images = cifar.read(pictures.parent, SET).images
    mean = np.round(images.mean(0, dtype=np.float64)).astype(np.uint8)
    part = target.with_suffix(".part.npz")
    np.savez_compressed(part, images=mean[None])
    os.replace(part, target)


def write_card(folder: Path) -> Path:
    """``inversion.md``: a row for each published network in ``folder``."""
    lines = [
        "# Inversion networks for the image demo",
        "",
        "Each was trained by a listener that knows nothing of the victim but the answers of the query oracle",
        "(`edge/oracle.py`) to pictures of its own: CIFAR-10 (Krizhevsky 2009), training pictures that have been",
        f"through JPEG, the first of `{cifar.FILES[SET]}`. `{MEAN}` is the mean of all of them, the floor beside.",
        "",
        "Command: `eavesplit train ATTACK --split SPLIT --work FOLDER --set data=PICTURES --set publish=true`,",
        "an aware one with `--set defense=feature_centric --set strength=0.5`. Stored in float16.",
        "",
        "| file | asked under | queries counted | width | epochs (best) | PSNR on held-out queries | CPU minutes |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for path in sorted(folder.glob("inversion-*.safetensors")):
        _, card = load_trained(path)
        with safe_open(path, framework="pt") as file:
            told = json.loads(file.metadata()[_TOLD])
        lines.append(
            f"| `{path.name}` | {told['under']} | {told['queries']} | {card.width} | {card.epochs} ({card.epoch}) "
            f"| {card.psnr:.2f} dB | {told['cpu_min']:.1f} |"
        )
    card_path = folder / CARD
    part = card_path.with_name(card_path.name + ".part")
    part.write_text("\n".join(lines) + "\n")
    os.replace(part, card_path)
    return card_path
