"""The gradient that is matched, its second derivatives, and the pixels that are solved for."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from attacker.attacks.radiance.heard import HeardStep, Points
from attacker.attacks.radiance.matching import DISTANCES, answer, by_ray, cosine, mean_square
from attacker.attacks.radiance.network import surrogate
from attacker.attacks.radiance.solving import RIDGE, errors, solved
from victims.radiance.networks import EdgePart, parts
from victims.radiance.spherical_harmonics import spherical_harmonics

torch.manual_seed(0)


@pytest.fixture(scope="module")
def steps(training) -> list[HeardStep]:
    return training.steps


def private(training, step: HeardStep) -> Tensor:
    """What the victim's pixels of a step look like; a listener has no such thing."""
    image = training.scene.training[step.camera.view].image.reshape(-1, 3) / np.float32(255)
    return torch.from_numpy(image[step.points().pixels.numpy()])


def test_a_surrogate_that_is_the_client_with_its_pictures_sends_its_gradients(training, steps) -> None:
    """At the first step, when the client has the weights that it was made with."""
    step = steps[0]
    client = parts("mid", training.settings)[1]
    points = step.points()
    found = answer(client, points, private(training, step))
    assert points.of == 40 and float(points.gradients.abs().max()) > 1e-6
    assert torch.allclose(found.gradient, points.gradients, rtol=1e-4, atol=1e-9)
    for distance in DISTANCES.values():
        assert float(distance(points.gradients, found.gradient.detach(), None)) < 1e-5
    # A part of the rays has the same gradients: they are shares of a mean over the whole step.
    rows = torch.tensor([3, 15, 16, 39])
    some = step.points(rows)
    assert torch.equal(some.gradients, points.gradients[rows]) and torch.equal(some.pixels, points.pixels[rows])
    part = answer(client, some, private(training, step)[rows])
    assert torch.allclose(part.gradient, some.gradients, rtol=1e-4, atol=1e-9)


def plain(part: EdgePart, points: Points, wanted: Tensor, embeddings: Tensor) -> Tensor:
    """The victim's loss, by alpha compositing in plain torch; its own formula for every layer."""
    hidden = embeddings @ part.second.weight.T
    density = hidden[..., 0].exp()
    directions = spherical_harmonics(points.directions)[:, None].expand(*hidden.shape[:2], 16)
    colour = torch.cat([directions, hidden[..., 1:]], -1) @ part.colour1.weight.T
    colour = torch.sigmoid(F.relu(F.relu(colour) @ part.colour2.weight.T) @ part.colour3.weight.T)
    distances = points.distances
    step = distances.diff(dim=1)
    step = torch.cat([step, (distances[:, -1:] - distances[:, :1]) / (distances.shape[1] - 1)], 1)
    alpha = 1 - torch.exp(-density * step)
    left = torch.cat([torch.ones_like(alpha[:, :1]), torch.cumprod(1 - alpha, 1)[:, :-1]], 1)
    weights = left * alpha
    rendered = (weights[..., None] * colour).sum(1) + 1 - weights.sum(1, keepdim=True)
    return (rendered - wanted).square().sum() / (3 * points.of)


@pytest.mark.parametrize("distance", [mean_square, cosine, by_ray])
def test_second_derivatives_against_finite_differences_of_a_plain_formula(distance: Callable, training) -> None:
    """The matching loss' derivative by every kind of weight and by the dummy pixels, in float64."""
    points = training.steps[4].points(torch.arange(5))
    part = surrogate("mid", training.settings, seed=4).double()
    wanted = torch.rand(5, 3, dtype=torch.float64)
    doubled = Points(
        points.view,
        points.pixels,
        points.origin,
        points.directions.double(),
        points.distances.double(),
        points.embeddings.double(),
        points.gradients.double() * 1e3,  # the cosine's guard against zero stands far below
        points.of,
    )

    def loss() -> Tensor:
        embeddings = doubled.embeddings.requires_grad_(True)
        (gradient,) = torch.autograd.grad(plain(part, doubled, wanted, embeddings), embeddings)
        return distance(doubled.gradients, gradient * 1e3, None).detach()

    wanted.requires_grad_(True)
    found = distance(doubled.gradients, answer(part, doubled, wanted).gradient * 1e3, None)
    # nerfacc's rendering is the same formula
    assert float(found.detach()) == pytest.approx(float(loss()), rel=1e-6)
    derivatives = torch.autograd.grad(found, [*part.parameters(), wanted])
    for tensor, derivative in zip([*part.parameters(), wanted], derivatives, strict=True):
        flat = tensor.detach().view(-1)
        place = int(derivative.abs().argmax())  # where it matters most
        before, small = float(flat[place]), 1e-5
        sides = []
        for sign in (1, -1):
            flat[place] = before + sign * small
            sides.append(float(loss()))
        flat[place] = before
        assert float(derivative.view(-1)[place]) == pytest.approx((sides[0] - sides[1]) / (2 * small), rel=1e-3)


