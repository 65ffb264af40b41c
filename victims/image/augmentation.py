"""Random flips and shifts of a batch of pictures, all at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT = 4


def flipped_and_shifted(pictures: Tensor, draw: torch.Generator, shift: int = SHIFT) -> Tensor:
    """Each picture of (B, 3, H, W) mirrored half of the time and moved by up to ``shift`` pixels each way; zeros enter.

    The crop of a padded picture that CIFAR networks are trained with (He et al. 2016, section 4.2).
    """
    count, channels, height, width = pictures.shape
    padded = F.pad(pictures, (shift,) * 4)
    top = torch.randint(2 * shift + 1, (count, 1), generator=draw)
    left = torch.randint(2 * shift + 1, (count, 1), generator=draw)
    mirrored = torch.rand((count, 1), generator=draw) < 0.5
    across = torch.arange(width)
    rows = top + torch.arange(height)
    columns = left + torch.where(mirrored, across.flip(0), across)
    picture = torch.arange(count).view(-1, 1, 1, 1)
    channel = torch.arange(channels).view(1, -1, 1, 1)
    return padded[picture, channel, rows[:, None, :, None], columns[:, None, None, :]]
