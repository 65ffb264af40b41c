"""What a listener that knows the gradient-norm noise's c and r makes of a noisy step: how strong its noise is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from attacker.attacks.base import DefenseCard
from wire.errors import InputError


@dataclass(frozen=True)
class NoiseModel:
    """sigma_t = c * max_i ||g_i|| * r ** min(t / T, 1) (S2NeRF), with the clean maximum unknown.

    c, r: the defense's. steps: T.
    """

    c: float
    r: float
    steps: int

    def relative(self, step: int) -> float:
        """sigma over the clean maximum norm, at a step."""
        return float(self.c * self.r ** min(step / self.steps, 1.0))

    def variance(self, gradients: Iterable[Tensor], step: int) -> float:
        """sigma squared, from all noisy gradients of a step, chunks (R, S, E).

        A row's noise has a squared norm of E sigma^2, so the largest noisy norm n is about
        max * sqrt(1 + E (sigma / max)^2), which is solved for the clean maximum.
        """
        noisy, width = 0.0, 1
        for chunk in gradients:
            noisy, width = max(noisy, float(chunk.norm(dim=-1).max())), chunk.shape[-1]
        relative = self.relative(step)
        clean = noisy / math.sqrt(1 + width * relative**2)
        return max((relative * clean) ** 2, LEAST)


LEAST = 1e-30
"""The least variance, so that a step without any gradient has one."""


def noise_model(card: DefenseCard | None, steps: int, attack: str) -> NoiseModel:
    """Of the defense that the knowledge card names. InputError where it is not the one that has a schedule."""
    if card is None or card.name != "gradient-norm-noise":
        found = "none" if card is None else card.name
        raise InputError(
            f"attack {attack}: weighting sigma needs to know the defense gradient-norm-noise; the card names {found}"
        )
    c, r = card.settings.get("c", card.settings.get("strength", 1.2)), card.settings.get("r", 1e-4)
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and v > 0 for v in (c, r)):
        raise InputError(f"attack {attack}: the card's gradient-norm-noise has c {c!r} and r {r!r}; accepted: above 0")
    return NoiseModel(float(c), float(r), steps)  # type: ignore[arg-type]
