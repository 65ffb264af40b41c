"""Levels by hand and by property, and chance rounding that keeps the mean."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from defenses.quantise import Quantise
from tests.contract.defense import turn
from wire.errors import InputError
from wire.payload import Payload


def left(values: np.ndarray, frame: int = 0, **settings: Any) -> np.ndarray:
    payload = Payload("features", "dense", {"x": torch.from_numpy(values)})
    out: np.ndarray = Quantise(settings).protect([payload], turn(frame)).parts[0].tensors["x"].numpy()
    return out


def test_by_hand() -> None:
    assert left(np.array([[0.0, 1.2, 1.6, 5.0, 6.0]]), bits=2).tolist() == [[0.0, 2.0, 2.0, 4.0, 6.0]]
    assert left(np.array([[-1.0, 0.2, 3.0]]), bits=1).tolist() == [[-1.0, -1.0, 3.0]]
    assert left(np.full((1, 3), 7.0), bits=1).tolist() == [[7.0] * 3]  # one value needs no levels


@given(
    values=arrays(np.float64, (1, 30), elements=st.floats(-1e6, 1e6, width=32)),
    bits=st.integers(1, 16),
    rounding=st.sampled_from(["nearest", "stochastic"]),
)
def test_few_evenly_spaced_values_within_the_range_and_near(values: np.ndarray, bits: int, rounding: str) -> None:
    found = left(values, bits=bits, rounding=rounding)
    span = values.max() - values.min()
    step = span / (2**bits - 1)
    slack = 1e-9 * (np.abs(values).max() + 1e-300)
    assert len(np.unique(found)) <= 2**bits
    assert values.min() - slack <= found.min() and found.max() <= values.max() + slack
    assert (np.abs(found - values) <= step * (0.5 if rounding == "nearest" else 1.0) + slack).all()
    assert found[values == values.min()] == pytest.approx(values.min(), abs=slack)
    assert found[values == values.max()] == pytest.approx(values.max(), abs=slack)


def test_chance_rounding_keeps_the_mean() -> None:
    values = np.full((1, 40_002), 0.3)
    values[0, :2] = 0.0, 1.0
    up = left(values, bits=1, rounding="stochastic")[0, 2:].sum()
    assert stats.binomtest(int(up), 40_000, 0.3).pvalue > 1e-6
    assert left(values, bits=1)[0, 2:].sum() == 0.0


def test_the_record_counts_what_a_packed_form_would_take(make_dense: Callable[..., Payload]) -> None:
    clean = make_dense(shape=(1, 3, 5, 5))
    protected = Quantise({"bits": 3}).protect([clean], turn())
    moved = protected.parts[0].tensors["x"] - clean.tensors["x"]
    assert protected.record == {
        "values": 75,
        "error": pytest.approx(float(moved.double().square().mean().sqrt()), rel=1e-6),
        "bytes": clean.nbytes,
        "packed_bytes": math.ceil(75 * 3 / 8) + 8,
    }
    assert Quantise({}).mechanism() is None


def test_what_is_not_finite_stays() -> None:
    found = left(np.array([[math.nan, 0.0, 0.4, 1.0, math.inf]]), bits=1)[0]
    assert math.isnan(found[0]) and found[1:].tolist() == [0.0, 0.0, 1.0, math.inf]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bits": 0}, "bits is 0; accepted: a whole number from 1 to 16"),
        ({"bits": 2.5}, "bits is 2.5; accepted: a whole number from 1 to 16"),
        ({"bits": True}, "bits is True; accepted: a whole number from 1 to 16"),
        ({"rounding": "up"}, "rounding is 'up'; accepted: nearest, stochastic"),
        ({"strength": 1}, "setting 'strength' is unknown; accepted: bits, rounding"),
    ],
)
def test_settings_are_refused_in_one_line(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        Quantise(settings)
    assert str(caught.value) == f"defense quantise: {said}"
