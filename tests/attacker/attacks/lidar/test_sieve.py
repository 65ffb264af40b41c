"""What the aware attack's first step measures and what its training noise is."""

import numpy as np
import pytest
import torch

from attacker.attacks.lidar.aware import noised
from attacker.attacks.lidar.data import Level
from attacker.attacks.lidar.network import grids
from attacker.attacks.lidar.sieve import Sieve, noise_level
from attacker.attacks.lidar.sites import keys, shapes

SHAPE = (11, 128, 128)


@pytest.fixture
def level():
    rng = np.random.default_rng(0)
    flat = np.sort(rng.choice(11 * 40 * 40, 900, replace=False))
    coords = np.stack(np.unravel_index(flat, (11, 40, 40)), axis=1) + np.array([0, 30, 50])
    return Level(coords, torch.relu(torch.randn(900, 64, generator=torch.Generator().manual_seed(0))))


@pytest.mark.parametrize("sigma", [0.05, 0.5, 2.0])
@pytest.mark.parametrize("fill", [0.0, 0.05])
def test_the_noise_level_is_read_off_the_negative_values(level, sigma, fill):
    heard, _ = noised(level, SHAPE, sigma, fill, np.random.default_rng(1))
    # Values a little above zero that noise pushes below bias it; within a tenth it serves.
    assert noise_level(heard.features) == pytest.approx(sigma, rel=0.1)


def test_without_noise_the_level_is_zero_and_an_untrained_sieve_changes_nothing(level):
    assert noise_level(level.features) == 0.0
    grid = grids(shapes((41, 512, 512), 2), (-3.0, -12.8, 0.0), (0.1, 0.05, 0.05))[2]
    _, guess = Sieve(2)(level.coords, level.features, grid)
    assert np.array_equal(guess.coords, level.coords)
    assert torch.equal(guess.features, level.features)


def test_noise_leaves_real_sites_where_they_are_and_marks_the_filled(level):
    heard, real = noised(level, SHAPE, 0.5, 0.05, np.random.default_rng(2))
    assert np.array_equal(heard.coords[real], level.coords)
    order = keys(heard.coords, SHAPE)
    assert (np.diff(order) > 0).all()
    cells = 11 * 40 * 40
    assert (~real).sum() == pytest.approx(0.05 * (cells - 900), rel=0.15)
    added = heard.features - torch.zeros_like(heard.features).index_copy(
        0, torch.from_numpy(np.flatnonzero(real)), level.features
    )
    assert float(added.std()) == pytest.approx(0.5, rel=0.02)
    assert float(added.mean()) == pytest.approx(0.0, abs=0.01)


def test_clean_training_items_are_untouched(level):
    heard, real = noised(level, SHAPE, 0.0, 0.0, np.random.default_rng(3))
    assert real.all()
    assert torch.equal(heard.features, level.features)
