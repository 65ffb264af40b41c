"""Pixels are optimised until their features are those that were heard: equation 4, with total variation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from attacker.attacks.base import Grants
from attacker.attacks.image.auxiliary import auxiliary_pictures, granted_auxiliary
from attacker.attacks.image.basis import BASES
from attacker.attacks.image.choices import choice, number
from attacker.attacks.image.descent import Variable, descend
from attacker.attacks.image.inversion import Inversion, Method, Problem
from attacker.attacks.image.optimising import Optimising, OptimisingSettings, inverted, tie
from victims.image.preprocessing import pictures_of
from wire.errors import InputError
from wire.payload import Meta

GREY = 0.5


@dataclass(frozen=True)
class DirectSettings(OptimisingSettings):
    """start: ``grey`` (0.5), ``mean`` (of the auxiliary pictures) or ``noise`` (about 0.5, deviation 0.2). basis:
    ``pixels``, or ``waves`` (:mod:`attacker.attacks.image.basis`)."""

    iterations: int = number(600, 0, 1_000_000)
    lr: float = number(0.05, 1e-6, 100)
    start: str = choice("grey", ("grey", "mean", "noise"))
    basis: str = choice("pixels", tuple(BASES))

    PAPER: ClassVar[Mapping[str, Meta]] = {**OptimisingSettings.PAPER, "basis": "pixels"}


def direct(problem: Problem, settings: DirectSettings, auxiliary: Tensor | None = None) -> Inversion:
    """Invert ``problem`` in pixels. auxiliary: public pictures (N, 3, H, W) in 0..1, for the start ``mean``."""
    features, shape = problem.features, (len(problem.frames), 3, *problem.size)
    if settings.start == "noise":
        start = GREY + 0.2 * problem.noise("attack.direct", shape[1:])
    elif settings.start == "mean":
        if auxiliary is None:
            raise InputError("start mean is of public pictures, and none were given; accepted: grey, noise")
        start = auxiliary.to(features).mean(0).expand(shape)
    else:
        start = torch.full(shape, GREY, dtype=features.dtype, device=features.device)
    first, pictures = BASES[settings.basis](start)
    tied = tie(settings, problem.groups(settings.group))
    penalty = None if tied is None else lambda variable: tied(pictures(variable))
    variable = Variable(first, pictures, penalty)
    found = descend(
        variable,
        problem.head,
        features,
        settings,
        shelf=problem.shelf("direct"),
        progress=problem.progress,
        note=problem.note,
    )
    return inverted(found)


class Direct(Optimising):
    """White box: the victim's weights, and no prior but total variation."""

    name = "direct"
    kind = DirectSettings

    def method(self, settings: DirectSettings, grants: Grants, size: tuple[int, int]) -> Method:
        """:func:`direct`, with the auxiliary pictures where it starts at their mean."""
        if settings.start != "mean":
            return partial(direct, settings=settings)
        pictures = pictures_of(auxiliary_pictures(grants, size, settings.auxiliary_frames, self.name))
        return partial(direct, settings=settings, auxiliary=pictures)

    def check_files(self, settings: DirectSettings, grants: Grants, size: tuple[int, int]) -> None:
        """InputError where it starts at a mean of pictures that were not granted."""
        if settings.start == "mean":
            granted_auxiliary(grants, self.name)