def test_distances_by_hand() -> None:
    heard = torch.tensor([[[3.0, 4.0], [0.0, 0.0]], [[0.0, 2.0], [1.0, 0.0]]])
    own = torch.tensor([[[3.0, 0.0], [5.0, 5.0]], [[0.0, -2.0], [7.0, 0.0]]])
    counted = torch.tensor([[[1.0, 0.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]])
    assert float(mean_square(heard, own, None)) == pytest.approx((16 + 50 + 16 + 36) / 8)
    assert float(mean_square(heard, own, counted)) == pytest.approx((50 + 16 + 36) / 7)
    # cosines 3/5, (nothing heard), -1, 1
    assert float(cosine(heard, own, None)) == pytest.approx((0.4 + 2 + 0) / 3)
    assert float(cosine(heard, own, counted)) == pytest.approx((0 + 2 + 0) / 3)
    assert float(by_ray(heard, own, None)) == pytest.approx(((16 + 50) / 25 + (16 + 36) / 5) / 2)
    silent = torch.zeros(1, 2, 2)
    assert [float(distance(silent, own[:1], None)) for distance in (cosine, by_ray)] == [0, 0]


def test_solved_pixels_are_the_victims_where_the_surrogate_is_the_client(training, steps) -> None:
    step = steps[0]
    client = parts("mid", training.settings)[1]
    points, wanted = step.points(), private(training, step)
    pixels = solved(client, points, points.gradients, None)
    # Where a pixel's colours can be told apart; the ridge draws the others to the surrogate's own colour.
    assert float((pixels - wanted).abs().median()) < 0.02
    found = answer(client, points, pixels)
    assert float(by_ray(points.gradients, found.gradient.detach(), None)) < 1e-2


def test_a_ray_without_a_solution_has_no_error_and_spoils_no_other() -> None:
    slopes, wanted = torch.rand(4, 10, 3), torch.rand(4, 10)
    clean = errors(slopes, wanted)
    slopes[1], wanted[2, 3] = math.inf, math.nan
    found = errors(slopes, wanted)
    assert torch.equal(found[[1, 2]], torch.zeros(2, 3))
    torch.testing.assert_close(found[[0, 3]], clean[[0, 3]])


def test_errors_are_least_squares() -> None:
    """Against numpy's solver, whatever the slopes' size, as long as they differ."""
    rng = np.random.default_rng(0)
    slopes, wanted = rng.normal(size=(5, 40, 3)) * 1e-9, rng.normal(size=(5, 40)) * 1e-9
    wanted[3] = slopes[3] @ [0.5, -0.25, 1]
    made = errors(torch.from_numpy(slopes).float(), torch.from_numpy(wanted).float()).numpy()
    for ray in range(5):
        size = (slopes[ray] ** 2).sum()
        padded = np.vstack([slopes[ray], np.sqrt(RIDGE * size) * np.eye(3)])
        best = np.linalg.lstsq(padded, np.concatenate([wanted[ray], np.zeros(3)]), rcond=None)[0]
        assert np.allclose(made[ray], best, atol=1e-4)
    assert np.allclose(made[3], [0.5, -0.25, 1], atol=0.01)


def test_solved_pixels_leave_no_shorter_distance(training) -> None:
    """No other pixels bring the surrogate's gradient nearer to what was heard, but for the ridge and the clipping."""
    points = training.steps[6].points(torch.arange(12))
    part = surrogate("mid", training.settings, seed=4)
    pixels = solved(part, points, points.gradients, None)
    found = answer(part, points, pixels)
    best = (points.gradients - found.gradient).detach().square().sum((1, 2))
    free = ((pixels > 0) & (pixels < 1)).all(1)
    assert free.any()
    torch.manual_seed(1)
    for _ in range(20):
        other = answer(part, points, pixels + 0.1 * torch.randn(12, 3))
        away = (points.gradients - other.gradient).detach().square().sum((1, 2))
        assert bool((away[free] > best[free] * 0.999).all())


def test_entries_that_do_not_count_do_not_move_the_solution(training) -> None:
    points = training.steps[6].points(torch.arange(12))
    part = surrogate("mid", training.settings, seed=4)
    counted = (points.embeddings != 0).float()
    assert 0.1 < float(counted.mean()) < 0.9
    drowned = points.gradients + (1 - counted) * torch.randn_like(points.gradients)
    clean, noisy = (solved(part, points, gradient, counted) for gradient in (points.gradients, drowned))
    assert torch.equal(clean, noisy)
    assert not torch.allclose(clean, solved(part, points, drowned, None), atol=0.05)


@pytest.mark.parametrize(("layers", "width", "weights"), [(2, 64, 2), (3, 64, 3), (3, 16, 3), (5, 8, 5)])
def test_surrogates_of_another_depth(layers: int, width: int, weights: int, training) -> None:
    part = surrogate("mid", training.settings, 1, layers, width)
    colour = [p for name, p in part.named_parameters() if name.startswith("colour")]
    assert len(colour) == weights and colour[0].shape == (width, 31) and colour[-1].shape == (3, width)
    embeddings, directions = torch.rand(4, 6, 64), F.normalize(torch.randn(4, 3), dim=1)
    density, rendered = part(embeddings, directions)
    hidden = embeddings @ part.second.weight.T
    by_hand = torch.cat([spherical_harmonics(directions)[:, None].expand(4, 6, 16), hidden[..., 1:]], -1)
    for number, weight in enumerate(colour):
        by_hand = by_hand @ weight.T
        by_hand = torch.sigmoid(by_hand) if number == len(colour) - 1 else F.relu(by_hand)
    assert torch.allclose(density, hidden[..., 0].exp()) and torch.allclose(rendered, by_hand, atol=1e-6)
    other = surrogate("mid", training.settings, 2, layers, width)
    client = parts("mid", training.settings)[1]
    assert not torch.equal(other.second.weight, part.second.weight)
    assert not torch.equal(client.second.weight, part.second.weight)
