"""What a trained prior is worth, in figures that go into its card.

All of them use pictures that no training saw, or none at all, and a classifier that no training saw.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attacker.attacks.image.prior import Prior
from attacker.attacks.image.prior_training.captions import COLOURS, background, caption, frame_median, position
from attacker.attacks.image.prior_training.diffusion import Denoiser
from attacker.attacks.image.prior_training.settings import PriorTraining
from victims.image.cifar import CLASSES, read
from victims.image.mapping import published_cifar_resnet
from victims.image.preprocessing import IMAGENET, images_of, pictures_of
from victims.image.resnet import ResNet

GUIDANCES = (1.0, 3.0)
SEED = 20
_BATCH = 100


@dataclass(frozen=True)
class Words:
    """How far words reach the pictures, at one strength of guidance.

    recognised: share of samples whose class word the classifier gives back, by class; None without a classifier.
    coloured: share of samples whose background is nearest to the colour asked for; unasked: the same share for samples
    from the same noise without text. distance: mean over samples of the background's distance (8-bit RGB) to the colour
    asked for; far: without text.
    """

    guidance: float
    samples: int
    recognised: tuple[float, ...] | None
    coloured: float
    unasked: float
    distance: float
    far: float


@dataclass(frozen=True)
class Figures:
    """heldout: mean weighted loss, error: mean square error of the velocity, on latents of the JPEG test pictures.

    roundtrip: PSNR of encode and decode on lossless pictures, dB, mean over pictures; roundtrip_pictures: their number.
    """

    heldout: float
    error: float
    heldout_pictures: int
    roundtrip: float
    roundtrip_pictures: int
    words: tuple[Words, ...]


@torch.no_grad()
def measure(prior: Prior, settings: PriorTraining) -> Figures:
    """All figures of ``prior``, on ``settings.measured`` pictures and ``settings.samples`` samples.

    settings: its ``data`` is the CIFAR-10 folder, its ``judge`` the checkpoint of a CIFAR ResNet, or empty.
    """
    data, limit = Path(settings.data), settings.measured
    heldout, error, number = _heldout(prior, data, settings, limit)
    lossless = np.concatenate([read(data, "lossless-test").images, read(data, "lossless", limit).images])[:limit]
    asked = _asked(settings.samples)
    judge = published_cifar_resnet(Path(settings.judge)) if settings.judge else None
    free = samples(prior, None, len(asked), settings.sampling)
    return Figures(
        heldout=heldout,
        error=error,
        heldout_pictures=number,
        roundtrip=float(_psnr(prior, lossless).mean()),
        roundtrip_pictures=len(lossless),
        words=tuple(_words(prior, asked, free, judge, settings.sampling, guidance) for guidance in GUIDANCES),
    )


def _heldout(prior: Prior, data: Path, settings: PriorTraining, limit: int) -> tuple[float, float, int]:
    pictures = read(data, "jpeg-test", limit)
    network = Denoiser(settings, prior.tokenizer)
    network.unet, network.text_encoder = prior.unet, prior.text_encoder
    generator = torch.Generator().manual_seed(SEED)
    latents = torch.cat([prior.autoencoder.encode(part) for part in _parts(pictures_of(pictures.images))])
    captions = torch.from_numpy(position(pictures.labels, background(pictures.images), np.zeros(len(pictures), int)))
    times = torch.randint(len(network.signal), (len(pictures),), generator=generator)
    noise = torch.randn(latents.shape, generator=generator)
    said = torch.zeros(_BATCH, dtype=torch.bool)
    errors = torch.cat(
        [
            network.error(latents[part], captions[part], said[: len(part)], times[part], noise[part])
            for part in _parts(torch.arange(len(pictures)))
        ]
    )
    weighted = network.weight(times, settings.snr_limit) * errors
    return float(weighted.mean()), float(errors.mean()), len(pictures)


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    return (tensor[begin : begin + _BATCH] for begin in range(0, len(tensor), _BATCH))


def _psnr(prior: Prior, images: np.ndarray) -> Tensor:
    """PSNR per picture, dB, of the autoencoder's round trip, clamped to 0..1."""
    found = []
    for truth in _parts(pictures_of(images)):
        again = prior.autoencoder.decode(prior.autoencoder.encode(truth)).clamp(0, 1)
        found.append(-10 * (again - truth).square().mean((1, 2, 3)).log10())
    return torch.cat(found)


def _asked(number: int) -> list[tuple[int, int]]:
    """Pairs of class and colour, every class equally often, colours in turn."""
    pairs = [(label, colour) for colour in range(len(COLOURS)) for label in range(len(CLASSES))]
    return [pairs[i % len(pairs)] for i in range(max(len(CLASSES), number - number % len(CLASSES)))]


def samples(
    prior: Prior, prompts: list[str] | None, number: int, steps: int, guidance: float = 1.0, seed: int = SEED
) -> np.ndarray:
    """Pictures uint8 (N, side, side, 3) from seeded noise; ``prompts`` None: no text."""
    noise = prior.noise(number, seed)
    parts = []
    for begin in range(0, number, _BATCH):
        some = noise[begin : begin + _BATCH]
        text = None if prompts is None else prior.embed(prompts[begin : begin + _BATCH])
        parts.append(images_of(prior.generate(some, text, steps=steps, guidance=guidance)))
    return np.concatenate(parts)


def _words(
    prior: Prior, asked: list[tuple[int, int]], free: np.ndarray, judge: ResNet | None, steps: int, guidance: float
) -> Words:
    classes, colours = np.array([a for a, _ in asked]), np.array([b for _, b in asked])
    told = samples(prior, [caption(a, b) for a, b in asked], len(asked), steps, guidance)
    recognised = None
    if judge is not None:
        # Class words alone, so that an unusual background does not decide.
        alone = samples(prior, [caption(a, 0, template=1) for a, _ in asked], len(asked), steps, guidance)
        given = np.concatenate(
            [judge(IMAGENET.normalised(part)).argmax(1).numpy() for part in _parts(pictures_of(alone))]
        )
        recognised = tuple(float((given == classes)[classes == label].mean()) for label in range(len(CLASSES)))
    return Words(
        guidance=guidance,
        samples=len(asked),
        recognised=recognised,
        coloured=float((background(told) == colours).mean()),
        unasked=float((background(free) == colours).mean()),
        distance=float(_distance(told, colours).mean()),
        far=float(_distance(free, colours).mean()),
    )


def _distance(images: np.ndarray, colours: np.ndarray) -> np.ndarray:
    wanted = np.array(list(COLOURS.values()), np.float64)[colours]
    result: np.ndarray = np.sqrt(np.square(frame_median(images) - wanted).sum(-1))
    return result
