"""What the optimising attacks minimise: equations 6 to 10 of "Unlocking Visual Secrets" (2024), a number per picture.

Where the printed formula and its purpose part, both are here: the sound one is the default (papers-image.md, 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

SILENT = 1e-6
"""Mean square of the features below which ``relative`` no longer divides by it: a tap may be all zeros."""

FeatureLoss = Callable[[Tensor, Tensor], Tensor]


def summed(found: Tensor, heard: Tensor) -> Tensor:
    """||F1(x) - z||^2 of each picture (equation 4), (B,). found, heard: (B, ...) of one shape."""
    return (found - heard).square().flatten(1).sum(1)


def relative(found: Tensor, heard: Tensor) -> Tensor:
    """:func:`summed` over ||z||^2, (B,): of one scale everywhere, so that one weight of the prior terms fits."""
    size = heard.square().flatten(1).sum(1)
    return summed(found, heard) / size.clamp_min(SILENT * heard[0].numel())


FEATURE_LOSSES: Mapping[str, FeatureLoss] = {"relative": relative, "sum": summed}
"""``sum`` is the paper's; next to it the prior terms are invisible at shallow split points."""


def total_variation(pictures: Tensor) -> Tensor:
    """Equation 7, (B,): squared differences of vertical and horizontal neighbours, summed, over the number of pixels.

    pictures: (B, C, H, W). The paper leaves the channels open: here their mean, so that gray pictures cost what their
    single channel does.
    """
    down = (pictures[:, :, 1:] - pictures[:, :, :-1]).square().flatten(1).sum(1)
    right = (pictures[:, :, :, 1:] - pictures[:, :, :, :-1]).square().flatten(1).sum(1)
    return (down + right) / pictures[0].numel()


def log_cosh(x: Tensor) -> Tensor:
    """log cosh x without overflow."""
    size = x.abs()
    return size + functional.softplus(-2 * size) - math.log(2)


@cache
def gaussian_mean(alpha: float) -> float:
    """E[log cosh(alpha nu) / alpha] for standard normal nu, by Gauss-Hermite quadrature."""
    places, weights = np.polynomial.hermite_e.hermegauss(150)
    values = np.logaddexp(alpha * places, -alpha * places) - math.log(2)
    return float((weights * values).sum() / weights.sum() / alpha)


def negentropy(latents: Tensor, alpha: float) -> Tensor:
    """J = (E[G(v)] - E[G(nu)])^2 with G(u) = log cosh(alpha u) / alpha, (B,): 0 where v looks normal.

    latents: (B, ...), each of mean 0 and deviation 1. alpha: 1 to 2. Hyvarinen's approximation of negentropy, which
    equation 8 names as its source.
    """
    return ((log_cosh(alpha * latents) / alpha).flatten(1).mean(1) - gaussian_mean(alpha)).square()


def printed_negentropy(latents: Tensor, alpha: float) -> Tensor:
    """Equation 8 as printed, (B,): -E[log(cosh(alpha v)^2)] / alpha^2.

    It has no Gaussian to compare with: least for values of -1 and 1 only, so it drives latents *away* from normal.
    """
    return -2 * log_cosh(alpha * latents).flatten(1).mean(1) / alpha**2


NEGENTROPIES: Mapping[str, Callable[[Tensor, float], Tensor]] = {"proper": negentropy, "printed": printed_negentropy}


def from_the_mean(variables: Tensor, group: Tensor) -> Tensor:
    """L_c of equation 10 per element, (B,): mean square distance from the mean of the picture's own group.

    variables: (B, ...). group: int64 (B,), numbers from 0. A group of one gives 0.
    """
    flat = variables.flatten(1)
    count = int(group.max()) + 1
    size = torch.bincount(group, minlength=count).to(flat.dtype).unsqueeze(1)
    mean = flat.new_zeros(count, flat.shape[1]).index_add(0, group, flat) / size
    return (flat - mean[group]).square().mean(1)


def printed_from_the_mean(variables: Tensor, group: Tensor) -> Tensor:
    """L_c of equation 10 as printed, (B,): summed. On raw latents it falls when all of them shrink."""
    return from_the_mean(variables, group) * variables[0].numel()
