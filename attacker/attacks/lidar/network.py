"""The inversion network: one block per downsampling layer, each undoing one of them.

Dispersion-controlled supervision (ConcreTizer, ICLR 2025, section 4.3.2) cuts the inversion at the victim's
downsampling layers. A block takes the features of level d + 1, generates the sites of level d that they allow with a
transposed sparse convolution, classifies which of them were occupied, and regresses their channels for the next block.
The last block only classifies. Nothing here ever sees the victim's own table of sites: the transposed convolution runs
onto candidates enumerated from the transmitted coordinates (see ``sites``), never back onto the sites it came from.

Everything is plain torch, so that it trains wherever torch does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attacker.attacks.lidar.sites import DOWNSAMPLINGS, Candidates, Ints, Rulebook, Zyx, submanifold

Pairs = tuple[tuple[int, Tensor, Tensor], ...]
POSITION = 6


@dataclass(frozen=True)
class Grid:
    """Where a level's sites lie in the world: shape z, y, x; origin and step of the window centres in metres."""

    shape: Zyx
    origin: tuple[float, float, float]
    step: tuple[float, float, float]

    def centres(self, coords: Ints) -> np.ndarray:
        """Centres of the sites' windows, float32 (N, 3) of x, y, z in metres."""
        zyx = coords * np.asarray(self.step) + np.asarray(self.origin)
        return np.ascontiguousarray(zyx[:, ::-1]).astype(np.float32)


def grids(shapes: list[Zyx], low: tuple[float, float, float], voxel: tuple[float, float, float]) -> list[Grid]:
    """One grid per level; ``low`` is the range's lower corner and ``voxel`` a voxel's size (z, y, x, metres)."""
    origin, step = np.asarray(low) + np.asarray(voxel) / 2, np.asarray(voxel)
    out = []
    for level, shape in enumerate(shapes):
        if level:
            layer = DOWNSAMPLINGS[level - 1]
            origin = origin + step * ((np.asarray(layer.kernel) - 1) / 2 - np.asarray(layer.padding))
            step = step * np.asarray(layer.stride)
        out.append(Grid(shape, tuple(origin.tolist()), tuple(step.tolist())))
    return out


def indices(rules: Rulebook) -> Pairs:
    """A rulebook as torch indices."""
    return tuple((tap, torch.from_numpy(s), torch.from_numpy(t)) for tap, s, t in rules.pairs)


class _Convolve(torch.autograd.Function):
    """Sum over kernel taps of ``x[source] @ weight[tap]`` into ``target`` rows, accumulated in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, pairs: Pairs, targets: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.pairs = pairs
        out = torch.zeros(targets, weight.shape[2], dtype=torch.float32, device=x.device)
        for tap, source, target in pairs:
            out.index_add_(0, target, (x.index_select(0, source) @ weight[tap]).float())
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        grad = grads[0].to(x.dtype)
        grad_x = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
        grad_weight = torch.zeros_like(weight)
        for tap, source, target in ctx.pairs:
            rows = grad.index_select(0, target)
            grad_x.index_add_(0, source, (rows @ weight[tap].T).float())
            grad_weight[tap] = x.index_select(0, source).T @ rows
        return grad_x.to(x.dtype), grad_weight, None, None


class SparseConv(nn.Module):
    """A sparse convolution over given pairs. weight: (taps, in, out); bias: (out,).

    dtype: of the products only (``bfloat16`` halves the time of a training step on CPUs that have it).
    """

    def __init__(self, taps: int, c_in: int, c_out: int, present: float = 1 / 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(taps, c_in, c_out) * (1.0 / (c_in * max(1.0, taps * present))) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(c_out))
        self.dtype = torch.float32

    def forward(self, x: Tensor, pairs: Pairs, targets: int) -> Tensor:
        out: Tensor = _Convolve.apply(  # type: ignore[no-untyped-call]
            x.to(self.dtype), self.weight.to(self.dtype), pairs, targets
        )
        return out + self.bias


class Residual(nn.Module):
    """x + conv(relu(norm(x))) over one set of sites. Layer norm, since batches are single scans."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = SparseConv(27, width, width, 1 / 2)

    def forward(self, x: Tensor, pairs: Pairs) -> Tensor:
        out: Tensor = x + self.conv(torch.relu(self.norm(x)), pairs, len(x))
        return out


@dataclass(frozen=True)
class Width:
    """Sizes of one block: width and residual layers at the coarse and at the fine level, hidden channels handed on."""

    coarse: int
    fine: int
    coarse_layers: int
    fine_layers: int


CHANNELS = (0, 32, 64, 64, 128)
"""Channels of the taps at levels 0 (occupancy only) to 4."""

WIDTHS = (Width(64, 32, 1, 2), Width(64, 48, 2, 2), Width(96, 64, 2, 2), Width(128, 96, 3, 2))
"""Of the blocks that restore levels 0, 1, 2 and 3. Coarse sites are few, so most of the capacity lies there."""

HIDDEN = (0, 24, 32, 48)
"""Channels that a block of levels 0 to 3 hands to the next one beside what it regresses."""


@dataclass
class Guess:
    """What is known or believed of one level: the input and the output of a block.

    coords: int64 (N, 3) in canonical order. features: (N, C) in the victim's units. logit: (N,), the belief that the
    site is active. hidden: (N, H), whatever the previous block chose to hand on (zeros for a transmitted tensor).
    """

    coords: Ints
    features: Tensor
    logit: Tensor
    hidden: Tensor


