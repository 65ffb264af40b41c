from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from victims.lidar import models, sparse
from victims.lidar.models import load_backbone, load_victim
from victims.lidar.presets import PRESETS
from victims.lidar.second import SECOND
from victims.lidar.street import street_scan
from victims.lidar.voxels import voxelize
from victims.lidar.weights import WeightsError, digest, save
from wire.errors import InputError


def parameters(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}


def test_untrained_victims_follow_their_seed_and_pass_signals() -> None:
    detector, again, other = load_victim("random"), load_victim("random"), load_victim("random", seed=1)
    assert digest(parameters(detector)) == digest(parameters(again)) != digest(parameters(other))
    assert digest(parameters(load_backbone("random"))) == digest(parameters(detector.backbone))
    assert not any(p.requires_grad for p in detector.parameters())
    assert not any(m.training for m in detector.modules())
    voxels = voxelize(street_scan(77).points, PRESETS["street"])
    with torch.no_grad(), sparse.one_thread():
        taps = detector.backbone.taps(voxels)
    for name, sites in taps.items():
        # Calibrated norms: pre-activations about standard normal, so half of them pass with mean .4.
        assert 0.2 < (sites.features > 0).float().mean() < 0.8, name
        assert 0.2 < sites.features.mean() < 0.8, name


def test_shipped_files_make_one_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = SECOND()
    state = parameters(trained)
    prefix = "backbone_3d."
    inner = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    save(inner, tmp_path / models.BACKBONE_FILE)
    monkeypatch.setattr(models, "WEIGHTS", tmp_path)
    with pytest.raises(InputError, match=models.SECOND_FILE):
        load_victim("shipped")
    assert digest(parameters(load_backbone("shipped"))) == digest(inner)
    save({k: v for k, v in state.items() if not k.startswith(prefix)}, tmp_path / models.SECOND_FILE, half=True)
    loaded = parameters(load_victim("shipped"))
    for name, tensor in state.items():
        expected = tensor if name.startswith(prefix) else tensor.half().float()
        assert torch.equal(loaded[name], expected), name


def test_a_file_may_hold_a_detector_or_an_openpcdet_checkpoint(tmp_path: Path) -> None:
    network = SECOND()
    save(network.state_dict(), tmp_path / "mine.safetensors")
    torch.save({"model_state": network.state_dict()}, tmp_path / "published.pth")
    ours, published = load_victim(tmp_path / "mine.safetensors"), load_victim(str(tmp_path / "published.pth"))
    assert digest(parameters(ours)) == digest(parameters(published)) == digest(parameters(network))
    assert ours.align_center
    assert not published.align_center
    for file in ("mine.safetensors", "published.pth"):
        backbone = load_backbone(tmp_path / file)
        assert digest(parameters(backbone)) == digest(parameters(network.backbone))


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no weights at nowhere.pth; give 'shipped', 'random' or"):
        load_victim("nowhere.pth")
    save(SECOND().backbone.state_dict(), tmp_path / "backbone.safetensors")
    with pytest.raises(WeightsError, match=r"backbone.safetensors does not fit SECOND: missing backbone_2d"):
        load_victim(tmp_path / "backbone.safetensors")


@pytest.mark.parametrize("name", ["street", "kitti"])
def test_one_set_of_weights_serves_every_preset(name: str) -> None:
    """Far from borders, the coded features of a scan are the same under both presets."""
    backbone = load_backbone("random")
    near, wide = PRESETS["street"], PRESETS[name]
    points = street_scan(5).points
    kept = np.abs(points[:, :3] - [12, 0, 0]).max(axis=1) < 6
    with torch.no_grad(), sparse.one_thread():
        one, two = backbone(voxelize(points[kept], near)), backbone(voxelize(points[kept], wide))
    moved = one.coords.clone()
    moved[:, 2] += round((near.range_xyz[1] - wide.range_xyz[1]) / 0.4)
    assert torch.equal(moved, two.coords)
    torch.testing.assert_close(one.features, two.features, rtol=1e-4, atol=1e-4)
