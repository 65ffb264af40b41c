"""A tiny prior with random weights, in a folder of the diffusers layout."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from attacker.attacks.base import CapturedFrame, CapturedPart, SessionInfo
from attacker.attacks.image.prior import Prior, load_prior
from tests.contract.tiny_prior import write_tiny_prior
from victims.base import Cut, Sample
from victims.image.victim import CIFAR_RESNET20


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only: copy it before you break it."""
    return write_tiny_prior(tmp_path_factory.mktemp("prior") / "tiny")


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


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Six smooth pictures, uint8 (6, 32, 32, 3): small random maps, enlarged."""
    rng = np.random.default_rng(5)
    maps = torch.from_numpy(rng.random((6, 3, 4, 4))).float()
    large = torch.nn.functional.interpolate(maps, (32, 32), mode="bicubic").clamp(0, 1)
    return (large * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


@cache
def _cut(split: str) -> Cut:
    return CIFAR_RESNET20.cut(split, {"weights": "random"})


@pytest.fixture(scope="session")
def capture() -> Callable[..., CapturedFrame]:
    """(picture, split, frame number) -> what a listener captures of the real head with random weights, seed 0."""

    def captured(image: np.ndarray, split: str = "layer1.0", number: int = 0) -> CapturedFrame:
        (payload,) = next(_cut(split).head().exchange(Sample("picture", {"image": image})))
        return CapturedFrame("5e55", 0, number, [CapturedPart("up", 0, 0, 1, payload, 0, 1)])

    return captured


@pytest.fixture(scope="session")
def session() -> Callable[[str], SessionInfo]:
    """Split point -> the session's opening, as the edge of ``capture`` would send it."""

    def info(split: str = "layer1.0") -> SessionInfo:
        return SessionInfo("5e55", "cifar-resnet20", split, _cut(split).weights_sha256.hex(), ("dense",))

    return info
