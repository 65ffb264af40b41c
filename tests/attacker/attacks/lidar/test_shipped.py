"""The shipped weights on a street that no training drew from: what their card promises, with room."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from attacker.attacks.base import CapturedFrame, CapturedPart, Grants, SessionInfo
from attacker.attacks.lidar.aware import ConcretizerAware
from attacker.attacks.lidar.concretizer import Concretizer, victim_backbone
from attacker.attacks.lidar.thresholds import f1
from victims.base import weights_folder
from victims.lidar.backbone import SPLITS
from victims.lidar.presets import PRESETS
from victims.lidar.street import STREAM_SEEDS, street_scan
from victims.lidar.voxels import voxelize
from wire.payload import Payload

PRESET = PRESETS["street"]


@pytest.fixture(scope="module")
def sent() -> tuple[np.ndarray, dict[str, tuple[Tensor, Tensor]]]:
    """The original points in range, and coords and features at every split point."""
    points = street_scan(STREAM_SEEDS[77], azimuth_deg=(-20.0, 20.0)).points
    weights: Path = weights_folder() / "lidar-street-backbone.safetensors"
    with torch.no_grad():
        taps = victim_backbone(Grants(files={"weights": weights})).taps(voxelize(points, PRESET))
    low, high = np.array(PRESET.range_xyz[:3]), np.array(PRESET.range_xyz[3:])
    inside = ((points[:, :3] >= low) & (points[:, :3] < high)).all(axis=1)
    return points[inside, :3], {name: (sites.coords, sites.features) for name, sites in taps.items()}


def frame(split: str, coords: Tensor, features: Tensor) -> CapturedFrame:
    point = SPLITS[split]
    meta = {"grid": point.grid(PRESET), "stride": point.stride, "range": PRESET.range_xyz, "voxel": (0.1, 0.05, 0.05)}
    payload = Payload("features", "sparse_voxels", {"coords": coords, "features": features}, meta)
    return CapturedFrame("5e55", 0, 0, [CapturedPart("up", 0, 0, 1, payload, 0, 1)])


@pytest.mark.parametrize(
    ("split", "least"), [("conv2.0", 0.995), ("conv3.0", 0.98), ("conv4.0", 0.92), ("conv_out", 0.82)]
)
def test_the_shipped_attack_restores_a_street(split, least, sent):
    truth, taps = sent
    inverter = Concretizer().open(SessionInfo("5e55", "second", split, "00", ("sparse_voxels",)), Grants())
    (found,) = inverter.observe([frame(split, *taps[split])])
    assert f1(found.arrays["points"], truth, 0.15) >= least


@pytest.mark.parametrize("strength", [0.0, 1.0])
@pytest.mark.parametrize("fill", [0, 4000])
def test_the_aware_attack_finds_the_street_behind_noise_and_filling(strength, fill, sent):
    truth, taps = sent
    coords, features = taps["conv3.0"]
    rng = np.random.default_rng(5)
    if fill and strength:
        grid = SPLITS["conv3.0"].grid(PRESET)
        flat = np.ravel_multi_index(tuple(coords[:, 1:].numpy().T), grid)
        added = np.setdiff1d(rng.choice(int(np.prod(grid)), fill, replace=False), flat)
        order = np.argsort(np.concatenate([flat, added]))
        sites = np.stack(np.unravel_index(np.concatenate([flat, added])[order], grid), axis=1)
        coords = torch.from_numpy(np.c_[np.zeros(len(sites)), sites].astype(np.int32))
        features = torch.cat([features, torch.zeros(len(added), features.shape[1])])[torch.from_numpy(order)]
    rms = float(taps["conv3.0"][1].square().mean().sqrt())
    noise = torch.from_numpy(rng.standard_normal(tuple(features.shape), dtype=np.float32))
    session = SessionInfo("5e55", "second", "conv3.0", "00", ("sparse_voxels",))
    inverter = ConcretizerAware().open(session, Grants())
    (found,) = inverter.observe([frame("conv3.0", coords, features + strength * rms * noise)])
    assert f1(found.arrays["points"], truth, 0.15) >= 0.97
    assert found.meta["believed"] == pytest.approx(len(taps["conv3.0"][0]), rel=0.02)


def test_the_aware_attack_makes_nothing_of_nothing():
    session = SessionInfo("5e55", "second", "conv3.0", "00", ("sparse_voxels",))
    empty = frame("conv3.0", torch.zeros(0, 4, dtype=torch.int32), torch.zeros(0, 64))
    (found,) = ConcretizerAware().open(session, Grants()).observe([empty])
    assert found.arrays["points"].shape == (0, 3)
