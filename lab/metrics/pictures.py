"""How close a rebuilt picture comes to the one that the edge saw.

Conventions, once for all of them:

* Every attack, floor and oracle is scored on the same thing: 8-bit RGB, clamped to 0..255, of the picture that entered
  the network (after the cut to its central square and the resize).
* ``psnr`` is the standard one. The formula that the paper prints has the mean absolute error in its place and cannot
  have made the paper's tables; it is ``psnr_printed``, a metric of its own, and never mixed with the other.
* Equal pictures have no finite PSNR: both count as :data:`CAP_DB`, which lies above every other value of a picture of
  up to 224x224 pixels (one level off in one channel of one pixel: 99.9 dB there, 83.0 dB at 32x32).
* A reconstruction of another size than the truth has no value; values that are no numbers count as black.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lab.metrics import classification
from lab.metrics.base import Answer, Arrays, Metric, Scored
from lab.metrics.inception import InceptionScore
from lab.metrics.perceptual import PerceptualDistance
from lab.metrics.recognition import COMPARED_SIDE, Candidates, Classifier
from lab.metrics.statistics import Summary
from victims.base import Sample
from wire.errors import InputError
from wire.payload import Meta

Picture = NDArray[np.uint8]
"""(H, W, 3), RGB."""

FLOORS: Final = ("mean-picture", "nearest-picture", "prior-sample")

CAP_DB: Final = 100.0

SIGMA: Final = 1.5
WINDOW: Final = 11
"""Of SSIM's Gaussian: deviation and side in pixels, as Wang et al. have them."""

_PAPER = "Unlocking Visual Secrets (arXiv 2412.10448)"

PSNR = Metric(
    "psnr",
    "dB",
    "higher",
    f"10 log10(255^2 / mean squared error) over 8-bit RGB; equal pictures count {CAP_DB:g} dB.",
    f"{_PAPER}, whose tables fit this formula and not the one it prints",
    "PSNR",
)
PSNR_PRINTED = Metric(
    "psnr_printed",
    "dB",
    "higher",
    f"10 log10(255 / mean absolute error) over 8-bit RGB; equal pictures count {CAP_DB:g} dB. It is no PSNR.",
    f"{_PAPER}, equation 14 as printed",
    "PSNR as the paper prints it",
)
SSIM = Metric(
    "ssim",
    "",
    "higher",
    f"Structural similarity: Gaussian window of deviation {SIGMA:g} ({WINDOW}x{WINDOW}), range 1, K 0.01 and 0.03, "
    f"population covariance, mean over colour channels; none for pictures below {WINDOW} pixels.",
    "Wang et al. 2004",
    "SSIM",
    (0, 1),
)
REID = Metric(
    "reid",
    "",
    "higher",
    "1 where, of all pictures of the run, the reconstruction correlates most with its own (Pearson's correlation over "
    f"pixels at {COMPARED_SIDE}x{COMPARED_SIDE}, each channel less its mean), else 0, also for a constant picture; "
    "chance is 1 in as many as the run has.",
    "Ours: whether a reconstruction gives away which picture it was, faded or shifted in colour as it may be",
    "re-identified",
    (0, 1),
)
TOP1 = Metric(
    "top1",
    "",
    "higher",
    "1 where the whole undefended victim gives the reconstruction the class that it gives the original, else 0.",
    "Ours: whether the content survives, by a network that knows it",
    "same class",
    (0, 1),
)
LPIPS = Metric(
    "lpips",
    "",
    "lower",
    "Learned perceptual distance, version 0.1, of the ImageNet network that was given as a file.",
    "Zhang et al. 2018",
    "LPIPS",
)
INCEPTION = Metric(
    "inception",
    "nat",
    "higher",
    "What the picture adds to the logarithm of the inception score of all pictures of its attack: how far its "
    "classes lie from theirs, KL(p(class | picture), mean). exp of the mean is the score, over the set undivided; "
    "one of a few hundred pictures or less comes out too low.",
    "Salimans et al. 2016, over TensorFlow's Inception of 2015, given as a file",
    "ln inception score",
)


