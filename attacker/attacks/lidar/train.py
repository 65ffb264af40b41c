"""Training of the inversion chain in two stages, resumable at every checkpoint.

Stage A trains a block on true features of the level above. Blocks trained so fall apart in a row, because they have
never met a predicted input; stage B therefore trains the whole row down from one depth on its own predictions, with
the cover rule inside the loop and gradients through the regressed channels, the beliefs and the hidden state. Depths
are trained in order, each starting from the row of the depth before.
"""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from attacker.attacks.lidar.chain import Chain, certain
from attacker.attacks.lidar.data import TAPS, Item, Wedges, encode
from attacker.attacks.lidar.network import Grid, Guess, SparseConv, focal_loss, grids
from attacker.attacks.lidar.sites import Candidates, find, keys, shapes
from attacker.attacks.lidar.thresholds import choose
from victims.base import Progress, Sample
from victims.lidar.backbone import VoxelBackBone8x
from victims.lidar.kitti import camera_view
from victims.lidar.presets import PRESETS, Preset
from wire.seeds import generator


@dataclass(frozen=True)
class Recipe:
    """All settings of a training; the defaults made the shipped weights.

    scans: of the attacker's own; held: how many of them are kept for choosing thresholds.
    alone: steps of stage A per level; together: steps of stage B per depth. peak_alone, peak_together: highest
    learning rates. alpha, gamma: of the focal loss. regression: weight of the channel loss beside it.
    """

    seed: int = 0
    scans: int = 240
    held: int = 4
    alone: tuple[int, int, int, int] = (100, 150, 200, 200)
    together: tuple[int, int, int, int] = (0, 250, 600, 800)
    peak_alone: float = 3e-3
    peak_together: float = 2e-3
    alpha: float = 0.5
    gamma: float = 0.5
    regression: float = 0.2
    checkpoint_every: int = 50
    dtype: str = "float32"


def world(preset: Preset, depth: int) -> list[Grid]:
    """Grids of levels 0 to ``depth`` under a preset."""
    x, y, z = preset.range_xyz[:3]
    vx, vy, vz = preset.voxel_size
    return grids(shapes(preset.shape, depth), (z, y, x), (vz, vy, vx))


class Losses:
    """Sums the losses of the levels that a pass goes through, against an item's true levels."""

    def __init__(self, item: Item, chain: Chain, recipe: Recipe) -> None:
        self.item, self.chain, self.recipe = item, chain, recipe
        self.total: Tensor = torch.zeros(())
        self.parts: dict[str, float] = {}

    def __call__(self, level: int, guess: Guess, options: Candidates) -> None:
        true = self.item.levels[level]
        at = find(keys(true.coords, options.shape), keys(options.coords, options.shape))
        occupied = at < len(true.coords)
        target = torch.from_numpy(occupied.astype(np.float32))
        loss = focal_loss(guess.logit, target, self.recipe.alpha, self.recipe.gamma).mean() * 4
        self.parts[f"site{level}"] = float(loss.detach())
        with torch.no_grad():
            belief = guess.logit > 0
            hits = float((belief & (target > 0)).sum())
            self.parts[f"f1_{level}"] = 2 * hits / max(1.0, float(belief.sum()) + len(true.coords))
        if level:
            block = self.chain.block(level)
            rows = torch.from_numpy(np.flatnonzero(occupied))
            wanted = (true.features[torch.from_numpy(at[occupied])] - block.child_mean) / block.child_std
            channel = (guess.features[rows] - wanted).square().mean()
            self.parts[f"channel{level}"] = float(channel.detach())
            loss = loss + self.recipe.regression * channel
        self.total = self.total + loss


def set_dtype(module: nn.Module, dtype: torch.dtype) -> None:
    """Precision of the sparse products."""
    for part in module.modules():
        if isinstance(part, SparseConv):
            part.dtype = dtype


def standardise(chain: Chain, items: Sequence[Item]) -> None:
    """Set every block's channel statistics from true features."""
    for level in range(chain.depth + 1):
        f = torch.cat([item.levels[level].features for item in items])
        mean, std = f.mean(0), f.std(0).clamp_min(0.05 * float(f.std()) + 1e-6)
        if level:
            chain.block(level - 1).mean.copy_(mean)
            chain.block(level - 1).std.copy_(std)
        if 0 < level < chain.depth:
            chain.block(level).child_mean.copy_(mean)
            chain.block(level).child_std.copy_(std)


def start_from_victim(chain: Chain, backbone: VoxelBackBone8x) -> None:
    """Begin the transposed convolutions at the adjoints of the victim's strided layers."""
    state = backbone.state_dict()
    for level, name in enumerate(TAPS):
        gain = state[f"{name}.1.weight"] / torch.sqrt(state[f"{name}.1.running_var"] + 1e-3)
        if level < chain.depth:
            chain.block(level).start_from(state[f"{name}.0.weight"], gain)


Draw = Callable[[np.random.Generator], Item]
Step = Callable[[Item], Losses]


