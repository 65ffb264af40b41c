"""The victims that exist, by name; others join through the entry point group ``eavesplit.victims``."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from victims.base import Victim
from wire.errors import InputError

VICTIMS: dict[str, str] = {
    "second": "victims.lidar.victim:SECOND_VICTIM",
    "cifar-resnet20": "victims.image.victim:CIFAR_RESNET20",
    "cifar-resnet56": "victims.image.victim:CIFAR_RESNET56",
    "cifar-resnet20-contrastive": "victims.image.victim:CIFAR_CONTRASTIVE",
    "cifar-vit": "victims.image.victim:CIFAR_VIT",
    "resnet18": "victims.image.victim:RESNET18",
    "resnet50": "victims.image.victim:RESNET50",
    "vit-b-16": "victims.image.victim:VIT_B",
    "splitnerf": "victims.radiance.victim:SPLITNERF",
    "fastestdet": "victims.image.published:FASTESTDET",
    "yolo-v2-resnet50": "victims.image.published:YOLO_V2",
    "espnet": "victims.image.published:ESPNET",
    "espnet-512": "victims.image.published:ESPNET_512",
    "espnet-full": "victims.image.published:ESPNET_FULL",
    "clip-vit-b-32": "victims.image.published:CLIP_VIT_B_32",
}
"""Name -> ``module:attribute``, imported when asked for: a list of names must not cost an import of torch."""


def names() -> list[str]:
    """Every victim's name, ours and those of entry points."""
    return sorted({*VICTIMS, *(point.name for point in entry_points(group="eavesplit.victims"))})


def victim(name: str) -> Victim:
    """The victim called ``name``; InputError lists the ones that exist."""
    where = VICTIMS.get(name)
    if where is None:
        for point in entry_points(group="eavesplit.victims"):
            if point.name == name:
                found: Victim = point.load()
                return found
        raise InputError(f"victim {name!r} does not exist; there are: {', '.join(names())}")
    module, _, attribute = where.partition(":")
    result: Victim = getattr(import_module(module), attribute)
    return result