class PictureScorer:
    """The image modality's metrics. classifier: the victim, where it is known. perceptual, inception: LPIPS and the
    inception score, where their networks were given.

    prior: folder of the autoencoder whose round trip is the oracle; None: there is none.
    """

    headline = "psnr"
    floors = FLOORS
    oracle_is = "autoencoder's round trip"
    utilities: Sequence[Metric] = classification.METRICS

    def __init__(
        self,
        classifier: Classifier | None = None,
        perceptual: PerceptualDistance | None = None,
        prior: Path | None = None,
        inception: InceptionScore | None = None,
    ) -> None:
        self._classifier, self._perceptual, self._prior = classifier, perceptual, prior
        self._inception = inception
        self._candidates = Candidates()
        self.metrics: Sequence[Metric] = (
            PSNR,
            SSIM,
            REID,
            *([TOP1] if classifier else []),
            *([LPIPS] if perceptual else []),
            *([INCEPTION] if inception else []),
            PSNR_PRINTED,
        )
        self.key: Sequence[str] = tuple(m.name for m in self.metrics if m is not PSNR_PRINTED)

    def enroll(self, truths: Iterable[Sample]) -> None:
        """The run's pictures, among which a reconstruction is to find its own; before that ``reid`` has no value."""
        for truth in truths:
            self._candidates.add(_picture(truth.arrays, "truth"))

    def gather(self, reconstructions: Iterable[Arrays]) -> None:
        """An attack's pictures, of whose inception score each is given its share; before that it has no value."""
        if self._inception:
            self._inception.gather(_picture(arrays, "reconstruction") for arrays in reconstructions)

    def score(self, truth: Sample, reconstruction: Arrays, rng: np.random.Generator) -> Scored:
        """``reconstruction``: ``image`` uint8 (H, W, 3), or float in 0..1."""
        true, rebuilt = _picture(truth.arrays, "truth"), _picture(reconstruction, "reconstruction")
        values: dict[str, float | None] = dict.fromkeys(m.name for m in self.metrics)
        if true.shape != rebuilt.shape:
            note = f"a reconstruction of {rebuilt.shape[1]}x{rebuilt.shape[0]} pixels has no value"
            return Scored(values, (note,))
        values |= {"psnr": psnr(true, rebuilt), "psnr_printed": psnr_printed(true, rebuilt)}
        values["ssim"] = ssim(true, rebuilt)
        values["reid"] = self._candidates.found(true, rebuilt)
        if self._classifier:
            values["top1"] = self._classifier.agrees(true, rebuilt)
        if self._perceptual:
            values["lpips"] = self._perceptual(true, rebuilt)
        if self._inception:
            values["inception"] = self._inception(rebuilt)
        return Scored(values)

    def oracle(self, truth: Sample) -> Arrays | None:
        """What the prior's autoencoder makes of the picture itself; None where no prior was named."""
        if self._prior is None:
            return None
        import torch

        from victims.image.preprocessing import images_of, pictures_of

        with torch.inference_mode():
            pictures = pictures_of(_picture(truth.arrays, "truth")[None])
            return {"image": images_of(self._autoencoder.decode(self._autoencoder.encode(pictures)))[0]}

    def group(self, truth: Sample) -> str:
        """The picture itself, or the clip that it is of, where the source knows one (``meta["group"]``)."""
        return str(truth.meta.get("group", truth.name))

    def utility(self, answers: Sequence[Answer], seed: int) -> Mapping[str, Summary]:
        """What the classifier was still worth: see :mod:`lab.metrics.classification`."""
        return classification.utility(answers, seed)

    @cached_property
    def _autoencoder(self) -> Any:
        from attacker.attacks.image.autoencoder import load_autoencoder

        folder = self._prior or Path()
        return load_autoencoder(folder, "vae" if (folder / "vae").is_dir() else "")


def psnr(true: Picture, rebuilt: Picture) -> float:
    """Standard peak signal-to-noise ratio in dB, at most :data:`CAP_DB`; pictures of one shape."""
    error = float(np.mean(np.square(true.astype(np.float64) - rebuilt)))
    return min(10 * math.log10(255**2 / error), CAP_DB) if error else CAP_DB


def psnr_printed(true: Picture, rebuilt: Picture) -> float:
    """Equation 14 of the paper, word for word, at most :data:`CAP_DB`."""
    error = float(np.mean(np.abs(true.astype(np.float64) - rebuilt)))
    return min(10 * math.log10(255 / error), CAP_DB) if error else CAP_DB


def ssim(true: Picture, rebuilt: Picture) -> float | None:
    """Structural similarity; None for pictures smaller than its window."""
    from skimage.metrics import structural_similarity

    if min(true.shape[:2]) < WINDOW:
        return None
    a, b = (picture.astype(np.float64) / 255 for picture in (true, rebuilt))
    found: Any = structural_similarity(  # type: ignore[no-untyped-call]
        a, b, data_range=1.0, channel_axis=2, gaussian_weights=True, sigma=SIGMA, use_sample_covariance=False
    )
    return float(found)


def scorer(settings: Mapping[str, Meta]) -> PictureScorer:
    """The image scorer of a run.

    settings: those of the victim, and ``victim`` (its name; without it the metric ``top1`` is absent), ``lpips`` and
    ``lpips_linear`` (files: an ImageNet network with torchvision's names, and the metric's linear weights; without
    them ``lpips`` is absent), ``inception`` (the inception score's network; likewise) and ``oracle_prior`` (a prior's
    folder, or that of an autoencoder alone; without it there is no oracle).
    """
    name, backbone, linear, prior = (settings.get(k) for k in ("victim", "lpips", "lpips_linear", "oracle_prior"))
    inception = settings.get("inception")
    if bool(backbone) != bool(linear):
        raise InputError("lpips: the network (lpips) and its linear weights (lpips_linear) are given together")
    return PictureScorer(
        Classifier.of(str(name), settings) if name else None,
        PerceptualDistance(Path(str(backbone)), Path(str(linear))) if backbone else None,
        Path(str(prior)) if prior else None,
        InceptionScore(Path(str(inception))) if inception else None,
    )


def _picture(arrays: Arrays, side: str) -> Picture:
    image = arrays.get("image")
    if image is None or image.ndim != 3 or image.shape[2] != 3:
        found = "none" if image is None else str(image.shape)
        raise InputError(f"{side}: `image` of shape (H, W, 3) is needed, found {found}")
    if image.dtype != np.uint8:
        image = (np.nan_to_num(image).clip(0, 1) * 255).round().astype(np.uint8)
    return image
