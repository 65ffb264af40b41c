"""Intervals against a plain set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attacker.numbers import Numbers


@given(st.lists(st.integers(0, 40), max_size=60))
def test_as_a_set(values: list[int]) -> None:
    ours, plain = Numbers(), set()
    for value in values:
        assert ours.add(value) == (value not in plain)
        plain.add(value)
        assert len(ours) == len(plain)
        for probe in range(42):
            assert (probe in ours) == (probe in plain)
            assert ours.below(probe) == max((p for p in plain if p < probe), default=None)


def test_negative_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        Numbers().add(-1)
