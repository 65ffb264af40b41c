"""Training of the shipped 32x32 victims on the JPEG training pictures of CIFAR-10, on one thread.

Everything random in a step is drawn from (seed, step), an epoch's order from (seed, epoch), and the learning rate is a
function of the step: a training that was killed goes on from its checkpoint as if it had not been.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from victims.base import Progress, silent
from victims.image.augmentation import flipped_and_shifted
from victims.image.cifar import read
from victims.image.contrastive import agreement_loss, projector, views
from victims.image.preprocessing import IMAGENET
from victims.image.resnet import ResNet
from victims.image.victim import CIFAR_CONTRASTIVE, CIFAR_RESNET20, CIFAR_RESNET56, CIFAR_VIT
from victims.image.vit import VisionTransformer
from wire.errors import InputError
from wire.seeds import sequence

_REPORT_EVERY = 20


@dataclass(frozen=True)
class Recipe:
    """How one kind of network is trained. rate: the highest learning rate. decay: of the weights.

    kept: share of the patches that a transformer sees in all but the last ``whole`` epochs (PatchDropout, Liu et al.
    2022): half the patches take half the time. contrastive: features learn from two views of each picture
    (:mod:`victims.image.contrastive`) and from no label; the last layer alone learns classes, on features that it
    cannot change.
    """

    optimiser: str
    epochs: int
    rate: float
    decay: float
    kept: float = 1.0
    whole: int = 0
    contrastive: bool = False


RECIPES = {
    CIFAR_RESNET20.name: Recipe("SGD", epochs=24, rate=0.2, decay=5e-4),
    CIFAR_RESNET56.name: Recipe("SGD", epochs=24, rate=0.2, decay=5e-4),
    CIFAR_CONTRASTIVE.name: Recipe("SGD", epochs=20, rate=0.1, decay=1e-4, contrastive=True),
    CIFAR_VIT.name: Recipe("AdamW", epochs=15, rate=1e-3, decay=0.05, kept=0.5, whole=4),
}
"""The recipes that made the shipped weights."""


@dataclass(frozen=True)
class ImageTraining:
    """All settings of a training; the defaults made the shipped weights.

    victim: a key of :data:`RECIPES`. data: folder with the CIFAR-10 array files (:mod:`victims.image.cifar`).
    epochs, rate: 0 takes the recipe's. smoothing: of the labels. pictures: how many of the training pictures, 0 is
    all. checkpoint_seconds: CPU seconds between checkpoints. into: folder of the published weights and card (empty:
    ``weights`` in the work folder).
    """

    victim: str = CIFAR_RESNET20.name
    data: str = ""
    seed: int = 0
    epochs: int = 0
    batch: int = 128
    rate: float = 0.0
    smoothing: float = 0.1
    pictures: int = 0
    checkpoint_seconds: float = 120.0
    into: str = ""

    def __post_init__(self) -> None:
        if self.victim not in RECIPES:
            raise InputError(f"image training: victim {self.victim!r}; accepted: {', '.join(RECIPES)}")
        if self.batch < 2 or self.epochs < 0 or self.pictures < 0:
            raise InputError(
                f"image training: batch {self.batch}, epochs {self.epochs}, pictures {self.pictures}; "
                "accepted: a batch of at least 2, and whole numbers from 0"
            )
        if not 0 <= self.smoothing < 1 or self.rate < 0:
            raise InputError(
                f"image training: smoothing {self.smoothing}, rate {self.rate}; accepted: 0 to below 1, and from 0"
            )

    @property
    def recipe(self) -> Recipe:
        """The victim's recipe, with these settings' epochs and rate where they are given."""
        usual = RECIPES[self.victim]
        return Recipe(
            usual.optimiser,
            self.epochs or usual.epochs,
            self.rate or usual.rate,
            usual.decay,
            usual.kept,
            min(usual.whole, self.epochs or usual.epochs),
            usual.contrastive,
        )


@dataclass(frozen=True)
class Row:
    """One epoch of a curve. seconds: CPU time so far. loss, right: on the training pictures as they were given."""

    epoch: int
    seconds: float
    loss: float
    right: float


@dataclass(frozen=True)
class Trained:
    """network: in eval mode. curve: a row per epoch."""

    network: nn.Module
    curve: tuple[Row, ...]
    pictures: int


def rate_at(step: int, steps: int, highest: float) -> float:
    """One cycle (Smith 2018): up from a tenth along a line in the first fifth of ``steps``, then a cosine to zero."""
    rising = max(1, steps // 5)
    if step < rising:
        return highest * (0.1 + 0.9 * step / rising)
    return highest * (0.5 + 0.5 * math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def train(
    work: Path, settings: ImageTraining, progress: Progress = silent, *, until: int | None = None
) -> Trained | None:
    """Train in ``work``, going on from its checkpoint; None where it stopped at step ``until``, before the end."""
    if not settings.data:
        raise InputError("image training needs pictures: set data to a folder with the CIFAR-10 array files")
    work.mkdir(parents=True, exist_ok=True)
    with one_thread():
        pictures = read(Path(settings.data), "jpeg-train", settings.pictures or None)
        images = torch.from_numpy(pictures.images).permute(0, 3, 1, 2).contiguous()
        run = _Run(work / f"{settings.victim}.ckpt", settings, images, torch.from_numpy(pictures.labels))
        finished = run.go(progress, until)
        return Trained(run.network.eval(), tuple(run.curve), len(images)) if finished else None


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread in the block: figures of CPU time mean something, and other work on the machine goes on."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Run:
    """Network, optimiser and curve of one training."""

    def __init__(self, path: Path, settings: ImageTraining, images: Tensor, labels: Tensor) -> None:
        if len(images) < settings.batch:
            raise InputError(f"image training: batch {settings.batch} of {len(images)} pictures; accepted: no more")
        self.path, self.settings, self.recipe = path, settings, settings.recipe
        self.images, self.labels = images, labels
        victims = (CIFAR_RESNET20, CIFAR_RESNET56, CIFAR_CONTRASTIVE, CIFAR_VIT)
        victim = next(v for v in victims if v.name == settings.victim)
        network = victim.network({"weights": "random", "seed": settings.seed}).train()
        self.network: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.each = len(images) // settings.batch
        self.steps = self.recipe.epochs * self.each
        self.contrast = _Contrast(self.network, settings.seed) if self.recipe.contrastive else None
        self.learning = self.contrast.learning() if self.contrast else [self.network]
        self.optimiser = _optimiser(self.recipe, nn.ModuleList(self.learning))
        self.done, self.seconds = 0, 0.0
        self.curve: list[Row] = []
        self.sums = [0.0, 0.0]
        if path.exists():
            self._resume()

    def _identity(self) -> str:
        s = self.settings
        number = len(self.images)
        return f"{s.victim} seed={s.seed} batch={s.batch} smoothing={s.smoothing} pictures={number} {self.recipe}"

    def _resume(self) -> None:
        held = torch.load(self.path, weights_only=True)
        if held["identity"] != self._identity():
            raise InputError(
                f"{self.path}: is of a training with {held['identity']}; these settings are {self._identity()}"
            )
        self.network.load_state_dict(held["network"])
        if self.contrast:
            self.contrast.projector.load_state_dict(held["projector"])
        self.optimiser.load_state_dict(held["optimiser"])
        self.done, self.seconds, self.sums = held["done"], held["seconds"], held["sums"]
        self.curve = [Row(*row) for row in held["curve"]]

    def _save(self) -> None:
        temporary = self.path.with_suffix(".part")
        held = {
            "identity": self._identity(),
            "network": self.network.state_dict(),
            "projector": self.contrast.projector.state_dict() if self.contrast else {},
            "optimiser": self.optimiser.state_dict(),
            "done": self.done,
            "seconds": self.seconds,
            "sums": self.sums,
            "curve": [(r.epoch, r.seconds, r.loss, r.right) for r in self.curve],
        }
        torch.save(held, temporary)
        os.replace(temporary, self.path)

    def go(self, progress: Progress, until: int | None) -> bool:
        """Train to the end, or to step ``until``; whether the end was reached."""
        stop = self.steps if until is None else min(until, self.steps)
        marked = saved = time.process_time()
        order, epoch_of_order = torch.empty(0, dtype=torch.int64), -1
        while self.done < stop:
            epoch, place = divmod(self.done, self.each)
            if epoch != epoch_of_order:
                order, epoch_of_order = self._order(epoch), epoch
            rows = order[place * self.settings.batch : (place + 1) * self.settings.batch]
            loss, right = self._step(rows, epoch)
            self.done += 1
            self.sums = [self.sums[0] + loss, self.sums[1] + right]
            now = time.process_time()
            self.seconds, marked = self.seconds + now - marked, now
            if place + 1 == self.each:
                seen = self.each * self.settings.batch
                self.curve.append(Row(epoch + 1, self.seconds, self.sums[0] / self.each, self.sums[1] / seen))
                self.sums = [0.0, 0.0]
            if self.done % _REPORT_EVERY == 0 or self.done == self.steps:
                note = f"{self.settings.victim} epoch {epoch + 1} of {self.recipe.epochs}, loss {loss:.3f}"
                progress(self.done, self.steps, note)
            if now - saved >= self.settings.checkpoint_seconds:
                self._save()
                saved = now
        self._save()
        return self.done == self.steps

    def _order(self, epoch: int) -> Tensor:
        seed = int(sequence(self.settings.seed, "image-victim.order", 0, epoch).generate_state(1)[0])
        return torch.randperm(len(self.images), generator=torch.Generator().manual_seed(seed))

    def _step(self, rows: Tensor, epoch: int) -> tuple[float, float]:
        """One step on the pictures ``rows``; its loss and how many were recognised."""
        draw = torch.Generator().manual_seed(
            int(sequence(self.settings.seed, "image-victim.step", 0, self.done).generate_state(1)[0])
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(self.done, self.steps, self.recipe.rate)
        labels = self.labels[rows]
        # The fused attention's backward pass is slow in bfloat16 on a CPU; the plain one is 1.4 times as fast a step.
        with sdpa_kernel(SDPBackend.MATH):
            if self.contrast:
                logits, apart = self.contrast.step(self.images[rows].float() / 255, draw)
            else:
                inputs = IMAGENET.normalised(flipped_and_shifted(self.images[rows], draw).float() / 255)
                with torch.autocast("cpu", torch.bfloat16):
                    logits = self._logits(inputs.contiguous(memory_format=torch.channels_last), epoch, draw)
                apart = torch.zeros(())
            loss = apart + F.cross_entropy(logits.float(), labels, label_smoothing=self.settings.smoothing)
            if not bool(torch.isfinite(loss)):
                raise FloatingPointError(f"{self.settings.victim}: loss is {float(loss)} at step {self.done}")
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
        for part in self.learning:
            nn.utils.clip_grad_norm_(part.parameters(), 5.0)
        self.optimiser.step()
        return float(loss.detach()), float((logits.argmax(1) == labels).sum())

    def _logits(self, inputs: Tensor, epoch: int, draw: torch.Generator) -> Tensor:
        network = self.network
        if isinstance(network, VisionTransformer) and epoch < self.recipe.epochs - self.recipe.whole:
            return network.glimpse(inputs, self.recipe.kept, draw)
        logits: Tensor = network(inputs)
        return logits


class _Contrast:
    """What a training without labels has beside the network: the projector, and the last layer kept apart."""

    def __init__(self, network: nn.Module, seed: int) -> None:
        assert isinstance(network, ResNet)
        self._network = network
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(sequence(seed, "image-victim.projector").generate_state(1)[0]))
            self.projector = projector(network.fc.in_features)

    def learning(self) -> list[nn.Module]:
        """What learns, in parts that know nothing of each other's gradients, their common norm included."""
        own = [module for name, module in self._network.named_children() if name != "fc"]
        return [nn.ModuleList([*own, self.projector]), self._network.fc]

    def step(self, pictures: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """Logits of the first views, whose gradient ends before the features, and how far the two views disagree."""
        network = self._network
        both = IMAGENET.normalised(torch.cat([views(pictures, draw), views(pictures, draw)]))
        with torch.autocast("cpu", torch.bfloat16):
            features = network.features(both.contiguous(memory_format=torch.channels_last))
            logits = network.fc(features[: len(pictures)].detach())
            first, second = self.projector(features).float().chunk(2)
        return logits, agreement_loss(first, second)


def _optimiser(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    """Weight decay is on matrices and kernels only: not on norms, biases and embeddings' single rows."""
    kernels = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": recipe.decay}, {"params": rest, "weight_decay": 0.0}]
    if recipe.optimiser == "SGD":
        return torch.optim.SGD(groups, recipe.rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, recipe.rate, betas=(0.9, 0.99))
