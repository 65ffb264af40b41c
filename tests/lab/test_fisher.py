"""The bound where it is exact, against Jacobians of autograd's own, and on a real network's halves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from lab.fisher import fisher_bound, head_of, psnr_of, van_trees
from victims.base import Sample
from victims.image.preprocessing import pictures_of
from victims.image.resnet import cifar_resnet
from victims.image.split import Split
from victims.image.vit import cifar_vit
from victims.registry import victim
from wire.errors import InputError

SIGMA = 0.3
SIDE = 4
SIZE = 3 * SIDE * SIDE
PICTURE = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Linear:
    """Pictures to W x, W float64 (K, d)."""

    def __init__(self, weight: np.ndarray) -> None:
        self.weight = torch.from_numpy(weight)

    def __call__(self, pictures: Tensor) -> Tensor:
        return pictures.flatten(1) @ self.weight.T


def least_squares_errors(weight: np.ndarray, rounds: int) -> np.ndarray:
    """Squared error, averaged over values, of the best unbiased estimate in each of so many releases."""
    rng = np.random.default_rng(1)
    x = PICTURE.numpy().ravel()
    released = weight @ x + SIGMA * rng.standard_normal((rounds, len(weight)))
    estimates = np.linalg.lstsq(weight, released.T, rcond=None)[0].T
    return np.mean((estimates - x) ** 2, axis=1)


@pytest.mark.parametrize("values", [SIZE, 2 * SIZE])
def test_least_squares_attains_it_where_all_directions_weigh_the_same(values: int) -> None:
    rng = np.random.default_rng(0)
    weight = 2.5 * np.linalg.qr(rng.standard_normal((values, SIZE)))[0]
    bound = fisher_bound(Linear(weight), PICTURE, SIGMA)
    assert bound.mse == pytest.approx(SIGMA**2 / 2.5**2)
    assert bound.mse_diagonal == pytest.approx(bound.mse)
    assert bound.psnr == pytest.approx(-10 * math.log10(0.3**2 / 2.5**2))
    errors = least_squares_errors(weight, 2000)
    # rounds x d x error / mse is chi-squared with rounds x d degrees of freedom
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], errors.size * SIZE) / (errors.size * SIZE)
    assert low < errors.mean() / bound.mse < high
    assert high < 1.05


def test_no_unbiased_estimate_passes_it_on_any_linear_head() -> None:
    weight = np.random.default_rng(3).standard_normal((70, SIZE))
    bound = fisher_bound(Linear(weight), PICTURE, SIGMA)
    exact = SIGMA**2 * np.trace(np.linalg.inv(weight.T @ weight)) / SIZE
    assert bound.dfil == pytest.approx(np.square(weight).sum() / SIGMA**2 / SIZE)
    assert bound.mse < bound.mse_diagonal < exact
    assert least_squares_errors(weight, 500).mean() == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize("values", [20, 80])  # fewer and more than the picture has: by rows and by columns
@pytest.mark.parametrize("clip", [None, 0.5, 100.0])
def test_rows_columns_and_the_clip_are_autograds(values: int, clip: float | None) -> None:
    weight = torch.from_numpy(np.random.default_rng(values).standard_normal((values, SIZE)))

    def head(pictures: Tensor) -> Tensor:
        return torch.tanh(pictures.flatten(1) @ weight.T)

    def alone(x: Tensor) -> Tensor:
        features = head(x[None])[0]
        return features if clip is None or features.norm() <= clip else features / features.norm() * clip

    jacobian = torch.autograd.functional.jacobian(alone, PICTURE).reshape(values, SIZE)
    found = fisher_bound(head, PICTURE[None], SIGMA, clip=clip, chunk=7)
    wanted = jacobian.square().sum(0).reshape(PICTURE.shape) / SIGMA**2
    assert torch.allclose(found.information, wanted, rtol=1e-9)
    assert found.dfil == pytest.approx(float(wanted.mean()))
    assert found.runs == min(values, SIZE)


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_a_networks_head(kind: str) -> None:
    torch.manual_seed(0)
    network = (cifar_resnet(8) if kind == "resnet" else cifar_vit(width=16, depth=2)).double().eval()
    at = "layer1.0" if kind == "resnet" else "encoder.layers.encoder_layer_0"
    split = Split(network, at)
    picture = torch.rand(3, 8, 8, dtype=torch.float64) if kind == "resnet" else torch.rand(3, 32, 32).double()
    found = fisher_bound(split.head, picture, SIGMA)
    # one place of the diagonal from finite differences, in the middle of the picture
    step = torch.zeros_like(picture)
    step[1, picture.shape[1] // 2, picture.shape[2] // 2] = 1e-5
    with torch.no_grad():
        slope = (split.head((picture + step)[None]) - split.head((picture - step)[None])) / 2e-5
    wanted = float(slope.square().sum()) / SIGMA**2
    assert float(found.information[step != 0]) == pytest.approx(wanted, rel=1e-3)


def test_a_victims_head_is_what_it_sends() -> None:
    chosen = victim("cifar-resnet20")
    sample = Sample("p", {"image": np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)})
    settings = {"weights": "random", "seed": 3}
    sent = next(chosen.cut("layer2.2", settings).head().exchange(sample))[0].tensors["features"]
    with torch.no_grad():
        found = head_of("cifar-resnet20", "layer2.2", settings)(pictures_of(sample.arrays["image"][None]))
    assert torch.equal(found, sent)
    with pytest.raises(InputError, match="victim 'second' is of lidar; accepted: an image victim"):
        head_of("second", "conv3.0", {})


def test_features_that_say_nothing_allow_no_estimate() -> None:
    found = fisher_bound(nn.Sequential(nn.Flatten(), nn.ReLU()), torch.full((3, 2, 2), -1.0), SIGMA)
    assert (found.dfil, found.mse, found.psnr) == (0.0, math.inf, -math.inf)


def test_a_gaussian_prior_makes_the_bound_hold_for_biased_estimates() -> None:
    """The mean of the posterior, which knows the prior, passes Cramer-Rao and attains van Trees."""
    scale, variance, rounds = 0.5, 0.04, 4000
    rng = np.random.default_rng(4)
    x = rng.normal(0.5, math.sqrt(variance), (rounds, SIZE))
    released = scale * x + SIGMA * rng.standard_normal(x.shape)
    gain = scale * variance / (scale**2 * variance + SIGMA**2)
    error = np.mean((0.5 + gain * (released - scale * 0.5) - x) ** 2)
    bound = fisher_bound(Linear(scale * np.eye(SIZE)), PICTURE, SIGMA)
    assert error < bound.mse
    assert van_trees([bound.dfil, bound.dfil], 1 / variance) == pytest.approx(error, rel=0.02)


def test_psnr_by_hand() -> None:
    assert psnr_of(0.01) == pytest.approx(20.0)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_no_noise_has_no_bound(sigma: float) -> None:
    with pytest.raises(InputError, match=r"sigma is .*; accepted: above 0, finite"):
        fisher_bound(nn.Flatten(), PICTURE, sigma)


def test_broken_input_is_refused() -> None:
    with pytest.raises(InputError, match="features of this picture are not finite"):
        fisher_bound(nn.Flatten(), PICTURE * math.nan, SIGMA)
    with pytest.raises(InputError, match="chunk is 0; accepted: a whole number from 1"):
        fisher_bound(nn.Flatten(), PICTURE, SIGMA, chunk=0)
    with pytest.raises(InputError, match="0 pictures, prior information 1"):
        van_trees([], 1.0)
