"""The gradient that a surrogate would have sent, and how far it is from the one that was heard.

Its distance is differentiated again, through nerfacc's dense rendering: second derivatives of the victim's loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from attacker.attacks.radiance.heard import Points
from victims.radiance.networks import EdgePart
from victims.radiance.rendering import render, squared_error

Distance = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(heard, own, both float32 (R, S, E); 1 for entries that count and 0 for others, None: all) -> a number."""

Count = Callable[[Tensor, Tensor | None], float]
"""(heard, what counts, as above) -> how many."""

SMALLEST: Final = 1e-30
"""Far below the square of any gradient that matters; keeps roots and quotients of nothing finite."""


@dataclass(frozen=True)
class Answer:
    """What a surrogate does with the rays of a step.

    error: mean squared error to the dummy pictures' pixels. gradient (R, S, E): of the victim's loss - a mean over all
    rays of the step - with respect to the embeddings. Both can be differentiated.
    """

    error: Tensor
    gradient: Tensor


def answer(part: EdgePart, points: Points, wanted: Tensor, *, twice: bool = True) -> Answer:
    """As the edge does with its photographs: render, compare with ``wanted`` (R, 3), differentiate.

    twice: False where the values will do, and nothing is differentiated again.
    """
    embeddings = points.embeddings.detach().requires_grad_(True)
    rendered = render(part, embeddings, points.distances, points.directions)
    loss = squared_error(rendered.colours, wanted, points.of)
    (gradient,) = torch.autograd.grad(loss, embeddings, create_graph=twice)
    return Answer(loss * (points.of / len(points.pixels)), gradient)


def mean_square(heard: Tensor, own: Tensor, counted: Tensor | None) -> Tensor:
    """The paper's: mean squared difference of all entries."""
    square = (heard - own).square()
    if counted is None:
        return square.mean()
    return (square * counted).sum() / counted.sum().clamp(min=1)


def cosine(heard: Tensor, own: Tensor, counted: Tensor | None) -> Tensor:
    """Mean over points of 1 - cosine: a point that weighs little in its pixel counts as much as one that weighs a lot.

    Points of which nothing was heard do not count.
    """
    heard, own = _counted(heard, own, counted)
    theirs, mine = _squares(heard, -1), _squares(own, -1)
    alive = (theirs > 0).float()
    likeness = (heard * own).sum(-1) / ((theirs + SMALLEST).sqrt() * (mine + SMALLEST).sqrt())
    return _mean((1 - likeness) * alive, alive)


def by_ray(heard: Tensor, own: Tensor, counted: Tensor | None) -> Tensor:
    """Mean over rays of the squared difference, relative to what was heard of the ray: an easy pixel, whose gradient is
    short, counts as much as a hard one. Rays of which nothing was heard do not count."""
    heard, own = _counted(heard, own, counted)
    theirs = _squares(heard, (1, 2))
    alive = (theirs > 0).float()
    return _mean(_squares(heard - own, (1, 2)) / (theirs + SMALLEST) * alive, alive)


def _counted(heard: Tensor, own: Tensor, counted: Tensor | None) -> tuple[Tensor, Tensor]:
    return (heard, own) if counted is None else (heard * counted, own * counted)


def _squares(values: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    return values.square().sum(dim)


def _mean(values: Tensor, alive: Tensor) -> Tensor:
    return values.sum() / alive.sum().clamp(min=1)


def _entries(heard: Tensor, counted: Tensor | None) -> float:
    return float(heard.numel() if counted is None else counted.sum())


def _alive(dim: int | tuple[int, ...]) -> Count:
    def count(heard: Tensor, counted: Tensor | None) -> float:
        return float((_squares(heard if counted is None else heard * counted, dim) > 0).sum())

    return count


DISTANCES: Final[Mapping[str, Distance]] = MappingProxyType({"mse": mean_square, "cosine": cosine, "ray": by_ray})

COUNTS: Final[Mapping[str, Count]] = MappingProxyType({"mse": _entries, "cosine": _alive(-1), "ray": _alive((1, 2))})
"""What each distance is a mean over: so many entries, points or rays. The distance of a step is the mean of its chunks'
distances, weighted with these."""
