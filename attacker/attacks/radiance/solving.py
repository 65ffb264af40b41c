"""Dummy pixels that are solved for instead of learnt: ours.

A pixel's gradient at the cut is linear in its error: g = B (C - X), where B, the derivative of the rendered colour, is
the surrogate's, C the colour that it renders, and X the pixel. The paper learns X by gradient descent; a pixel is
chosen once in hundreds of steps, though, so that its dummy is noise for most of the training, and we take it that a
gradient made with noise tells the surrogate little. Least squares give the X of this very step: three unknowns, as many
equations as the ray has values. (Golub and Pereyra 1973, variable projection: the unknowns in which a problem is linear
are eliminated.)
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from attacker.attacks.radiance.heard import Points
from attacker.attacks.radiance.matching import SMALLEST
from victims.radiance.networks import EdgePart
from victims.radiance.rendering import render

RIDGE: Final = 1e-3
"""Added to the 3 x 3 equations, relative to their trace: where a surrogate's colours hardly differ, the solution stays
near the surrogate's own colour."""


def solved(part: EdgePart, points: Points, heard: Tensor, counted: Tensor | None) -> Tensor:
    """The pixels (R, 3), in [0, 1], that bring the surrogate's gradient nearest to ``heard`` (R, S, E).

    counted: 1 for entries that count and 0 for others, None: all. The pixels carry no gradient: at the solution, the
    distance does not change with them.
    """
    embeddings = points.embeddings.detach().requires_grad_(True)
    colours = render(part, embeddings, points.distances, points.directions).colours
    slopes = [
        torch.autograd.grad(colours[:, channel].sum(), embeddings, retain_graph=channel < 2)[0].flatten(1)
        for channel in range(3)
    ]
    wanted = heard.flatten(1)
    if counted is not None:
        mask = counted.flatten(1)
        slopes, wanted = [slope * mask for slope in slopes], wanted * mask
    factor = 2 / (3 * points.of)  # of the victim's loss, a mean over rays and channels
    return (colours.detach() - errors(torch.stack(slopes, dim=-1), wanted / factor)).clamp(0, 1)


def errors(slopes: Tensor, wanted: Tensor) -> Tensor:
    """The errors (R, 3) whose gradients, by ``slopes`` (R, N, 3), are nearest to ``wanted`` (R, N).

    0 for a ray whose equations have no solution in numbers: its pixel is what the surrogate renders. Under strong noise
    a surrogate comes to where its slopes overflow; whether the step is learnt from is its loss's to say.
    """
    # In units of the slopes: their squares would be lost to float32 otherwise.
    scale = slopes.square().sum((1, 2)).sqrt().clamp(min=SMALLEST)
    slopes, wanted = slopes / scale[:, None, None], wanted / scale[:, None]
    normal = slopes.mT @ slopes + RIDGE * torch.eye(3)
    solution, _ = torch.linalg.solve_ex(normal, (slopes.mT @ wanted[..., None]).squeeze(-1))
    return torch.where(solution.isfinite().all(1, keepdim=True), solution, 0.0)
