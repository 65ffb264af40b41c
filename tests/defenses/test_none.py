"""No defense: what passes, and the unit it measures for the defense that follows it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from defenses.feature_centric import FeatureCentric
from defenses.none import NoDefense
from tests.contract.defense import fingerprint, turn
from wire.payload import Payload


def test_the_very_payloads_pass(make_voxels: Callable[..., Payload]) -> None:
    clean = make_voxels()
    protected = NoDefense({}).protect([clean], turn())
    assert protected.parts[0] is clean
    assert protected.record == {}


def test_a_swap_finds_the_unit(make_voxels: Callable[..., Payload]) -> None:
    clean = make_voxels()
    calibration = NoDefense({}).calibrate([clean])
    assert calibration == FeatureCentric({}).calibrate([clean])
    left = FeatureCentric({}, calibration).protect([clean], turn()).parts[0]
    assert fingerprint(left) != fingerprint(clean)


@pytest.mark.parametrize("payloads", [0, 1])
def test_an_empty_stream_is_no_error(make_voxels: Callable[..., Payload], payloads: int) -> None:
    assert NoDefense({}).calibrate([make_voxels(count=0)] * payloads).rms == 0.0
