"""Means over seeds: Student's interval against scipy's own test, and what is said of few seeds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lab.metrics.radiance import PSNR
from lab.over_seeds import entry, spread


@given(st.lists(st.floats(-50, 50), min_size=3, max_size=12).filter(lambda v: max(v) - min(v) > 1e-3))
def test_the_interval_is_that_of_a_t_test(values: list[float]) -> None:
    found = spread(values)
    assert found is not None
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(theirs.low), pytest.approx(theirs.high))
    assert found.asdict() == {"mean": found.mean, "low": found.low, "high": found.high, "seeds": len(values)}


def test_by_hand() -> None:
    found = spread([1.0, 2.0, 3.0])  # deviation 1, t of 2 degrees of freedom 4.303
    assert found is not None
    assert found.mean == 2.0
    assert found.high == pytest.approx(2 + 4.3027 / 3**0.5, abs=1e-4)
    assert entry(found, PSNR).small == ("-0.484 to 4.48", "3 seeds")


def test_few_seeds_have_no_interval_and_none_no_value() -> None:
    two = spread([1.0, 3.0])
    assert two is not None
    assert (two.mean, two.low, two.high, two.n) == (2.0, None, None, 2)
    assert (entry(two, PSNR).small, entry(two, PSNR).why) == (("2 seeds",), "no interval: fewer than 3 seeds")
    assert spread([]) is None
    assert entry(None, PSNR).why == "no seed had a value"
