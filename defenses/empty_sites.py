"""Choosing empty cells of a sparse grid: uniformly, without repetition, and without ever listing the grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Cells = NDArray[np.int64]


def distinct(rng: np.random.Generator, population: int, count: int) -> Cells:
    """int64 (count,), ascending: a uniformly drawn subset of ``range(population)``.

    Draws as many as are missing and keeps the new ones until enough are there: no number is favoured at any point, so
    every subset of that size is equally likely. Above half the population the left-out numbers are drawn instead.
    Memory and time follow ``count``. Raises ValueError where ``count`` is not within 0..population.
    """
    if not 0 <= count <= population:
        raise ValueError(f"{count} distinct numbers out of {population}")
    if count > population // 2:
        return skip(np.arange(count, dtype=np.int64), distinct(rng, population, population - count))
    chosen: Cells = np.empty(0, dtype=np.int64)
    while chosen.size < count:
        drawn = np.sort(rng.integers(0, population, size=count - chosen.size, dtype=np.int64))
        drawn = drawn[np.diff(drawn, prepend=-1) > 0]  # np.unique hashes whole numbers: ten times slower here
        if chosen.size:
            place = np.minimum(np.searchsorted(chosen, drawn), chosen.size - 1)
            drawn = drawn[chosen[place] != drawn]
        chosen = np.sort(np.concatenate((chosen, drawn)), kind="stable")
    return chosen


def skip(ranks: Cells, taken: Cells) -> Cells:
    """The numbers with these ranks among those that are not ``taken``.

    ranks: int64 (k,), from 0. taken: int64 (n,), ascending, distinct. Before the free number of rank r stand as many
    taken ones as satisfy ``taken[i] - i <= r``.
    """
    free_before = taken - np.arange(taken.size, dtype=np.int64)
    return ranks + np.searchsorted(free_before, ranks, side="right")


def cells(coords: NDArray[np.int32], grid: tuple[int, int, int]) -> Cells:
    """int32 (N, 4) of batch, z, y, x -> int64 (N,) numbers that ascend in that order."""
    batch, z, y, x = coords.astype(np.int64).T
    depth, height, width = grid
    return np.asarray(((batch * depth + z) * height + y) * width + x, dtype=np.int64)


def sites(numbers: Cells, grid: tuple[int, int, int]) -> NDArray[np.int32]:
    """The inverse of :func:`cells`: int64 (N,) -> int32 (N, 4) of batch, z, y, x."""
    depth, height, width = grid
    rest, x = np.divmod(numbers, width)
    rest, y = np.divmod(rest, height)
    batch, z = np.divmod(rest, depth)
    return np.stack((batch, z, y, x), axis=1).astype(np.int32)
