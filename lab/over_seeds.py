"""What trainings from several seeds say together: a mean and its interval, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from lab.metrics.base import Metric
from lab.tables import Entry, figure

LEAST: Final = 3
"""Fewer seeds have no interval."""

LEVEL: Final = 0.95


@dataclass(frozen=True)
class Spread:
    """mean over n seeds; low to high is Student's 95 % interval of it, None below :data:`LEAST` seeds."""

    mean: float
    low: float | None
    high: float | None
    n: int

    def asdict(self) -> dict[str, Any]:
        """The object in a committed result."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "seeds": self.n}


def spread(values: Sequence[float]) -> Spread | None:
    """Of one value a seed; None where there is none.

    The interval is that of a mean of independent normal values (Student 1908). It rests on the seeds alone: views of
    one scene are no independent trials.
    """
    if not values:
        return None
    array = np.asarray(values, np.float64)
    mean, n = float(array.mean()), len(array)
    if n < LEAST:
        return Spread(mean, None, None, n)
    from scipy.stats import t

    half = float(t.ppf((1 + LEVEL) / 2, n - 1)) * float(array.std(ddof=1)) / math.sqrt(n)
    return Spread(mean, mean - half, mean + half, n)


def entry(found: Spread | None, metric: Metric) -> Entry:
    """The field of a table: the mean, below it the interval and the number of seeds."""
    if found is None:
        return Entry("–", why="no seed had a value")
    if found.low is None or found.high is None:
        seeds = "1 seed" if found.n == 1 else f"{found.n} seeds"
        return Entry(figure(found.mean, metric), (seeds,), f"no interval: fewer than {LEAST} seeds")
    return Entry(
        figure(found.mean, metric), (f"{figure(found.low, metric)} to {figure(found.high, metric)}", f"{found.n} seeds")
    )
