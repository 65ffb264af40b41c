"""Clamped gradients by hand and by property."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from defenses.gradient_clip import GradientClip
from tests.contract.defense import check_defense, turn
from wire.errors import InputError
from wire.payload import Payload

CLEAN = torch.tensor([[[3.0, -4.0], [0.6, 0.8], [0.0, 2.0]]])
"""Row norms 5, 1 and 2."""


def part(rows: torch.Tensor) -> Payload:
    return Payload("gradients", "gradients", {"gradients": rows}, {"step": 0, "part": 0, "parts": 1})


def test_by_hand() -> None:
    protected = GradientClip({}).protect([part(CLEAN)], turn())
    assert protected.parts[0].tensors["gradients"].tolist() == [[[2.0, -2.0], CLEAN[0, 1].tolist(), [0.0, 2.0]]]
    assert protected.record == {"bound": 2.0, "clipped": 2 / 6, "max_norm": 5.0, "median_norm": 2.0}


def test_the_median_is_of_the_whole_step() -> None:
    first, second = part(CLEAN[:, :1]), part(CLEAN[:, 1:])
    split = GradientClip({}).protect([first, second], turn())
    assert split.record == GradientClip({}).protect([part(CLEAN)], turn()).record


@given(bound=st.floats(0, 10, width=32), scale=st.floats(0, 100, width=32))
def test_nothing_beyond_the_bound_leaves_and_the_rest_stays(bound: float, scale: float) -> None:
    clean = CLEAN * scale
    left = GradientClip({"norm": bound}).protect([part(clean)], turn()).parts[0].tensors["gradients"]
    assert float(left.abs().max()) <= bound
    within = clean.abs() <= bound
    assert torch.equal(left[within], clean[within])
    assert torch.equal(left.sign(), clean.sign() * (bound > 0))


@pytest.mark.parametrize("settings", [{}, {"norm": 0.5}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_contract_holds_for_gradients(settings: dict[str, Any], dtype: torch.dtype) -> None:
    check_defense(lambda: GradientClip(settings), [part(CLEAN.to(dtype)), part(CLEAN.to(dtype) * 3)])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"norm": "mean"}, "norm is 'mean'; accepted: median, a number from 0 to 1e+09"),
        ({"norm": -1}, "norm is -1; accepted: a number from 0 to 1e+09"),
        ({"bound": 1}, "setting 'bound' is unknown; accepted: norm"),
    ],
)
def test_settings_are_refused_in_one_line(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        GradientClip(settings)
    assert str(caught.value) == f"defense gradient-clip: {said}"
