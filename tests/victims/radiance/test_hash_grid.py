"""The hash grid against a reference that goes point by point, corner by corner, in plain integers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from victims.radiance.hash_grid import HashGrid

PRIMES = (1, 2654435761, 805459861)


def reference(grid: HashGrid, position: tuple[float, float, float]) -> list[tuple[int, int, float]]:
    """Level, row and weight of every corner, by equations 1 to 4 of the paper, in unsigned 32-bit arithmetic."""
    found, first = [], 0
    for level, (cells, rows) in enumerate(zip(grid.cells, grid.rows, strict=True)):
        scaled = [min(max((p + 1) / 2, 0.0), 1.0) * cells for p in position]
        low = [min(math.floor(s), cells - 1) for s in scaled]
        for corner in range(8):
            bits = [corner >> axis & 1 for axis in range(3)]
            weight, place = 1.0, [low[axis] + bits[axis] for axis in range(3)]
            for axis in range(3):
                share = scaled[axis] - low[axis]
                weight *= share if bits[axis] else 1 - share
            if (cells + 1) ** 3 <= rows:
                row = place[0] + place[1] * (cells + 1) + place[2] * (cells + 1) ** 2
            else:
                row = 0
                for axis in range(3):
                    row ^= place[axis] * PRIMES[axis] % (1 << 32)
                row %= rows
            found.append((level, first + row, weight))
        first += rows
    return found


@pytest.fixture(scope="module")
def grid() -> HashGrid:
    torch.manual_seed(0)
    made = HashGrid(levels=5, rows_log2=9, base=3, finest=700)
    torch.nn.init.normal_(made.table)
    return made


def test_levels_grow_in_equal_ratios_and_only_large_ones_are_hashed(grid: HashGrid) -> None:
    assert grid.cells == [3, 11, 45, 179, 700]  # 3 * (700 / 3) ** (level / 4), rounded down
    assert grid.rows == [64, 512, 512, 512, 512] and grid.table.shape == (64 + 4 * 512, 2) and grid.width == 10


def test_values_and_gradients_against_the_reference(grid: HashGrid) -> None:
    points = torch.rand(20, 3, generator=torch.Generator().manual_seed(1)) * 2.4 - 1.2  # some lie outside
    upstream = torch.randn(20, 10, generator=torch.Generator().manual_seed(2))
    table, wanted = grid.table.detach().double(), torch.zeros(20, 10, dtype=torch.float64)
    slope = torch.zeros_like(table)
    for number, point in enumerate(points.tolist()):
        for level, row, weight in reference(grid, tuple(point)):
            here = slice(2 * level, 2 * level + 2)
            wanted[number, here] += weight * table[row]
            slope[row] += weight * upstream[number, here].double()
    grid.zero_grad()
    values = grid(points)
    values.backward(upstream)
    # A float32 place in a level of 700 cells is good to 700 * 2 ** -24 of a cell.
    assert torch.allclose(values.double(), wanted, atol=5e-4)
    assert grid.table.grad is not None and torch.allclose(grid.table.grad.double(), slope, atol=2e-3)
    assert torch.equal(grid.table.grad == 0, slope == 0)  # no row is touched that should not be


@given(st.lists(st.tuples(*[st.floats(-1, 1, width=32)] * 3), min_size=1, max_size=20))
@settings(max_examples=25, deadline=None)
def test_weights_are_shares_and_rows_exist(points: list[tuple[float, float, float]]) -> None:
    grid = HashGrid(levels=3, rows_log2=6, base=2, finest=40)
    rows, weights = grid.corners(torch.tensor(points, dtype=torch.float32))
    assert rows.shape == weights.shape == (3 * len(points), 8)
    assert torch.allclose(weights.sum(1), torch.ones(len(weights))) and bool((weights >= 0).all())
    first = 0
    for level, count in enumerate(grid.rows):
        of_level = rows[level * len(points) : (level + 1) * len(points)]
        assert int(of_level.min()) >= first and int(of_level.max()) < first + count
        first += count


def test_features_are_continuous_across_cells(grid: HashGrid) -> None:
    edge = torch.tensor([[1 / 3 - 1e-6, 0.2, 0.1], [1 / 3 + 1e-6, 0.2, 0.1]])  # between two cells of the coarsest level
    below, above = grid(edge)[:, :2]
    assert torch.allclose(below, above, atol=1e-4)
