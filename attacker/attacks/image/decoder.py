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
from attacker.attacks.image.auxiliary import auxiliary_pictures, granted_auxiliary
from attacker.attacks.image.choices import choice, device, number
from attacker.attacks.image.descent import Variable, descend
from attacker.attacks.image.direct import GREY
from attacker.attacks.image.generators import autoencoder_of, autoencoder_shape_of, granted_folder
from attacker.attacks.image.inversion import Inversion, Method, Problem
from attacker.attacks.image.optimising import Optimising, OptimisingSettings, inverted, tie
from victims.base import Progress, silent
from victims.image.preprocessing import pictures_of
from wire.errors import InputError
from wire.payload import Meta

_CHUNK_PIXELS = 64 * 32 * 32
"""Of pictures that are encoded at once."""


@dataclass(frozen=True)
class DecoderSettings(OptimisingSettings):
    """start: ``grey`` (the latent of a picture of 0.5), ``mean`` (mean latent of the auxiliary pictures), ``noise``
    (standard normal, as in the paper), or ``auto``: ``mean`` where auxiliary pictures are granted, else ``grey``.
    precision: of the autoencoder's arithmetic; bfloat16 halves the time at photo size on a processor that has it."""

    iterations: int = number(300, 0, 1_000_000)
    lr: float = number(0.1, 1e-6, 100)
    start: str = choice("auto", ("auto", "grey", "mean", "noise"))
    precision: str = choice("float32", ("float32", "bfloat16"))

    PAPER: ClassVar[Mapping[str, Meta]] = {**OptimisingSettings.PAPER, "start": "noise"}


@torch.no_grad()
def mean_latent(autoencoder: Autoencoder, pictures: Tensor, progress: Progress = silent) -> Tensor:
    """Mean of the latents (C, h, w) of ``pictures`` (N, 3, H, W) in 0..1. progress: hears of every chunk."""
    latents = []
    for part in torch.split(pictures, max(1, _CHUNK_PIXELS // pictures[0, 0].numel())):
        latents.append(autoencoder.encode(part))
        progress(0.0, 1.0, "public pictures")
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
    public = nothing if chosen != "mean" or auxiliary is None else auxiliary.to(features)
    start = mean_latent(autoencoder, public, problem.progress)
    start = start.expand(len(problem.frames), *start.shape)
    if chosen == "noise":
        start = problem.noise("attack.decoder", start.shape[1:])
    half = settings.precision == "bfloat16"
    return from_latents(problem, settings, autoencoder, start, "decoder", half=half)


def from_latents(
    problem: Problem,
    settings: OptimisingSettings,
    autoencoder: Autoencoder,
    start: Tensor,
    stage: str,
    *,
    half: bool = False,
) -> Inversion:
    """A descent on latents from ``start`` (B, C, h, w). half: decode in bfloat16."""

    def pictures(latents: Tensor) -> Tensor:
        with torch.autocast(latents.device.type, torch.bfloat16, enabled=half):
            return autoencoder.decode(latents).to(latents.dtype)

    variable = Variable(start, pictures, tie(settings, problem.groups(settings.group)))
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

    def method(self, settings: DecoderSettings, grants: Grants, size: tuple[int, int]) -> Method:
        """:func:`decoder`, with the auxiliary pictures where they are granted and asked for."""
        where = device(grants.settings)
        autoencoder = autoencoder_of(granted_folder(grants, self.name), where)
        autoencoder.check(*size)
        auxiliary = None
        if settings.start == "mean" or (settings.start == "auto" and "auxiliary" in grants.files):
            auxiliary = pictures_of(auxiliary_pictures(grants, size, settings.auxiliary_frames, self.name))
        return partial(decoder, settings=settings, autoencoder=autoencoder, auxiliary=auxiliary)

    def check_files(self, settings: DecoderSettings, grants: Grants, size: tuple[int, int]) -> None:
        """InputError where the folder holds no autoencoder for such pictures, or the start's were not granted."""
        autoencoder_shape_of(granted_folder(grants, self.name)).check(*size)
        if settings.start == "mean":
            granted_auxiliary(grants, self.name)
