"""Every defense by name. Others join through the entry point group ``eavesplit.defenses``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points

from defenses.base import Calibration, Defense
from defenses.channel_dropout import ChannelDropout
from defenses.distributed import Distributed
from defenses.feature_centric import FeatureCentric
from defenses.gaussian import Gaussian
from defenses.gradient_clip import GradientClip
from defenses.gradient_norm_noise import GradientNormNoise
from defenses.label_noise import LabelNoise
from defenses.laplace import Laplace
from defenses.none import NoDefense
from defenses.quantise import Quantise
from defenses.settings import STRENGTH
from wire.errors import InputError
from wire.payload import Meta

Factory = Callable[[Mapping[str, Meta], Calibration | None], Defense]
"""Builds a defense from its settings and, where a run stored one, its calibration. Raises InputError."""

GROUP = "eavesplit.defenses"

DEFENSES: dict[str, Factory] = {
    NoDefense.name: NoDefense,
    FeatureCentric.name: FeatureCentric,
    Distributed.name: Distributed,
    Gaussian.name: Gaussian,
    Laplace.name: Laplace,
    Quantise.name: Quantise,
    ChannelDropout.name: ChannelDropout,
    GradientNormNoise.name: GradientNormNoise,
    GradientClip.name: GradientClip,
    LabelNoise.name: LabelNoise,
}


def names() -> list[str]:
    """What can be built here: ours in the order of the registry, then the installed ones by name."""
    installed = {entry.name for entry in entry_points(group=GROUP)}
    return [*DEFENSES, *sorted(installed - set(DEFENSES))]


def build(name: str, settings: Mapping[str, Meta] | None = None, calibration: Calibration | None = None) -> Defense:
    """The defense of this name. Ours win over an installed one of the same name.

    Raises InputError for an unknown name (it lists those that exist) and for a setting that is unknown or out of range.
    """
    factory = DEFENSES.get(name)
    if factory is None:
        found = [entry for entry in entry_points(group=GROUP) if entry.name == name]
        if not found:
            raise InputError(f"defense {name!r} does not exist; accepted: {', '.join(names())}")
        factory = found[0].load()
    return factory(settings or {}, calibration)


def turned_by_strength(role: str) -> list[str]:
    """``none``, and every defense of this role of payloads whose ``strength`` is a knob from nothing to more."""
    return [name for name in names() if name == NoDefense.name or _takes_strength(name, role)]


def _takes_strength(name: str, role: str) -> bool:
    try:
        return role in build(name, {STRENGTH: 1.0}).roles
    except InputError:
        return False
