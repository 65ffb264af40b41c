"""The whole training of the prior: autoencoder, latents, denoiser, a folder in the diffusers layout."""

from __future__ import annotations

from pathlib import Path

import torch

from attacker.attacks.image.prior_training.autoencoder import latents_of, train_autoencoder
from attacker.attacks.image.prior_training.diffusion import described, train_denoiser
from attacker.attacks.image.prior_training.export import write_folder
from attacker.attacks.image.prior_training.publish import publish
from attacker.attacks.image.prior_training.settings import PriorTraining
from victims.base import Progress, weights_folder
from victims.image.cifar import read
from wire.errors import InputError


def train_prior(work: Path, settings: PriorTraining, progress: Progress) -> Path:
    """Train in ``work``, going on from what is there; returns the folder ``work``/prior, or the one published.

    Only the JPEG training pictures are seen: the lossless ones are kept for attacks. Runs on one thread.
    """
    if not settings.data:
        raise InputError("training the prior needs pictures: set data to a folder with the CIFAR-10 array files")
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda: torch sees none here; accepted: cpu")
    work.mkdir(parents=True, exist_ok=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        pictures = read(Path(settings.data), "jpeg-train", settings.pictures or None)
        autoencoder = train_autoencoder(work, pictures.images, settings, progress)
        latents = latents_of(work / "latents.safetensors", autoencoder, pictures.images, settings, mirrored=True)
        denoiser = train_denoiser(work, described(latents, pictures), settings, progress)
        made = write_folder(work / "prior", autoencoder, denoiser)
        return publish(made, work, settings, weights_folder(), progress) if settings.publish else made
    finally:
        torch.set_num_threads(threads)
