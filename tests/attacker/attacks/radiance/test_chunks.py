"""A step that is learnt from chunk by chunk of its rays: the gradient of the whole, and memory that does not grow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from attacker.attacks.radiance.fitted_field import FittedField, Shape
from attacker.attacks.radiance.heard import HeardStep, Points
from attacker.attacks.radiance.learner import SurrogateLearner
from attacker.attacks.radiance.matching import answer
from attacker.attacks.radiance.network import surrogate
from attacker.attacks.radiance.noise import NoiseModel
from attacker.attacks.radiance.pictures import DummyPictures
from attacker.attacks.radiance.settings import SurrogateSettings
from lab.bench_memory import peak_bytes
from victims.radiance.settings import Training
from wire.payload import Payload

SEED = 7
SEVEN = 7 * 8
"""Points of seven rays of eight samples: forty rays are five such chunks, and one of five rays."""


def learner(victim: Training, **settings: Any) -> SurrogateLearner:
    chosen = replace(SurrogateSettings(views=4), **settings)
    noise = NoiseModel(1.2, 1e-3, 12) if chosen.weighting == "sigma" else None
    return SurrogateLearner(chosen, victim, "mid", SEED, noise)


@dataclass(frozen=True)
class Doubled(HeardStep):
    """A step in float64. Gradients are a thousand times as long: the cosine's guard against zero stands far below."""

    def points(self, rows: Tensor | None = None) -> Points:
        p = super().points(rows)
        return Points(
            p.view, p.pixels, p.origin, p.directions.double(), p.distances.double(), p.embeddings.double(),
            p.gradients.double() * 1e3, p.of,
        )  # fmt: skip


def learnt(victim: Training, steps: list[HeardStep], **settings: Any) -> tuple[list[Tensor], SurrogateLearner]:
    """The gradients of every weight and dummy pixel at the last of these steps, in float64. The weights stay."""
    tried = learner(victim, **settings)
    tried.part.double()
    tried._adam = torch.optim.SGD(tried.part.parameters(), lr=0.0)  # type: ignore[assignment]
    tried.schedule = replace(tried.schedule, rate=0.0)
    for step in steps:
        picture, _ = tried.pictures.get(step.camera.view, step.camera.size)
        picture.data = picture.data.double()
        picture.grad = None
        tried.learn(Doubled(step.camera, step.parts))
    found = [p.grad for p in tried.part.parameters()]
    assert all(grad is not None and grad.dtype == torch.float64 for grad in found)
    if tried.settings.dummy == "learnt":
        found.append(picture.grad)
    return [*found, picture.detach()], tried  # type: ignore[list-item]


@pytest.mark.parametrize("dummy", ["learnt", "solved"])
@pytest.mark.parametrize("loss", ["mse", "cosine", "ray"])
@pytest.mark.parametrize(
    "further",
    [{"balance_steps": 2}, {"weighting": "sigma", "average": True, "average_rays": 50}, {"drop_dead": True}],
    ids=["rho", "sigma-average", "drop-dead"],
)
def test_chunks_have_the_gradient_of_the_whole(dummy: str, loss: str, further: dict[str, Any], training) -> None:
    """Three steps, so that rho runs and stops, and rays come again; the weights are the same throughout."""
    chosen = {"dummy": dummy, "loss": loss, "weight": 1.0, **further}
    steps = [training.steps[n] for n in (0, 4, 0)]
    (whole, one), (summed, many) = (learnt(training.settings, steps, **chosen, at_once=n) for n in (1 << 17, SEVEN))
    assert [len(of.rays(steps[0])) for of in (one, many)] == [1, 6]
    for mine, wanted in zip(summed, whole, strict=True):
        assert float(wanted.abs().max()) > 0
        assert torch.allclose(mine, wanted, rtol=1e-9, atol=1e-12 * float(wanted.abs().max()))
    assert one.told.taken == many.told.taken == 3
    for name in ("dummy", "gradient", "rho"):
        assert getattr(many.told, name) == pytest.approx(getattr(one.told, name), rel=1e-9)


