"""How an attack's learning rate falls, and from where it counts.

The paper says 10/t with t an epoch; the published code counts optimiser steps and starts at ten times the rate; its
commands use exponential decays, by step; by epoch they are here too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

Decay = Callable[[int, int, int], float]
"""(steps since the attack began, steps that there were when it began, steps of an epoch) -> factor of the rate."""


def by_epoch(step: int, steps: int, epoch: int) -> float:
    """10/t with t the epoch's number from 1, at most 1 (the paper)."""
    return min(1.0, 10 / (step // max(epoch, 1) + 1))


def by_step(step: int, steps: int, epoch: int) -> float:
    """10/t with t the step's number from 1, not capped (the published code)."""
    return 10 / (step + 1)


def to_a_tenth(step: int, steps: int, epoch: int) -> float:
    """.1 at the end."""
    return float(0.1 ** (step / steps))


def to_a_thousandth(step: int, steps: int, epoch: int) -> float:
    """.001 at the end (the commands of the published code)."""
    return float(0.001 ** (step / steps))


def held(decay: Decay) -> Decay:
    """The same, constant inside an epoch: what it is at the epoch's first step."""
    return lambda step, steps, epoch: decay(step - step % max(epoch, 1), steps, epoch)


DECAYS: Final[Mapping[str, Decay]] = MappingProxyType(
    {
        "epoch": by_epoch,
        "step": by_step,
        "exp": to_a_tenth,
        "exp-epoch": held(to_a_tenth),
        "exp3": to_a_thousandth,
        "exp3-epoch": held(to_a_thousandth),
    }
)


@dataclass(frozen=True)
class Schedule:
    """steps: of the victim's training. views: an epoch shows each once. begin: share of the training that is left out
    at its start; the decay counts from there. every: only each so-manieth step is learnt from."""

    rate: float
    decay: str
    steps: int
    views: int
    begin: float = 0.0
    every: int = 1

    @property
    def first(self) -> int:
        """The first step that is learnt from."""
        return int(self.begin * self.steps)

    def takes(self, step: int) -> bool:
        """Whether a step of the victim's is learnt from."""
        return step >= self.first and (step - self.first) % self.every == 0

    def rate_at(self, step: int) -> float:
        """Adam's rate at a step of the victim's, from :attr:`first` on."""
        since = step - self.first
        return self.rate * DECAYS[self.decay](since, max(self.steps - self.first, 1), self.views)
