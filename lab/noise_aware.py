"""Noise-aware training: the tail of a 32x32 victim learns to read noised features; its head stays as it is.

What the listener hears is therefore what it heard before, for the same noise; only the utility that the noise cost
comes partly back (Wang et al. 2018, "Not Just Privacy", train the cloud's half under noise likewise). The published
file is the whole network, a victim's ``weights=PATH``.

The training is that of :mod:`victims.image.training`: everything random in a step is drawn from (seed, step), an
epoch's order from (seed, epoch), so that a killed one goes on from its checkpoint as if it had not been.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from victims.base import Progress, silent
from victims.image.augmentation import flipped_and_shifted
from victims.image.cifar import SIDE, read
from victims.image.publishing import Top1
from victims.image.split import Split
from victims.image.training import Row, one_thread, rate_at
from victims.image.victim import ImageVictim
from victims.registry import victim
from wire.errors import InputError
from wire.seeds import sequence

_BATCH = 500
_MEASURED_ON = 512


@dataclass(frozen=True)
class NoiseAware:
    """All settings of a training.

    victim, weights, split: a network for 32x32 pictures, its weights (``shipped`` or a path) and where it is cut.
    sigma: deviation of the noise in the features' own unit, or strength: in units of the features' RMS, measured on 512
    training pictures; one of the two. clip: L2 bound of a picture's features before the noise (0: none). data: folder
    with the CIFAR-10 array files. rate: the highest learning rate. pictures: how many training pictures, and measured:
    how many test pictures (``jpeg-test``) the card's figures are taken on (0: all). checkpoint_seconds: CPU seconds
    between checkpoints. into: folder of the published weights and card (empty: ``weights`` in the work folder).
    """

    victim: str = "cifar-resnet20"
    split: str = "layer2.2"
    weights: str = "shipped"
    sigma: float = 0.0
    strength: float = 0.0
    clip: float = 0.0
    data: str = ""
    seed: int = 0
    epochs: int = 4
    batch: int = 128
    rate: float = 0.02
    pictures: int = 0
    measured: int = 0
    checkpoint_seconds: float = 120.0
    into: str = ""

    def __post_init__(self) -> None:
        levels = (self.sigma, self.strength)
        if sorted(level > 0 for level in levels) != [False, True] or not all(0 <= v < math.inf for v in levels):
            raise InputError(
                f"noise-aware training: sigma {self.sigma}, strength {self.strength}; accepted: one of them above 0"
            )
        if self.batch < 2 or self.epochs < 1 or self.pictures < 0 or self.measured < 0:
            raise InputError(
                f"noise-aware training: batch {self.batch}, epochs {self.epochs}, pictures {self.pictures}, measured "
                f"{self.measured}; accepted: a batch of at least 2, an epoch, and whole numbers from 0"
            )
        if not self.rate > 0 or not 0 <= self.clip < math.inf:
            raise InputError(
                f"noise-aware training: rate {self.rate}, clip {self.clip}; accepted: above 0, and a number from 0"
            )


@dataclass(frozen=True)
class Tuned:
    """network: the whole, in eval mode. before: as it was. sigma: in the features' own unit. curve: a row per epoch, of
    the augmented, noised training pictures."""

    network: nn.Module
    before: nn.Module
    sigma: float
    curve: tuple[Row, ...]


def train(work: Path, settings: NoiseAware, progress: Progress = silent, *, until: int | None = None) -> Tuned | None:
    """Train in ``work``, going on from its checkpoint; None where it stopped at step ``until``, before the end.

    InputError for a victim that is not one of 32x32 pictures, a split that it does not have, missing data.
    """
    if not settings.data:
        raise InputError("noise-aware training needs pictures: set data to a folder with the CIFAR-10 array files")
    work.mkdir(parents=True, exist_ok=True)
    with one_thread():
        run = _Run(work / "noise-aware.ckpt", settings)
        if not run.go(progress, until):
            return None
        whole = run.victim.network({"weights": settings.weights, "seed": settings.seed})
        before = run.victim.network({"weights": settings.weights, "seed": settings.seed})
        # Halves keep the names of the whole; what the tail does not hold is the head's, and stays.
        whole.load_state_dict({**whole.state_dict(), **run.split.tail.state_dict()})
        return Tuned(whole.eval(), before, run.sigma, tuple(run.curve))


def train_and_publish(work: Path, settings: NoiseAware, progress: Progress = silent) -> Path:
    """Train, then write ``VICTIM-noise-aware.safetensors`` and its card, measured clean and noised, before and after;
    returns the path of the weights."""
    tuned = train(work, settings, progress)
    if tuned is None:
        raise InputError(f"{work}: the training stopped before its end")
    into = Path(settings.into) if settings.into else work / "weights"
    into.mkdir(parents=True, exist_ok=True)
    made = into / f"{settings.victim}-noise-aware.safetensors"
    state = {k: t.contiguous() for k, t in tuned.network.state_dict().items() if not k.endswith("num_batches_tracked")}
    temporary = made.with_name(made.name + ".part")
    save_file(state, temporary)  # float32: the head must give the very features that it gave
    os.replace(temporary, made)
    temporary = made.with_name(made.name + ".md.part")
    temporary.write_text(_card(settings, tuned))
    os.replace(temporary, made.with_suffix(".md"))
    return made


class Noise:
    """What a batch of features meets between head and tail: an L2 clip of every picture's own, and N(0, sigma^2)."""

    def __init__(self, sigma: float, clip: float) -> None:
        self.sigma, self.clip = sigma, clip

    def __call__(self, features: Tensor, draw: torch.Generator) -> Tensor:
        """(B, ...) to the same shape."""
        if self.clip:
            norms = features.flatten(1).norm(dim=1).clamp_min(1e-12)
            features = features * (self.clip / norms).clamp_max(1.0).view(-1, *[1] * (features.dim() - 1))
        return features + self.sigma * torch.randn(features.shape, generator=draw)


