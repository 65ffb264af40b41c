"""Which channels go, how many, and that on average nothing does."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from defenses.channel_dropout import ChannelDropout
from tests.contract.defense import fingerprint, tensor_bytes, turn
from wire.errors import InputError
from wire.payload import Payload

AXES = {(2, 8, 3, 4): 1, (2, 5, 8): 2, (3, 8): 1}


def left(shape: tuple[int, ...], frame: int = 0, **settings: Any) -> tuple[torch.Tensor, dict[str, Any]]:
    payload = Payload("features", "dense", {"x": torch.ones(shape)})
    protected = ChannelDropout(settings).protect([payload], turn(frame))
    return protected.parts[0].tensors["x"], dict(protected.record)


@pytest.mark.parametrize("shape", AXES)
@given(share=st.floats(0, 1), frame=st.integers(0, 50), rescale=st.booleans())
def test_whole_channels_go_and_one_stays(shape: tuple[int, ...], share: float, frame: int, rescale: bool) -> None:
    found, record = left(shape, frame, share=share, rescale=rescale)
    out = min(7, round(share * 8))
    by_channel = found.movedim(AXES[shape], 0).flatten(1)
    assert (by_channel == by_channel[:, :1]).all()
    assert int((by_channel[:, 0] == 0).sum()) == out
    kept = by_channel[by_channel[:, 0] != 0]
    assert torch.allclose(kept, torch.full_like(kept, 8 / (8 - out) if rescale else 1.0))
    assert record.get("dropped") == (out if share > 0 else 0)


def test_every_channel_goes_equally_often_and_the_mean_is_what_came() -> None:
    rounds = 2000
    found = torch.stack([left((1, 8), frame, share=0.25)[0][0] for frame in range(rounds)]).numpy()
    gone = (found == 0).sum(0)
    assert gone.sum() == 2 * rounds
    # each of 8 channels is out in a quarter of the frames; those of one frame exclude each other, which only narrows it
    assert stats.chisquare(gone).pvalue > 1e-6
    assert np.abs(found.mean(0) - 1).max() < stats.norm.isf(1e-7) * (8 / 6) * math.sqrt(0.25 * 0.75 / rounds)


def test_sites_stay_and_a_share_of_zero_lets_everything_pass(make_voxels: Callable[..., Payload]) -> None:
    clean = make_voxels()
    protected = ChannelDropout({"share": 0.5}).protect([clean], turn())
    assert tensor_bytes(protected.parts[0])["coords"] == tensor_bytes(clean)["coords"]
    assert int((protected.parts[0].tensors["features"].abs().sum(0) == 0).sum()) == 8
    assert protected.record == {"channels": 16, "dropped": 8, "bytes": clean.nbytes}
    untouched = ChannelDropout({"share": 0}).protect([clean], turn()).parts[0]
    assert fingerprint(untouched) == fingerprint(clean)


def test_what_is_not_finite_does_not_outlive_its_channel() -> None:
    payload = Payload("features", "dense", {"x": torch.tensor([[math.inf, math.inf]])})
    found = ChannelDropout({"share": 0.5}).protect([payload], turn()).parts[0].tensors["x"]
    assert sorted(found[0].tolist()) == [0.0, math.inf]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"share": 1.5}, "share is 1.5; accepted: a number from 0 to 1"),
        ({"rescale": 1}, "rescale is 1; accepted: true, false"),
        ({"strength": 1}, "setting 'strength' is unknown; accepted: share, rescale"),
    ],
)
def test_settings_are_refused_in_one_line(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        ChannelDropout(settings)
    assert str(caught.value) == f"defense channel_dropout: {said}"
    assert ChannelDropout({}).mechanism() is None
