"""ConcreTizer that knows it is defended against: a sieve before the chain, both trained under noise.

Trained over the strengths of two defenses, noise on the active sites' features and noise that also fills empty sites,
so that one set of weights serves any strength; the strength itself is read off the payload (see ``sieve``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from attacker.attacks.base import Grants, Inverter, Needs, SessionInfo
from attacker.attacks.lidar.chain import Chain
from attacker.attacks.lidar.concretizer import (
    Restorer,
    read_weights,
    split_name,
    switch,
    victim_backbone,
    write_weights,
)
from attacker.attacks.lidar.data import TAPS, Item, Level, Wedges, encode
from attacker.attacks.lidar.network import Guess
from attacker.attacks.lidar.sieve import Sieve
from attacker.attacks.lidar.sites import Zyx, find, keys, shapes, unkey
from attacker.attacks.lidar.thresholds import LAST, last_scores
from attacker.attacks.lidar.train import Losses, Recipe, Run, chain_for, held_out, set_dtype, world
from attacker.attacks.lidar.transmitted import Transmitted
from victims.base import Progress, Sample, weights_folder
from victims.lidar.backbone import VoxelBackBone8x
from victims.lidar.weights import install
from wire.errors import InputError
from wire.seeds import generator

SIEVE = (0.3, 0.5, 0.7)
"""Thresholds of the sieve that are tried."""


@dataclass(frozen=True)
class Noise:
    """What the training payloads suffer. strength: up to this many times the features' RMS; fill: up to this share of
    the empty sites."""

    strength: float = 2.2
    fill: float = 0.08

    def draw(self, rng: np.random.Generator) -> tuple[float, float]:
        """Strength and fill of one item: one in eight is clean, half of the others are filled."""
        strength = 0.0 if rng.random() < 0.125 else float(rng.uniform(0.05, self.strength))
        filled = strength > 0 and rng.random() < 0.5
        return strength, float(np.exp(rng.uniform(np.log(0.003), np.log(self.fill)))) if filled else 0.0


def noised(level: Level, shape: Zyx, sigma: float, fill: float, rng: np.random.Generator) -> tuple[Level, np.ndarray]:
    """A level under Gaussian noise on its features and on a share ``fill`` of the empty sites about it.

    Empty sites are drawn within the bounding box of the active ones: an item is a wedge, and what matters is how dense
    the filling is. Returns the noised level and which of its sites are real, bool (N,).
    """
    count = len(level.coords)
    extra = np.zeros((0, 3), np.int64)
    if fill > 0 and count:
        low, high = level.coords.min(0), level.coords.max(0) + 1
        cells = int(np.prod(high - low))
        drawn = low + unkey(np.unique(rng.integers(0, cells, size=round(fill * cells))), tuple((high - low).tolist()))
        extra = drawn[find(keys(level.coords, shape), keys(drawn, shape)) == count]
    coords = np.concatenate([level.coords, extra])
    order = np.argsort(keys(coords, shape), kind="stable")
    clean = F.pad(level.features, (0, 0, 0, len(extra)))
    noise = torch.from_numpy(rng.standard_normal(tuple(clean.shape), dtype=np.float32)) * sigma
    return Level(coords[order], (clean + noise)[torch.from_numpy(order)]), order < count


class Aware(nn.Module):
    """A sieve and the chain behind it."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.sieve, self.chain = Sieve(depth), Chain(depth)


class ConcretizerAware:
    """Restores the voxels of one frame that a noise defense touched. prune, cover: the rules of ``sites``."""

    name = "concretizer-aware"
    modality = "lidar"
    needs = Needs("wire", "white", splits=frozenset({"conv3.0"}), defense="aware")

    def __init__(
        self,
        *,
        prune: bool = True,
        cover: bool = True,
        recipe: Recipe | None = None,
        noise: Noise | None = None,
        steps: int = 500,
    ) -> None:
        self.prune, self.cover, self.recipe = prune, cover, recipe or Recipe()
        self.noise, self.steps = noise or Noise(), steps

    def fit(self, data: Iterable[Sample], grants: Grants, work: Path, progress: Progress) -> Path:
        """Train as ``concretizer`` does, then sieve and chain together under noise. Resumes in ``work``."""
        split = split_name(grants.settings.get("split", "conv3.0"))
        depth, backbone, scans = TAPS.index(split) + 1, victim_backbone(grants), list(data)
        chain, _ = chain_for(depth, scans, backbone, self.recipe, work, progress)
        model = begin(chain, self.recipe.seed)
        wedges = Wedges(scans, self.recipe.scans, self.recipe.held)
        self._train(model, wedges, backbone, work, progress)
        score = tune(model, held_out(wedges, backbone), self.noise)
        card = {"split": split, "depth": depth, "sieve_threshold": model.sieve.threshold, "f1_own_scans": score}
        card |= {"thresholds": model.chain.thresholds, "recipe": asdict(self.recipe), "noise": asdict(self.noise)}
        return write_weights(model, work / f"{self.name}-{split}.safetensors", card)

    def _train(self, model: Aware, wedges: Wedges, backbone: VoxelBackBone8x, work: Path, progress: Progress) -> None:
        depth = model.chain.depth
        run = Run(f"aware-{depth}", work, model, self.recipe, self.recipe.peak_together, self.steps)

        def draw(rng: np.random.Generator) -> NoisyItem:
            item = encode(*wedges.draw(rng), backbone)
            strength, fill = self.noise.draw(rng)
            return noisy(item, depth, strength * model.sieve.rms, fill, rng)

        def step(item: Item) -> Losses:
            losses = Losses(item, model.chain, self.recipe)
            if isinstance(item, NoisyItem):
                grids = world(item.preset, depth)
                first, guess = model.sieve(item.heard.coords, item.heard.features, grids[depth])
                losses.total = sieve_loss(model.sieve, item, first, guess, grids[depth].shape, losses.parts)
                model.chain.descend(model.sieve.believed(guess), grids, seen=losses)
            return losses

        set_dtype(model, getattr(torch, self.recipe.dtype))
        run.go(draw, step, progress)
        set_dtype(model, torch.float32)

    def open(self, session: SessionInfo, grants: Grants) -> Inverter:
        """An inverter with the weights of ``grants.files["inverter"]``, or the shipped ones of the split point.

        ``grants.settings``: ``prune`` and ``cover``, true or false, go before the attack's own.
        """
        shipped = weights_folder() / f"{self.name}-{split_name(session.split)}.safetensors"
        model = load_aware(grants.files.get("inverter", shipped))

        def believe(heard: Transmitted) -> Guess:
            if heard.depth != model.chain.depth:
                raise InputError(
                    f"{self.name}: payload at depth {heard.depth}; these weights accept {model.chain.depth}"
                )
            _, guess = model.sieve(heard.coords, heard.features, heard.levels[heard.depth])
            return model.sieve.believed(guess)

        prune, cover = switch(grants, "prune", self.prune), switch(grants, "cover", self.cover)
        return Restorer(self.name, model.chain, prune=prune, cover=cover, believe=believe)


