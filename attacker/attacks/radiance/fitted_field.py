"""The field of a listener on the wire that knows nothing of the cloud's half: its own, fitted to what crosses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attacker.attacks.radiance.heard import Points
from victims.base import State
from victims.radiance.hash_grid import HashGrid
from victims.radiance.optimiser import BETAS, EPSILON
from wire.seeds import generator

HIDDEN: Final = 64


@dataclass(frozen=True)
class Shape:
    """Of the hash grid: :class:`victims.radiance.hash_grid.HashGrid`. It need not be the cloud's."""

    levels: int = 8
    rows_log2: int = 15
    base: int = 16
    finest: int = 512


class _Network(nn.Module):
    """Hash grid, one hidden layer, embeddings."""

    def __init__(self, shape: Shape, width: int) -> None:
        super().__init__()
        self.grid = HashGrid(shape.levels, shape.rows_log2, shape.base, shape.finest)
        self.first = nn.Linear(self.grid.width, HIDDEN)
        self.second = nn.Linear(HIDDEN, width)
        # The cloud's embeddings begin near zero and grow a thousandfold in the first steps; so do these.
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, positions: Tensor) -> Tensor:
        made: Tensor = self.second(F.relu(self.first(self.grid(positions))))
        return made


class FittedField:
    """A :class:`attacker.attacks.radiance.field.Field` that follows the cloud's by Adam on the squared error.

    error: of the last step, relative to the mean square of the embeddings, before they were learnt from.
    """

    def __init__(self, shape: Shape, width: int, rate: float, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(generator(seed, "radiance.fit").integers(1 << 62)))
            self._network = _Network(shape, width)
        self._rate = rate
        self._adam = self._optimiser()
        self.error = 1.0
        self._least = 0.0  # embeddings after a ReLU are not negative, and then this field's are not either

    def fit(self, chunks: Iterable[Points]) -> None:
        """Take one step towards the embeddings of one step of the training, which come in chunks, three times."""
        values = sum(points.embeddings.numel() for points in chunks)
        scale = loss = 0.0
        for points in chunks:
            scale += float(points.embeddings.square().mean()) * (points.embeddings.numel() / values)
            self._least = min(self._least, float(points.embeddings.min()))
        self._adam.zero_grad(set_to_none=True)
        for points in chunks:
            wanted = points.embeddings.view(-1, points.embeddings.shape[-1])
            share = F.mse_loss(self._network(points.positions), wanted) * (wanted.numel() / values)
            loss += float(share.detach())
            (share / scale if scale else share).backward()  # type: ignore[no-untyped-call]
        self.error = loss / scale if scale else 0.0
        self._adam.step()

    @torch.no_grad()
    def embed(self, positions: Tensor) -> Tensor:
        """The fit, not below the least value that was heard."""
        made: Tensor = self._network(positions)
        return made.clamp(min=self._least)

    def state(self) -> State:
        """Weights and moments."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self._network.named_parameters():
            tensors[f"weight.{name}"] = parameter.detach().clone()
            for key, value in self._adam.state.get(parameter, {}).items():
                tensors[f"{key}.{name}"] = value.clone()
        return State(tensors, {"error": self.error, "least": self._least})

    def load(self, state: State) -> None:
        """Go back to it."""
        self._adam = self._optimiser()
        for name, parameter in self._network.named_parameters():
            with torch.no_grad():
                parameter.copy_(state.tensors[f"weight.{name}"])
            if f"step.{name}" in state.tensors:
                self._adam.state[parameter] = {
                    key: state.tensors[f"{key}.{name}"].clone() for key in ("exp_avg", "exp_avg_sq", "step")
                }
        self.error, self._least = float(state.meta["error"]), float(state.meta["least"])  # type: ignore[arg-type]

    def _optimiser(self) -> torch.optim.Adam:
        return torch.optim.Adam(self._network.parameters(), lr=self._rate, betas=BETAS, eps=EPSILON, fused=True)
