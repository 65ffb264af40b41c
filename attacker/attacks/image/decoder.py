"""The latent of an autoencoder is optimised ("DB" in "Unlocking Visual Secrets"): a prior without a sampler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from attacker.attacks.base import Grants
from attacker.attacks.image.autoencoder import Autoencoder
from attacker.attacks.image.auxiliary import auxiliary_pictures
from attacker.attacks.image.choices import choice, device, number
from attacker.attacks.image.descent import Variable, descend
from attacker.attacks.image.direct import GREY
from attacker.attacks.image.generators import autoencoder_of, granted_folder
from attacker.attacks.image.inversion import Inversion, Method, Problem
from attacker.attacks.image.optimising import Optimising, OptimisingSettings, inverted, tie
from victims.image.preprocessing import pictures_of
from wire.errors import InputError
from wire.payload import Meta

_CHUNK = 64


@dataclass(frozen=True)
class DecoderSettings(OptimisingSettings):
    """start: ``grey`` (the latent of a picture of 0.5), ``mean`` (mean latent of the auxiliary pictures), ``noise``
    (standard normal, as in the paper), or ``auto``: ``mean`` where auxiliary pictures are granted, else ``grey``."""

    iterations: int = number(300, 0, 1_000_000)
    lr: float = number(0.1, 1e-6, 100)
    start: str = choice("auto", ("auto", "grey", "mean", "noise"))

    PAPER: ClassVar[Mapping[str, Meta]] = {**OptimisingSettings.PAPER, "start": "noise"}


@torch.no_grad()
def mean_latent(autoencoder: Autoencoder, pictures: Tensor) -> Tensor:
    """Mean of the latents (C, h, w) of ``pictures`` (N, 3, H, W) in 0..1."""
    latents = [autoencoder.encode(pictures[i : i + _CHUNK]) for i in range(0, len(pictures), _CHUNK)]
    return torch.cat(latents).mean(0)


def decoder(
    problem: Problem, settings: DecoderSettings, autoencoder: Autoencoder, auxiliary: Tensor | None = None
) -> Inversion:
    """Invert ``problem`` in latents of ``autoencoder``. auxiliary: public pictures (N, 3, H, W) in 0..1."""
    chosen = settings.start
    if chosen == "auto":
        chosen = "grey" if auxiliary is None else "mean"
    if chosen == "mean" and auxiliary is None:
        raise InputError("start mean is of public pictures, and none were given; accepted: auto, grey, noise")
    features = problem.features
    nothing = torch.full((1, 3, *problem.size), GREY, dtype=features.dtype, device=features.device)
    start = mean_latent(autoencoder, nothing if chosen != "mean" or auxiliary is None else auxiliary.to(features))
    start = start.expand(len(problem.frames), *start.shape)
    if chosen == "noise":
        start = problem.noise("attack.decoder", start.shape[1:])
    return from_latents(problem, settings, autoencoder, start, "decoder")


def from_latents(
    problem: Problem, settings: OptimisingSettings, autoencoder: Autoencoder, start: Tensor, stage: str
) -> Inversion:
    """A descent on latents from ``start`` (B, C, h, w)."""
    variable = Variable(start, autoencoder.decode, tie(settings, problem.groups(settings.group)))
    found = descend(
        variable,
        problem.head,
        problem.features,
        settings,
        shelf=problem.shelf(stage),
        progress=problem.progress,
        note=problem.note,
    )
    return inverted(found)


class Decoder(Optimising):
    """White box: the victim's weights and an autoencoder of pictures."""

    name = "decoder"
    kind = DecoderSettings

    def method(self, settings: DecoderSettings, grants: Grants, side: int) -> Method:
        """:func:`decoder`, with the auxiliary pictures where they are granted and asked for."""
        where = device(grants.settings)
        autoencoder = autoencoder_of(granted_folder(grants, self.name), where)
        auxiliary = None
        if settings.start == "mean" or (settings.start == "auto" and "auxiliary" in grants.files):
            auxiliary = pictures_of(auxiliary_pictures(grants, side, settings.auxiliary_frames, self.name))
        return partial(decoder, settings=settings, autoencoder=autoencoder, auxiliary=auxiliary)
