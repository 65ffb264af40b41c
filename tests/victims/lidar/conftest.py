"""What several LiDAR tests share: small scans with structure, and the plain-torch twin of the sparse layers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from victims.lidar.backbone import VoxelBackBone8x, random_backbone
from victims.lidar.presets import Preset
from victims.lidar.voxels import voxelize

TINY = Preset("tiny", (0.0, -3.2, -3.0, 6.4, 3.2, 1.0))


def _scene(seed: int, points: int = 1500) -> np.ndarray:
    """Ground with a little noise, a wall and a few clumps inside TINY: (P, 4) float32."""
    rng = np.random.default_rng(seed)
    ground = np.stack(
        [rng.uniform(0, 6.4, points), rng.uniform(-3.2, 3.2, points), rng.normal(-1.7, 0.02, points)], axis=1
    )
    wall = np.stack([np.full(points, 5.0), rng.uniform(-3, 1, points), rng.uniform(-1.7, 0.8, points)], axis=1)
    clumps = rng.uniform([1, -2, -1.5], [4, 2, -0.5], (4, 3))[rng.integers(0, 4, points)]
    clumps = clumps + rng.normal(0, 0.15, (points, 3))
    xyz = np.concatenate([ground, wall, clumps])
    return np.concatenate([xyz, rng.random((len(xyz), 1))], axis=1).astype(np.float32)


@pytest.fixture(scope="session")
def tiny() -> Preset:
    """A grid of 41 x 128 x 128 voxels."""
    return TINY


@pytest.fixture(scope="session")
def scene() -> Callable[[int], np.ndarray]:
    """scene(seed) gives about 4,500 points inside ``tiny``."""
    return _scene


@pytest.fixture(scope="session")
def tiny_backbone() -> VoxelBackBone8x:
    """Random weights, BatchNorm calibrated on three scenes."""
    return random_backbone(3, [voxelize(_scene(seed), TINY) for seed in (101, 102, 103)])


@pytest.fixture(scope="session")
def twin() -> ModuleType:
    """The plain-torch twin in ``torch_twin.py``."""
    path = Path(__file__).with_name("torch_twin.py")
    spec = importlib.util.spec_from_file_location("torch_twin", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