def begin(chain: Chain, seed: int) -> Aware:
    """A sieve that has learnt nothing before a trained chain."""
    torch.manual_seed(seed)
    model = Aware(chain.depth)
    model.chain.load_state_dict(chain.state_dict())
    top = chain.block(chain.depth - 1)
    model.sieve.mean.copy_(top.mean)
    model.sieve.std.copy_(top.std)
    return model


@dataclass(frozen=True)
class NoisyItem(Item):
    """An item with its top level as the listener would hear it. real: bool (N,), which of its sites are the head's."""

    heard: Level
    real: NDArray[np.bool_]


def noisy(item: Item, depth: int, sigma: float, fill: float, rng: np.random.Generator) -> NoisyItem:
    """An item under noise at ``depth``."""
    shape = shapes(item.preset.shape, depth)[depth]
    heard, real = noised(item.levels[depth], shape, sigma, fill, rng)
    return NoisyItem(item.levels, item.points, item.preset, heard, real)


def sieve_loss(
    sieve: Sieve, item: NoisyItem, first: Tensor, guess: Guess, shape: Zyx, parts: dict[str, float]
) -> Tensor:
    """Both beliefs against what is real, and the features of the real sites against the clean ones."""
    real = torch.from_numpy(item.real.astype(np.float32))
    rows = find(keys(item.heard.coords, shape), keys(guess.coords, shape))
    belief = F.binary_cross_entropy_with_logits(guess.logit, real[rows])
    loss = F.binary_cross_entropy_with_logits(first, real) + belief
    parts["real"] = float(belief.detach())
    true = item.levels[sieve.level]
    at = find(keys(true.coords, shape), keys(guess.coords, shape))
    matched = at < len(true.coords)
    wanted = true.features[torch.from_numpy(at[matched])]
    channel = ((guess.features[torch.from_numpy(matched)] - wanted) / sieve.std).square().mean()
    parts["denoised"] = float(channel.detach())
    return loss + 0.2 * channel


def tune(model: Aware, items: Sequence[Item], noise: Noise, distance: float = 0.15) -> float:
    """Choose the sieve's and the last threshold by F1 at ``distance`` (metres) on the attacker's own noised scans."""
    depth = model.chain.depth
    rng = generator(0, "concretizer.aware.thresholds")
    trials = [
        noisy(item, depth, strength * model.sieve.rms, fill, rng)
        for item in items
        for strength, fill in ((noise.strength / 2, 0.0), (noise.strength / 2, noise.fill / 2))
    ]
    best = (-1.0, model.sieve.threshold, list(model.chain.thresholds))
    for at in SIEVE:
        model.sieve.threshold = at
        scores = np.mean([_scores(model, item, distance) for item in trials], axis=0)
        last = int(scores.argmax())
        if scores[last] > best[0]:
            best = (float(scores[last]), at, [LAST[last], *model.chain.thresholds[1:]])
    model.sieve.threshold, model.chain.thresholds = best[1], best[2]
    return best[0]


def _scores(model: Aware, item: NoisyItem, distance: float) -> NDArray[np.float64]:
    grids = world(item.preset, model.chain.depth)
    with torch.inference_mode():
        _, guess = model.sieve(item.heard.coords, item.heard.features, grids[-1])
        return last_scores(model.chain, model.sieve.believed(guess), item, grids, distance)


def load_aware(path: Path) -> Aware:
    """Trained sieve and chain, ready to restore. WeightsError when the file holds none."""
    card, tensors = read_weights(path)
    model = Aware(int(card["depth"]))
    install(model, tensors, str(path))
    model.sieve.threshold = float(card["sieve_threshold"])
    model.chain.thresholds = [float(t) for t in card["thresholds"]]
    return model.eval().requires_grad_(False)
