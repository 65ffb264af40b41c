"""One interface over diffusers' autoencoders: pictures in 0..1 and latents of unit variance."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor

from attacker.attacks.image.folder import config, network, stored
from wire.errors import InputError

KINDS = {"AutoencoderTiny": AutoencoderTiny, "AutoencoderKL": AutoencoderKL}


LEVELS = {"AutoencoderTiny": "encoder_block_out_channels", "AutoencoderKL": "block_out_channels"}
"""Where a configuration lists the levels; between two of them, sides are halved."""


@dataclass(frozen=True)
class Shape:
    """What the configuration alone says. kind: of :data:`KINDS`. channels, factor: as in :class:`Autoencoder`."""

    kind: str
    channels: int
    factor: int

    def misfit(self, height: int, width: int) -> str:
        """Why it takes no picture of ``height`` and ``width`` pixels; empty where it does."""
        if not (height % self.factor or width % self.factor):
            return ""
        return (
            f"a picture of {width}x{height} pixels does not fit the autoencoder; "
            f"accepted: sides that are multiples of {self.factor}"
        )

    def check(self, height: int, width: int) -> None:
        """InputError where a side of a picture, in pixels, is no multiple of factor."""
        if why := self.misfit(height, width):
            raise InputError(why)


@dataclass(frozen=True)
class Autoencoder(Shape):
    """module: frozen. channels: of a latent. factor: side of a picture over side of its latent.

    Latents are what a U-Net of the same folder works on: scaled by ``scaling_factor`` (and shifted, where the
    configuration says so).
    """

    module: Any

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (B, 3, H, W), about 0..1 and not clamped, so that a gradient always passes.

        latents: (B, channels, H / factor, W / factor).
        """
        settings = self.module.config
        inner = latents / settings.scaling_factor + (settings.shift_factor or 0.0)
        decoded: Tensor = self.module.decode(inner, return_dict=False)[0]
        return (decoded + 1) / 2

    def encode(self, pictures: Tensor) -> Tensor:
        """Latents of ``pictures`` (B, 3, H, W) in 0..1, without noise.

        InputError as for :meth:`check`.
        """
        self.check(pictures.shape[-2], pictures.shape[-1])
        settings = self.module.config
        coded = self.module.encode(pictures * 2 - 1)
        inner: Tensor = coded.latents if hasattr(coded, "latents") else coded.latent_dist.mode()
        scaled: Tensor = (inner - (settings.shift_factor or 0.0)) * settings.scaling_factor
        return scaled


def autoencoder_shape(folder: Path, part: str = "") -> Shape:
    """The shape of the autoencoder in ``folder`` (``part``: its subfolder in a larger layout), without its weights.

    InputError names what is missing or does not fit.
    """
    settings = config(folder, part)
    name = settings.get("_class_name")
    if name not in KINDS:
        raise InputError(f"{folder / part / 'config.json'}: class {name!r}; accepted: {', '.join(KINDS)}")
    stored(folder, part, name)
    known = signature(KINDS[name].__init__).parameters  # older folders leave out what is as by default

    def said(key: str) -> Any:
        return settings.get(key, known[key].default)

    return Shape(name, int(said("latent_channels")), 2 ** (len(said(LEVELS[name])) - 1))


def load_autoencoder(folder: Path, part: str = "", dtype: torch.dtype = torch.float32) -> Autoencoder:
    """The autoencoder in ``folder`` (``part``: its subfolder in a larger layout), of a class in :data:`KINDS`.

    InputError names what is missing or does not fit.
    """
    shape = autoencoder_shape(folder, part)
    module: Any = network(KINDS[shape.kind], folder, part, dtype)
    return Autoencoder(shape.kind, shape.channels, shape.factor, module)
