"""Clean payloads that the defenses' tests share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from wire.payload import Payload

Make = Callable[..., Payload]


def voxels(
    count: int = 400, channels: int = 16, grid: tuple[int, int, int] = (4, 20, 25), batches: int = 1, seed: int = 0
) -> Payload:
    """A ``sparse_voxels`` payload: ``count`` sites in canonical order, non-negative features as after a ReLU."""
    rng = np.random.default_rng(seed)
    numbers = np.sort(rng.permutation(batches * grid[0] * grid[1] * grid[2])[:count])
    coords = np.stack(np.unravel_index(numbers, (batches, *grid)), axis=1).astype(np.int32)
    features = np.maximum(rng.standard_normal((count, channels)), 0).astype(np.float32)
    meta = {
        "grid": grid, "stride": (1, 1, 1), "range": (0.0, 0.0, 0.0, 1.0, 1.0, 1.0), "voxel": (0.1, 0.05, 0.05)
    }  # fmt: skip
    tensors = {"coords": torch.from_numpy(coords), "features": torch.from_numpy(features)}
    return Payload("features", "sparse_voxels", tensors, meta)


def dense(shape: tuple[int, ...] = (2, 8, 6, 5), dtype: torch.dtype = torch.float32, seed: int = 0) -> Payload:
    """A ``dense`` payload of one activation and one tensor of whole numbers, which carries no noise."""
    activation = torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)
    return Payload("features", "dense", {"x": activation, "index": torch.arange(3)}, {"step": 3})


@pytest.fixture
def make_voxels() -> Make:
    return voxels


@pytest.fixture
def make_dense() -> Make:
    return dense
