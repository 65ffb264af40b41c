"""How far the attacks are with the work in hand: a long inversion tells it, the state and the lab's bar show it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Advance:
    """One attack's. A :class:`victims.base.Progress`: call it with what is done, of how much, and a line.

    calls: how often it was told anything, so that one who waits sees that something moves.
    """

    share: float = 0.0
    note: str = ""
    calls: int = 0

    def __call__(self, done: float, total: float, note: str = "") -> None:
        self.share = min(max(done / total, 0.0), 1.0) if total > 0 else 0.0
        self.note = note
        self.calls += 1
