from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from victims.lidar import sparse
from victims.lidar.backbone import SPLITS, VoxelBackBone8x, calibrate
from victims.lidar.presets import PRESETS, Preset
from victims.lidar.voxels import Sites, collate, voxelize
from wire.errors import InputError

Scene = Callable[[int], np.ndarray]


def test_parameters_are_those_of_the_published_network() -> None:
    backbone = VoxelBackBone8x()
    assert sum(p.numel() for p in backbone.parameters()) == 711_872
    shapes = {name: tuple(p.shape) for name, p in backbone.named_parameters()}
    assert shapes["conv_input.0.weight"] == (16, 3, 3, 3, 4)
    assert shapes["conv1.0.0.weight"] == (16, 3, 3, 3, 16)
    assert shapes["conv2.0.0.weight"] == (32, 3, 3, 3, 16)
    assert shapes["conv2.2.1.bias"] == (32,)
    assert shapes["conv4.1.0.weight"] == (64, 3, 3, 3, 64)
    assert shapes["conv_out.0.weight"] == (128, 3, 1, 1, 64)
    assert shapes["conv_out.1.weight"] == (128,)
    assert len(shapes) == 12 * 3


def test_grids_of_the_split_points() -> None:
    grids = {name: point.grid(PRESETS["kitti"]) for name, point in SPLITS.items()}
    assert grids["conv2.0"] == grids["conv2"] == (21, 800, 704)
    assert grids["conv3.0"] == grids["conv3"] == (11, 400, 352)
    assert grids["conv4.0"] == grids["conv4"] == (5, 200, 176)
    assert grids["conv_out"] == (2, 200, 176)
    assert [SPLITS[n].depth for n in ("conv2.0", "conv3.0", "conv4.0", "conv_out")] == [1, 2, 3, 4]


@pytest.mark.parametrize("split", list(SPLITS))
def test_head_and_tail_equal_the_whole_bit_for_bit(
    split: str, tiny: Preset, scene: Scene, tiny_backbone: VoxelBackBone8x
) -> None:
    voxels = collate([voxelize(scene(1), tiny), voxelize(scene(2), tiny)])
    with torch.no_grad(), sparse.one_thread():
        whole = tiny_backbone(voxels)
        payload = tiny_backbone.head(voxels, split)
        # Over the wire and back: bytes, in an order the network did not choose.
        order = np.random.default_rng(5).permutation(len(payload))
        features = np.frombuffer(payload.features.numpy()[order].tobytes(), np.float32).reshape(len(order), -1)
        coords = np.frombuffer(payload.coords.numpy()[order].tobytes(), np.int32).reshape(len(order), 4)
        received = Sites(torch.from_numpy(features.copy()), torch.from_numpy(coords.copy()), payload.shape, 2)
        split_output = tiny_backbone.tail(received, split)
    assert payload.shape == SPLITS[split].grid(tiny)
    assert payload.features.shape[1] == SPLITS[split].channels
    assert payload.canonical() is payload
    assert len(whole) > 100
    assert torch.equal(split_output.coords, whole.coords)
    assert torch.equal(split_output.features, whole.features)


def test_two_runs_on_one_thread_give_equal_bytes(tiny: Preset, scene: Scene, tiny_backbone: VoxelBackBone8x) -> None:
    voxels = voxelize(scene(4), tiny)
    shuffled = torch.from_numpy(np.random.default_rng(1).permutation(len(voxels)))
    with torch.no_grad(), sparse.one_thread():
        first = tiny_backbone(voxels)
        again = tiny_backbone(Sites(voxels.features[shuffled], voxels.coords[shuffled], voxels.shape))
    assert torch.equal(first.features, again.features)


