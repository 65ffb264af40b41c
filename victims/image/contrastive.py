"""Learning features without a label: two views of each picture are drawn together, all others apart.

Source: SimCLR (Chen et al. 2020), with the views that it takes for CIFAR-10 (its appendix B.9: no blur).
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST: Final = 0.3
"""Least share of a picture's area that a view shows."""

JITTER: Final = 0.4
"""Brightness, contrast and saturation are changed by up to this share, in eight of ten views."""

GREY: Final = 0.2
"""Share of the views that lose their colour."""

TEMPERATURE: Final = 0.2

_LUMA: Final = (0.299, 0.587, 0.114)


def projector(width: int) -> nn.Sequential:
    """The head whose output the loss compares, and which is thrown away: (B, width) to (B, 64)."""
    return nn.Sequential(nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, 64))


def views(pictures: Tensor, draw: torch.Generator) -> Tensor:
    """A view of each picture, (B, 3, H, W) in 0..1: a crop at full size, mirrored or not, in other colours."""
    count = len(pictures)
    side = (SMALLEST + (1 - SMALLEST) * torch.rand(count, generator=draw)).sqrt()
    moved = (2 * torch.rand(count, 2, generator=draw) - 1) * (1 - side).unsqueeze(1)
    mirrored = torch.where(torch.rand(count, generator=draw) < 0.5, -1.0, 1.0)
    place = torch.zeros(count, 2, 3)
    place[:, 0, 0], place[:, 1, 1], place[:, :, 2] = side * mirrored, side, moved
    grid = F.affine_grid(place, list(pictures.shape), align_corners=False)
    seen = F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
    return _recoloured(seen, draw).clamp(0, 1)


def _recoloured(seen: Tensor, draw: torch.Generator) -> Tensor:
    count = len(seen)
    how = 1 + JITTER * (2 * torch.rand(3, count, 1, 1, 1, generator=draw) - 1)
    how = torch.where(torch.rand(count, 1, 1, 1, generator=draw) < 0.8, how, torch.ones(()))
    brightness, contrast, saturation = how
    seen = seen * brightness
    middle = seen.mean((1, 2, 3), keepdim=True)
    seen = middle + (seen - middle) * contrast
    grey = (seen * torch.tensor(_LUMA).view(3, 1, 1)).sum(1, keepdim=True)
    saturation = torch.where(torch.rand(count, 1, 1, 1, generator=draw) < GREY, torch.zeros(()), saturation)
    return grey + (seen - grey) * saturation


def agreement_loss(first: Tensor, second: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """NT-Xent (equation 1): of 2 B - 1 others, each view is to find the one of its own picture. (B, C) both."""
    both = F.normalize(torch.cat([first, second]), dim=1)
    alike = both @ both.T / temperature
    alike.fill_diagonal_(-torch.inf)
    count = len(first)
    own = torch.arange(2 * count).roll(count)
    return F.cross_entropy(alike, own)
