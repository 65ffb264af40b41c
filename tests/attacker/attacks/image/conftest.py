"""A tiny prior with random weights, in a folder of the diffusers layout."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from attacker.attacks.image.prior import Prior, load_prior
from attacker.attacks.image.prior_training.captions import all_captions
from attacker.attacks.image.prior_training.diffusion import Denoiser
from attacker.attacks.image.prior_training.export import write_folder
from attacker.attacks.image.prior_training.parts import new_autoencoder, new_tokenizer
from attacker.attacks.image.prior_training.settings import PriorTraining

TINY = PriorTraining(width=8, channels=(16, 16), heads=2)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only: copy it before you break it."""
    torch.manual_seed(1)
    autoencoder = new_autoencoder(TINY.width)
    autoencoder.register_to_config(scaling_factor=1.7)
    return write_folder(
        tmp_path_factory.mktemp("prior") / "tiny", autoencoder, Denoiser(TINY, new_tokenizer(all_captions()))
    )


@pytest.fixture
def broken(tiny_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """``broken()`` is a copy that a test may break."""

    def copy() -> Path:
        shutil.copytree(tiny_folder, tmp_path / "tiny")
        return tmp_path / "tiny"

    return copy


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Prior:
    """In float64, so that a gradient can be compared with finite differences."""
    return load_prior(tiny_folder, dtype=torch.float64)