def test_every_tap_equals_the_plain_torch_twin(
    tiny: Preset, scene: Scene, tiny_backbone: VoxelBackBone8x, twin: ModuleType
) -> None:
    voxels = voxelize(scene(3), tiny)
    expected = twin.backbone(tiny_backbone.state_dict(), voxels.features, voxels.coords, voxels.shape)
    with torch.no_grad(), sparse.one_thread():
        taps = tiny_backbone.taps(voxels)
    assert taps.keys() == SPLITS.keys() == expected.keys()
    for name, (coords, features) in expected.items():
        assert torch.equal(taps[name].coords, coords), name
        torch.testing.assert_close(taps[name].features, features, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((3, 3, 3), (2, 2, 2), (1, 1, 1)), ((3, 3, 3), (2, 2, 2), (0, 1, 1)), ((3, 1, 1), (2, 1, 1), (0, 0, 0))],
)
def test_strided_layer_and_gradients_equal_a_dense_convolution(
    kernel: tuple[int, int, int], stride: tuple[int, int, int], padding: tuple[int, int, int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (9, 8, 10)
    coords = torch.nonzero(torch.rand((2, *shape), generator=generator) < 0.1).int()
    features = torch.randn(len(coords), 5, generator=generator, requires_grad=True)
    layers = sparse.sequential(sparse.strided(5, 7, kernel, stride, padding, "k"))
    (weight,) = layers.parameters()
    out = sparse.run(layers, Sites(features, coords, shape, 2))
    volume = functional.conv3d(
        sparse.dense(Sites(features, coords, shape, 2)), weight.permute(0, 4, 1, 2, 3), stride=stride, padding=padding
    )
    torch.testing.assert_close(sparse.dense(out), volume, rtol=1e-4, atol=1e-5)
    goal = torch.randn(volume.shape, generator=generator)
    from_sparse = torch.autograd.grad((sparse.dense(out) * goal).sum(), [features, weight], retain_graph=True)
    from_dense = torch.autograd.grad((volume * goal).sum(), [features, weight])
    for ours, theirs in zip(from_sparse, from_dense, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_dense_puts_every_site_in_its_cell() -> None:
    coords = torch.tensor([[0, 0, 0, 1], [1, 1, 2, 0]], dtype=torch.int32)
    volume = sparse.dense(Sites(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), coords, (2, 3, 2), 2))
    assert volume.shape == (2, 2, 2, 3, 2)
    assert volume[0, :, 0, 0, 1].tolist() == [1, 2]
    assert volume[1, :, 1, 2, 0].tolist() == [3, 4]
    assert volume.sum().item() == 10


@pytest.mark.parametrize("split", list(SPLITS))
def test_an_empty_scan_passes(split: str, tiny: Preset, tiny_backbone: VoxelBackBone8x) -> None:
    empty = voxelize(np.zeros((0, 4)), tiny)
    payload = tiny_backbone.head(empty, split)
    assert payload.features.shape == (0, SPLITS[split].channels)
    assert payload.shape == SPLITS[split].grid(tiny)
    out = tiny_backbone.tail(payload, split)
    assert out.features.shape == (0, 128)
    assert out.shape == SPLITS["conv_out"].grid(tiny)


def test_an_empty_scan_in_a_batch_changes_nothing(tiny: Preset, scene: Scene, tiny_backbone: VoxelBackBone8x) -> None:
    full, empty = voxelize(scene(1), tiny), voxelize(np.zeros((0, 4)), tiny)
    with torch.no_grad(), sparse.one_thread():
        alone, together = tiny_backbone(full), tiny_backbone(collate([empty, full]))
    assert torch.equal(alone.features, together.features)
    assert together.coords[:, 0].unique().tolist() == [1]


@pytest.mark.parametrize("cell", [(0, 0, 0), (40, 127, 127), (40, 0, 127), (7, 0, 126)])
def test_a_lone_site_in_any_corner_reaches_the_output(
    cell: tuple[int, int, int], tiny: Preset, tiny_backbone: VoxelBackBone8x
) -> None:
    out = tiny_backbone(Sites(torch.ones(1, 4), torch.tensor([[0, *cell]], dtype=torch.int32), tiny.shape))
    assert out.shape == (2, 16, 16)
    assert (out.coords[:, 2:] - torch.tensor(cell[1:]) // 8).abs().max() <= 1


def test_unknown_split_and_wrong_channels_are_refused(tiny: Preset, tiny_backbone: VoxelBackBone8x) -> None:
    voxels = voxelize(np.zeros((0, 4)), tiny)
    with pytest.raises(InputError, match=r"no split point 'conv5'.*conv2.0, conv2, conv3.0"):
        tiny_backbone.head(voxels, "conv5")
    with pytest.raises(ValueError, match=r"conv3.0 carries 64 channels, the payload has 4"):
        tiny_backbone.tail(voxels, "conv3.0")


def test_calibrated_norms_have_unit_outputs(tiny: Preset, scene: Scene) -> None:
    """After calibration on a scan, that scan's normalised first layer has mean 0 and variance 1 per channel."""
    backbone = VoxelBackBone8x()
    voxels = voxelize(scene(7), tiny)
    calibrate(backbone, [voxels])
    assert not backbone.training
    with torch.no_grad(), sparse.one_thread():
        before_relu = sparse.run(sparse.sequential(*list(backbone.conv_input.children())[:2]), voxels).features
    torch.testing.assert_close(before_relu.mean(0), torch.zeros(16), atol=1e-3, rtol=0)
    # The eps of 1e-3 shrinks channels of small variance.
    norm = backbone.conv_input[1]
    assert isinstance(norm, nn.BatchNorm1d)
    expected = norm.running_var / (norm.running_var + 1e-3)
    torch.testing.assert_close(before_relu.var(0), expected, atol=1e-3, rtol=1e-3)
    with pytest.raises(ValueError, match=r"cannot be calibrated"):
        calibrate(backbone, [voxelize(np.zeros((0, 4)), tiny)])
