"""Multiresolution hash encoding of positions, fast enough on a processor.

Müller et al., "Instant neural graphics primitives with a multiresolution hash encoding", 2022, equations 1 to 4: at
each of L levels a position falls into a cube of a grid; the two features at each of its eight corners lie in a table,
and are mixed trilinearly. Where a level has more corners than rows, a hash of the corner chooses the row.

The eight rows of a point are summed by ``embedding_bag``, which reads each once; the gradient is scattered by
``bincount``, one feature at a time: adding rows of two numbers one after the other costs ten times as much.
"""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

FEATURES: Final = 2
"""Per level; the scatter of the gradient works on one after the other."""

PRIMES: Final = (1, 2654435761, 805459861)
"""Equation 4's factors of x, y and z."""

START: Final = 1e-4
"""Features begin uniformly within this of zero."""


class HashGrid(nn.Module):
    """Positions float32 (N, 3) in the cube [-1, 1] to features float32 (N, levels * 2); outside, the cube's surface.

    levels: of the grid, from ``base`` to ``finest`` cells a side in equal ratios. rows_log2: a level has at most so
    many rows, as a power of two.
    """

    def __init__(self, levels: int, rows_log2: int, base: int, finest: int) -> None:
        super().__init__()
        growth = math.exp(math.log(finest / base) / max(levels - 1, 1))
        self.cells = [math.floor(base * growth**level + 1e-6) for level in range(levels)]
        self.rows = [min((cells + 1) ** 3, 1 << rows_log2) for cells in self.cells]
        self.width = levels * FEATURES
        self.table = nn.Parameter(torch.empty(sum(self.rows), FEATURES).uniform_(-START, START))

    def forward(self, positions: Tensor) -> Tensor:
        """The features; differentiable once, with respect to the table alone."""
        rows, weights = self.corners(positions)
        mixed: Tensor = _Mix.apply(self.table, rows, weights)  # type: ignore[no-untyped-call]
        levels = len(self.cells)
        return mixed.view(levels, len(positions), FEATURES).transpose(0, 1).reshape(-1, self.width)

    @torch.no_grad()
    def corners(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Rows int32 and weights float32, both (levels * N, 8): level by level, whose rows then stay in the cache."""
        unit = ((positions + 1) / 2).clamp(0, 1).T  # (3, N)
        count = unit.shape[1]
        rows = torch.empty(len(self.cells), 8, count, dtype=torch.int32, device=unit.device)
        weights = torch.empty(len(self.cells), 8, count, dtype=torch.float32, device=unit.device)
        first = 0
        for level, (cells, size) in enumerate(zip(self.cells, self.rows, strict=True)):
            scaled = unit * cells
            low = scaled.floor().clamp_(max=cells - 1)
            far = scaled - low
            near = 1 - far
            self._level(rows[level], low.to(torch.int32), cells, size, first)
            x, y, z = ((near[axis], far[axis]) for axis in range(3))
            for corner in range(8):
                torch.mul(x[corner & 1], y[corner >> 1 & 1] * z[corner >> 2], out=weights[level, corner])
            first += size
        return rows.transpose(1, 2).reshape(-1, 8), weights.transpose(1, 2).reshape(-1, 8)

    @staticmethod
    def _level(out: Tensor, low: Tensor, cells: int, size: int, first: int) -> None:
        """The rows of one level's eight corners into ``out`` int32 (8, N)."""
        hashed = size < (cells + 1) ** 3
        strides = [_signed(p) for p in PRIMES] if hashed else [1, cells + 1, (cells + 1) ** 2]
        steps = [(low[axis] * strides[axis], (low[axis] + 1) * strides[axis]) for axis in range(3)]
        for high in range(4):
            y, z = steps[1][high & 1], steps[2][high >> 1]
            rest = torch.bitwise_xor(y, z) if hashed else y + z
            for x in range(2):
                corner = out[2 * high + x]
                if hashed:
                    torch.bitwise_xor(steps[0][x], rest, out=corner)
                    corner.bitwise_and_(size - 1)
                else:
                    torch.add(steps[0][x], rest, out=corner)
                corner.add_(first)


class _Mix(torch.autograd.Function):
    """table (rows, 2), rows int32 (M, 8), weights (M, 8) to the weighted sums (M, 2)."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weights)
        ctx.size = len(table)
        return F.embedding_bag(rows, table, per_sample_weights=weights, mode="sum")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        rows, weights = ctx.saved_tensors
        flat = rows.view(-1)
        sums = [
            torch.bincount(flat, (weights * gradient[:, feature, None]).view(-1), ctx.size)
            for feature in range(FEATURES)
        ]
        return torch.stack(sums, dim=1), None, None


def _signed(prime: int) -> int:
    """The factor as a 32-bit integer: products wrap, and their low bits are those of the unsigned ones."""
    return prime - (1 << 32) if prime >= 1 << 31 else prime
