"""First stage: the autoencoder between pictures and latents, and the latents of all training pictures.

The encoder runs without noise. So that a decoder also serves latents that no encoder made (an optimiser's, a
sampler's), noise of 5 % of the latents' spread is added before decoding, and the latents are drawn towards zero mean
and unit variance, because AutoencoderTiny's decoder passes them through 3 tanh(z / 3).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file
from torch import Tensor

from attacker.attacks.image.prior_training.parts import new_autoencoder
from attacker.attacks.image.prior_training.settings import PriorTraining
from attacker.attacks.image.prior_training.stage import Losses, Schedule, Stage
from victims.base import Progress

NOISE = 0.05
_BATCH = 500


def signed(images: np.ndarray | Tensor) -> Tensor:
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W) in -1..1, the range of diffusers' autoencoders."""
    return torch.as_tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def train_autoencoder(
    work: Path, images: np.ndarray, settings: PriorTraining, progress: Progress, until: int | None = None
) -> AutoencoderTiny:
    """Train on ``images`` uint8 (N, 32, 32, 3); returns the averaged weights, scaled to latents of unit variance."""
    torch.manual_seed(settings.seed)
    device = torch.device(settings.device)
    network = new_autoencoder(settings.width).to(device, memory_format=torch.channels_last)
    schedule = Schedule(
        settings.autoencoder_steps, settings.autoencoder_rate, settings.warmup, settings.autoencoder_decay
    )
    stage = Stage("autoencoder", work, network, schedule, seed=settings.seed, averaging=settings.averaging)

    def losses_of(step: int) -> Losses:
        chosen = torch.randint(len(images), (settings.autoencoder_batch,)).numpy()
        target = signed(images[chosen])
        mirrored = torch.rand(len(target), 1, 1, 1) < 0.5
        target = torch.where(mirrored, target.flip(-1), target).to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):  # twice as fast as float32 on a CPU that has it
            latents = network.encoder(target).float()
            noisy = latents + NOISE * latents.detach().std() * torch.randn(latents.shape).to(device)
            decoded = network.decoder(noisy).float()
        mean, spread = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
        square = (decoded - target).square().mean()
        unit = (mean.square() + (spread - 1).square()).mean()
        loss = square + 0.1 * (decoded - target).abs().mean() + 1e-3 * unit
        return {"loss": loss, "square": square, "unit": unit}

    stage.go(losses_of, progress, settings.checkpoint_seconds, until)
    network.load_state_dict(stage.average)
    network.eval().requires_grad_(False)
    some = _encoded(network, images[:2000], device)
    network.register_to_config(scaling_factor=round(1 / float(some.std()), 6))
    return network


@torch.no_grad()
def _encoded(network: AutoencoderTiny, images: np.ndarray, device: torch.device, mirrored: bool = False) -> Tensor:
    parts = []
    for begin in range(0, len(images), _BATCH):
        batch = signed(images[begin : begin + _BATCH]).to(device, memory_format=torch.channels_last)
        parts.append(network.encoder(batch.flip(-1) if mirrored else batch).float().cpu().contiguous())
    return torch.cat(parts)


def latents_of(
    path: Path, network: AutoencoderTiny, images: np.ndarray, settings: PriorTraining, mirrored: bool
) -> Tensor:
    """Latents of ``images``, of unit variance, float16 (2 or 1, N, 4, 16, 16), mirrored second; kept in ``path``."""
    if not path.exists():
        device = torch.device(settings.device)
        both = [_encoded(network, images, device, flip) for flip in ((False, True) if mirrored else (False,))]
        temporary = path.with_suffix(".part")
        save_file({"latents": (torch.stack(both) * network.config.scaling_factor).half()}, temporary)
        os.replace(temporary, path)
    return load_file(path)["latents"]
