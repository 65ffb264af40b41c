"""The network's parts: harmonics against scipy, cuts against each other, second derivatives against differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from tests.victims.radiance.exchanging import SMALL
from victims.radiance.networks import SPLITS, CloudPart, EdgePart, embedding_width, parts
from victims.radiance.spherical_harmonics import spherical_harmonics
from wire.errors import InputError


def directions(count: int) -> torch.Tensor:
    drawn = torch.randn(count, 3, generator=torch.Generator().manual_seed(1))
    return drawn / drawn.norm(dim=1, keepdim=True)


def test_spherical_harmonics_are_scipys() -> None:
    d = directions(40).double()
    polar, around = np.arccos(d[:, 2].numpy()), np.arctan2(d[:, 1].numpy(), d[:, 0].numpy())
    wanted = []
    for degree in range(4):
        for order in range(-degree, degree + 1):
            value = sph_harm_y(degree, abs(order), polar, around)
            part = value.imag if order < 0 else value.real
            wanted.append(part * (1 if order == 0 else np.sqrt(2)))
    assert np.allclose(spherical_harmonics(d).numpy(), np.stack(wanted, 1), atol=1e-9)


def whole(split: str) -> tuple[CloudPart, EdgePart]:
    """The same network however it is cut."""
    torch.manual_seed(0)
    weights = {
        "grid.table": torch.randn(sum(CloudPart("grid", SMALL).grid.rows), 2),
        "first.weight": torch.randn(64, 8) * 0.3,
        "second.weight": torch.randn(16, 64) * 0.1,
        "colour1.weight": torch.randn(64, 31) * 0.2,
        "colour2.weight": torch.randn(64, 64) * 0.2,
        "colour3.weight": torch.randn(3, 64) * 0.2,
    }
    both = CloudPart(split, SMALL), EdgePart(split, SMALL)
    assert sorted(k for part in both for k in part.state_dict()) == sorted(weights)
    for part in both:
        part.load_state_dict({key: weights[key] for key in part.state_dict()})
    return both


def test_every_cut_is_the_same_network() -> None:
    positions, rays = torch.rand(30, 3) * 2 - 1, directions(5)
    made = []
    for split in SPLITS:
        cloud, edge = whole(split)
        crossing = cloud(positions).view(5, 6, -1)
        assert crossing.shape[2] == embedding_width(split, SMALL) == {"mid": 64, "grid": 8, "light": 16}[split]
        made.append(edge(crossing, rays))
    for density, colour in made[1:]:
        assert torch.allclose(density, made[0][0], rtol=1e-4) and torch.allclose(colour, made[0][1], atol=1e-5)
    # The layer that is worked out once a ray equals one over the joined inputs.
    cloud, edge = whole("light")
    crossing = cloud(positions)
    joined = torch.cat([spherical_harmonics(rays).repeat_interleave(6, 0), crossing[:, 1:]], 1)
    plain = torch.sigmoid(edge.colour3(torch.relu(edge.colour2(torch.relu(edge.colour1(joined))))))
    assert torch.allclose(made[2][1].view(-1, 3), plain, atol=1e-5)
    assert torch.allclose(made[2][0].view(-1), crossing[:, 0].exp())


def test_the_densitys_derivative_is_bounded_and_right_below_the_bound() -> None:
    edge = EdgePart("light", SMALL)
    at = torch.zeros(1, 2, 16)
    at[0, :, 0] = torch.tensor([2.0, 20.0])
    at.requires_grad_(True)
    density, _ = edge(at, directions(1))
    density.sum().backward()
    assert at.grad is not None and torch.allclose(at.grad[0, :, 0], torch.tensor([2.0, 15.0]).exp())


def test_the_edge_part_can_be_differentiated_twice() -> None:
    edge = EdgePart("light", SMALL).double()
    at = torch.rand(1, 2, 16, dtype=torch.float64, requires_grad=True)
    rays = directions(1).double()

    def loss(embeddings: torch.Tensor) -> torch.Tensor:
        density, colour = edge(embeddings, rays)
        return (density[..., None] * colour).square().sum()

    assert torch.autograd.gradgradcheck(loss, (at,))


def test_seeds_are_each_ends_own() -> None:
    cloud, edge = parts("mid", SMALL)
    same_cloud, other_edge = parts("mid", type(SMALL)(**{**vars(SMALL), "edge_seed": 6}))
    assert torch.equal(cloud.grid.table, same_cloud.grid.table) and torch.equal(
        cloud.first.weight, same_cloud.first.weight
    )
    assert not torch.equal(edge.second.weight, other_edge.second.weight)
    before = torch.random.get_rng_state()
    parts("light", SMALL)
    assert torch.equal(before, torch.random.get_rng_state())
    with pytest.raises(InputError, match=r"^split 'deep' does not exist in splitnerf; there are: mid, grid, light$"):
        embedding_width("deep", SMALL)
