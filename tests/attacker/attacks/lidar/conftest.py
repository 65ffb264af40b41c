"""A small victim, real payloads of it, and frames as a listener would capture them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from attacker.attacks.base import CapturedFrame, CapturedPart
from victims.base import Sample
from victims.lidar.backbone import SPLITS, VoxelBackBone8x, random_backbone
from victims.lidar.presets import PRESETS
from victims.lidar.street import ATTACK_SEEDS, STREAM_SEEDS, street_scan
from victims.lidar.voxels import voxelize
from victims.lidar.weights import save
from wire.payload import Payload

PRESET = PRESETS["street"]


def payload_of(backbone: VoxelBackBone8x, points: np.ndarray, split: str) -> Payload:
    """What the edge sends, written out here so that the tests depend on the layout and not on the head's code."""
    with torch.no_grad():
        sites = backbone.head(voxelize(points, PRESET), split)
    return Payload(
        "features",
        "sparse_voxels",
        {"coords": sites.coords, "features": sites.features},
        {"grid": sites.shape, "stride": SPLITS[split].stride, "range": PRESET.range_xyz, "voxel": (0.1, 0.05, 0.05)},
    )


def frame_of(payload: Payload, number: int = 0) -> CapturedFrame:
    return CapturedFrame("5e55", 0, number, [CapturedPart("up", 0, 0, 1, payload, 0, 1)])


@pytest.fixture(scope="session")
def scans() -> list[Sample]:
    """Attacker's scans: narrow, so that the tests are fast."""
    streets = ATTACK_SEEDS[-10:]
    return [Sample(f"street-{s}", {"points": street_scan(s, azimuth_deg=(-30.0, 30.0)).points}) for s in streets]


@pytest.fixture(scope="session")
def streamed() -> list[np.ndarray]:
    """Points of two frames of the victim's stream, of different streets."""
    return [street_scan(s, azimuth_deg=(-25.0, 25.0)).points for s in STREAM_SEEDS[-2:]]


@pytest.fixture(scope="session")
def backbone() -> VoxelBackBone8x:
    return random_backbone(0, [voxelize(street_scan(ATTACK_SEEDS[-1]).points, PRESET)])


@pytest.fixture(scope="session")
def victim_weights(backbone: VoxelBackBone8x, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("victim") / "victim.safetensors"
    save(backbone.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def capture(backbone: VoxelBackBone8x) -> Callable[[np.ndarray, str, int], CapturedFrame]:
    """(points, split, frame number) -> the captured frame."""
    return lambda points, split, number=0: frame_of(payload_of(backbone, points, split), number)
