"""A latent diffusion prior: Stable Diffusion in a folder and the small shipped one are the same code.

Sampling is deterministic DDIM (Song et al. 2021, eta 0) without clipping, so that a picture is a differentiable
function of its starting noise: D(v, e) of "Unlocking Visual Secrets" (2024), section 4. A pipeline's ``__call__``
runs under ``no_grad`` and is never used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel

from attacker.attacks.image.autoencoder import Autoencoder, load_autoencoder
from attacker.attacks.image.folder import network
from attacker.attacks.image.prior_layout import Layout, check_prompts, check_steps, layout_of, length_of
from attacker.attacks.image.quiet import quiet
from attacker.attacks.image.recompute import recomputed
from victims.base import weights_digest
from wire.errors import InputError

MEMORY_BYTES = 1 << 30
"""Activations of a whole sampling beyond which each U-Net call is recomputed in the backward pass instead of kept."""


def normalise(latents: Tensor) -> Tensor:
    """v_n of equation 6: every sample (B, C, H, W) to mean 0 and standard deviation 1, on its own."""
    mean = latents.mean((1, 2, 3), keepdim=True)
    spread = latents.std((1, 2, 3), keepdim=True, unbiased=False)
    return (latents - mean) / (spread + 1e-8)


@dataclass(frozen=True)
class Prior:
    """A generator of pictures from noise and words. All weights are frozen.

    latent: shape (C, h, w) of the noise of one picture. side: of a square picture, in pixels. layout: of its folder.
    """

    name: str
    autoencoder: Autoencoder
    unet: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: DDIMScheduler
    latent: tuple[int, int, int]
    side: int
    layout: Layout
    _schedulers: dict[int, DDIMScheduler] = field(default_factory=dict, repr=False, compare=False)
    _measured: list[int] = field(default_factory=list, repr=False, compare=False)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        device: torch.device = next(self.unet.parameters()).device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Of the networks' weights."""
        dtype: torch.dtype = next(self.unet.parameters()).dtype
        return dtype

    @property
    def prompt_length(self) -> int:
        """How many tokens a prompt may have, its start and end included."""
        return length_of(self.tokenizer, self.text_encoder.config.max_position_embeddings)

    def to(self, device: str | torch.device) -> Prior:
        """Move the networks; returns this prior."""
        for part in (self.autoencoder.module, self.unet, self.text_encoder):
            part.to(device)
        return self

    def at(self, side: int) -> Prior:
        """The same networks for pictures of ``side`` pixels. InputError where they make none such."""
        return replace(self, latent=self.layout.latent(side), side=side, _measured=[])

    def digest(self) -> bytes:
        """SHA-256 over the weights of all three networks."""
        parts = {"vae": self.autoencoder.module, "unet": self.unet, "text_encoder": self.text_encoder}
        return weights_digest({f"{k}.{n}": t for k, part in parts.items() for n, t in part.state_dict().items()})

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings (n, prompt_length, D) of ``prompts``. InputError where one is longer than the encoder takes."""
        check_prompts(prompts, self.tokenizer, self.prompt_length, self.name)
        ids = self.tokenizer(
            list(prompts), padding="max_length", max_length=self.prompt_length, return_tensors="pt"
        ).input_ids
        embedded: Tensor = self.text_encoder(ids.to(self.device)).last_hidden_state
        return embedded

    def no_text(self, number: int) -> Tensor:
        """The embedding of no text, zeros (n, prompt_length, D), as the paper has it; not that of an empty prompt."""
        width = self.text_encoder.config.hidden_size
        return torch.zeros(number, self.prompt_length, width, device=self.device, dtype=self.dtype)

    def spelled_out(self, prompt: str) -> list[str]:
        """Words of ``prompt`` that the vocabulary lacks: they are spelled in pieces, never learned."""
        return [word for word in prompt.replace(",", " ").split() if len(self.tokenizer.tokenize(word)) > 1]

    def noise(self, number: int, seed: int) -> Tensor:
        """Starting noise (n, C, h, w), standard normal, the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(number, *self.latent, generator=generator)
        return drawn.to(device=self.device, dtype=self.dtype)

    def sample(
        self,
        noise: Tensor,
        text: Tensor | None = None,
        *,
        steps: int = 10,
        guidance: float = 1.0,
        checkpointing: bool | None = None,
    ) -> Tensor:
        """Latents (B, C, h, w) at the end of ``steps`` DDIM steps from ``noise``; differentiable in noise and text.

        text: (B, L, D) from :meth:`embed` or :meth:`no_text`; None is no text. guidance: above 1, classifier-free
        guidance away from no text, at twice the cost. checkpointing: recompute each U-Net call in the backward pass,
        which keeps one latent a step instead of the call's activations; None decides by :data:`MEMORY_BYTES`.
        InputError on a shape or a number of steps that does not fit.
        """
        if tuple(noise.shape[1:]) != self.latent:
            raise InputError(f"noise is {tuple(noise.shape)}; {self.name} accepts (pictures, {str(self.latent)[1:]}")
        text = self.no_text(len(noise)) if text is None else text
        if text.shape[0] != len(noise):
            raise InputError(f"{text.shape[0]} embeddings for {len(noise)} pictures; accepted: one for each")
        scheduler = self._scheduler(steps)
        calls = 2 if guidance != 1 else 1
        wants_gradient = torch.is_grad_enabled() and (noise.requires_grad or text.requires_grad)
        if wants_gradient and checkpointing is None:
            checkpointing = self.call_bytes() * len(noise) * steps * calls > MEMORY_BYTES

        def step(time: int, latents: Tensor, words: Tensor) -> Tensor:
            if calls == 2:
                both = torch.cat([self.no_text(len(latents)), words])
                free, told = self.unet(torch.cat([latents, latents]), time, both, return_dict=False)[0].chunk(2)
                said = free + guidance * (told - free)
            else:
                said = self.unet(latents, time, words, return_dict=False)[0]
            after: Tensor = scheduler.step(said, time, latents, eta=0.0, return_dict=False)[0]
            return after

        latents = noise
        for time in scheduler.timesteps.tolist():
            if wants_gradient and checkpointing:
                latents = recomputed(partial(step, time), latents, text)
            else:
                latents = step(time, latents, text)
        return latents

    def generate(
        self,
        noise: Tensor,
        text: Tensor | None = None,
        *,
        steps: int = 10,
        guidance: float = 1.0,
        checkpointing: bool | None = None,
    ) -> Tensor:
        """Pictures (B, 3, side, side), about 0..1 and not clamped: the sampler, then the decoder."""
        latents = self.sample(noise, text, steps=steps, guidance=guidance, checkpointing=checkpointing)
        return self.autoencoder.decode(latents)

    def call_bytes(self) -> int:
        """Bytes that one U-Net call on one picture keeps for its backward pass; measured once, without the weights."""
        if not self._measured:
            weights = {p.untyped_storage().data_ptr() for p in self.unet.parameters()}
            kept: dict[int, int] = {}

            def pack(tensor: Tensor) -> Tensor:
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in weights:
                    kept[storage.data_ptr()] = storage.nbytes()
                return tensor

            probe = torch.zeros(1, *self.latent, device=self.device, dtype=self.dtype, requires_grad=True)
            with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                # The graph lives until the sum is taken, so no two tensors share an address.
                said = self.unet(probe, 0, self.no_text(1), return_dict=False)[0]
                self._measured.append(sum(kept.values()))
                del said
        return self._measured[0]

    def _scheduler(self, steps: int) -> DDIMScheduler:
        """A scheduler of its own for every number of steps: setting them changes it."""
        check_steps(steps, self.layout.steps, self.name)
        if steps not in self._schedulers:
            scheduler = DDIMScheduler.from_config(self.scheduler.config)
            scheduler.set_timesteps(steps)
            self._schedulers[steps] = scheduler
        return self._schedulers[steps]


def load_prior(
    folder: Path, *, side: int | None = None, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Prior:
    """The prior in ``folder``: a diffusers layout with vae, unet, scheduler, text_encoder and tokenizer.

    side: the pictures' side that is asked for; None takes that of its training, see
    :mod:`attacker.attacks.image.prior_layout` for the others. Any scheduler is replaced by DDIM on its noise levels.
    InputError, one line, names what is missing or does not fit.
    """
    layout = layout_of(folder)
    side = layout.side if side is None else side
    latent = layout.latent(side)
    tokenizer = layout.tokenizer()
    autoencoder = load_autoencoder(folder, "vae", dtype)
    unet = network(UNet2DConditionModel, folder, "unet", dtype)
    text_encoder = network(CLIPTextModel, folder, "text_encoder", dtype)
    with quiet():
        # clip_sample is true by default: zero gradients wherever a latent leaves -1..1.
        scheduler = DDIMScheduler.from_config(layout.schedule, clip_sample=False, thresholding=False)
    prior = Prior(folder.name, autoencoder, unet, text_encoder, tokenizer, scheduler, latent, side, layout)
    return prior.to(device)
