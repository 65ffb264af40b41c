"""The surrogate's learning against the published code's form of it, and what its settings change."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from attacker.attacks.radiance.heard import HeardStep
from attacker.attacks.radiance.learner import SurrogateLearner
from attacker.attacks.radiance.matching import answer
from attacker.attacks.radiance.network import surrogate
from attacker.attacks.radiance.noise import NoiseModel
from attacker.attacks.radiance.pictures import DummyPictures
from attacker.attacks.radiance.settings import SurrogateSettings

PAPER = SurrogateSettings(views=4)


def learner(training, noise: NoiseModel | None = None, **settings: object) -> SurrogateLearner:
    return SurrogateLearner(replace(PAPER, **settings), training.settings, "mid", 7, noise)  # type: ignore[arg-type]


def weights(of: SurrogateLearner) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in of.part.parameters()])


def chosen(of: SurrogateLearner, step: HeardStep) -> list[int]:
    return [pixel for points in of.rays(step) for pixel in points.pixels.tolist()]


def with_gradients(step: HeardStep, change: object) -> HeardStep:
    parts = [
        (rays, down, replace(up, tensors={"gradients": change(up.tensors["gradients"], down.tensors["embeddings"])}))  # type: ignore[operator]
        for rays, down, up in step.parts
    ]
    return replace(step, parts=parts)


@pytest.mark.parametrize("decay", ["epoch", "step"])
def test_as_the_published_code_with_all_pictures_in_one_tensor(decay: str, training) -> None:
    """Views that are first seen late must move as if the optimiser had known them from the first step on."""
    tried = learner(training, decay=decay, balance_steps=3)
    part = surrogate("mid", training.settings, 7)
    start = DummyPictures(7)
    images = torch.stack([start.get(view, (16, 16))[0].detach() for view in range(4)]).requires_grad_(True)
    adam = torch.optim.Adam([*part.parameters(), images], lr=1e-2, betas=(0.9, 0.99), eps=1e-15)
    ratios: list[float] = []
    for number, step in enumerate(training.steps[:10]):
        tried.learn(step)
        points = step.points()
        found = answer(part, points, images[step.camera.view][points.pixels.long()])
        distance = ((found.gradient - points.gradients) ** 2).mean()
        if len(ratios) < 3:
            ratios.append(float(found.error.detach()) / float(distance.detach()))
        adam.param_groups[0]["lr"] = 1e-2 * (1 if decay == "epoch" else 10 / (number + 1))
        adam.zero_grad()
        (1e-2 * sum(ratios) / len(ratios) * distance + found.error).backward()
        adam.step()
        images.data.clamp_(0, 1)
    assert len({step.camera.view for step in training.steps[:4]}) == 4
    for view, picture in tried.pictures.all().items():
        # Adam without a floor divides by gradients of any size: rounding differs, and grows.
        assert torch.allclose(picture, images[view], atol=2e-3)
    wanted = torch.cat([p.detach().reshape(-1) for p in part.parameters()])
    assert torch.allclose(weights(tried), wanted, atol=2e-3) and tried.told.taken == 10
    assert tried.told.rho == pytest.approx(sum(ratios) / 3, rel=1e-3)


def test_settings_that_choose_what_is_learnt_from(training) -> None:
    late = learner(training, from_step=0.5, every=2)
    before = weights(late)
    for step in training.steps[:6]:
        late.learn(step)
    assert torch.equal(weights(late), before) and late.told.taken == 0
    for step in training.steps[6:]:
        late.learn(step)
    assert late.told.taken == 3 and not torch.equal(weights(late), before)
    some = learner(training, share=0.3)
    taken = [chosen(some, step) for step in training.steps[:2]]
    assert [len(pixels) for pixels in taken] == [12, 12]
    assert taken[0] == chosen(learner(training, share=0.3, rate=1.0), training.steps[0])
    everything = training.steps[0].points().pixels.tolist()
    assert set(taken[0]) <= set(everything) and taken[0] != everything[:12]
    thrice = learner(training, inner=3)
    thrice.learn(training.steps[0])
    assert thrice.told.taken == 3


@pytest.mark.parametrize(
    "settings", [{}, {"dummy": "solved", "loss": "ray", "average": True, "average_rays": 50}, {"loss": "cosine"}]
)
def test_it_goes_on_from_a_state_as_if_nothing_had_happened(settings: dict, training) -> None:
    whole = learner(training, balance_steps=6, **settings)
    for step in training.steps[:4]:
        whole.learn(step)
    again = learner(training, balance_steps=6, **settings)
    again.learn(training.steps[9])  # what it had come to before is forgotten
    again.load(whole.state())
    assert again.told == whole.told
    for step in training.steps[4:8]:
        whole.learn(step)
        again.learn(step)
    assert torch.equal(weights(whole), weights(again)) and whole.told == again.told
    one, two = whole.state(), again.state()
    assert one.meta == two.meta and sorted(one.tensors) == sorted(two.tensors)
    assert all(torch.equal(tensor, two.tensors[name]) for name, tensor in one.tensors.items())


def test_dead_entries_can_be_left_out(training) -> None:
    """What a listener reads in them, it does not learn from; with them, it would."""
    found = []
    for drop in (True, False):
        one, two = (learner(training, drop_dead=drop) for _ in range(2))
        for step in training.steps[:3]:
            one.learn(step)
            two.learn(with_gradients(step, lambda g, h: g + (h == 0) * torch.randn_like(g)))
        found.append(torch.equal(weights(one), weights(two)))
    assert found == [True, False]


def test_noise_is_divided_out(training) -> None:
    """Weighting by sigma is the same as a weight that is divided by the variance of this step."""
    noise = NoiseModel(2.0, 1e-3, 12)
    step = training.steps[5]
    variance = noise.variance([step.points().gradients], step.step)
    one = learner(training, noise, weighting="sigma", balance_steps=0, weight=variance)
    two = learner(training, balance_steps=0, weight=1.0)
    for tried in (one, two):
        tried.learn(step)
    assert torch.allclose(weights(one), weights(two), atol=1e-6)
    assert one.told.gradient == pytest.approx(two.told.gradient / variance, rel=1e-5)


def test_what_overflows_is_passed_over(training) -> None:
    tried = learner(training)
    tried.learn(training.steps[0])
    before = weights(tried)
    tried.learn(with_gradients(training.steps[1], lambda g, h: torch.full_like(g, 9e37)))
    assert torch.equal(weights(tried), before) and (tried.told.taken, tried.told.skipped) == (1, 1)
    tried.learn(training.steps[2])
    assert tried.told.taken == 2 and bool(torch.isfinite(weights(tried)).all())


def test_the_dummy_pictures_of_solved_pixels_are_kept(training) -> None:
    tried = learner(training, dummy="solved")
    step = training.steps[0]
    tried.learn(step)
    pixels = step.points().pixels.long()
    untouched = DummyPictures(7).get(step.camera.view, (16, 16))[0].detach()
    kept = tried.pictures.all()[step.camera.view].detach()
    moved = (kept != untouched).any(1)
    assert set(moved.nonzero().view(-1).tolist()) <= set(pixels.tolist()) and int(moved.sum()) > 20
