"""Which transmitted sites are real, and what their features were before the noise: the first step of an aware attack.

Both rules of ``sites`` assume an exact site list. A defense that fills empty sites with noise breaks that, and noise on
the features blinds a network that was trained on clean ones. The sieve reads the noisy tensor and hands the chain what
a block would have: sites with beliefs, features, and a hidden state.

The noise's strength need not be told. Features leave a ReLU, so they are never negative, and about half of them are
exactly zero; a negative value is therefore noise on a zero, and the mean square of the negative values is sigma^2.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from attacker.attacks.lidar.network import CHANNELS, HIDDEN, POSITION, Grid, Guess, Residual, indices, position
from attacker.attacks.lidar.sites import Ints, submanifold

FAINT = 0.02
"""Sites less likely than this by their own features alone are dropped before their neighbourhoods are read."""


def noise_level(features: Tensor) -> float:
    """Standard deviation of additive Gaussian noise on non-negative features, from the negative values; 0 if none."""
    negative = features[features < 0]
    return float(negative.square().mean().sqrt()) if len(negative) else 0.0


class Sieve(nn.Module):
    """Beliefs, features and hidden state of the sites of ``level``, from a noisy payload."""

    mean: Tensor
    std: Tensor

    def __init__(self, level: int, width: int = 96, layers: int = 3) -> None:
        super().__init__()
        self.level = level
        self.threshold = 0.5
        channels, hidden = CHANNELS[level], HIDDEN[level]
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        inputs = 3 * channels + 2 + 3 + POSITION
        self.alone = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, 1))
        self.enter = nn.Linear(inputs, width)
        self.layers = nn.ModuleList(Residual(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 1 + channels + hidden)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, coords: Ints, features: Tensor, grid: Grid) -> tuple[Tensor, Guess]:
        """Every site's belief by itself, (N,) logits, and a guess over the sites that are not dropped at once."""
        sigma = noise_level(features)
        x = self._inputs(coords, features, grid, sigma)
        first = self.alone(x)[:, 0]
        rows = torch.nonzero(first > float(np.log(FAINT / (1 - FAINT))))[:, 0]
        kept, f = coords[rows.numpy()], features[rows]
        near = indices(submanifold(kept, grid.shape))
        y = self.enter(x[rows])
        for layer in self.layers:
            y = layer(y, near)
        out = self.head(torch.relu(self.norm(y)))
        c = 1 + len(self.std)
        clean = torch.relu(torch.relu(f - 0.5 * sigma) + self.std * out[:, 1:c])
        return first, Guess(kept, clean, first[rows] + out[:, 0], out[:, c:])

    @property
    def rms(self) -> float:
        """Root mean square of clean features: the unit of the defenses' strength."""
        return float((self.mean.square() + self.std.square()).mean().sqrt())

    def _inputs(self, coords: Ints, features: Tensor, grid: Grid, sigma: float) -> Tensor:
        scale = self.std.mean()
        norm = features.norm(dim=1, keepdim=True)
        level = sigma / float(scale)
        energy = norm.square() / (features.shape[1] * (sigma**2 + float(scale) ** 2 * 1e-3))
        # The mean says how much of the payload is filling: filled sites carry the noise's energy only.
        crowd = float(torch.log1p(energy).mean()) if len(energy) else 0.0
        spread = features.new_tensor([level, float(np.log1p(level)), crowd])
        return torch.cat(
            [
                (features - self.mean) / (self.std + sigma),
                torch.relu(features - sigma) / self.std,
                features / (norm + 1e-3),
                torch.log1p(norm),
                torch.log1p(energy),
                spread.expand(len(features), 3),
                position(grid.centres(coords)),
            ],
            dim=1,
        )

    def believed(self, guess: Guess) -> Guess:
        """The sites whose belief reaches the threshold."""
        rows = torch.nonzero(guess.logit >= float(np.log(self.threshold / (1 - self.threshold))))[:, 0]
        return Guess(guess.coords[rows.numpy()], guess.features[rows], guess.logit[rows], guess.hidden[rows])
