"""CIFAR-10's files, small, of noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from victims.image import cifar

COUNT = 9
"""Pictures in each file; their labels are 0, 1, 2, ..."""


def pictures(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 180, (count, 32, 32, 3), dtype=np.uint8)


def write_small_cifar(folder: Path) -> Path:
    """The attacked and the auxiliary file, of seeds 0 and 1; returns the folder."""
    folder.mkdir()
    for seed, name in enumerate(("lossless-test", "jpeg-train")):
        np.savez(folder / cifar.FILES[name], images=pictures(COUNT, seed), labels=np.arange(COUNT))
    return folder