def noised_top1(network: nn.Module, settings: NoiseAware, sigma: float, images: Tensor, labels: Tensor) -> Top1:
    """How many of ``images``, uint8 (N, 3, 32, 32), get their label of ``labels`` through noise of ``sigma``."""
    chosen = _victim(settings)
    split, noise = Split(network, chosen.layers.get(settings.split, settings.split)), Noise(sigma, settings.clip)
    draw = torch.Generator().manual_seed(int(sequence(settings.seed, "noise-aware.measure", 0, 0).generate_state(1)[0]))
    right = 0
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            pictures = images[start : start + _BATCH].float() / 255
            features = split.head(chosen.preprocessing.normalised(pictures))
            answers = split.tail(noise(features, draw)).argmax(1)
            right += int((answers == labels[start : start + _BATCH]).sum())
    return Top1(right, len(images))


class _Run:
    """Split, optimiser and curve of one training."""

    def __init__(self, path: Path, settings: NoiseAware) -> None:
        self.path, self.settings, self.victim = path, settings, _victim(settings)
        pictures = read(Path(settings.data), "jpeg-train", settings.pictures or None)
        self.images = torch.from_numpy(pictures.images).permute(0, 3, 1, 2).contiguous()
        self.labels = torch.from_numpy(pictures.labels)
        if len(self.images) < settings.batch:
            raise InputError(
                f"noise-aware training: batch {settings.batch} of {len(self.images)} pictures; accepted: no more"
            )
        network = self.victim.network({"weights": settings.weights, "seed": settings.seed})
        self.split = Split(network, self.victim.layers.get(settings.split, settings.split))
        learned = list(self.split.tail.parameters())
        if not learned:
            raise InputError(f"noise-aware training: nothing behind {settings.split} of {settings.victim} can learn")
        self.sigma = settings.sigma or settings.strength * self._rms()
        self.noise = Noise(self.sigma, settings.clip)
        self.split.tail.requires_grad_(True).train()
        self.optimiser = torch.optim.SGD(learned, settings.rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
        self.each = len(self.images) // settings.batch
        self.steps = settings.epochs * self.each
        self.done, self.seconds, self.sums = 0, 0.0, [0.0, 0.0]
        self.curve: list[Row] = []
        if path.exists():
            self._resume()

    def go(self, progress: Progress, until: int | None) -> bool:
        """Train to the end, or to step ``until``; whether the end was reached."""
        stop = self.steps if until is None else min(until, self.steps)
        marked = saved = time.process_time()
        order, epoch_of_order = torch.empty(0, dtype=torch.int64), -1
        while self.done < stop:
            epoch, place = divmod(self.done, self.each)
            if epoch != epoch_of_order:
                order, epoch_of_order = torch.randperm(len(self.images), generator=self._draw("order", epoch)), epoch
            rows = order[place * self.settings.batch : (place + 1) * self.settings.batch]
            loss, right = self._step(rows)
            self.done += 1
            self.sums = [self.sums[0] + loss, self.sums[1] + right]
            now = time.process_time()
            self.seconds, marked = self.seconds + now - marked, now
            if place + 1 == self.each:
                seen = self.each * self.settings.batch
                self.curve.append(Row(epoch + 1, self.seconds, self.sums[0] / self.each, self.sums[1] / seen))
                self.sums = [0.0, 0.0]
            progress(self.done, self.steps, f"noise-aware epoch {epoch + 1}, loss {loss:.3f}")
            if now - saved >= self.settings.checkpoint_seconds:
                self._save()
                saved = now
        self._save()
        return self.done == self.steps

    def _step(self, rows: Tensor) -> tuple[float, float]:
        """One step on the pictures ``rows``; its loss and how many were recognised."""
        draw = self._draw("step", self.done)
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(self.done, self.steps, self.settings.rate)
        pictures = flipped_and_shifted(self.images[rows], draw).float() / 255
        with torch.no_grad():
            features = self.noise(self.split.head(self.victim.preprocessing.normalised(pictures)), draw)
        labels = self.labels[rows]
        logits = self.split.tail(features)
        loss = F.cross_entropy(logits, labels)
        if not bool(torch.isfinite(loss)):
            raise FloatingPointError(f"noise-aware training: loss is {float(loss)} at step {self.done}")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.split.tail.parameters(), 5.0)
        self.optimiser.step()
        return float(loss.detach()), float((logits.argmax(1) == labels).sum())

    def _rms(self) -> float:
        with torch.no_grad():
            pictures = self.images[:_MEASURED_ON].float() / 255
            return float(self.split.head(self.victim.preprocessing.normalised(pictures)).square().mean().sqrt())

    def _draw(self, role: str, number: int) -> torch.Generator:
        seed = int(sequence(self.settings.seed, f"noise-aware.{role}", 0, number).generate_state(1)[0])
        return torch.Generator().manual_seed(seed)

    def _identity(self) -> str:
        return str(replace(self.settings, checkpoint_seconds=0.0, into="", measured=0, data=""))

    def _resume(self) -> None:
        held = torch.load(self.path, weights_only=True)
        if held["identity"] != self._identity():
            raise InputError(f"{self.path}: is of a training with other settings, {held['identity']}")
        self.split.tail.load_state_dict(held["tail"])
        self.optimiser.load_state_dict(held["optimiser"])
        self.done, self.seconds, self.sums = held["done"], held["seconds"], held["sums"]
        self.curve = [Row(*row) for row in held["curve"]]

    def _save(self) -> None:
        held = {
            "identity": self._identity(),
            "tail": self.split.tail.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "done": self.done,
            "seconds": self.seconds,
            "sums": self.sums,
            "curve": [(r.epoch, r.seconds, r.loss, r.right) for r in self.curve],
        }
        temporary = self.path.with_suffix(".part")
        torch.save(held, temporary)
        os.replace(temporary, self.path)


