"""Learning without labels: the loss against its definition, and what a view may be."""

from __future__ import annotations

import math

import pytest
import torch

from victims.image.contrastive import agreement_loss, views


def test_the_loss_is_the_papers_equation() -> None:
    draw = torch.Generator().manual_seed(0)
    first, second = torch.randn(5, 7, generator=draw), torch.randn(5, 7, generator=draw)
    z = [row / row.norm() for row in (*first, *second)]
    total = 0.0
    for i in range(10):
        j = (i + 5) % 10
        others = sum(math.exp(float(z[i] @ z[k]) / 0.2) for k in range(10) if k != i)
        total -= math.log(math.exp(float(z[i] @ z[j]) / 0.2) / others)
    assert float(agreement_loss(first, second)) == pytest.approx(total / 10, rel=1e-5)
    assert float(agreement_loss(first, first)) < float(agreement_loss(first, second))


def test_views_are_crops_in_other_colours() -> None:
    draw = torch.Generator().manual_seed(1)
    pictures = torch.rand(300, 3, 16, 16, generator=draw)
    seen = views(pictures, torch.Generator().manual_seed(2))
    assert seen.shape == pictures.shape and float(seen.min()) >= 0 and float(seen.max()) <= 1
    assert torch.equal(seen, views(pictures, torch.Generator().manual_seed(2)))
    assert not torch.equal(seen, views(pictures, torch.Generator().manual_seed(3)))
    grey = ((seen - seen.mean(1, keepdim=True)).abs().amax((1, 2, 3)) < 1e-4).float().mean()
    assert 0.12 < float(grey) < 0.28


def test_a_view_shows_a_part_mirrored_half_of_the_time() -> None:
    ramp = torch.linspace(0.2, 0.8, 32).expand(400, 3, 32, 32)  # grows from left to right, in grey
    seen = views(ramp, torch.Generator().manual_seed(4))
    rising = seen[:, 0, 16, -4] > seen[:, 0, 16, 4]
    assert 0.4 < float(rising.float().mean()) < 0.6
    assert torch.allclose(seen[:, :, 4], seen[:, :, -4], atol=1e-4)  # no row differs: nothing was turned
