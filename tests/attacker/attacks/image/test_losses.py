"""Losses against arithmetic by hand and against integrals computed another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from attacker.attacks.image.losses import (
    FEATURE_LOSSES,
    from_the_mean,
    gaussian_mean,
    log_cosh,
    negentropy,
    printed_from_the_mean,
    printed_negentropy,
    relative,
    summed,
    total_variation,
)


def test_feature_losses_by_hand():
    heard = torch.tensor([[[3.0, 4.0]], [[1.0, 0.0]]])
    found = torch.tensor([[[3.0, 2.0]], [[0.0, 2.0]]])
    assert summed(found, heard).tolist() == [4.0, 5.0]
    assert relative(found, heard).tolist() == pytest.approx([4 / 25, 5.0])
    assert set(FEATURE_LOSSES) == {"relative", "sum"}


def test_a_silent_tap_divides_by_a_floor_and_not_by_zero():
    found = torch.full((1, 2, 5), 1e-3)
    assert relative(found, torch.zeros(1, 2, 5)).item() == pytest.approx(1e-5 / (1e-6 * 10))


def test_total_variation_by_hand():
    picture = torch.tensor([[1.0, 3.0], [4.0, 8.0]])
    # down: 9 + 25, right: 4 + 16, four pixels
    assert total_variation(picture[None, None]).tolist() == [54 / 4]
    grey = picture.expand(1, 3, 2, 2)
    assert total_variation(grey).item() == pytest.approx(54 / 4)
    one_channel = torch.stack([picture, torch.zeros(2, 2), torch.zeros(2, 2)])[None]
    assert total_variation(one_channel).item() == pytest.approx(54 / 12)


@given(st.floats(-500, 500))
def test_log_cosh_is_stable(x):
    exact = np.logaddexp(x, -x) - math.log(2)
    assert log_cosh(torch.tensor(x, dtype=torch.float64)).item() == pytest.approx(exact, abs=1e-12, rel=1e-12)
    assert log_cosh(torch.tensor(1e30)).isfinite()


@pytest.mark.parametrize("alpha", [1.0, 1.5, 2.0])
def test_the_gaussian_mean_is_the_integral(alpha):
    exact, _ = quad(lambda v: (np.logaddexp(alpha * v, -alpha * v) - math.log(2)) / alpha * norm.pdf(v), -12, 12)
    assert gaussian_mean(alpha) == pytest.approx(exact, abs=1e-6)


def test_negentropies_by_hand_on_two_points():
    two = torch.tensor([[1.0, -1.0, -1.0, 1.0]], dtype=torch.float64)
    for alpha in (1.0, 2.0):
        value = math.log(math.cosh(alpha))
        wanted = (value / alpha - gaussian_mean(alpha)) ** 2
        assert negentropy(two, alpha).item() == pytest.approx(wanted)
        assert printed_negentropy(two, alpha).item() == pytest.approx(-2 * value / alpha**2)


def test_the_proper_one_prefers_normal_latents_and_the_printed_one_two_points():
    normal = torch.tensor(norm.ppf((np.arange(4096) + 0.5) / 4096))[None]
    normal = normal / normal.std()
    two = torch.ones_like(normal)
    two[:, ::2] = -1
    assert negentropy(normal, 1.0) < 1e-6 < 3e-3 < negentropy(two, 1.0)
    assert printed_negentropy(two, 1.0) < printed_negentropy(normal, 1.0)


def test_the_distance_from_the_groups_mean_by_hand():
    values = torch.tensor([[0.0, 2.0], [4.0, 2.0], [7.0, 7.0], [2.0, 8.0]])
    group = torch.tensor([1, 1, 0, 1])
    # the mean of group 1 is (2, 4)
    assert from_the_mean(values, group).tolist() == [4.0, 4.0, 0.0, 8.0]
    assert printed_from_the_mean(values, group).tolist() == [8.0, 8.0, 0.0, 16.0]


def test_losses_keep_pictures_apart():
    """The gradient of one picture's losses with respect to another is zero."""
    pictures = torch.rand(2, 3, 4, 4, requires_grad=True)
    heard = torch.rand(2, 3, 4, 4)
    for loss in (
        relative(pictures, heard),
        summed(pictures, heard),
        total_variation(pictures),
        negentropy(pictures, 1),
    ):
        (gradient,) = torch.autograd.grad(loss[0], pictures)
        assert gradient[0].abs().max() > 0 and gradient[1].abs().max() == 0
