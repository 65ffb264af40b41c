"""Where along its ray each sample lies. The cloud places samples; the edge is told their distances."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from wire.seeds import generator

Box = tuple[float, float, float, float, float, float]
"""Lower corner, then upper corner: x, y, z."""

SHORTEST: Final = 1e-3
"""A ray that misses the box is given a stretch of this length, from ``near`` on: every ray has as many samples."""


def stretch(origin: Tensor, directions: Tensor, box: Box, near: float) -> tuple[Tensor, Tensor]:
    """Distances (R,) at which rays enter and leave ``box``, not before ``near``.

    origin: (3,). directions: unit, (R, 3).
    """
    safe = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    one = (torch.tensor(box[:3]) - origin) / safe
    two = (torch.tensor(box[3:]) - origin) / safe
    enter = torch.minimum(one, two).amax(1).clamp(min=near)
    leave = torch.maximum(one, two).amin(1)
    met = enter < leave
    enter = torch.where(met, enter, torch.full_like(enter, near))
    return enter, torch.maximum(torch.where(met, leave, enter), enter + SHORTEST)


def place(enter: Tensor, leave: Tensor, samples: int, jitter: Tensor | None) -> Tensor:
    """Distances float32 (R, samples), ascending: one in each of as many equal bins.

    jitter: uniform in [0, 1), (R, samples), where in its bin a sample lies; None: in the middle.
    """
    bins = torch.arange(samples, dtype=torch.float32).expand(len(enter), samples)
    share = (bins + (0.5 if jitter is None else jitter)) / samples
    return enter[:, None] + share * (leave - enter)[:, None]


def jitter(seed: int, step: int, part: int, count: int, samples: int) -> Tensor:
    """The draws of one part of a training step, (count, samples): the same whenever that step is taken again."""
    rng = generator(seed, "radiance.jitter", part, step)
    return torch.from_numpy(rng.random((count, samples), dtype="float32"))
