"""An attack on the claim itself: two pictures as far apart as clipping lets them be, and the best test there is.

The listener knows both pictures' features, sees one release and answers by the likelihood ratio, which no test beats
(Neyman & Pearson). From its error rates over many releases follows a lower bound on epsilon at the claimed delta
(Kairouz, Oh & Viswanath 2015; exact binomial limits of Clopper & Pearson): a claim that is too low is caught.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from scipy import stats

from defenses.base import Calibration, Defense, Protected, Turn
from defenses.clipped_noise import joint_norm
from defenses.gaussian import Gaussian
from defenses.laplace import Laplace
from wire.payload import Meta, Payload

RELEASES = 4_000
RISK = 1e-4
FAR = {  # two tensors that are clipped together, and where the worst pair lies: along one line, along one axis
    "gaussian": (np.array([[60.0, 0.0]]), np.array([[0.0, -80.0]])),
    "laplace": (np.array([[0.0, 70.0]]), np.array([[0.0, 0.0]])),
}


def releases(defense: Defense, name: str, sign: float, seed: int) -> np.ndarray:
    """Log likelihood ratios, up to a factor, of what leaves for the picture of this sign: float64 (RELEASES,)."""
    tensors = {str(i): torch.from_numpy(sign * v) for i, v in enumerate(FAR[name])}
    payload = Payload("features", "dense", tensors)
    direction = np.concatenate([v.ravel() for v in FAR[name]])
    direction = direction / np.linalg.norm(direction)
    rng = np.random.default_rng(seed)
    left = np.empty(RELEASES)
    for i in range(RELEASES):
        parts = defense.protect([payload], Turn(i, 0, None, 0, rng)).parts
        left[i] = sum(t.numpy().ravel() @ direction[2 * j : 2 * j + 2] for j, t in enumerate(parts[0].tensors.values()))
    return left


def lower_bound(defense: Defense, name: str, delta: float) -> float:
    """What the attack proves of epsilon with risk RISK, by the best of a few thresholds."""
    plus, minus = releases(defense, name, 1.0, 1), releases(defense, name, -1.0, 2)
    fixed, plus = plus[: RELEASES // 4], plus[RELEASES // 4 :]  # thresholds are chosen on releases that count nowhere
    thresholds = np.quantile(fixed, np.linspace(0.1, 0.9, 9))
    risk = RISK / 2 / len(thresholds)
    found = 0.0
    for threshold in thresholds:
        hits, false = int((plus > threshold).sum()), int((minus > threshold).sum())
        power = stats.beta.ppf(risk, hits, len(plus) - hits + 1) if hits else 0.0
        error = stats.beta.isf(risk, false + 1, len(minus) - false)
        if power > delta:
            found = max(found, math.log((power - delta) / error))
    return found


CLAIMS: Sequence[tuple[type[Gaussian] | type[Laplace], Mapping[str, Meta]]] = [
    (Gaussian, {"epsilon": 1.5, "delta": 0.1}),
    (Gaussian, {"epsilon": 3.0, "delta": 0.02}),
    (Laplace, {"epsilon": 1.5}),
]


@pytest.mark.parametrize(("kind", "claim"), CLAIMS)
def test_the_attack_proves_more_than_half_of_the_claim_and_no_more_than_all(
    kind: type[Gaussian] | type[Laplace], claim: Mapping[str, Meta]
) -> None:
    defense = kind({**claim, "clip": 2.0, "unit": "absolute"})
    epsilon, delta = float(claim["epsilon"]), float(claim.get("delta", 0.0))  # type: ignore[arg-type]
    proven = lower_bound(defense, kind.name, delta)
    assert proven <= epsilon
    assert proven > 0.5 * epsilon


class _HalfNoise:
    """A defense whose noise is half of what it claims."""

    def __init__(self, kind: type[Gaussian] | type[Laplace], claim: Mapping[str, Meta]) -> None:
        mechanism = kind({**claim, "clip": 2.0, "unit": "absolute"}).mechanism()
        assert mechanism is not None
        half = mechanism.sigma / mechanism.sensitivity / 2
        self._inner = kind({"noise": half, "clip": 2.0, "unit": "absolute"})
        self.protect = self._inner.protect


class _ClipsEachTensor:
    """A defense that forgets that several tensors leave: together they are further apart than it claims."""

    def __init__(self, kind: type[Gaussian], claim: Mapping[str, Meta]) -> None:
        self._inner = kind({**claim, "clip": 2.0, "unit": "absolute"}, Calibration(1.0))

    def protect(self, parts: Sequence[Payload], turn: Turn) -> Protected:
        tensors = {}
        for name, tensor in parts[0].tensors.items():
            alone = self._inner.protect([Payload("features", "dense", {name: tensor})], turn)
            tensors[name] = alone.parts[0].tensors[name]
        return Protected([Payload("features", "dense", tensors)])


@pytest.mark.parametrize(("kind", "claim"), CLAIMS)
def test_half_the_noise_is_caught(kind: type[Gaussian] | type[Laplace], claim: Mapping[str, Meta]) -> None:
    broken = _HalfNoise(kind, claim)
    proven = lower_bound(broken, kind.name, float(claim.get("delta", 0.0)))  # type: ignore[arg-type]
    assert proven > float(claim["epsilon"])  # type: ignore[arg-type]


def test_a_clip_of_each_tensor_by_itself_is_caught() -> None:
    claim = {"epsilon": 1.5, "delta": 0.1}
    assert lower_bound(_ClipsEachTensor(Gaussian, claim), "gaussian", 0.1) > 1.5  # type: ignore[arg-type]


def test_the_pair_is_as_far_apart_as_the_sensitivity() -> None:
    for name, order in (("gaussian", 2), ("laplace", 1)):
        kind = {"gaussian": Gaussian, "laplace": Laplace}[name]
        defense = kind({"noise": 1e-300, "clip": 2.0, "unit": "absolute"})
        left = []
        for sign in (1.0, -1.0):
            tensors = {str(i): torch.from_numpy(sign * v) for i, v in enumerate(FAR[name])}
            turn = Turn(0, 0, None, 0, np.random.default_rng(0))
            left.append(defense.protect([Payload("features", "dense", tensors)], turn).parts[0].tensors)
        gap = [(a - b).numpy() for a, b in zip(left[0].values(), left[1].values(), strict=True)]
        mechanism = defense.mechanism()
        assert mechanism is not None
        assert joint_norm(gap, order) == pytest.approx(mechanism.sensitivity, rel=1e-6)
