"""What becomes of an output that is a latent of a prior: the decoder alone, or the whole sampler before it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from attacker.attacks.image.autoencoder import Autoencoder, load_autoencoder
from attacker.attacks.image.inversion_networks.settings import SamplerSettings
from attacker.attacks.image.losses import NEGENTROPIES
from attacker.attacks.image.prior import Prior, normalise
from victims.base import weights_digest
from wire.errors import InputError


def autoencoder_in(folder: Path, device: str) -> Autoencoder:
    """The autoencoder of a prior's folder, or of a folder that holds nothing else."""
    found = load_autoencoder(folder, "vae" if (folder / "vae").is_dir() else "")
    found.module.to(device)
    return found


class Decoded:
    """The output is a latent of the autoencoder; D of equation 11 is its decoder."""

    def __init__(self, autoencoder: Autoencoder, side: int) -> None:
        if side % autoencoder.factor:
            raise InputError(
                f"pictures of {side}x{side} pixels do not fit the autoencoder; "
                f"accepted: sides that are multiples of {autoencoder.factor}"
            )
        latent = side // autoencoder.factor
        self.made, self.side = (autoencoder.channels, latent, latent), side
        self.prior = weights_digest(autoencoder.module.state_dict()).hex()
        self._autoencoder = autoencoder

    def pictures(self, output: Tensor, prompts: Sequence[str]) -> Tensor:
        return self._autoencoder.decode(output).float()

    def penalty(self, output: Tensor, prompts: Sequence[str]) -> Tensor | None:
        return None


class Sampled:
    """The output, normalised picture by picture, is the noise from which the prior samples (equations 11 and 12)."""

    def __init__(self, prior: Prior, settings: SamplerSettings) -> None:
        self.made, self.side, self.prior = prior.latent, prior.side, prior.digest().hex()
        self._prior, self._settings = prior, settings
        self._embedded: dict[str, Tensor] = {}

    def pictures(self, output: Tensor, prompts: Sequence[str]) -> Tensor:
        with torch.autocast(output.device.type, enabled=False):  # bfloat16 does not pay in small denoisers
            return self._prior.generate(normalise(output.float()), self._text(prompts), steps=self._settings.steps)

    def penalty(self, output: Tensor, prompts: Sequence[str]) -> Tensor | None:
        settings = self._settings
        told = torch.tensor([bool(self._words(prompt)) for prompt in prompts], device=output.device)
        if not settings.text or not bool(told.any()):
            return None
        value = NEGENTROPIES[settings.negentropy](normalise(output.float()), settings.alpha)
        return settings.text * value * told

    def _words(self, prompt: str) -> str:
        return prompt or self._settings.prompt

    def _text(self, prompts: Sequence[str]) -> Tensor:
        """(B, L, D); zeros where there are no words."""
        words = [self._words(prompt) for prompt in prompts]
        for word in words:
            if word not in self._embedded:
                self._embedded[word] = self._prior.embed([word]) if word else self._prior.no_text(1)
        return torch.cat([self._embedded[word] for word in words])
