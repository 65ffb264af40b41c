"""The sparse operations of the inversion network against dense ones of torch."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from attacker.attacks.lidar.network import Block, Grid, SparseConv, focal_loss, grids, indices
from attacker.attacks.lidar.sites import DOWNSAMPLINGS, candidates, shapes, submanifold

SHAPE = (7, 9, 8)


def scatter(coords: np.ndarray, values: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    dense = torch.zeros(values.shape[1], *shape)
    z, y, x = torch.from_numpy(coords).unbind(1)
    dense = dense.index_put((torch.arange(values.shape[1])[:, None], z, y, x), values.T)
    return dense[None]


def kernel(weight: torch.Tensor, size: tuple[int, int, int]) -> torch.Tensor:
    """(taps, in, out) -> (in, out, kz, ky, kx)."""
    return weight.reshape(*size, *weight.shape[1:]).permute(3, 4, 0, 1, 2)


@pytest.mark.parametrize("layer", DOWNSAMPLINGS[1:])
def test_the_transposed_convolution_is_torchs_at_the_candidates_with_its_gradients(layer):
    rng = np.random.default_rng(0)
    parents = np.argwhere(rng.random(layer.shrink(SHAPE)) < 0.6)
    options = candidates(parents, layer, SHAPE)
    conv = SparseConv(layer.taps, 3, 5)
    x = torch.randn(len(parents), 3, requires_grad=True)
    dense = F.conv_transpose3d(
        scatter(parents, x, layer.shrink(SHAPE)),
        kernel(conv.weight, layer.kernel),
        stride=layer.stride,
        padding=layer.padding,
        output_padding=tuple(
            n - ((o - 1) * s - 2 * p + k)
            for n, o, s, p, k in zip(SHAPE, layer.shrink(SHAPE), layer.stride, layer.padding, layer.kernel, strict=True)
        ),
    )
    z, y, c = torch.from_numpy(options.coords).unbind(1)
    wanted = dense[0, :, z, y, c].T
    found = conv(x, indices(options.rules), len(options))
    assert len(options) > 10
    assert torch.allclose(found, wanted, atol=1e-5)
    seed = torch.randn_like(found)
    ours = torch.autograd.grad((found * seed).sum(), [x, conv.weight])
    theirs = torch.autograd.grad((wanted * seed).sum(), [x, conv.weight])
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_the_submanifold_convolution_is_a_dense_one_at_the_sites_with_its_gradients():
    coords = np.argwhere(np.random.default_rng(1).random(SHAPE) < 0.3)
    conv = SparseConv(27, 4, 6)
    x = torch.randn(len(coords), 4, requires_grad=True)
    dense = F.conv3d(scatter(coords, x, SHAPE), kernel(conv.weight, (3, 3, 3)).transpose(0, 1), padding=1)
    z, y, c = torch.from_numpy(coords).unbind(1)
    wanted, found = dense[0, :, z, y, c].T, conv(x, indices(submanifold(coords, SHAPE)), len(coords))
    assert torch.allclose(found, wanted, atol=1e-5)
    seed = torch.randn_like(found)
    ours = torch.autograd.grad((found * seed).sum(), [x, conv.weight])
    theirs = torch.autograd.grad((wanted * seed).sum(), [x, conv.weight])
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_a_block_starts_at_the_adjoint_of_the_victims_layer():
    layer = DOWNSAMPLINGS[2]
    weight, gain = torch.randn(64, 3, 3, 3, 64), torch.rand(64) + 0.5
    block = Block(2)
    block.start_from(weight, gain)
    parents = np.argwhere(np.random.default_rng(2).random(layer.shrink(SHAPE)) < 0.5)
    options = candidates(parents, layer, SHAPE)
    f = torch.rand(len(parents), 64)
    hidden = torch.zeros(len(parents), block.up.weight.shape[1] - 64)
    with torch.no_grad():
        found = block.up(torch.cat([hidden, f], 1), indices(options.rules), len(options))[:, :64]
    # The adjoint of a strided convolution is torch's transposed convolution with the same weights (out, in, k, k, k).
    same = (weight * gain.view(-1, 1, 1, 1, 1)).permute(0, 4, 1, 2, 3)
    strided = F.conv3d(torch.zeros(1, 64, *SHAPE), same, stride=layer.stride, padding=layer.padding)
    dense = torch.nn.grad.conv3d_input(
        (1, 64, *SHAPE),
        same,
        scatter(parents, f, tuple(strided.shape[2:])),
        stride=layer.stride,
        padding=layer.padding,
    )
    z, y, c = torch.from_numpy(options.coords).unbind(1)
    wanted = dense[0, :, z, y, c].T
    ratio = float((found * wanted).sum() / wanted.square().sum())
    assert ratio > 0
    assert torch.allclose(found, ratio * wanted, atol=1e-3 * float(found.abs().max()))


# Centre of output (1, 2, 3)'s window in voxels, from strides and paddings by hand (no padding in z at depth 3).
@pytest.mark.parametrize(
    ("level", "voxel"), [(0, (1, 2, 3)), (1, (2, 4, 6)), (2, (4, 8, 12)), (3, (12, 16, 24)), (4, (28, 16, 24))]
)
def test_a_levels_grid_lies_at_its_windows_centres(level, voxel):
    made = grids(shapes((41, 1600, 1408), 4), (-3.0, -40.0, 0.0), (0.1, 0.05, 0.05))
    z, y, x = voxel
    assert made[level].centres(np.array([[1, 2, 3]])) == pytest.approx(
        np.array([[(x + 0.5) * 0.05, -40 + (y + 0.5) * 0.05, -3 + (z + 0.5) * 0.1]]), abs=1e-5
    )
    assert isinstance(made[level], Grid)


@pytest.mark.parametrize(
    ("logit", "target", "alpha", "gamma", "value"),
    [
        (0.0, 1.0, 0.5, 0.0, 0.5 * np.log(2)),
        (0.0, 0.0, 0.25, 2.0, 0.75 * 0.25 * np.log(2)),
        (np.log(3), 1.0, 0.25, 2.0, 0.25 * (1 / 16) * np.log(4 / 3)),  # p_t = 3/4
        (np.log(3), 0.0, 0.25, 1.0, 0.75 * 0.75 * np.log(4)),  # p_t = 1/4
    ],
)
def test_focal_loss_by_hand(logit, target, alpha, gamma, value):
    found = focal_loss(torch.tensor([logit], dtype=torch.float64), torch.tensor([target]).double(), alpha, gamma)
    assert float(found) == pytest.approx(value)
