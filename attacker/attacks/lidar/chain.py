"""Blocks in a row: from the transmitted level down to voxels, each reading what the one before believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from attacker.attacks.lidar.network import CERTAIN, HIDDEN, Block, Grid, Guess
from attacker.attacks.lidar.sites import Candidates, Ints, candidates, cover

TRAINING_THRESHOLD = 0.4
"""Belief from which a site goes on to the next block while training; measured thresholds replace it afterwards."""


@dataclass
class Trace:
    """What happened on the way: per restored level, from the deepest to level 0."""

    generated: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)


class Chain(nn.Module):
    """Blocks for levels ``depth`` - 1 to 0. thresholds: one per restored level, index = level."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.depth = depth
        self.blocks = nn.ModuleList(Block(level) for level in range(depth))
        self.thresholds = [TRAINING_THRESHOLD] * depth

    def block(self, level: int) -> Block:
        """The block that restores ``level``."""
        found = self.blocks[level]
        assert isinstance(found, Block)
        return found

    def forward(
        self,
        coords: Ints,
        features: Tensor,
        grids: Sequence[Grid],
        *,
        down_to: int = 0,
        prune: bool = True,
        covered: bool = True,
        seen: Callable[[int, Guess, Candidates], None] | None = None,
        trace: Trace | None = None,
    ) -> Guess:
        """Sites of level ``down_to`` with their logits, from the transmitted level.

        grids: of levels 0 to ``depth``. prune, covered: the two rules of ``sites``. seen: called at every level with
        all candidates before the threshold (the losses of training).
        """
        guess = certain(coords, features, self.depth)
        return self.descend(guess, grids, down_to=down_to, prune=prune, covered=covered, seen=seen, trace=trace)

    def descend(
        self,
        guess: Guess,
        grids: Sequence[Grid],
        *,
        down_to: int = 0,
        prune: bool = True,
        covered: bool = True,
        seen: Callable[[int, Guess, Candidates], None] | None = None,
        trace: Trace | None = None,
    ) -> Guess:
        """As :meth:`forward`, from a guess of level ``depth``."""
        for level in range(self.depth - 1, down_to - 1, -1):
            guess = self.step(level, guess, grids, prune=prune, covered=covered, seen=seen, trace=trace)
        return guess

    def step(
        self,
        level: int,
        guess: Guess,
        grids: Sequence[Grid],
        *,
        prune: bool = True,
        covered: bool = True,
        seen: Callable[[int, Guess, Candidates], None] | None = None,
        trace: Trace | None = None,
    ) -> Guess:
        """One block: candidates, beliefs, and the sites that are taken on."""
        block = self.block(level)
        options = candidates(guess.coords, block.layer, grids[level].shape, prune=prune)
        out = block(guess, options, grids[level + 1], grids[level])
        if seen is not None:
            seen(level, out, options)
        chosen = take(out.logit, options, self.thresholds[level], covered)
        if trace is not None:
            trace.generated.append(len(options))
            trace.kept.append(len(chosen))
        rows = torch.from_numpy(chosen)
        features = block.natural(out.features[rows]) if level else out.features[rows]
        return Guess(options.coords[chosen], features, out.logit[rows], out.hidden[rows])


def take(logit: Tensor, options: Candidates, threshold: float, covered: bool) -> Ints:
    """Rows of the candidates that are believed: int64, ascending."""
    score = logit.detach().float().cpu().numpy()
    chosen = score >= np.float32(np.log(threshold / (1 - threshold)))
    if covered:
        chosen = cover(options.rules, score, chosen)
    return np.flatnonzero(chosen)


def certain(coords: Ints, features: Tensor, level: int) -> Guess:
    """A transmitted level as a block's input."""
    hidden = HIDDEN[level] if level < len(HIDDEN) else 0
    return Guess(coords, features, features.new_full((len(coords),), CERTAIN), features.new_zeros(len(coords), hidden))
