"""From a finished training of an image victim to weights with a card, measured on pictures it has not seen."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from victims.base import Progress, silent
from victims.image.cifar import read
from victims.image.mapping import install, read_checkpoint
from victims.image.preprocessing import IMAGENET, pictures_of
from victims.image.training import ImageTraining, Recipe, Row, Trained, one_thread, train
from victims.image.victim import CIFAR_CONTRASTIVE
from wire.errors import InputError

MEASURED = {
    "jpeg-test": "of the test split, through JPEG",
    "lossless-test": "of the test split, lossless",
    "lossless": "of the training split, lossless, not among the pictures trained on",
}
"""The sets that a card's figures are taken on: a key of :data:`victims.image.cifar.FILES`, and what it is."""

_BATCH = 500


@dataclass(frozen=True)
class Top1:
    """Share ``right`` of ``count`` pictures that are recognised."""

    right: int
    count: int

    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval."""
        z, n, p = 1.959964, self.count, self.right / self.count
        middle, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (middle - spread) / (1 + z * z / n), (middle + spread) / (1 + z * z / n)


def top1(network: nn.Module, images: Tensor, labels: Tensor) -> Top1:
    """How many of ``images``, float (N, 3, H, W) in 0..1, get their label of ``labels``, int64 (N,)."""
    right = 0
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            logits = network(IMAGENET.normalised(images[start : start + _BATCH]))
            right += int((logits.argmax(1) == labels[start : start + _BATCH]).sum())
    return Top1(right, len(images))


def train_and_publish(work: Path, settings: ImageTraining, progress: Progress = silent) -> Path:
    """Train in ``work``, going on from what is there, then write weights and card; returns the card's path."""
    trained = train(work, settings, progress)
    if trained is None:
        raise InputError(f"{work}: the training stopped before its end")
    into = Path(settings.into) if settings.into else work / "weights"
    into.mkdir(parents=True, exist_ok=True)
    weights = into / f"{settings.victim}.safetensors"
    temporary = weights.with_name(weights.name + ".part")
    save_file(stored(trained.network.state_dict()), temporary)
    os.replace(temporary, weights)
    # What is measured is what was stored.
    install(trained.network, read_checkpoint(weights), f"weights {weights}")
    card = weights.with_suffix(".md")
    temporary = card.with_name(card.name + ".part")
    temporary.write_text(_card(settings, trained, _scores(trained.network, settings)))
    os.replace(temporary, card)
    return card


def stored(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices and kernels as float16, the rest (norms, biases, statistics) as float32; no batch counters."""
    return {
        name: (tensor.half() if tensor.ndim > 1 else tensor.float()).contiguous()
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }


def _scores(network: nn.Module, settings: ImageTraining) -> dict[str, Top1]:
    found: dict[str, Top1] = {}
    with one_thread():
        for name in MEASURED:
            pictures = read(Path(settings.data), name)
            found[name] = top1(network, pictures_of(pictures.images), torch.from_numpy(pictures.labels))
    return found


def _card(settings: ImageTraining, trained: Trained, scores: Mapping[str, Top1]) -> str:
    parameters = sum(p.numel() for p in trained.network.parameters())
    lines = [
        f"# {settings.victim}: a classifier of 32x32 pictures",
        "",
        f"An image victim, {parameters:,} parameters: {_shape(settings.victim)}.",
        "It knows ten classes of small pictures: a victim to be attacked, not a classifier to be relied on. Input: RGB",
        f"in 0..1, normalised with mean {_row(IMAGENET.mean)} and deviation {_row(IMAGENET.deviation)}.",
        "Kernels are stored as float16, the rest as float32.",
        "",
        "## Training",
        "",
        f"Command: `{_command(settings)}`",
        "",
        f"Data: {trained.pictures:,} JPEG pictures of CIFAR-10's training split (Krizhevsky 2009; no formal licence,",
        "in general research use), the set `jpeg-train` of `victims/image/cifar.py`; each flipped half of the time and",
        "moved by up to 4 pixels. No lossless picture, which are the ones attacked, and no test picture was seen.",
        "",
        *_method(settings, settings.recipe),
        f"It took {trained.curve[-1].seconds / 60:.0f} CPU minutes of one thread (bfloat16 products).",
        "",
        "| epoch | CPU minutes | loss | right, augmented training pictures, % |",
        "|---|---|---|---|",
        *(f"| {r.epoch} | {r.seconds / 60:.1f} | {r.loss:.3f} | {100 * r.right:.1f} |" for r in _shown(trained.curve)),
        "",
        "## Measured",
        "",
        "Top-1 of the stored weights, with Wilson's 95 % interval:",
        "",
        "| set | what | n | top-1, % | interval |",
        "|---|---|---|---|---|",
    ]
    for name, score in scores.items():
        low, high = score.interval()
        share = 100 * score.right / score.count
        lines.append(
            f"| `{name}` | {MEASURED[name]} | {score.count:,} | {share:.1f} | {100 * low:.1f} to {100 * high:.1f} |"
        )
    return "\n".join(lines) + "\n"


def _shape(name: str) -> str:
    if name == CIFAR_CONTRASTIVE.name:
        return "the CIFAR ResNet of 20 layers whose features have learnt without labels"
    if name == "cifar-vit":
        return "a vision transformer of 6 blocks of width 96 on patches of 4x4 pixels"
    return (
        f"the CIFAR ResNet of {name.removeprefix('cifar-resnet')} layers of He et al. 2016, shortcuts without weights"
    )


def _command(settings: ImageTraining) -> str:
    usual = ImageTraining(settings.victim, settings.data)
    changed = [
        f"--set {key}={getattr(settings, key)}"
        for key in ("epochs", "batch", "rate", "smoothing", "pictures")
        if getattr(settings, key) != getattr(usual, key)
    ]
    parts = [f"eavesplit train image-victim --set victim={settings.victim} --set data=FOLDER --seed {settings.seed}"]
    return " ".join([*parts, *changed])


def _method(settings: ImageTraining, recipe: Recipe) -> list[str]:
    lines = []
    if recipe.contrastive:
        lines += [
            "Features: two views of each picture (crop, mirror, colours) are drawn together and all others of the",
            "batch apart (SimCLR, Chen et al. 2020; `victims/image/contrastive.py`). No label reaches them; the last",
            "layer alone learnt classes, on features that it could not change.",
        ]
    lines += [
        f"{recipe.optimiser}, {recipe.epochs} epochs of batches of {settings.batch}, one cycle up to a rate of "
        f"{recipe.rate:g}, weight decay",
        f"{recipe.decay:g} on kernels, label smoothing {settings.smoothing:g}, seed {settings.seed}.",
    ]
    if recipe.kept < 1:
        lines.append(
            f"All but the last {recipe.whole} epochs saw a random {recipe.kept:.0%} of each picture's patches "
            "(PatchDropout, Liu et al. 2022)."
        )
    return lines


def _shown(curve: tuple[Row, ...], most: int = 12) -> list[Row]:
    """At most ``most`` rows of the curve, evenly spaced, the last one among them."""
    step = max(1, math.ceil(len(curve) / most))
    return list(reversed(curve[::-1][::step]))


def _row(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)
