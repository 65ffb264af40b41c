"""The noise of ``feature_centric``, measured on the bytes that leave.

Every bound is computed: under the claim, a correct defense fails one of these fixed-seed checks with chance below 1e-6.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from defenses.base import Calibration, Turn
from defenses.feature_centric import FeatureCentric
from tests.contract.defense import fingerprint, tensor_bytes, turn
from wire.errors import InputError
from wire.payload import Payload
from wire.seeds import generator

RMS, STRENGTH = 0.37, 1.5
SIGMA = RMS * STRENGTH
RISK = 1e-6


def noise(payload: Payload, frame: int, defense: FeatureCentric | None = None) -> np.ndarray:
    """What was added, float64 (N, C), from the bytes that leave."""
    defense = defense or FeatureCentric({"strength": STRENGTH}, Calibration(RMS))
    left = defense.protect([payload], turn(frame)).parts[0]
    received = np.frombuffer(tensor_bytes(left)["features"], dtype="<f4").reshape(payload.tensors["features"].shape)
    return received.astype(np.float64) - payload.tensors["features"].numpy().astype(np.float64)


@pytest.fixture
def clean(make_voxels: Callable[..., Payload]) -> Payload:
    return make_voxels(count=1900, channels=64)


def test_deviation_and_mean(clean: Payload) -> None:
    added = noise(clean, frame=3).ravel()
    n = added.size
    # n s^2 / sigma^2 is chi-squared with n degrees of freedom (the mean is known to be zero)
    low, high = stats.chi2.ppf([RISK / 2, 1 - RISK / 2], n) / n
    assert SIGMA**2 * low < np.mean(added**2) < SIGMA**2 * high
    assert high < 1.03  # the interval is narrow: a variance in place of a deviation is far outside
    assert abs(added.mean()) < stats.norm.isf(RISK / 2) * SIGMA / np.sqrt(n)


def test_normal_distribution(clean: Payload) -> None:
    assert stats.kstest(noise(clean, frame=4).ravel(), "norm", args=(0, SIGMA)).pvalue > RISK


def test_every_channel_has_the_same_deviation_and_none_follows_another(clean: Payload) -> None:
    added = noise(clean, frame=5)
    sites, channels = added.shape
    low, high = stats.chi2.ppf([RISK / 2 / channels, 1 - RISK / 2 / channels], sites) / sites
    power = np.mean(added**2, axis=0) / SIGMA**2
    assert low < power.min() <= power.max() < high
    # atanh r is about normal with deviation 1 / sqrt(n - 3) (Fisher); Bonferroni over all pairs
    pairs = channels * (channels - 1) // 2
    bound = np.tanh(stats.norm.isf(RISK / 2 / pairs) / np.sqrt(sites - 3))
    correlation = np.corrcoef(added.T) - np.eye(channels)
    assert np.abs(correlation).max() < bound
    neighbours = np.corrcoef(added[:-1].ravel(), added[1:].ravel())[0, 1]
    assert abs(neighbours) < np.tanh(stats.norm.isf(RISK / 2) / np.sqrt(added[1:].size - 3))


def test_frames_are_independent_of_each_other_and_of_the_features(clean: Payload) -> None:
    frames = np.stack([noise(clean, frame).ravel() for frame in range(6)] + [clean.tensors["features"].numpy().ravel()])
    bound = np.tanh(stats.norm.isf(RISK / 2 / 21) / np.sqrt(frames.shape[1] - 3))
    assert np.abs(np.corrcoef(frames) - np.eye(7)).max() < bound
    assert len({frame.tobytes() for frame in frames}) == 7


def test_two_parts_of_a_turn_do_not_share_noise(clean: Payload) -> None:
    defense = FeatureCentric({"strength": STRENGTH}, Calibration(RMS))
    first, second = (
        p.tensors["features"] - clean.tensors["features"] for p in defense.protect([clean, clean], turn()).parts
    )
    correlation = np.corrcoef(first.numpy().ravel(), second.numpy().ravel())[0, 1]
    assert abs(correlation) < np.tanh(stats.norm.isf(RISK / 2) / np.sqrt(first.numel() - 3))


def test_the_seed_sets_the_bytes(clean: Payload) -> None:
    def left(seed: int, session: int, frame: int) -> bytes:
        defense = FeatureCentric({"strength": STRENGTH}, Calibration(RMS))
        rng = generator(seed, "defense", session, frame)
        return tensor_bytes(defense.protect([clean], Turn(frame, 0, None, 0, rng)).parts[0])["features"]

    assert left(1, 0, 0) == left(1, 0, 0)
    assert len({left(1, 0, 0), left(2, 0, 0), left(1, 1, 0), left(1, 0, 1)}) == 4


def test_the_site_list_leaves_as_it_came_and_the_record_adds_up(clean: Payload) -> None:
    defense = FeatureCentric({"strength": STRENGTH}, Calibration(RMS))
    protected = defense.protect([clean], turn())
    assert tensor_bytes(protected.parts[0])["coords"] == tensor_bytes(clean)["coords"]
    assert protected.record == {
        "sigma": SIGMA,
        "sites": 1900,
        "values": 1900 * 64,
        "energy": pytest.approx(SIGMA**2 * 1900 * 64),
        "bytes": 1900 * (16 + 4 * 64),
    }


def test_dense_payloads_are_noised_in_every_floating_tensor(make_dense: Callable[..., Payload]) -> None:
    clean = make_dense(shape=(2, 64, 30, 30))
    protected = FeatureCentric({"strength": STRENGTH}, Calibration(RMS)).protect([clean], turn())
    added = (protected.parts[0].tensors["x"] - clean.tensors["x"]).numpy().astype(np.float64).ravel()
    low, high = stats.chi2.ppf([RISK / 2, 1 - RISK / 2], added.size) / added.size
    assert SIGMA**2 * low < np.mean(added**2) < SIGMA**2 * high
    assert torch.equal(protected.parts[0].tensors["index"], clean.tensors["index"])
    assert protected.record["sites"] == protected.record["values"] == added.size


@pytest.mark.parametrize("calibration", [None, Calibration(RMS)])
def test_strength_zero_is_none_bit_for_bit(clean: Payload, calibration: Calibration | None) -> None:
    clean.tensors["features"][0, 0] = -0.0
    protected = FeatureCentric({"strength": 0}, calibration).protect([clean], turn())
    assert fingerprint(protected.parts[0]) == fingerprint(clean)
    assert protected.record["sigma"] == protected.record["energy"] == protected.record["sites"] == 0


def test_calibration_sets_the_unit_and_is_asked_for(clean: Payload) -> None:
    defense = FeatureCentric({"strength": 2.0})
    with pytest.raises(InputError, match="strength 2 is in units of the clean RMS; calibrate first"):
        defense.protect([clean], turn())
    calibration = defense.calibrate([clean])
    assert defense.sigma == 2 * calibration.rms
    assert calibration.rms == pytest.approx(float(clean.tensors["features"].double().square().mean().sqrt()))


@pytest.mark.parametrize("rms", [0.0, -1.0, float("nan"), float("inf")])
def test_a_unit_of_nothing_is_refused_and_does_not_pass_for_a_defense(clean: Payload, rms: float) -> None:
    with pytest.raises(InputError, match=r"calibration rms is .*; accepted: above 0, finite"):
        FeatureCentric({}, Calibration(rms)).protect([clean], turn())


def test_it_promises_nothing(clean: Payload) -> None:
    assert FeatureCentric({}, Calibration(RMS, clip=1.0)).mechanism() is None
