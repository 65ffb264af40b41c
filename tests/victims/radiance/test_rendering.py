"""Rays by hand, and rendering against a loop over samples."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from tests.victims.radiance.exchanging import SMALL
from victims.radiance.camera import Camera, fault, looking, rays, rigid
from victims.radiance.networks import EdgePart
from victims.radiance.rendering import render, squared_error
from victims.radiance.sampling import jitter, place, stretch

BOX = (-1.0, -0.5, -1.0, 1.0, 0.5, 1.0)


def test_rays_by_hand() -> None:
    pose = torch.tensor([[1.0, 0, 0, 5], [0, 1, 0, 6], [0, 0, 1, 7]])
    # A picture 4 wide and 2 high, focal length 2: pixel 0's centre lies 1.5 left and 0.5 above the middle.
    origin, directions = rays(pose, (2.0, 2.0), (2.0, 1.0), 4, torch.tensor([0, 7]))
    assert origin.tolist() == [5, 6, 7]
    first = torch.tensor([-0.75, 0.25, -1.0])
    assert torch.allclose(directions, torch.stack([first, torch.tensor([0.75, -0.25, -1.0])]) / first.norm())


def test_a_camera_that_looks_at_a_place_sees_it_in_its_middle() -> None:
    position, target = np.array([1.0, -2.0, 1.5]), np.array([0.2, 0.3, 0.4])
    pose = looking(position, target)
    assert fault(pose) is None and np.allclose(rigid(pose), pose)
    camera = Camera(pose, (10.0, 10.0), (4.5, 3.5), (7, 9))
    middle = torch.tensor([3 * 9 + 4])
    _, direction = rays(torch.from_numpy(camera.pose).float(), camera.focal, camera.centre, 9, middle)
    wanted = (target - position) / np.linalg.norm(target - position)
    assert np.allclose(direction[0].numpy(), wanted, atol=1e-6)
    assert pose[2, 1] > 0  # upright
    half = camera.resized((14, 18))
    assert (half.focal, half.centre) == ((20.0, 20.0), (9.0, 7.0))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((0, 0, 1.2), "its axes miss unit length or right angles by 0.44; accepted: at most 0.01"),
        ((0, 0, -1.0), "its axes are left-handed"),
        ((1, 3, math.nan), "it holds values that are not finite"),
        ((3, 3, 2.0), "its last row is [0.0, 0.0, 0.0, 2.0]; accepted: 0 0 0 1"),
    ],
)
def test_poses_that_are_no_rigid_transform(change: tuple[int, int, float], reason: str) -> None:
    pose = np.eye(4)
    pose[change[0], change[1]] = change[2]
    assert fault(pose) == reason


def test_a_ray_is_sampled_inside_the_box() -> None:
    outside = torch.tensor([0.0, -2.0, 0.0])
    along = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    enter, leave = stretch(outside, along, BOX, 0.1)
    assert (float(enter[0]), float(leave[0])) == pytest.approx((1.5, 2.5))
    assert float(leave[1] - enter[1]) == pytest.approx(1e-3, rel=1e-4)  # missed
    enter, leave = stretch(torch.zeros(3), along, BOX, 0.1)
    assert enter.tolist() == pytest.approx([0.1, 0.1]) and leave.tolist() == pytest.approx([0.5, 1.0])
    middles = place(enter, leave, 4, None)
    assert middles[0].tolist() == pytest.approx([0.15, 0.25, 0.35, 0.45])
    drawn = jitter(1, 2, 3, 2, 4)
    moved = place(enter, leave, 4, drawn)
    edges = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    assert bool((moved[0] >= edges[:-1]).all()) and bool((moved[0] <= edges[1:]).all())
    assert torch.equal(drawn, jitter(1, 2, 3, 2, 4)) and not torch.equal(drawn, jitter(1, 2, 4, 2, 4))


def test_rendering_against_a_loop() -> None:
    torch.manual_seed(2)
    edge = EdgePart("light", SMALL)
    embeddings = torch.randn(3, 5, 16)
    embeddings[2] = -30.0  # nothing there
    distances = torch.rand(3, 5).sort(1).values
    directions = torch.nn.functional.normalize(torch.randn(3, 3), dim=1)
    with torch.no_grad():
        density, colour = edge(embeddings, directions)
        found = render(edge, embeddings, distances, directions)
    for ray in range(3):
        left, pixel, depth, met = 1.0, [0.0, 0.0, 0.0], 0.0, 0.0
        d = distances[ray].tolist()
        lengths = [b - a for a, b in itertools.pairwise(d)] + [(d[-1] - d[0]) / 4]
        for i in range(5):
            alpha = 1 - math.exp(-float(density[ray, i]) * lengths[i])
            weight, left = left * alpha, left * (1 - alpha)
            pixel = [p + weight * float(c) for p, c in zip(pixel, colour[ray, i], strict=True)]
            depth, met = depth + weight * d[i], met + weight
            assert float(found.weights[ray, i]) == pytest.approx(weight, abs=1e-6)
        assert found.colours[ray].tolist() == pytest.approx([p + 1 - met for p in pixel], abs=1e-5)
        assert float(found.depths[ray]) == pytest.approx(depth / max(met, 1e-6), abs=1e-5)
    assert found.colours[2].tolist() == pytest.approx([1, 1, 1])  # white behind everything
    assert float(squared_error(torch.ones(2, 3), torch.zeros(2, 3), 4)) == 0.5  # two of four rays
