"""What `gaussian` and `laplace` share: the clip, the units, what is recorded and what is promised."""

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
from scipy.optimize import brentq

from defenses.base import Calibration, Mechanism
from defenses.clipped_noise import ClippedNoise
from defenses.gaussian import Gaussian
from defenses.laplace import Laplace
from defenses.registry import build
from tests.contract.defense import fingerprint, turn
from wire.errors import InputError
from wire.payload import Payload

KINDS: dict[type[ClippedNoise], int] = {Gaussian: 2, Laplace: 1}
RISK = 1e-6
TINY = {"clip": 1.5, "unit": "absolute", "noise": 1e-300}  # the noise of a float32 is below any rounding


def features(*values: np.ndarray) -> Payload:
    return Payload("features", "dense", {f"t{i}": torch.from_numpy(v) for i, v in enumerate(values)})


def norm(parts: list[np.ndarray], order: int) -> float:
    flat = np.concatenate([np.asarray(p, np.longdouble).ravel() for p in parts])
    return float(np.abs(flat).sum() if order == 1 else np.sqrt(np.square(flat).sum()))


finite = st.floats(-1e30, 1e30, width=64)


@pytest.mark.parametrize("kind", KINDS)
@given(first=arrays(np.float64, (1, 3, 2), elements=finite), second=arrays(np.float64, (1, 5), elements=finite))
def test_what_leaves_never_exceeds_the_clip(kind: type[ClippedNoise], first: np.ndarray, second: np.ndarray) -> None:
    order = KINDS[kind]
    protected = kind(TINY).protect([features(first), features(second)], turn())
    left = [t.numpy() for part in protected.parts for t in part.tensors.values()]
    came = norm([first, second], order)
    assert norm(left, order) <= 1.5
    assert protected.record["clipped"] == int(norm(left, order) < came * (1 - 1e-12) or came > 1.5)
    for a, b in zip(left, [first, second], strict=True):  # its direction stays, and what fits stays as it is
        assert np.allclose(a, b * min(1.0, 1.5 / came) if came else b, rtol=1e-8 if came > 1.4999 else 0, atol=1e-290)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_do_not_pass_the_clip(kind: type[ClippedNoise], broken: float) -> None:
    left = kind(TINY).protect([features(np.array([[broken, 1.0]]))], turn()).parts[0].tensors["t0"].numpy()
    assert left.tolist() == [[pytest.approx(0.0, abs=1e-200), 1.0]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", ["noise", "strength"])
def test_nothing_set_is_none_bit_for_bit(
    kind: type[ClippedNoise], setting: str, make_dense: Callable[..., Payload]
) -> None:
    clean = make_dense()
    clean.tensors["x"][0, 0, 0, :2] = torch.tensor([-0.0, math.nan])
    defense = kind({setting: 0})
    protected = defense.protect([clean], turn())
    assert fingerprint(protected.parts[0]) == fingerprint(clean)
    assert defense.mechanism() is None
    assert protected.record["sigma"] == protected.record["clipped"] == 0
    assert protected.record["covered"] is False


@pytest.mark.parametrize(("kind", "law"), [(Gaussian, stats.norm), (Laplace, stats.laplace)])
def test_the_noise_has_its_law_and_no_mean(kind: type[ClippedNoise], law: Any) -> None:
    clean = np.random.default_rng(5).standard_normal((1, 8, 50, 50))
    defense = kind({"clip": 1e6, "unit": "absolute", "noise": 2e-6})  # of scale 4, and nothing clipped
    protected = defense.protect([features(clean)], turn(3))
    added = (protected.parts[0].tensors["t0"].numpy() - clean).ravel()
    assert defense.scale == pytest.approx(4.0)
    assert stats.kstest(added, law(scale=4.0).cdf).pvalue > RISK
    assert abs(added.mean()) < stats.norm.isf(RISK / 2) * law(scale=4.0).std() / math.sqrt(added.size)
    assert protected.record["sigma"] == pytest.approx(law(scale=4.0).std())
    assert protected.record["energy"] == pytest.approx(law(scale=4.0).var() * added.size)
    neighbours = np.corrcoef(added[:-1], added[1:])[0, 1]
    assert abs(neighbours) < np.tanh(stats.norm.isf(RISK / 2) / np.sqrt(added.size - 4))


def test_gaussian_calibration_is_the_exact_curve() -> None:
    """Balle & Wang 2018, theorem 8, solved by itself: delta of N(0, 1) against N(d, 1), d = sensitivity / sigma."""
    for epsilon, delta in ((0.1, 1e-5), (1.0, 1e-5), (8.0, 1e-3), (50.0, 1e-9)):

        def excess(d: float, epsilon: float = epsilon, delta: float = delta) -> float:
            tail = math.exp(epsilon + stats.norm.logcdf(-d / 2 - epsilon / d))
            return float(stats.norm.cdf(d / 2 - epsilon / d)) - tail - delta

        defense = Gaussian({"clip": 3.0, "unit": "absolute", "epsilon": epsilon, "delta": delta})
        assert 6.0 / defense.scale == pytest.approx(brentq(excess, 1e-3, 100, xtol=1e-14), rel=1e-6)
        assert defense.mechanism() == Mechanism("gaussian", defense.scale, 6.0)


def test_laplace_is_two_c_over_epsilon() -> None:
    defense = Laplace({"clip": 3.0, "unit": "absolute", "epsilon": 4.0})
    assert defense.mechanism() == Mechanism("laplace", 1.5, 6.0)


def test_units(make_dense: Callable[..., Payload]) -> None:
    shapes = (1, 4, 5, 5)
    payloads = [features(make_dense(shape=shapes, seed=s).tensors["x"].numpy().astype(np.float64)) for s in range(3)]
    stacked = np.stack([p.tensors["t0"].numpy() for p in payloads])
    rms, typical = np.sqrt(np.mean(stacked**2)), np.sqrt(np.mean(np.square(stacked).sum(axis=(1, 2, 3, 4))))
    for kind, unit in ((Gaussian, typical), (Laplace, 100 * rms)):
        defense = kind({"clip": 0.5, "noise": 0.25})
        calibration = defense.calibrate(payloads)
        assert calibration == Calibration(pytest.approx(rms), pytest.approx(typical), 3)
        assert defense.clip == pytest.approx(0.5 * unit)
        assert defense.scale == pytest.approx(0.25 * 2 * 0.5 * unit)
        strength = kind({"strength": 2.0}, calibration).protect(payloads[:1], turn()).record
        assert strength["sigma"] == pytest.approx(2 * rms)  # one strength is one energy, whatever the law
        assert strength["norm"] == pytest.approx(norm([stacked[0]], KINDS[kind]))


@pytest.mark.parametrize("kind", KINDS)
def test_what_leaves_in_the_clear_is_recorded(
    kind: type[ClippedNoise], make_voxels: Callable[..., Payload], make_dense: Callable[..., Payload]
) -> None:
    absolute = {"unit": "absolute", "noise": 1.0}
    whole = Payload("features", "dense", {"x": make_dense().tensors["x"]})
    other = Payload("rays", "dense", {"x": torch.ones(1, 2)})
    for parts, covered in (([whole], True), ([whole, other], False), ([make_dense()], False), ([make_voxels()], False)):
        assert kind(absolute).protect(parts, turn()).record["covered"] is covered


@pytest.mark.parametrize("name", ["gaussian", "laplace"])
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epsilon": 0}, "epsilon is 0; accepted: a number from 0.001 to 1e+06"),
        ({"epsilon": 1, "noise": 1}, "epsilon and noise are given together; accepted: one of epsilon, noise, strength"),
        ({"clip": -1.0}, "clip is -1.0; accepted: a number from 1e-06 to 1e+06"),
        ({"unit": "rms"}, "unit is 'rms'; accepted: typical, absolute"),
        ({"sigma": 1}, "setting 'sigma' is unknown; accepted: clip, unit, epsilon, noise, strength"),
    ],
)
def test_settings_are_refused_in_one_line(name: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        build(name, settings)
    assert str(caught.value).startswith(f"defense {name}: {said}")


def test_delta_is_gaussians_alone() -> None:
    with pytest.raises(InputError, match=r"delta is 1; accepted: a number from 1e-15 to 0\.5"):
        Gaussian({"epsilon": 1, "delta": 1})
    with pytest.raises(InputError, match="setting 'delta' is unknown"):
        Laplace({"delta": 1e-5})


@pytest.mark.parametrize("kind", KINDS)
def test_a_calibration_without_its_unit_is_refused_before_anything_streams(kind: type[ClippedNoise]) -> None:
    with pytest.raises(InputError, match=r"calibration clip is None; accepted: above 0, finite, or unit=absolute"):
        kind({}, Calibration(1.0))
    with pytest.raises(InputError, match=r"calibration rms is 0\.0; accepted: above 0, finite"):
        kind({"strength": 1, "unit": "absolute"}, Calibration(0.0))
    with pytest.raises(InputError, match="in units of clean payloads; calibrate first"):
        kind({}).mechanism()
    assert kind({"unit": "absolute"}, Calibration(0.0)).mechanism() is not None