CERTAIN = 6.0
"""Logit of a transmitted site."""


class Block(nn.Module):
    """Restores level ``level`` from level ``level`` + 1."""

    mean: Tensor
    std: Tensor
    child_mean: Tensor
    child_std: Tensor

    def __init__(self, level: int, width: Width | None = None) -> None:
        super().__init__()
        self.level, self.layer = level, DOWNSAMPLINGS[level]
        sizes = width or WIDTHS[level]
        channels, self.child_channels = CHANNELS[level + 1], CHANNELS[level]
        self.hidden_in = HIDDEN[level + 1] if level + 1 < len(HIDDEN) else 0
        self.hidden_out = HIDDEN[level]
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        self.register_buffer("child_mean", torch.zeros(self.child_channels))
        self.register_buffer("child_std", torch.ones(self.child_channels))
        self.enter = nn.Linear(1 + 2 * channels + 2 + POSITION, sizes.coarse)
        self.enter_hidden = nn.Linear(self.hidden_in, sizes.coarse, bias=False) if self.hidden_in else None
        if self.enter_hidden is not None:
            nn.init.zeros_(self.enter_hidden.weight)
        self.coarse = nn.ModuleList(Residual(sizes.coarse) for _ in range(sizes.coarse_layers))
        self.norm = nn.LayerNorm(sizes.coarse)
        self.up = SparseConv(self.layer.taps, sizes.coarse + channels, sizes.fine, 1 / 2)
        self.place = nn.Linear(POSITION, sizes.fine)
        self.fine = nn.ModuleList(Residual(sizes.fine) for _ in range(sizes.fine_layers))
        self.out_norm = nn.LayerNorm(sizes.fine)
        self.head = nn.Linear(sizes.fine, 1 + self.child_channels + self.hidden_out)

    def start_from(self, weight: Tensor, gain: Tensor) -> None:
        """Start the transposed convolution at the adjoint of the victim's own strided layer.

        weight: (out, kz, ky, kx, in) of that layer; gain: (out,) of its normalisation. About doubles early speed.
        """
        out, _, _, _, c_in = weight.shape
        adjoint = (weight * gain.view(-1, 1, 1, 1, 1)).permute(1, 2, 3, 0, 4).reshape(self.layer.taps, out, c_in)
        keep = min(c_in, self.up.weight.shape[2])
        with torch.no_grad():
            self.up.weight[:, -out:, :keep] = adjoint[:, :, :keep] / adjoint.abs().amax() * 0.2

    def forward(self, guess: Guess, options: Candidates, grid: Grid, child_grid: Grid) -> Guess:
        """Every candidate of ``options`` with its logit, its channels (standardised) and its hidden state.

        grid, child_grid: of the level read and of the level restored.
        """
        rules, count = indices(options.rules), len(options)
        f = guess.features
        standard = (f - self.mean) / self.std
        norm = f.norm(dim=1, keepdim=True)
        where = position(grid.centres(guess.coords))
        belief = guess.logit[:, None] / CERTAIN
        x = self.enter(torch.cat([belief, standard, f / (norm + 1e-3), torch.log1p(norm), norm / 16, where], dim=1))
        if self.enter_hidden is not None:
            x = x + self.enter_hidden(guess.hidden)
        near = indices(submanifold(guess.coords, grid.shape))
        for layer in self.coarse:
            x = layer(x, near)
        x = torch.cat([torch.relu(self.norm(x)), f / self.std.mean()], dim=1)
        y = self.up(x, rules, count) + self.place(position(child_grid.centres(options.coords)))
        near = indices(submanifold(options.coords, child_grid.shape))
        for layer in self.fine:
            y = layer(y, near)
        out = self.head(torch.relu(self.out_norm(y)))
        c = 1 + self.child_channels
        return Guess(options.coords, out[:, 1:c], out[:, 0], out[:, c:])

    def natural(self, standard: Tensor) -> Tensor:
        """Regressed channels in the victim's units: after a ReLU, so never negative."""
        return torch.relu(standard * self.child_std + self.child_mean)


def position(metres: np.ndarray) -> Tensor:
    """Six numbers of order one that say where a site lies: x, y, z, range, log range, beam spacing. (N, 6)."""
    p = torch.from_numpy(metres)
    reach = p[:, :2].norm(dim=1, keepdim=True)
    scaled = p / torch.tensor([40.0, 40.0, 2.0])
    return torch.cat([scaled, reach / 40, torch.log1p(reach) - 3, 10 / (reach + 5)], dim=1)


def focal_loss(logit: Tensor, target: Tensor, alpha: float, gamma: float) -> Tensor:
    """Sigmoid focal loss (Lin et al., 2017; ConcreTizer's equation 1), per site.

    FL = -alpha_t (1 - p_t)^gamma log p_t with p_t the probability of the true class and alpha_t = alpha for occupied
    sites, 1 - alpha for empty ones. target: 0 or 1, the shape of ``logit``.
    """
    cross = F.binary_cross_entropy_with_logits(logit, target, reduction="none")
    p = torch.sigmoid(logit)
    p_t = p * target + (1 - p) * (1 - target)
    alpha_t = alpha * target + (1 - alpha) * (1 - target)
    return alpha_t * (1 - p_t) ** gamma * cross
