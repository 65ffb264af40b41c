"""The optimising attacks on plain tensors, for notebooks: no capture, no session, no files but a prior's.

split = Split(network, at="layer2.2")
head = lambda pictures: split.head(IMAGENET.normalised(pictures))
found = invert(head, head(secret), attack="decoder", size=32, prior=folder, iterations=200)
found.pictures
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from attacker.attacks.image.choices import read
from attacker.attacks.image.decoder import DecoderSettings, decoder
from attacker.attacks.image.diffusion import DiffusionSettings, diffusion
from attacker.attacks.image.direct import DirectSettings, direct
from attacker.attacks.image.generators import autoencoder_of, prior_of
from attacker.attacks.image.inversion import Inversion, Method, Problem
from victims.base import Progress, silent
from wire.errors import InputError
from wire.payload import Meta

NAMES = ("direct", "decoder", "diffusion")


def invert(
    head: Callable[[Tensor], Tensor],
    features: Tensor,
    *,
    size: int | tuple[int, int],
    attack: str = "direct",
    prior: Path | None = None,
    auxiliary: Tensor | None = None,
    frames: Sequence[int] | None = None,
    seed: int = 0,
    progress: Progress = silent,
    **settings: Meta,
) -> Inversion:
    """Pictures (B, 3, H, W) whose features are ``features`` (B, ...), by the attack called ``attack``.

    head: pictures in 0..1 to features, differentiable. size: height and width of a picture in pixels, or the side of a
    square. prior: a folder, for ``decoder`` and ``diffusion``. auxiliary:
    public pictures (N, 3, H, W) in 0..1, for a start at their mean. frames: the pictures' numbers, by default
    from 0: they seed the noise. settings: of the attack (``iterations``, ``lr``, ``tv``, ...). InputError names what
    is not accepted.
    """
    numbers = tuple(range(len(features))) if frames is None else tuple(frames)
    if not numbers or len(numbers) != len(features):
        raise InputError(f"{len(features)} pictures' features with {len(numbers)} frame numbers; accepted: one each")
    sides = (size, size) if isinstance(size, int) else size
    method = _method(attack, sides, prior, str(features.device), auxiliary, settings)
    return method(Problem(head, features.detach().clone(), sides, numbers, seed, progress))


def _method(
    attack: str,
    size: tuple[int, int],
    prior: Path | None,
    device: str,
    auxiliary: Tensor | None,
    settings: dict[str, Meta],
) -> Method:
    if attack == "direct":
        return partial(direct, settings=read(DirectSettings, settings, attack), auxiliary=auxiliary)
    if attack not in NAMES:
        raise InputError(f"attack {attack!r} does not exist here; accepted: {', '.join(NAMES)}")
    if prior is None:
        raise InputError(f"attack {attack} needs a prior over pictures; accepted: a diffusers folder")
    if attack == "decoder":
        chosen = read(DecoderSettings, settings, attack)
        autoencoder = autoencoder_of(prior, device)
        autoencoder.check(*size)
        return partial(decoder, settings=chosen, autoencoder=autoencoder, auxiliary=auxiliary)
    return partial(diffusion, settings=read(DiffusionSettings, settings, attack), prior=prior_of(prior, size, device))
