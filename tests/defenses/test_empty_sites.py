"""Drawing empty cells, against numpy's own indexing and by enumeration."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from defenses.empty_sites import cells, distinct, sites, skip


@given(st.data())
def test_distinct_is_a_subset_of_the_asked_size(data: st.DataObject) -> None:
    population = data.draw(st.integers(0, 300))
    count = data.draw(st.integers(0, population))
    chosen = distinct(np.random.default_rng(data.draw(st.integers(0, 99))), population, count)
    assert chosen.dtype == np.int64
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert len(chosen) == count
    assert count == 0 or (chosen[0] >= 0 and chosen[-1] < population)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_every_subset_is_equally_likely(count: int) -> None:
    rng, rounds = np.random.default_rng(count), 6000
    drawn = Counter(tuple(distinct(rng, 6, count).tolist()) for _ in range(rounds))
    subsets = list(combinations(range(6), count))
    assert set(drawn) <= set(subsets)
    assert stats.chisquare([drawn[subset] for subset in subsets]).pvalue > 1e-6


@pytest.mark.parametrize("count", [-1, 6])
def test_more_than_there_are_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} distinct numbers out of 5"):
        distinct(np.random.default_rng(0), 5, count)


@given(st.sets(st.integers(0, 60)))
def test_skip_numbers_the_free_cells(taken: set[int]) -> None:
    free = [number for number in range(80) if number not in taken]
    ranks = np.arange(len(free), dtype=np.int64)
    assert skip(ranks, np.array(sorted(taken), dtype=np.int64)).tolist() == free


@given(st.tuples(*[st.integers(1, 1000)] * 4), st.randoms())
def test_cells_and_sites_are_numpys(shape: tuple[int, int, int, int], random: np.random.Generator) -> None:
    coords = np.array([[random.randrange(size) for size in shape] for _ in range(5)], dtype=np.int32)  # type: ignore[attr-defined]
    numbers = cells(coords, shape[1:])
    assert numbers.tolist() == np.ravel_multi_index(tuple(coords.T.astype(np.int64)), shape).tolist()
    assert np.array_equal(sites(numbers, shape[1:]), coords)
