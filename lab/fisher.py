"""How well any attack could do: the Fisher information that noised features carry about a picture.

Maeng, Guo, Kariyappa & Suh, "Bounding the invertibility of privacy-preserving instance encoding using Fisher
information leakage" (2023). Features f(x) + n with n ~ N(0, sigma^2) carry I(x) = J^T J / sigma^2 about x, J the
Jacobian of f at x. Their measure is the mean of its diagonal, dFIL = tr I / d over d values of the picture, and

    E |x' - x|^2 / d  >=  1 / dFIL      for every unbiased estimate x' (Cramer-Rao),
    E |x' - x|^2 / d  >=  1 / (E dFIL + P)      for every estimate, x drawn from a prior (van Trees),

P the prior's own information in one value (1 / variance of a Gaussian one). Attacks with a picture prior are biased,
and may well pass the first bound; the second one holds for them as far as the prior is that of the pictures.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from victims.image.split import Split
from victims.image.victim import ImageVictim
from victims.registry import victim
from wire.errors import InputError
from wire.payload import Meta

Head = Callable[[Tensor], Tensor]
"""Pictures (B, 3, H, W) in 0..1 to features (B, ...), each by itself: a network in eval mode with its preprocessing."""


@dataclass(frozen=True)
class FisherBound:
    """What one picture's noised features allow.

    information: diagonal of I(x), float64, shape of the picture, in 1 / (pixel value)^2. dfil: its mean. mse, psnr:
    1 / dfil, and the PSNR (dB, peak 1) of an estimate with that mean squared error over the noise. mse_diagonal: mean
    of 1 / diagonal, which is at least ``mse`` and bounds the same error, since (I^-1)_ii >= 1 / I_ii; infinite where a
    value leaves no trace. runs: Jacobian products that it took.
    """

    information: Tensor
    dfil: float
    mse: float
    psnr: float
    mse_diagonal: float
    runs: int


def head_of(name: str, split: str, settings: Mapping[str, Meta]) -> Head:
    """The first half of an image victim behind its preprocessing; settings: its own (``weights``, ``seed``).

    InputError for a victim of another modality, and where it cannot be cut.
    """
    chosen = victim(name)
    if not isinstance(chosen, ImageVictim):
        raise InputError(f"Fisher bound: victim {name!r} is of {chosen.modality}; accepted: an image victim")
    halves = Split(chosen.network(settings), chosen.layers.get(split, split))

    def head(pictures: Tensor) -> Tensor:
        features: Tensor = halves.head(chosen.preprocessing.normalised(pictures))
        return features

    return head


def fisher_bound(
    head: Head, picture: Tensor, sigma: float, *, clip: float | None = None, chunk: int = 64
) -> FisherBound:
    """The bound for ``picture``, float (3, H, W) or (1, 3, H, W) in 0..1, behind Gaussian noise of deviation ``sigma``.

    sigma: in the features' own unit, as in a defense's record. clip: L2 bound that the features are scaled down to
    before the noise (``gaussian``); its slope counts. chunk: pictures in one pass, which sets the memory.

    Exact: the Jacobian by columns (forward mode, one for each of the d values of the picture) or by rows (reverse mode,
    one for each feature), whichever are fewer: at most 3,072 products for a 32x32 picture (9 to 16 CPU-seconds at the
    end of the stages of the CIFAR ResNet-20), 150,528 at 224x224 unless the features are few.

    InputError for a sigma that is not above 0, or a head that does not give finite features.
    """
    if not 0.0 < sigma < math.inf:
        raise InputError(f"Fisher bound: sigma is {sigma!r}; accepted: above 0, finite")
    if chunk < 1:
        raise InputError(f"Fisher bound: chunk is {chunk!r}; accepted: a whole number from 1")
    single = picture.detach().reshape(1, *picture.shape[-3:])

    def features(pictures: Tensor) -> Tensor:
        return _clipped(head(pictures).flatten(1), clip)

    with torch.no_grad():
        found = features(single)
    if not bool(torch.isfinite(found).all()):
        raise InputError("Fisher bound: the features of this picture are not finite")
    by_columns = single.numel() <= found.shape[1]
    # Fused attention has no forward-mode derivative; with one, nothing else changes.
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            squares = (_columns if by_columns else _rows)(features, single, found.shape[1], chunk)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    information = squares.reshape(single.shape[1:]) / sigma**2
    dfil = float(information.mean())
    mse = 1 / dfil if dfil > 0 else math.inf
    return FisherBound(
        information=information,
        dfil=dfil,
        mse=mse,
        psnr=psnr_of(mse),
        mse_diagonal=float((1 / information).mean()),
        runs=min(single.numel(), found.shape[1]),
    )


def van_trees(dfils: Sequence[float], prior_information: float) -> float:
    """Mean squared error that no estimate is below, biased or not, on pictures of a prior.

    dfils: of pictures drawn from it. prior_information: P, of one value of a picture; for a Gaussian prior of variance
    v, 1 / v. The true P of natural pictures is not known and larger than that of a Gaussian of their variance, which
    makes this bound, with that P, too high: read it as a scale.
    """
    if not dfils or not 0.0 <= prior_information < math.inf:
        raise InputError(
            f"van Trees bound: {len(dfils)} pictures, prior information {prior_information!r}; "
            "accepted: at least one, and a number from 0"
        )
    return 1 / (sum(dfils) / len(dfils) + prior_information)


def psnr_of(mse: float) -> float:
    """-10 log10(mse), in dB, for values in 0..1. By Jensen the mean PSNR of several pictures may lie above it."""
    return -10 * math.log10(mse) if math.isfinite(mse) else -math.inf


def _clipped(features: Tensor, clip: float | None) -> Tensor:
    """(B, K), every row scaled down to an L2 norm of at most ``clip``."""
    if clip is None:
        return features
    norms = features.norm(dim=1, keepdim=True).clamp_min(torch.finfo(features.dtype).tiny)
    scaled: Tensor = features * (clip / norms).clamp_max(1.0)
    return scaled


def _columns(features: Head, single: Tensor, count: int, chunk: int) -> Tensor:
    """Squared length of every column of the Jacobian, float64 (d,). A batch holds one picture with many tangents."""
    size = single.numel()
    squares = torch.empty(size, dtype=torch.float64)
    for start in range(0, size, chunk):
        number = min(chunk, size - start)
        tangents = torch.zeros(number, size, dtype=single.dtype)
        tangents[torch.arange(number), start + torch.arange(number)] = 1.0
        copies = single.expand(number, *single.shape[1:]).contiguous()
        with torch.no_grad(), warnings.catch_warnings():
            # torch's forward mode still scripts its own decompositions when it is first used
            warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)
            columns: Tensor = torch.func.jvp(features, (copies,), (tangents.view_as(copies),))[1]
        squares[start : start + number] = columns.double().square().sum(1)
    return squares


def _rows(features: Head, single: Tensor, count: int, chunk: int) -> Tensor:
    """The same from the rows, whose squares add up in each place."""
    squares = torch.zeros(single.numel(), dtype=torch.float64)
    for start in range(0, count, chunk):
        number = min(chunk, count - start)
        copies = single.repeat(number, 1, 1, 1).requires_grad_()
        chosen = features(copies)[torch.arange(number), start + torch.arange(number)]
        (rows,) = torch.autograd.grad(chosen.sum(), copies)
        squares += rows.double().flatten(1).square().sum(0)
    return squares
