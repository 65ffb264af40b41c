"""Schedules, rho, dummy pictures, the noise model, averages: by hand."""

from __future__ import annotations

import math

import pytest
import torch

from attacker.attacks.base import DefenseCard
from attacker.attacks.radiance.averaging import Averages
from attacker.attacks.radiance.balance import Balance
from attacker.attacks.radiance.heard import Points
from attacker.attacks.radiance.noise import NoiseModel, noise_model
from attacker.attacks.radiance.pictures import DummyPictures
from attacker.attacks.radiance.schedule import Schedule
from wire.errors import InputError


@pytest.mark.parametrize(
    ("decay", "wanted"),
    [
        # steps 0, 199, 200, 399 of 400, epochs of 20: the epoch's numbers are 1, 10, 11, 20
        ("epoch", [1, 1, 10 / 11, 0.5]),
        ("step", [10, 10 / 200, 10 / 201, 10 / 400]),
        ("exp", [1, 0.1 ** (199 / 400), 0.1**0.5, 0.1 ** (399 / 400)]),
        ("exp3", [1, 0.001 ** (199 / 400), 0.001**0.5, 0.001 ** (399 / 400)]),
        # the epochs that steps 199 and 399 lie in begin at 180 and 380
        ("exp-epoch", [1, 0.1**0.45, 0.1**0.5, 0.1**0.95]),
        ("exp3-epoch", [1, 0.001**0.45, 0.001**0.5, 0.001**0.95]),
    ],
)
def test_how_the_rate_falls(decay: str, wanted: list[float]) -> None:
    schedule = Schedule(0.02, decay, steps=400, views=20)
    assert [schedule.rate_at(step) for step in (0, 199, 200, 399)] == pytest.approx(
        [0.02 * factor for factor in wanted]
    )


def test_the_rate_is_constant_inside_an_epoch() -> None:
    schedule = Schedule(1, "epoch", steps=400, views=7)
    rates = [schedule.rate_at(step) for step in range(7 * 30)]
    for epoch in range(30):
        assert set(rates[7 * epoch : 7 * epoch + 7]) == {min(1.0, 10 / (epoch + 1))}


@pytest.mark.parametrize(("decay", "left"), [("exp-epoch", 0.1), ("exp3-epoch", 0.001)])
def test_an_exponential_decay_by_epoch_is_a_staircase(decay: str, left: float) -> None:
    schedule = Schedule(1, decay, steps=35, views=7)
    wanted = [left ** (epoch / 5) for epoch in range(5) for _ in range(7)]
    assert [schedule.rate_at(step) for step in range(35)] == pytest.approx(wanted)


def test_a_late_start_counts_anew() -> None:
    schedule = Schedule(1, "exp", steps=400, views=20, begin=0.75, every=3)
    assert [step for step in range(310) if schedule.takes(step)] == [300, 303, 306, 309]
    assert not any(Schedule(1, "exp", steps=400, views=20, begin=1.0).takes(step) for step in range(400))
    assert [schedule.rate_at(step) for step in (300, 350, 400)] == pytest.approx([1, 0.1**0.5, 0.1])


def test_rho_is_a_running_mean_that_stops() -> None:
    balance = Balance(3)
    taken = [balance.take(dummy, gradient) for dummy, gradient in ((2, 1), (4, 1), (3, 0), (1, 0.1), (900, 1))]
    # ratios 2 and 4, one without a gradient, which tells nothing, 10, and one that comes too late
    assert taken == pytest.approx([2, 3, 3, 16 / 3, 16 / 3])
    assert Balance(0).take(5, 7) == 1


def test_dummy_pictures_begin_as_clipped_noise_of_their_own() -> None:
    pictures = DummyPictures(4)
    one, new = pictures.get(2, (60, 80))
    assert new and one.shape == (4800, 3) and one.requires_grad and not pictures.get(2, (60, 80))[1]
    # |N(0, 1)| clipped to 1: erf(1 / sqrt(2)) of it is below 1, with the density of a half normal
    inside = one.detach()[one.detach() < 1]
    assert float((one == 1).float().mean()) == pytest.approx(1 - math.erf(math.sqrt(0.5)), abs=0.02)
    assert float(inside.min()) >= 0 and float((inside < 0.5).float().mean()) == pytest.approx(
        math.erf(0.5 / math.sqrt(2)) / math.erf(math.sqrt(0.5)), abs=0.02
    )
    assert not torch.equal(one, pictures.get(3, (60, 80))[0])
    alone, _ = DummyPictures(4).get(2, (60, 80))
    assert torch.equal(one, alone)  # whichever views were heard of before
    with torch.no_grad():
        one += 2
    pictures.clip()
    assert bool((one == 1).all())
    with pytest.raises(InputError, match=r"^view 2 has \(80, 60\) pixels \(height, width\); before it had \(60, 80\)$"):
        pictures.get(2, (80, 60))
    again = DummyPictures(0)
    again.load(pictures.state())
    assert torch.equal(again.get(3, (60, 80))[0], pictures.get(3, (60, 80))[0])


