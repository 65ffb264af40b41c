"""Gradients of rays that come again, averaged: noise that is drawn anew each time goes down with their number."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from attacker.attacks.radiance.heard import Points


class Averages:
    """The weighted mean of each ray's gradients (S, E), over all the times it was heard.

    most: rays that are kept, the first ones that come; others are passed through as they are. A kept ray takes
    4 * S * E bytes. The samples of a ray lie elsewhere in their bins each time, and the victim changes: a mean over
    different things, whose error is the price of less noise.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: dict[tuple[int, int], int] = {}
        self._mean = torch.empty(0)
        self._weight = torch.empty(0)

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, points: Points, weight: float) -> Tensor:
        """Add a step's gradients, each counting ``weight``; the means up to now (R, S, E), in the rays' order.

        A ray that is there twice in one step is added twice.
        """
        made = points.gradients.clone()
        for ray, pixel in enumerate(points.pixels.tolist()):
            row = self._row((points.view, pixel), points.gradients.shape[1:])
            if row is None:
                continue
            self._weight[row] += weight
            self._mean[row] += (points.gradients[ray] - self._mean[row]) * (weight / self._weight[row])
            made[ray] = self._mean[row]
        return made

    def state(self) -> dict[str, Tensor]:
        """Of the kept rays: places int64 (N, 2), weights (N,), means (N, S, E)."""
        count = len(self._rows)
        places = torch.tensor(list(self._rows), dtype=torch.int64).view(-1, 2)
        return {
            "average.places": places,
            "average.weight": self._weight[:count].clone(),
            "average.mean": self._mean[:count].clone(),
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """What :meth:`state` gave."""
        places = tensors["average.places"].tolist()
        self._rows = {(view, pixel): row for row, (view, pixel) in enumerate(places)}
        self._weight, self._mean = tensors["average.weight"].clone(), tensors["average.mean"].clone()

    def _row(self, place: tuple[int, int], shape: torch.Size) -> int | None:
        """Where a ray is kept, for the first time or again; None where there is no room."""
        row = self._rows.get(place)
        if row is not None or len(self._rows) >= self._most:
            return row
        row = self._rows[place] = len(self._rows)
        if row >= len(self._weight):
            room = min(max(2 * row, 256), self._most) - len(self._weight)
            mean = self._mean.view(-1, *shape) if row else self._mean.new_empty(0, *shape)
            self._mean = torch.cat([mean, mean.new_zeros(room, *shape)])
            self._weight = torch.cat([self._weight, self._weight.new_zeros(room)])
        self._mean[row], self._weight[row] = 0, 0
        return row
