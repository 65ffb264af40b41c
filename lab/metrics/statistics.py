"""Means, medians, paired differences, and intervals that respect what was independent.

Frames of one street are no independent observations, so the bootstrap draws whole groups (streets, scenes, pictures)
with replacement and keeps each group's frames together (the cluster bootstrap: Davison and Hinkley, *Bootstrap Methods
and their Application*, 1997, section 3.8; percentile interval, section 5.3.1).  Below :data:`MIN_GROUPS` groups there
is no interval: six scans are six rows.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

MIN_GROUPS = 8
"""Fewer groups have too few distinct resamples for a percentile interval to mean what it says."""

RESAMPLES = 4000
"""Keeps the noise of a 2.5 % quantile below what three printed digits show, at 30 ms for 1,000 groups."""

_BLOCK = 250  # resamples drawn at a time: 250 x 10,000 groups of int64 are 20 MB


Frame = TypeVar("Frame", bound=Hashable)


@dataclass(frozen=True)
class Summary:
    """Mean and median over frames; ``low`` to ``high`` is the 95 % interval of the mean; ``n`` frames that had a value.

    low and high are None when fewer than :data:`MIN_GROUPS` groups had one; mean and median when none had.
    """

    mean: float | None
    median: float | None
    low: float | None
    high: float | None
    n: int

    def asdict(self) -> dict[str, float | int | None]:
        """The object in ``summary.json``."""
        return asdict(self)


def summarize(values: Sequence[float | None], groups: Sequence[Hashable], rng: np.random.Generator) -> Summary:
    """Summary of one value a frame; frames without a value (None) are left out, and ``n`` shows it.

    groups: the independent unit each frame belongs to, as long as ``values``. ValueError for other lengths or for
    values that are not finite.
    """
    if len(values) != len(groups):
        raise ValueError(f"{len(values)} values for {len(groups)} groups, one each is needed")
    kept = [(float(v), g) for v, g in zip(values, groups, strict=True) if v is not None]
    if not kept:
        return Summary(None, None, None, None, 0)
    array = np.array([v for v, _ in kept])
    if not np.isfinite(array).all():
        raise ValueError(f"{int((~np.isfinite(array)).sum())} of {len(array)} values are not finite")
    low, high = interval(array, [g for _, g in kept], rng) or (None, None)
    return Summary(float(array.mean()), float(np.median(array)), low, high, len(array))


def interval(
    values: NDArray[np.float64],
    groups: Sequence[Hashable],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> tuple[float, float] | None:
    """Cluster-bootstrap percentile interval of the mean over all values; None below :data:`MIN_GROUPS` groups."""
    numbers = {g: i for i, g in enumerate(dict.fromkeys(groups))}
    if len(numbers) < MIN_GROUPS:
        return None
    member = np.array([numbers[g] for g in groups])
    sums = np.bincount(member, weights=values)
    sizes = np.bincount(member)
    means = np.empty(resamples)
    for start in range(0, resamples, _BLOCK):
        drawn = rng.integers(len(sizes), size=(min(_BLOCK, resamples - start), len(sizes)))
        means[start : start + len(drawn)] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def paired(
    ours: Mapping[Frame, float | None],
    theirs: Mapping[Frame, float | None],
    groups: Mapping[Frame, Hashable],
    rng: np.random.Generator,
) -> Summary:
    """Summary of ours - theirs over the frames for which both have a value.

    Keys are frames; ``groups`` names each frame's group. Pairing takes out what both share (a hard street is hard for
    every attack), so this interval, not the overlap of two others, says whether they differ.
    """
    differences: list[float | None] = []
    drawn: list[Hashable] = []
    for frame, a in ours.items():
        b = theirs.get(frame)
        if a is not None and b is not None:
            differences.append(a - b)
            drawn.append(groups[frame])
    return summarize(differences, drawn, rng)
