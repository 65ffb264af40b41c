"""The parts of an attack that has nothing to learn and keeps nothing between frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from attacker.attacks.base import Grants, Reconstruction
from victims.base import Progress, Sample


class Untrained:
    """Half of an :class:`attacker.attacks.base.Attack`."""

    def fit(self, data: Iterable[Sample], grants: Grants, work: Path, progress: Progress) -> Path:
        """Nothing is learnt; returns the working folder."""
        return work


class Stateless:
    """Half of an :class:`attacker.attacks.base.Inverter`."""

    def rewind(self, incarnation: int, step: int) -> None:
        """Nothing is kept between frames."""

    def finish(self) -> Sequence[Reconstruction]:
        """Nothing is held back."""
        return []
