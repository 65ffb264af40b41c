"""Noise on gradient rows: the formula by hand, its deviation on many draws, its modes, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from defenses.base import Turn
from defenses.gradient_norm_noise import GradientNormNoise
from tests.contract.defense import check_defense, fingerprint
from wire.errors import InputError
from wire.payload import Payload
from wire.seeds import generator


def turn(step: int = 0, steps: int | None = 100, heard: list[Payload] | None = None) -> Turn:
    return Turn(step, step, steps, 0, generator(7, "defense", 0, step), heard or [])


def part(rows: torch.Tensor, number: int = 0, parts: int = 1) -> Payload:
    return Payload(
        "gradients", "gradients", {"gradients": rows}, {"step": 0, "part": number, "parts": parts}
    )  # fmt: skip


def embeddings(values: torch.Tensor) -> Payload:
    return Payload("embeddings", "embeddings", {"embeddings": values, "distances": torch.zeros(values.shape[:2])})


def rows(*norms: float, width: int = 4) -> torch.Tensor:
    """float32 (1, N, width): rows of these norms, spread evenly over their entries."""
    return torch.tensor(norms)[None, :, None].expand(1, len(norms), width) / width**0.5


def noised(parts: list[Payload], at: Turn, **settings: Any) -> list[torch.Tensor]:
    return [p.tensors["gradients"] for p in GradientNormNoise(settings).protect(parts, at).parts]


@pytest.mark.parametrize(("step", "decay"), [(0, 1.0), (50, 1e-2), (100, 1e-4), (500, 1e-4)])
def test_sigma_by_hand(step: int, decay: float) -> None:
    record = GradientNormNoise({}).protect([part(rows(3, 0.5, 2))], turn(step)).record
    assert record["max_norm"] == pytest.approx(3)
    assert record["median_norm"] == pytest.approx(2)
    assert record["sigma"] == pytest.approx(1.2 * 3 * decay)


def test_without_a_known_end_there_is_no_decay() -> None:
    assert GradientNormNoise({}).protect([part(rows(2))], turn(80, None)).record["sigma"] == pytest.approx(2.4)


def test_the_noise_is_normal_and_has_this_deviation() -> None:
    clean = rows(*np.linspace(0.1, 5, 500), width=64).repeat(8, 1, 1)
    noise = (noised([part(clean)], turn(50), c=0.8, r=0.01)[0] - clean).flatten().double().numpy()
    sigma = 0.8 * 5 * 0.1
    assert noise.std() == pytest.approx(sigma, rel=0.01)  # 256,000 draws: one percent is seven deviations of it
    assert stats.kstest(noise, "norm", (0, sigma)).pvalue > 1e-4


@given(
    norms=st.lists(st.floats(0, 1e3, width=32), min_size=2, max_size=12),
    cuts=st.lists(st.integers(1, 11), max_size=4),
)
def test_the_maximum_is_over_all_parts_of_the_step(norms: list[float], cuts: list[int]) -> None:
    whole = rows(*norms)
    edges = [0, *sorted({cut for cut in cuts if cut < len(norms)}), len(norms)]
    parts = [part(whole[:, a:b]) for a, b in pairwise(edges)]
    held = GradientNormNoise({"c": 1.0}).protect(parts, turn())
    assert held.record["sigma"] == pytest.approx(max(norms), rel=1e-5)
    # Each part's noise counts in the step's maximum: the same draws as of one part of all rows.
    together = noised([part(whole)], turn(), c=1.0)[0]
    split = torch.cat([p.tensors["gradients"] for p in held.parts], dim=1)
    assert torch.allclose(together, split)


def test_a_chunk_counts_in_its_own_maximum() -> None:
    zeros = torch.zeros(40, 50, 8)
    parts = [part(rows(100.0, width=8).expand(40, 50, 8), 0, 2), part(zeros + rows(1.0, width=8), 1, 2)]
    loud, quiet = noised(parts, turn(), c=1.0, scope="chunk")
    assert float((loud - parts[0].tensors["gradients"]).std()) == pytest.approx(100, rel=0.05)
    assert float((quiet - parts[1].tensors["gradients"]).std()) == pytest.approx(1, rel=0.05)
    _, both = noised(parts, turn(), c=1.0)
    assert float((both - parts[1].tensors["gradients"]).std()) == pytest.approx(100, rel=0.05)


def test_clipped_to_the_median_row_norm_first() -> None:
    clean = torch.tensor([[[3.0, 4.0], [0.6, 0.8], [0.0, 2.0]]])  # norms 5, 1, 2
    protected = GradientNormNoise({"clip": True, "c": 1e-6}).protect([part(clean)], turn())
    by_hand = torch.tensor([[[2.0, 2.0], [0.6, 0.8], [0.0, 2.0]]])
    assert torch.allclose(protected.parts[0].tensors["gradients"], by_hand, atol=1e-4)
    assert protected.record["sigma"] == pytest.approx(1e-6 * 8**0.5)
    assert (protected.record["max_norm"], protected.record["median_norm"]) == (5.0, 2.0)


def half_dead() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of row norm 1, embeddings of which half are 0, and which those are."""
    values = torch.from_numpy(np.random.default_rng(3).random((40, 50, 8), dtype=np.float32)) - 0.5
    relu = values.clamp(min=0)
    return rows(1.0, width=8).expand(40, 50, 8), relu, relu == 0


