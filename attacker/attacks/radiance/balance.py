"""The balancer of the two losses, which the published code adds to the paper's sum."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Balance:
    """rho: the mean of dummy error over gradient distance, running over the first ``steps`` steps, then fixed.

    Saved and put back with the rest (the published code forgets it, and a resumed attack is another one).
    """

    steps: int
    rho: float = 0.0
    seen: int = 0

    def take(self, dummy: float, gradient: float) -> float:
        """rho for a step with these two losses; 1 where ``steps`` is 0."""
        if not self.steps:
            return 1.0
        if self.seen < self.steps and gradient > 0:
            self.seen += 1
            self.rho += (dummy / gradient - self.rho) / self.seen
        return self.rho
