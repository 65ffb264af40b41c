"""The offset between the clocks of edge and cloud, from probes, with a bound that holds.

A probe leaves the edge at t1, reaches the cloud at t2, is answered at t3 and back at t4 (RFC 5905, section 8). Whatever
the two ways took, the offset is off by at most half of the time that was spent on them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

DRIFT = 50e-6
"""Two crystals part by at most this (each 25 ppm), so an old estimate is worth less."""

PROBES = 16
"""Probes in one estimate; the eighth with the lowest delay counts."""


@dataclass(frozen=True)
class ProbeTimes:
    """One probe, in nanoseconds: t1 and t4 of the edge's clock, t2 and t3 of the cloud's."""

    t1: int
    t2: int
    t3: int
    t4: int

    @property
    def offset(self) -> float:
        """Cloud minus edge."""
        return ((self.t2 - self.t1) + (self.t3 - self.t4)) / 2

    @property
    def bound(self) -> float:
        """How wrong :attr:`offset` can be."""
        return ((self.t4 - self.t1) - (self.t3 - self.t2)) / 2


@dataclass(frozen=True)
class ClockEstimate:
    """``cloud time = edge time + offset_ns``, to within ``bound_ns`` (infinite before the first probe)."""

    offset_ns: int
    bound_ns: float
    at_ns: int = 0
    """Edge time of the measurement."""

    def aged(self, now_ns: int) -> ClockEstimate:
        """The estimate at edge time ``now_ns``: widened by :data:`DRIFT` times its age."""
        return ClockEstimate(self.offset_ns, self.bound_ns + DRIFT * max(0, now_ns - self.at_ns), self.at_ns)


UNKNOWN = ClockEstimate(0, math.inf)


def estimate(probes: Sequence[ProbeTimes]) -> ClockEstimate:
    """The median offset of the eighth of ``probes`` with the lowest delay, and a bound for each of them at once.

    ValueError without probes, or for one whose times run backwards.
    """
    if not probes:
        raise ValueError("a clock estimate needs at least one probe")
    if any(p.bound < 0 for p in probes):
        raise ValueError("a probe was answered before it was sent")
    best = sorted(probes, key=lambda p: p.bound)[: max(1, len(probes) // 8)]
    offset = round(median(p.offset for p in best))
    return ClockEstimate(offset, max(p.bound + abs(p.offset - offset) for p in best), max(p.t4 for p in probes))
