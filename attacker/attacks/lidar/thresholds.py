"""Choosing the chain's thresholds on the attacker's own scans: beliefs rank the sites, a threshold decides how many.

The best threshold for occupancy is not the best for points: with the cover rule a lower last threshold buys recall at
the metric's distance. Chosen on held-out scans of the attacker's, never on a victim's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from attacker.attacks.lidar.chain import Chain, certain, take
from attacker.attacks.lidar.data import Item
from attacker.attacks.lidar.network import Grid, Guess
from attacker.attacks.lidar.sites import Candidates

INNER = (0.3, 0.4, 0.5)
LAST = (0.1, 0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)


def f1(restored: NDArray[np.float32], original: NDArray[np.float32], distance: float) -> float:
    """Harmonic mean of precision (restored points with an original within ``distance``) and recall (the reverse)."""
    if not len(restored) or not len(original):
        return float(len(restored) == len(original))
    near_original = cKDTree(original).query(restored, distance_upper_bound=distance)[0] <= distance
    near_restored = cKDTree(restored).query(original, distance_upper_bound=distance)[0] <= distance
    precision, recall = float(near_original.mean()), float(near_restored.mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def choose(chain: Chain, items: Sequence[Item], grids: Sequence[Grid], distance: float = 0.15) -> float:
    """Set the thresholds that give the best mean F1 at ``distance`` (metres) over ``items``; returns that F1.

    The levels in between share one threshold; each choice of it is followed by the best last one.
    """
    best = (-1.0, list(chain.thresholds))
    for inner in INNER if chain.depth > 1 else INNER[:1]:
        chain.thresholds = [0.5] + [inner] * (chain.depth - 1)
        scores = np.zeros(len(LAST))
        for item in items:
            top = item.levels[chain.depth]
            guess = certain(top.coords, top.features, chain.depth)
            scores += last_scores(chain, guess, item, grids, distance) / len(items)
        at = int(scores.argmax())
        if scores[at] > best[0]:
            best = (float(scores[at]), [LAST[at], *chain.thresholds[1:]])
    chain.thresholds = best[1]
    return best[0]


def last_scores(chain: Chain, top: Guess, item: Item, grids: Sequence[Grid], distance: float) -> NDArray[np.float64]:
    """F1 at ``distance`` for each of :data:`LAST`, float64: one pass of the chain from ``top``."""
    last: list[tuple[Guess, Candidates]] = []

    def keep(level: int, guess: Guess, options: Candidates) -> None:
        if level == 0:
            last.append((guess, options))

    with torch.inference_mode():
        chain.descend(top, grids, seen=keep)
    guess, options = last[0]
    centres = grids[0].centres(options.coords)
    return np.array([f1(centres[take(guess.logit, options, t, True)], item.points, distance) for t in LAST])
