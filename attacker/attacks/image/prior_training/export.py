"""A trained prior as a folder in the diffusers layout, float16 safetensors."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderTiny

from attacker.attacks.image.prior_training.diffusion import Denoiser
from attacker.attacks.image.quiet import quiet

PARTS = {
    "vae": ("diffusers", "AutoencoderTiny"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
    "unet": ("diffusers", "UNet2DConditionModel"),
    "scheduler": ("diffusers", "DDIMScheduler"),
}


def write_folder(folder: Path, autoencoder: AutoencoderTiny, denoiser: Denoiser) -> Path:
    """Write the five parts and ``model_index.json`` to ``folder``; returns it.

    The networks given are left in float16 on the CPU: load the folder to go on with them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with quiet():
        for name, network in (("vae", autoencoder), ("unet", denoiser.unet), ("text_encoder", denoiser.text_encoder)):
            network.to(device="cpu", dtype=torch.float16).save_pretrained(folder / name, safe_serialization=True)
    denoiser.tokenizer.save_pretrained(folder / "tokenizer")
    denoiser.scheduler.save_pretrained(folder / "scheduler")
    index: dict[str, object] = {"_class_name": "StableDiffusionPipeline", **PARTS, "safety_checker": (None, None)}
    index |= {"feature_extractor": (None, None), "requires_safety_checker": False}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    return folder