def test_the_noise_that_a_listener_reckons_with() -> None:
    model = NoiseModel(c=1.2, r=1e-4, steps=200)
    assert [model.relative(step) for step in (0, 100, 200, 300)] == pytest.approx([1.2, 0.012, 1.2e-4, 1.2e-4])
    torch.manual_seed(0)
    clean = torch.zeros(64, 10, 64)
    clean[0, 0] = 3 / 8  # the largest row has a norm of 3, the others none
    for step in (0, 50, 100):
        sigma = 1.2 * 3 * 1e-4 ** (step / 200)
        noisy = clean + sigma * torch.randn(clean.shape)
        # The maximum is over many noisy rows, and noisy itself.
        assert sigma**2 * 0.7 < model.variance([noisy], step) < sigma**2 * 2.5
    assert model.variance([torch.zeros(2, 2, 4)], 0) > 0
    card = DefenseCard("gradient-norm-noise", {"c": 2, "r": 0.5})
    assert noise_model(card, 7, "surrogate") == NoiseModel(2.0, 0.5, 7)
    assert noise_model(DefenseCard("gradient-norm-noise", {"strength": 3}), 7, "surrogate").c == 3
    assert noise_model(DefenseCard("gradient-norm-noise", {}), 7, "surrogate") == NoiseModel(1.2, 1e-4, 7)
    with pytest.raises(InputError, match=r"^attack surrogate: weighting sigma needs .*; the card names none$"):
        noise_model(None, 7, "surrogate")
    with pytest.raises(InputError, match=r"c True and r 0\.5; accepted: above 0$"):
        noise_model(DefenseCard("gradient-norm-noise", {"c": True, "r": 0.5}), 7, "surrogate")


def points(view: int, pixels: list[int], gradients: torch.Tensor) -> Points:
    rays, samples, _ = gradients.shape
    return Points(
        view,
        torch.tensor(pixels, dtype=torch.int32),
        torch.zeros(3),
        torch.zeros(rays, 3),
        torch.zeros(rays, samples),
        torch.zeros_like(gradients),
        gradients,
        rays,
    )


def test_rays_that_come_again_are_averaged() -> None:
    averages = Averages(3)
    first = torch.arange(12.0).view(3, 2, 2)
    assert torch.equal(averages.take(points(0, [7, 8, 9], first), 1), first)
    # Pixel 8 of view 0 again, at three times the weight; the same pixel of another view has no room any more.
    later = torch.full((2, 2, 2), 40.0)
    found = averages.take(points(0, [8, 5], later), 3)
    assert torch.allclose(found[0], (first[1] + 3 * 40) / 4) and torch.equal(found[1], later[1])
    assert torch.equal(averages.take(points(1, [8], later[:1]), 1)[0], later[0]) and len(averages) == 3
    other = Averages(9)
    other.load(averages.state())
    twice = torch.stack([torch.zeros(2, 2), torch.full((2, 2), 8.0)])
    found = other.take(points(0, [7, 7], twice), 1)
    assert torch.allclose(found[1], (first[0] + 0 + 8) / 3)
    assert torch.allclose(other.take(points(1, [2], later[:1]), 1)[0], later[0]) and len(other) == 4


def test_averages_grow_and_keep_what_they_have() -> None:
    averages = Averages(1000)
    values = torch.rand(700, 1, 2)
    for start in range(0, 700, 70):
        averages.take(points(0, list(range(start, start + 70)), values[start : start + 70]), 1)
    found = averages.take(points(0, list(range(700)), torch.zeros(700, 1, 2)), 1)
    assert torch.allclose(found, values / 2)
