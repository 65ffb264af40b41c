"""Poses that are learnt: small corrections of a start, through embeddings that can be differentiated by position.

The photometric loss is followed back to the camera (iNeRF; Yen-Chen et al. 2021). The hash grid of the victim is
differentiable by its table alone, so its features are written out again here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from victims.radiance.hash_grid import HashGrid
from victims.radiance.networks import CloudPart


class PoseCorrections(nn.Module):
    """For each of N poses, a turn (axis times angle, radians, about the scene's axes) and a shift; both begin at 0."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.turns = nn.Parameter(torch.zeros(count, 3))
        self.shifts = nn.Parameter(torch.zeros(count, 3))

    def forward(self, pose: Tensor, number: int) -> Tensor:
        """The corrected pose (3, 4), rigid as the given one is."""
        x, y, z = self.turns[number]
        zero = torch.zeros_like(x)
        across = torch.stack([torch.stack(row) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))])
        rotation = torch.linalg.matrix_exp(across)
        return torch.cat([rotation @ pose[:, :3], (pose[:, 3] + self.shifts[number])[:, None]], dim=1)


def embed(part: CloudPart, positions: Tensor) -> Tensor:
    """The cloud's embeddings (N, E) of positions (N, 3), differentiable by position. The weights are not learnt."""
    features = _features(part.grid, positions)
    if part.split != "grid":
        features = F.relu(F.linear(features, part.first.weight.detach()))
    return F.linear(features, part.second.weight.detach()) if part.split == "light" else features


def _features(grid: HashGrid, positions: Tensor) -> Tensor:
    """As the grid's own, (N, levels * 2)."""
    levels, count = len(grid.cells), len(positions)
    rows, _ = grid.corners(positions.detach())
    found = grid.table.detach()[rows.long()].view(levels, count, 8, -1)
    unit = ((positions + 1) / 2).clamp(0, 1)
    weights = torch.stack([_weights(unit * cells, cells) for cells in grid.cells])  # (levels, N, 8)
    return (found * weights[..., None]).sum(2).transpose(0, 1).reshape(count, -1)


def _weights(scaled: Tensor, cells: int) -> Tensor:
    """Of the eight corners (N, 8) at positions (N, 3) counted in cells: x changes first, then y, then z."""
    far = scaled - scaled.detach().floor().clamp(max=cells - 1)
    both = torch.stack([1 - far, far], dim=2)  # (N, axis, low or high)
    x, y, z = both[:, 0, None, None, :], both[:, 1, None, :, None], both[:, 2, :, None, None]
    return (x * y * z).flatten(1)