class Run:
    """One stage: an optimiser over some parameters, checkpoints in ``work``, a line per ten steps in ``curve.csv``."""

    def __init__(self, name: str, work: Path, module: nn.Module, recipe: Recipe, peak: float, steps: int) -> None:
        self.name, self.work, self.module, self.recipe, self.steps = name, work, module, recipe, steps
        self.path = work / f"{name}.pt"
        self.optimiser = torch.optim.AdamW(module.parameters(), lr=peak / 25, weight_decay=0.01, betas=(0.9, 0.98))
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, max_lr=peak, total_steps=max(2, steps), pct_start=0.2, cycle_momentum=False
        )
        self.done = 0
        if self.path.exists():
            saved = torch.load(self.path, weights_only=True)
            module.load_state_dict(saved["module"])
            self.done = int(saved["done"])
            if self.done < steps:
                self.optimiser.load_state_dict(saved["optimiser"])
                self.schedule.load_state_dict(saved["schedule"])

    def save(self) -> None:
        """Write the checkpoint atomically."""
        temporary = self.path.with_suffix(".part")
        torch.save(
            {
                "module": self.module.state_dict(),
                "done": self.done,
                "optimiser": self.optimiser.state_dict(),
                "schedule": self.schedule.state_dict(),
            },
            temporary,
        )
        os.replace(temporary, self.path)

    def go(self, draw: Draw, step: Step, progress: Progress) -> None:
        """Train from the last checkpoint to the end. Every step's randomness comes from (seed, stage, step)."""
        sums: dict[str, list[float]] = {}
        begun = time.process_time()
        while self.done < self.steps:
            item = draw(generator(self.recipe.seed, f"concretizer.{self.name}", 0, self.done))
            if len(item.levels[-1].coords) >= 8:
                losses = step(item)
                self.optimiser.zero_grad(set_to_none=True)
                losses.total.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(self.module.parameters(), 5.0)
                self.optimiser.step()
                for key, value in losses.parts.items():
                    sums.setdefault(key, []).append(value)
            self.schedule.step()
            self.done += 1
            if self.done % 10 == 0:
                means = {key: float(np.mean(values)) for key, values in sums.items()}
                self._line(means, time.process_time() - begun)
                sums.clear()
                progress(self.done, self.steps, self.name + " " + " ".join(f"{k} {v:.3f}" for k, v in means.items()))
            if self.done % self.recipe.checkpoint_every == 0 or self.done == self.steps:
                self.save()

    def _line(self, means: dict[str, float], seconds: float) -> None:
        row = [self.name, self.done, f"{seconds:.1f}", *(f"{k}={v:.4f}" for k, v in means.items())]
        with (self.work / "curve.csv").open("a", newline="") as out:
            csv.writer(out).writerow(row)


def chain_for(
    depth: int, data: Iterable[Sample], backbone: VoxelBackBone8x, recipe: Recipe, work: Path, progress: Progress
) -> tuple[Chain, float]:
    """A trained chain for ``depth`` with its thresholds, and its F1 at 15 cm on the attacker's held-out scans.

    Everything below is kept in ``work``: a killed call resumes, a call for another depth shares what it can.
    """
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    wedges = Wedges(data, recipe.scans, recipe.held)
    chain = Chain(depth)
    rng = generator(recipe.seed, "concretizer.statistics")
    standardise(chain, [encode(*wedges.draw(rng), backbone) for _ in range(24)])
    start_from_victim(chain, backbone)

    def draw(rng: np.random.Generator) -> Item:
        return encode(*wedges.draw(rng), backbone)

    for k in range(1, depth + 1):
        row = Chain(k)
        row.load_state_dict({n: v for n, v in chain.state_dict().items() if n in row.state_dict()}, strict=True)
        alone(row, k - 1, draw, recipe, work, progress)
        together(row, draw, recipe, work, progress)
        for level in range(k):
            chain.block(level).load_state_dict(row.block(level).state_dict())
    score = choose(chain, held_out(wedges, backbone), world(PRESETS["kitti"], depth))
    return chain, score


def alone(chain: Chain, level: int, draw: Draw, recipe: Recipe, work: Path, progress: Progress) -> None:
    """Stage A: the block of ``level`` on true features of the level above."""
    run = Run(f"alone-{level}", work, chain.block(level), recipe, recipe.peak_alone, recipe.alone[level])

    def step(item: Item) -> Losses:
        losses, top = Losses(item, chain, recipe), item.levels[level + 1]
        chain.step(level, certain(top.coords, top.features, level + 1), world(item.preset, chain.depth), seen=losses)
        return losses

    set_dtype(chain, getattr(torch, recipe.dtype))
    run.go(draw, step, progress)
    set_dtype(chain, torch.float32)


def together(chain: Chain, draw: Draw, recipe: Recipe, work: Path, progress: Progress) -> None:
    """Stage B: the whole chain on its own predictions, with the cover rule in the loop."""
    steps = recipe.together[chain.depth - 1]
    if not steps:
        return
    run = Run(f"together-{chain.depth}", work, chain, recipe, recipe.peak_together, steps)

    def step(item: Item) -> Losses:
        losses, top = Losses(item, chain, recipe), item.levels[chain.depth]
        chain(top.coords, top.features, world(item.preset, chain.depth), seen=losses)
        return losses

    set_dtype(chain, getattr(torch, recipe.dtype))
    run.go(draw, step, progress)
    set_dtype(chain, torch.float32)


def held_out(wedges: Wedges, backbone: VoxelBackBone8x) -> list[Item]:
    """The camera views of the scans that are kept for choosing thresholds."""
    return [encode(camera_view(scan), PRESETS["kitti"], backbone) for scan in wedges.held]
