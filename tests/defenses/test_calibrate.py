"""The unit of strength, against numpy and by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from defenses.calibrate import calibrate_rms
from wire.errors import InputError
from wire.payload import Payload

FEATURES = frozenset({"features"})


def test_by_hand() -> None:
    payload = Payload("features", "dense", {"a": torch.tensor([3.0, 4.0]), "index": torch.tensor([9])})
    other = Payload("result", "dense", {"a": torch.tensor([1e9])})
    calibration = calibrate_rms([payload, other], FEATURES)
    assert calibration.rms == math.sqrt(12.5)
    assert calibration.frames == 1


def test_every_value_counts_alike_however_it_is_spread(make_voxels: Callable[..., Payload]) -> None:
    payloads = [make_voxels(count=count, seed=count) for count in (0, 1, 7, 1900)]
    everything = np.concatenate([p.tensors["features"].numpy().ravel() for p in payloads]).astype(np.float64)
    calibration = calibrate_rms(payloads, FEATURES)
    assert calibration.rms == pytest.approx(np.sqrt(np.mean(everything**2)), rel=1e-12)
    assert calibration.frames == 4


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_nothing_to_measure(value: float) -> None:
    with pytest.raises(InputError, match="sum of squares"):
        calibrate_rms([Payload("features", "dense", {"a": torch.full((2,), value)})], FEATURES)
    with pytest.raises(InputError, match="no values in 0 clean payloads of role features"):
        calibrate_rms([], FEATURES)


def test_other_layouts_are_refused() -> None:
    with pytest.raises(InputError, match="layout 'rays' cannot be noised; accepted: sparse_voxels, dense"):
        calibrate_rms([Payload("features", "rays", {"a": torch.ones(2)})], FEATURES)
