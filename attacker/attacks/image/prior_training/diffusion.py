"""Second stage: the text-conditioned U-Net and its text encoder, trained together on latents.

Velocity prediction (Salimans and Ho 2022) under the min-SNR weights of Hang et al. 2023: the weight of a velocity's
error at signal-to-noise ratio s is min(s, limit) / (s + 1). A share of the embeddings is replaced by zeros, which is
what an attack without text gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from attacker.attacks.image.prior_training.captions import SHARES, all_captions, background, position
from attacker.attacks.image.prior_training.parts import new_scheduler, new_text_encoder, new_tokenizer, new_unet
from attacker.attacks.image.prior_training.settings import PriorTraining
from attacker.attacks.image.prior_training.stage import Losses, Schedule, Stage
from victims.base import Progress
from victims.image.arrays import Pictures


@dataclass(frozen=True)
class Described:
    """Latents float16 (2 or 1, N, 4, 16, 16), and per picture the label and the background colour, int64 (N,)."""

    latents: Tensor
    labels: np.ndarray
    colours: np.ndarray


def described(latents: Tensor, pictures: Pictures) -> Described:
    """``pictures`` as the second stage sees them."""
    return Described(latents, pictures.labels, background(pictures.images))


class Denoiser(nn.Module):
    """U-Net and text encoder as one module, so that one optimiser and one average hold both."""

    tokens: Tensor
    signal: Tensor

    def __init__(self, settings: PriorTraining, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.unet = new_unet(settings.channels, settings.dropout, settings.heads)
        self.text_encoder = new_text_encoder(tokenizer)
        self.scheduler = new_scheduler()
        tokens = tokenizer(all_captions(), padding="max_length", return_tensors="pt").input_ids
        self.register_buffer("tokens", tokens, persistent=False)
        self.register_buffer("signal", self.scheduler.alphas_cumprod.clone(), persistent=False)

    def error(self, latents: Tensor, captions: Tensor, silent: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """Mean square error of the velocity per sample, float32 (B,).

        latents, noise: (B, 4, 16, 16). captions: indices of captions (B,). silent: bool (B,), embeddings that are
        zeros. times: int64 (B,).
        """
        signal = self.signal[times].view(-1, 1, 1, 1)
        noisy = signal.sqrt() * latents + (1 - signal).sqrt() * noise
        velocity = signal.sqrt() * noise - (1 - signal).sqrt() * latents
        text = self.text_encoder(self.tokens[captions]).last_hidden_state
        text = torch.where(silent.view(-1, 1, 1), torch.zeros((), device=text.device), text)
        said = self.unet(noisy, times, text, return_dict=False)[0]
        per_sample: Tensor = (said.float() - velocity).square().mean((1, 2, 3))
        return per_sample

    def weight(self, times: Tensor, limit: float) -> Tensor:
        """Min-SNR weights of the velocity's error, float32 (B,)."""
        signal = self.signal[times]
        ratio = signal / (1 - signal)
        weights: Tensor = ratio.clamp_max(limit) / (ratio + 1)
        return weights


def tokenizer_in(work: Path) -> CLIPTokenizer:
    """The tokenizer of a training: made once and kept in ``work``, since the weights belong to its numbering."""
    folder = work / "tokenizer"
    if not folder.is_dir():
        temporary = work / "tokenizer.part"
        new_tokenizer(all_captions()).save_pretrained(temporary)
        temporary.rename(folder)
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def train_denoiser(
    work: Path, data: Described, settings: PriorTraining, progress: Progress, until: int | None = None
) -> Denoiser:
    """Train from the last checkpoint in ``work``; returns the averaged weights in eval mode."""
    torch.manual_seed(settings.seed)
    device = torch.device(settings.device)
    network = Denoiser(settings, tokenizer_in(work)).to(device)
    schedule = Schedule(settings.steps, settings.rate, settings.warmup, settings.decay)
    shape = f"{settings.heads} heads"
    stage = Stage("unet", work, network, schedule, seed=settings.seed, averaging=settings.averaging, shape=shape)
    shares = torch.tensor(SHARES)
    labels, colours = torch.from_numpy(data.labels), torch.from_numpy(data.colours)

    def losses_of(step: int) -> Losses:
        number = settings.batch
        chosen = torch.randint(data.latents.shape[1], (number,))
        latents = data.latents[torch.randint(len(data.latents), (number,)), chosen].float()
        templates = torch.multinomial(shares, number, replacement=True)
        captions = torch.from_numpy(position(labels[chosen].numpy(), colours[chosen].numpy(), templates.numpy()))
        silent = torch.rand(number) < settings.no_text
        times = torch.randint(len(network.signal), (number,))
        noise = torch.randn(latents.shape)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            errors = network.error(*(t.to(device) for t in (latents, captions, silent, times, noise)))
        weights = network.weight(times.to(device), settings.snr_limit)
        return {"loss": (weights * errors).mean(), "error": errors.mean()}

    stage.go(losses_of, progress, settings.checkpoint_seconds, until)
    network.load_state_dict(stage.average)
    return network.eval().requires_grad_(False)