def test_partial_noises_dead_entries_only_without_decay() -> None:
    clean, seen, dead = half_dead()
    factors = set()
    for step in (0, 50, 100):
        noise = noised([part(clean)], turn(step, heard=[embeddings(seen)]), mode="partial", c=2.0)[0] - clean
        assert float(noise[~dead].abs().max()) == 0.0
        factors.add(round(float(noise[dead].std()) / 2))
    assert len(factors) == 3
    assert all(95 < factor < 10_500 for factor in factors)


def test_mix_is_loud_where_dead_and_the_formula_elsewhere() -> None:
    clean, seen, dead = half_dead()
    at = turn(50, heard=[embeddings(seen)])
    noise = noised([part(clean)], at, mode="mix", c=1.0, r=1e-4, partial_scale=500, probability=0.25)[0] - clean
    assert float(noise[dead].std()) == pytest.approx(500, rel=0.05)
    alive = noise[~dead]
    assert float((alive != 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert float(alive[alive != 0].std()) == pytest.approx(0.01, rel=0.06)


@pytest.mark.parametrize("heard", [[], [embeddings(torch.zeros(2, 3, 8))]])
def test_without_the_embeddings_these_modes_say_what_they_miss(heard: list[Payload]) -> None:
    with pytest.raises(InputError, match="mode mix looks at the embeddings of 1 parts"):
        noised([part(half_dead()[0])], turn(heard=heard), mode="mix")


def test_other_roles_pass_and_a_strength_of_zero_lets_everything_pass() -> None:
    rays = Payload("rays", "rays", {"pose": torch.eye(4)[:3]}, {"step": 3})
    clean = part(rows(1, 2))
    for settings in ({}, {"c": 0.0}):
        protected = GradientNormNoise(settings).protect([rays], turn())
        assert protected.parts[0] is rays
        assert protected.record == {}
    assert GradientNormNoise({"c": 0}).protect([clean], turn()).parts[0] is clean


@pytest.mark.parametrize("settings", [{}, {"scope": "chunk"}, {"clip": True}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_contract_holds_for_gradients(settings: dict[str, Any], dtype: torch.dtype) -> None:
    parts = [part(rows(1, 2, 5).to(dtype), 0, 2), part(rows(0.1, 0).to(dtype), 1, 2)]
    check_defense(lambda: GradientNormNoise(settings), parts)


def test_the_contract_holds_where_embeddings_are_needed() -> None:
    clean, seen, _ = half_dead()
    for mode in ("partial", "mix"):
        at = turn(heard=[embeddings(seen)])
        once = GradientNormNoise({"mode": mode}).protect([part(clean)], at).parts
        again = GradientNormNoise({"mode": mode}).protect([part(clean)], replace(at, rng=turn().rng)).parts
        assert [fingerprint(p) for p in once] == [fingerprint(p) for p in again]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"c": -1}, "c is -1; accepted: a number from 0 to 1e+06"),
        ({"r": 0}, "r is 0; accepted: a number from 1e-12 to 1"),
        ({"scope": "ray"}, "scope is 'ray'; accepted: step, chunk"),
        ({"mode": "some"}, "mode is 'some'; accepted: random, partial, mix"),
        ({"partial_scale": 10}, "partial_scale is 10; accepted: a whole number from 100 to 10000000"),
        ({"probability": 2}, "probability is 2; accepted: a number from 0 to 1"),
        ({"sigma": 1}, "setting 'sigma' is unknown; accepted: strength, c, r, scope, mode, partial_scale"),
    ],
)
def test_settings_are_refused_in_one_line(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        GradientNormNoise(settings)
    assert str(caught.value).startswith(f"defense gradient-norm-noise: {said}")


def test_gradients_of_no_shape_that_is_known_are_refused() -> None:
    odd = Payload("gradients", "dense", {"x": torch.zeros(2)})
    with pytest.raises(InputError, match="layout 'dense' has no rows of gradients; accepted: gradients"):
        GradientNormNoise({}).protect([odd], turn())
