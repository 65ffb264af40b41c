"""Settings of the surrogate attacks, and what they are told of the victim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final, TypeVar

from attacker.attacks.image.choices import Settings, choice, number, read
from attacker.attacks.radiance.matching import DISTANCES
from attacker.attacks.radiance.schedule import DECAYS
from victims.radiance.settings import Training, training
from wire.errors import InputError
from wire.payload import Meta

S = TypeVar("S", bound=Settings)

OF_THE_VICTIM: Final = frozenset(field.name for field in fields(Training)) | {
    "preset", "split", "side", "box", "frames", "first", "pictures", "curve_every", "curve_views", "victim",
}  # fmt: skip
"""Settings of the victim and of its stream, which are public and may stand among an attack's own."""

PREFIX: Final = "victim_"
"""Before a victim's setting that has an attack's name: ``victim_seed``, ``victim_rate``, ``victim_decay``."""


@dataclass(frozen=True)
class SurrogateSettings:
    """The paper's attack (S2NeRF's surrogate model attack), where nothing else is said.

    views: how many pictures the victim is trained with; makes the epochs. weight: lambda, of the gradients' distance
    beside the error of the dummy pictures; balance_steps: rho is averaged over so many steps (0: rho is 1). loss: how
    two gradients are compared. dummy: how the dummy pictures come about; ``solved`` is ours
    (:mod:`attacker.attacks.radiance.solving`). rate and decay: of Adam. inner: its steps for each step that is heard.
    colour_layers, width: of the surrogate's colour network (the victim's: 3 and 64).

    share: part of a step's rays that is learnt from; every: each so-manieth step; from_step: begin at this share of
    the training (1: learn nothing). weighting: ``sigma`` divides the gradients' distance by the variance of the
    gradient-norm noise, of which a listener that knows the defense knows c and r. average: the gradients of a ray that
    comes again are averaged, of at most average_rays rays. drop_dead: leave out entries where the embedding is 0.

    at_once: so many points of a step are worked at once; of more, the gradients of its chunks are summed up.
    published_mask: the published code's leak (:mod:`attacker.attacks.radiance.published_mask`).
    keep_every: steps after which the state is kept for a restart.
    """

    views: int = number(0, 0, 1_000_000)
    weight: float = number(1e-2, 0, 1e12)
    balance_steps: int = number(100, 0, 1_000_000)
    loss: str = choice("mse", tuple(DISTANCES))
    dummy: str = choice("learnt", ("learnt", "solved"))
    rate: float = number(1e-2, 1e-6, 10)
    decay: str = choice("epoch", tuple(DECAYS))
    inner: int = number(1, 1, 100)
    colour_layers: int = number(3, 2, 16)
    width: int = number(64, 1, 1024)
    share: float = number(1.0, 1e-4, 1)
    every: int = number(1, 1, 1_000_000)
    from_step: float = number(0.0, 0, 1)
    weighting: str = choice("none", ("none", "sigma"))
    average: bool = False
    average_rays: int = number(8192, 1, 10_000_000)
    drop_dead: bool = False
    at_once: int = number(1 << 17, 1, 1 << 26)
    published_mask: bool = False
    keep_every: int = number(100, 1, 1_000_000)

    PAPER: ClassVar[Mapping[str, Meta]] = {}


def own(kind: type[S], given: Mapping[str, Meta], attack: str) -> S:
    """The attack's own settings; those of the victim are left aside. InputError names one that is not accepted."""
    mine = {field.name for field in fields(kind)}
    left = {key: value for key, value in given.items() if key in mine or not _of_the_victim(key)}
    return read(kind, left, attack)


def victims(kind: type[Any], given: Mapping[str, Meta], attack: str) -> Training:
    """How the victim is built and trained, as far as that is public. InputError names what is not accepted.

    Its ``seed`` is the attack's unless ``victim_seed`` says otherwise.
    """
    mine = {field.name for field in fields(kind)}
    told = {key: value for key, value in given.items() if key not in mine and not key.startswith(PREFIX)}
    told |= {key.removeprefix(PREFIX): value for key, value in given.items() if key.startswith(PREFIX)}
    try:
        return training(told)
    except InputError as error:
        raise InputError(f"attack {attack}: the victim's {error}") from None


def _of_the_victim(key: str) -> bool:
    return key.removeprefix(PREFIX) in OF_THE_VICTIM and key not in ("seed", "device")
