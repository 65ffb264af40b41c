"""A tiny prior with random weights, in a folder of the diffusers layout: for tests that need one, good for nothing."""

from __future__ import annotations

from pathlib import Path

import torch

from attacker.attacks.image.prior_training.captions import all_captions
from attacker.attacks.image.prior_training.diffusion import Denoiser
from attacker.attacks.image.prior_training.export import write_folder
from attacker.attacks.image.prior_training.parts import new_autoencoder, new_tokenizer
from attacker.attacks.image.prior_training.settings import PriorTraining

TINY = PriorTraining(width=8, channels=(16, 16), heads=2)


def write_tiny_prior(folder: Path) -> Path:
    """Write it to ``folder``; returns the folder."""
    torch.manual_seed(1)
    autoencoder = new_autoencoder(TINY.width)
    autoencoder.register_to_config(scaling_factor=1.7)
    return write_folder(folder, autoencoder, Denoiser(TINY, new_tokenizer(all_captions())))
