"""``inversion-decoder`` and ``inversion-diffusion``: networks to a latent of a frozen prior (equations 11 to 13)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from attacker.attacks.base import Grants, Needs
from attacker.attacks.image.choices import device
from attacker.attacks.image.inversion_networks.attack import InversionByNetwork
from attacker.attacks.image.inversion_networks.latents import Decoded, Sampled, autoencoder_in
from attacker.attacks.image.inversion_networks.network import InversionNetwork
from attacker.attacks.image.inversion_networks.rendering import Renderer
from attacker.attacks.image.inversion_networks.settings import InversionSettings, SamplerSettings
from attacker.attacks.image.inversion_networks.trained import load_trained
from attacker.attacks.image.inversion_networks.words import described
from attacker.attacks.image.prior import load_prior
from victims.base import Sample
from wire.errors import InputError


class InversionDecoder(InversionByNetwork):
    """Through the decoder of ``grants.files["prior"]``: a prior's folder, or that of an autoencoder alone."""

    name = "inversion-decoder"
    needs = Needs("wire", "black", batch=64, queries=1)

    def renderer(self, settings: InversionSettings, grants: Grants, side: int) -> Renderer:
        """The autoencoder's decoder."""
        return Decoded(autoencoder_in(_prior(grants, self.name), device(grants.settings)), side)


class InversionDiffusion(InversionByNetwork):
    """Through the sampler and the decoder of ``grants.files["prior"]``.

    ``grants.files["start"]``, where it is given, is a trained ``inversion-decoder`` of the same victim and split point:
    its weights are the start.
    """

    name = "inversion-diffusion"
    needs = Needs("wire", "black", batch=8, queries=1)
    kind = SamplerSettings

    def renderer(self, settings: InversionSettings, grants: Grants, side: int) -> Renderer:
        """The whole sampler."""
        if not isinstance(settings, SamplerSettings):
            raise TypeError(f"settings are {type(settings).__name__}; accepted: SamplerSettings")
        prior = load_prior(_prior(grants, self.name), side=side, device=device(grants.settings))
        return Sampled(prior, settings)

    def described(self, samples: Iterable[Sample], settings: InversionSettings) -> Iterable[Sample]:
        """Each with the words that the settings say are known of it."""
        return described(samples, settings.words) if isinstance(settings, SamplerSettings) else samples

    def start(self, network: InversionNetwork, grants: Grants) -> None:
        """Take the weights of the decoder's network, where it is given."""
        path = grants.files.get("start")
        if path is None:
            return
        given, card = load_trained(path)
        told = (grants.settings.get("victim"), grants.settings.get("split"))
        if (card.attack, card.victim, card.split) != (InversionDecoder.name, *told) or card.shape != network.shape:
            raise InputError(
                f"{path}: of {card.attack} for {card.victim} at {card.split}, {card.shape}; "
                f"accepted as a start: of {InversionDecoder.name} for {told[0]} at {told[1]}, {network.shape}"
            )
        with torch.no_grad():
            network.load_state_dict(given.state_dict())


def _prior(grants: Grants, attack: str) -> Path:
    path = grants.files.get("prior")
    if path is None:
        raise InputError(f"attack {attack} needs a prior; accepted: a file prior (a folder in the diffusers layout)")
    return path
