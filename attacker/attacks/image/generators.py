"""Priors as the attacks name them: a whole diffusion prior's folder, or an autoencoder alone."""

from __future__ import annotations

from pathlib import Path

from attacker.attacks.base import Grants
from attacker.attacks.image.autoencoder import Autoencoder, Shape, autoencoder_shape, load_autoencoder
from attacker.attacks.image.prior import Prior, load_prior
from attacker.attacks.image.prior_layout import layout_of
from wire.errors import InputError


def granted_folder(grants: Grants, attack: str) -> Path:
    """``grants.files["prior"]``; InputError where it was not granted."""
    folder = grants.files.get("prior")
    if folder is None:
        raise InputError(f"attack {attack} needs a prior over pictures; accepted: a file prior (a diffusers folder)")
    return folder


def autoencoder_of(folder: Path, device: str = "cpu") -> Autoencoder:
    """The autoencoder of a prior's ``folder``, or the one that is all that ``folder`` holds (TAESD is such a folder).

    InputError names what is missing or does not fit.
    """
    loaded = load_autoencoder(folder, _part(folder))
    loaded.module.to(device)
    return loaded


def autoencoder_shape_of(folder: Path) -> Shape:
    """What :func:`autoencoder_of` would load, without its weights. InputError as there."""
    return autoencoder_shape(folder, _part(folder))


def prior_of(folder: Path, size: tuple[int, int], device: str = "cpu") -> Prior:
    """The prior in ``folder``, which must make pictures of ``size``, height and width in pixels.

    InputError for pictures that are not square, which no prior makes, and as for
    :func:`attacker.attacks.image.prior.load_prior`.
    """
    height, width = size
    if height != width:
        raise InputError(layout_of(folder).misfit(height, width))
    return load_prior(folder, side=height, device=device)


def _part(folder: Path) -> str:
    return "vae" if (folder / "vae").is_dir() else ""
