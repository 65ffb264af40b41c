"""The attacks that exist, by name; others join through the entry point group ``eavesplit.attacks``."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from wire.errors import InputError, MissingExtraError

if TYPE_CHECKING:  # torch stands behind it, and names must not cost an import of torch
    from attacker.attacks.base import Attack

ATTACKS: dict[str, str] = {
    "coordinates": "attacker.attacks.lidar.coordinates:Coordinates",
    "concretizer": "attacker.attacks.lidar.concretizer:Concretizer",
    "concretizer-aware": "attacker.attacks.lidar.aware:ConcretizerAware",
    "preimage": "attacker.attacks.lidar.preimage:Preimage",
    "inversion-direct": "attacker.attacks.image.inversion_networks.pixels:InversionDirect",
    "inversion-decoder": "attacker.attacks.image.inversion_networks.generated:InversionDecoder",
    "inversion-diffusion": "attacker.attacks.image.inversion_networks.generated:InversionDiffusion",
    "direct": "attacker.attacks.image.direct:Direct",
    "decoder": "attacker.attacks.image.decoder:Decoder",
    "diffusion": "attacker.attacks.image.diffusion:Diffusion",
    "mean-picture": "attacker.attacks.image.mean_picture:MeanPicture",
    "nearest-picture": "attacker.attacks.image.nearest_picture:NearestPicture",
    "prior-sample": "attacker.attacks.image.prior_sample:PriorSample",
    "surrogate": "attacker.attacks.radiance.surrogate:Surrogate",
    "surrogate-replay": "attacker.attacks.radiance.replay:SurrogateReplay",
    "surrogate-fit": "attacker.attacks.radiance.fit:SurrogateFit",
    "scene-aided": "attacker.attacks.radiance.scene_aided:SceneAided",
    "untrained-surrogate": "attacker.attacks.radiance.surrogate:UntrainedSurrogate",
    "gradient-norms": "attacker.attacks.radiance.gradient_norms:GradientNorms",
    "mean-view": "attacker.attacks.radiance.mean_view:MeanView",
}
"""Name -> ``module:class`` (called without arguments) or ``module:attack``, imported when asked for."""


def names() -> list[str]:
    """Every attack's name, ours and those of entry points."""
    return sorted({*ATTACKS, *(point.name for point in entry_points(group="eavesplit.attacks"))})


def attack(name: str) -> Attack:
    """The attack called ``name``. InputError lists the ones that exist; MissingExtraError names what to install."""
    where = ATTACKS.get(name)
    # Reading what is installed costs ten milliseconds, and studies ask for every attack again and again.
    points = [] if where else [point for point in entry_points(group="eavesplit.attacks") if point.name == name]
    if where is None and not points:
        raise InputError(f"attack {name!r} does not exist; there are: {', '.join(names())}")
    try:
        if where is not None:
            module, _, attribute = where.partition(":")
            found = getattr(import_module(module), attribute)
        else:
            found = points[0].load()
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("attacker", "victims", "wire"):
            raise
        raise MissingExtraError(f"attack {name!r} needs {error.name}, which is not installed: make install") from error
    result: Attack = found() if isinstance(found, type) else found
    return result
