"""What ``eavesplit train`` trains: the shipped victim and the shipped attacks, each from scans of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from victims.base import Progress, Sample, weights_folder
from wire.errors import InputError

INVERTERS = ("inversion-direct", "inversion-decoder", "inversion-diffusion")
WHAT = ("victim", "image-victim", "noise-aware", "concretizer", "concretizer-aware", "prior", *INVERTERS)


def train(what: str, split: str, work: Path, seed: int, options: Mapping[str, Any], progress: Progress) -> Path:
    """Train ``what`` in ``work`` (resuming what is there) and return the path of what was made.

    options: fields of the training's own settings (``scans``). InputError lists what can be trained, and the fields.
    """
    if what == "victim":
        return _victim(work, seed, options, progress)
    if what == "image-victim":
        return _image_victim(work, seed, options, progress)
    if what == "noise-aware":
        return _noise_aware(split, work, seed, options, progress)
    if what == "prior":
        return _prior(work, seed, options, progress)
    if what in INVERTERS:
        return _inverter(what, split, work, seed, options, progress)
    if what in WHAT:
        return _attack(what, split, work, seed, options, progress)
    raise InputError(f"train {what!r}; accepted: {', '.join(WHAT)}")


def _victim(work: Path, seed: int, options: Mapping[str, Any], progress: Progress) -> Path:
    from victims.lidar.shipping import train_and_publish
    from victims.lidar.train import VictimTraining

    settings = _replaced(VictimTraining(seed=seed), options)
    return train_and_publish(work, work / "weights", settings, progress)


def _image_victim(work: Path, seed: int, options: Mapping[str, Any], progress: Progress) -> Path:
    from victims.image.publishing import train_and_publish
    from victims.image.training import ImageTraining
    from wire.malloc import tune

    tune()
    return train_and_publish(work, _replaced(ImageTraining(seed=seed), options), progress)


def _noise_aware(split: str, work: Path, seed: int, options: Mapping[str, Any], progress: Progress) -> Path:
    from lab.noise_aware import NoiseAware, train_and_publish
    from wire.malloc import tune

    tune()
    try:
        settings = NoiseAware(**{"seed": seed, "split": split, **options})
    except TypeError as error:
        fields = ", ".join(NoiseAware.__dataclass_fields__)
        raise InputError(f"--set {', '.join(options)}: {error}; accepted: {fields}") from error
    return train_and_publish(work, settings, progress)


def _attack(what: str, split: str, work: Path, seed: int, options: Mapping[str, Any], progress: Progress) -> Path:
    from attacker.attacks.base import Grants
    from attacker.attacks.lidar.aware import ConcretizerAware
    from attacker.attacks.lidar.concretizer import Concretizer
    from attacker.attacks.lidar.train import Recipe

    recipe = _replaced(Recipe(seed=seed), options)
    attack = Concretizer(recipe=recipe) if what == "concretizer" else ConcretizerAware(recipe=recipe)
    files = {"weights": weights_folder() / "lidar-street-backbone.safetensors"}
    grants = Grants(files=files, settings={"split": split})
    return attack.fit(_streets(recipe.scans, progress), grants, work, progress)


def _prior(work: Path, seed: int, options: Mapping[str, Any], progress: Progress) -> Path:
    from attacker.attacks.image.prior_training.settings import PriorTraining
    from attacker.attacks.image.prior_training.train import train_prior
    from wire.malloc import tune

    tune()  # a step frees and asks again for the same hundreds of megabytes
    return train_prior(work, _replaced(PriorTraining(seed=seed), options), progress)


def _inverter(what: str, split: str, work: Path, seed: int, options: Mapping[str, Any], progress: Progress) -> Path:
    from lab.inverters import InverterTraining, train_inverter

    return train_inverter(what, split, work, _replaced(InverterTraining(seed=seed), options), progress)


def _streets(scans: int, progress: Progress) -> Iterator[Sample]:
    from victims.lidar.street import ATTACK_SEEDS, street_scan
    from victims.lidar.victim import scan_sample

    for number in range(scans):
        progress(number, scans, "casting streets")
        yield scan_sample(street_scan(ATTACK_SEEDS[number]), "full")


def _replaced(settings: Any, options: Mapping[str, Any]) -> Any:
    try:
        return replace(settings, **options)
    except TypeError as error:
        fields = ", ".join(settings.__dataclass_fields__)
        raise InputError(f"--set {', '.join(options)}: {error}; accepted: {fields}") from error