def _victim(settings: NoiseAware) -> ImageVictim:
    found = victim(settings.victim)
    if not isinstance(found, ImageVictim) or found.size != (SIDE, SIDE):
        raise InputError(f"noise-aware training: victim {settings.victim!r}; accepted: a classifier of 32x32 pictures")
    return found


def _card(settings: NoiseAware, tuned: Tuned) -> str:
    pictures = read(Path(settings.data), "jpeg-test", settings.measured or None)
    images = torch.from_numpy(pictures.images).permute(0, 3, 1, 2)
    labels = torch.from_numpy(pictures.labels)
    noise = f"deviation {tuned.sigma:.4g}" + (f", clip {settings.clip:g}" if settings.clip else "")
    lines = [
        f"# {settings.victim}, its tail trained under noise at {settings.split}",
        "",
        f"Weights `{Path(settings.weights).name}`; the head is unchanged. {settings.epochs} epochs of batches of "
        f"{settings.batch}",
        f"on CIFAR-10's `jpeg-train` pictures, rate {settings.rate:g}, seed {settings.seed}; noise: {noise}.",
        f"It took {tuned.curve[-1].seconds / 60:.1f} CPU minutes of one thread.",
        "",
        f"Top-1 on {len(labels):,} pictures of the test split, through JPEG as well, with Wilson's 95 % interval:",
        "",
        "| weights | noise | top-1, % | interval |",
        "|---|---|---|---|",
    ]
    levels = (("clip alone" if settings.clip else "none", 0.0), (noise, tuned.sigma))
    with one_thread():
        for name, network in (("before", tuned.before), ("after", tuned.network)):
            for words, sigma in levels:
                score = noised_top1(network, settings, sigma, images, labels)
                low, high = score.interval()
                share = 100 * score.right / score.count
                lines.append(f"| {name} | {words} | {share:.1f} | {100 * low:.1f} to {100 * high:.1f} |")
    return "\n".join(lines) + "\n"