@pytest.mark.parametrize("loss", ["mse", "cosine", "ray"])
def test_a_small_step_is_one_chunk_and_descends_as_ever(loss: str, training) -> None:
    """Bit for bit the weights that one backward pass over all rays gives."""
    tried, step = learner(training.settings, loss=loss), training.steps[0]
    part, picture = surrogate("mid", training.settings, SEED), DummyPictures(SEED).get(step.camera.view, (16, 16))[0]
    adam = torch.optim.Adam([*part.parameters(), picture], lr=1e-2, betas=(0.9, 0.99), eps=1e-15, fused=True)
    p = step.points()
    own = answer(part, p, picture[p.pixels.long()])
    if loss == "mse":
        distance = (p.gradients - own.gradient).square().mean()
    elif loss == "cosine":
        one, two = p.gradients.square().sum(-1), own.gradient.square().sum(-1)
        alive = (one > 0).float()
        likeness = (p.gradients * own.gradient).sum(-1) / ((one + 1e-30).sqrt() * (two + 1e-30).sqrt())
        distance = ((1 - likeness) * alive).sum() / alive.sum()
    else:
        square = p.gradients.square().sum((1, 2))
        alive = (square > 0).float()
        distance = ((p.gradients - own.gradient).square().sum((1, 2)) / (square + 1e-30) * alive).sum() / alive.sum()
    (1e-2 * (float(own.error.detach()) / float(distance.detach())) * distance + own.error).backward()
    adam.step()
    tried.learn(step)
    assert all(torch.equal(a, b) for a, b in zip(tried.part.parameters(), part.parameters(), strict=True))
    assert torch.equal(tried.pictures.all()[step.camera.view], picture.clamp(0, 1))


def test_a_fit_to_chunks_is_the_fit_to_the_whole(training) -> None:
    """The first step's gradient, which Adam's first moment is a tenth of."""
    moments = []
    for most in (1 << 17, SEVEN):
        field = FittedField(Shape(3, 9, 4, 32), 64, 1e-2, 2)
        field.fit(training.steps[9].chunked(most))
        moments.append((field.state().tensors["exp_avg.second.weight"], field.error))
    assert torch.allclose(moments[0][0], moments[1][0], rtol=1e-4, atol=1e-9)
    assert float(moments[0][0].abs().max()) > 1e-4 and moments[0][1] == pytest.approx(moments[1][1], rel=1e-5)


def test_a_step_that_overflows_in_its_last_chunk_is_passed_over(training) -> None:
    tried, step = learner(training.settings, at_once=SEVEN), training.steps[0]
    rays, down, up = step.parts[-1]
    broken = replace(up, tensors={"gradients": torch.full_like(up.tensors["gradients"], 9e37)})
    before = [p.detach().clone() for p in tried.part.parameters()]
    tried.learn(replace(step, parts=[*step.parts[:-1], (rays, down, broken)]))
    assert (tried.told.taken, tried.told.skipped) == (0, 1)
    assert all(torch.equal(a, b) for a, b in zip(tried.part.parameters(), before, strict=True))
    tried.learn(step)
    assert tried.told.taken == 1


def enlarged(step: HeardStep, times: int) -> HeardStep:
    """The same rays so many times over."""

    def tiled(payload: Payload) -> Payload:
        tensors = {n: t if n == "pose" else t.repeat(times, *[1] * (t.dim() - 1)) for n, t in payload.tensors.items()}
        return replace(payload, tensors=tensors)

    return replace(step, parts=[(tiled(rays), tiled(down), tiled(up)) for rays, down, up in step.parts])


@pytest.mark.parametrize("dummy", ["learnt", "solved"])
def test_what_a_step_needs_beside_itself_does_not_grow_with_it(dummy: str, training) -> None:
    """Beside the frame, which the queue hands over whole: dummy pixels and row numbers, 60 bytes a ray at most."""

    def peak(times: int, most: int) -> int:
        tried, step = learner(training.settings, dummy=dummy, at_once=most), enlarged(training.steps[0], times)
        tried.learn(training.steps[0])  # moments, and the view's picture
        return peak_bytes(lambda: tried.learn(step))

    few, many, whole = peak(1, 160), peak(4, 160), peak(4, 1 << 17)
    further = (4 - 1) * 40
    assert many - few < 60 * further
    assert whole - many > 10 * 8 * 64 * 4 * further  # all at once, embeddings alone are so many bytes a ray
