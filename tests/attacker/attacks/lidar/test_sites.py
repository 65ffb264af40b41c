"""The geometry against dense convolutions of occupancy, and against the victim's own layers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from attacker.attacks.lidar import sites
from victims.lidar.backbone import VoxelBackBone8x, random_backbone
from victims.lidar.presets import Preset
from victims.lidar.voxels import voxelize

LAYERS = pytest.mark.parametrize("layer", sites.DOWNSAMPLINGS[1:])  # the first equals the second
SHAPES = pytest.mark.parametrize("shape", [(11, 9, 12), (8, 8, 8), (5, 6, 7)])


def outputs(occupied: np.ndarray, layer: sites.Strided) -> np.ndarray:
    """Dense: outputs whose window holds an occupied input."""
    ones = torch.ones(1, 1, *layer.kernel, dtype=torch.double)
    dense = torch.from_numpy(occupied).double()[None, None]
    return (F.conv3d(dense, ones, stride=layer.stride, padding=layer.padding)[0, 0] > 0).numpy()


def reached(active: np.ndarray, layer: sites.Strided, shape: tuple[int, int, int]) -> np.ndarray:
    """Dense: how many of the ``active`` outputs cover each input, by looking at every pair."""
    count = np.zeros(shape, int)
    for output in np.argwhere(active):
        for tap in np.ndindex(*layer.kernel):
            site = output * layer.stride - layer.padding + tap
            if (site >= 0).all() and (site < shape).all():
                count[tuple(site)] += 1
    return count


@LAYERS
@SHAPES
@pytest.mark.parametrize("density", [0.01, 0.2, 0.8])
def test_candidates_are_the_sites_that_no_silent_output_covers(layer, shape, density):
    occupied = np.random.default_rng(1).random(shape) < density
    active = outputs(occupied, layer)
    by_active, by_silent = reached(active, layer, shape), reached(~active, layer, shape)
    parents = np.argwhere(active)

    pruned = sites.candidates(parents, layer, shape)
    assert np.array_equal(pruned.coords, np.argwhere((by_active > 0) & (by_silent == 0)))
    assert set(sites.consistent(parents, layer, shape)) == set(sites.keys(pruned.coords, shape))
    union = sites.candidates(parents, layer, shape, prune=False)
    assert np.array_equal(union.coords, np.argwhere(by_active > 0))
    # No true site is lost, which is what makes pruning free.
    assert np.isin(sites.keys(np.argwhere(occupied & (by_active > 0)), shape), sites.keys(pruned.coords, shape)).all()

    for options in (pruned, union):
        met = np.zeros(len(options), int)
        for tap, source, target in options.rules.pairs:
            offset = np.array(np.unravel_index(tap, layer.kernel))
            assert np.array_equal(parents[source] * layer.stride - layer.padding + offset, options.coords[target])
            assert len(np.unique(target)) == len(target)
            met[target] += 1
        assert np.array_equal(met, by_active[tuple(options.coords.T)])


@SHAPES
@pytest.mark.parametrize("seed", range(6))
def test_submanifold_rules_are_a_dense_convolution_at_the_sites(shape, seed):
    rng = np.random.default_rng(seed)
    occupied = rng.random(shape) < 0.3
    values, kernel = np.where(occupied, rng.standard_normal(shape), 0.0), rng.standard_normal((3, 3, 3))
    dense = F.conv3d(torch.from_numpy(values)[None, None], torch.from_numpy(kernel)[None, None], padding=1)
    out, x = np.zeros(occupied.sum()), values[occupied]
    for tap, source, target in sites.submanifold(np.argwhere(occupied), shape).pairs:
        out[target] += x[source] * kernel.reshape(-1)[tap]
    assert np.allclose(out, dense[0, 0].numpy()[occupied])


def test_layers_and_grids_are_the_victims():
    preset = Preset("small", (0.0, -1.6, -3.0, 3.2, 1.6, 1.0))
    rng = np.random.default_rng(3)
    low, high = np.array(preset.range_xyz[:3]), np.array(preset.range_xyz[3:])
    points = np.c_[rng.uniform(low, high, (300, 3)), rng.random(300)].astype(np.float32)
    voxels = voxelize(points, preset)
    taps = random_backbone(0, [voxels]).taps(voxels)
    grids = sites.shapes(preset.shape, 4)
    occupied = np.zeros(preset.shape, bool)
    occupied[tuple(voxels.coords[:, 1:].long().numpy().T)] = True
    for level, name in enumerate(("conv2.0", "conv3.0", "conv4.0", "conv_out"), 1):
        assert tuple(taps[name].shape) == grids[level]
        occupied = outputs(occupied, sites.DOWNSAMPLINGS[level - 1])
        assert np.array_equal(np.argwhere(occupied), taps[name].coords[:, 1:].numpy())


@LAYERS
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_after_cover_the_guess_re_encodes_to_the_parents(layer, data):
    shape = (7, 8, 9)
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    active = outputs(rng.random(shape) < data.draw(st.floats(0.01, 0.5)), layer)
    parents = np.argwhere(active)
    options = sites.candidates(parents, layer, shape)
    score = rng.integers(0, 4, len(options)).astype(np.float32)
    chosen = sites.cover(options.rules, score, score >= data.draw(st.integers(1, 5)))
    guess = np.zeros(shape, bool)
    guess[tuple(options.coords[chosen].T)] = True
    assert np.array_equal(outputs(guess, layer), active)


def test_cover_takes_the_likeliest_and_of_equals_the_first():
    rules = sites.Rulebook(
        ((0, np.array([0, 1]), np.array([0, 2])), (1, np.array([0, 1, 2]), np.array([1, 3, 4]))), sources=3, targets=5
    )
    score = np.array([0.1, 0.3, 0.2, 0.2, 0.9], np.float32)
    assert sites.cover(rules, score, score > 0.8).tolist() == [False, True, True, False, True]


def test_nothing_active_allows_nothing():
    none = np.zeros((0, 3), np.int64)
    for prune in (True, False):
        assert len(sites.candidates(none, sites.DOWNSAMPLINGS[0], (8, 8, 8), prune=prune)) == 0
    assert len(sites.consistent(none, sites.DOWNSAMPLINGS[0], (8, 8, 8))) == 0


def test_a_kernel_that_skips_inputs_is_refused():
    with pytest.raises(ValueError, match="stride <= kernel"):
        sites.Strided((1, 3, 3), (2, 2, 2), (0, 1, 1))


def test_the_backbone_has_four_downsamplings():
    strided = [m for m in VoxelBackBone8x().modules() if getattr(m, "subm", True) is False]
    assert [(tuple(m.kernel_size), tuple(m.stride), tuple(m.padding)) for m in strided] == [
        (d.kernel, d.stride, d.padding) for d in sites.DOWNSAMPLINGS
    ]
