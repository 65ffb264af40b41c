"""How close a rebuilt view of a scene comes to the photograph that nobody sent.

Conventions, once for all of them:

* What is scored is a *picture*: a held-out view, asked for when the training is over. Steps of the training have no
  picture, and pictures on the way are a matter of the course (:mod:`lab.radiance_course`): neither gives a row.
* The truth is the photograph; colours are 8-bit RGB, clamped to 0..255. What has another size than the truth has no
  value; values that are no numbers count as black.
* Nobody tells a listener which colours a scene has. Each metric therefore stands twice: as it is, and after the affine
  map of colours (3 x 3 and an offset, by least squares) that brings this picture closest to its photograph. The map is
  found with the truth, so it flatters: a picture that says nothing becomes a flat card of the photograph's mean colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lab.metrics.base import Answer, Arrays, Metric, Scored
from lab.metrics.pictures import CAP_DB, SSIM, psnr, ssim
from lab.metrics.statistics import Summary, summarize
from victims.base import Sample
from victims.radiance.settings import training, whole
from wire.payload import Meta
from wire.seeds import generator

Picture = NDArray[np.uint8]
"""(H, W, 3), RGB."""

FLOORS: Final = ("untrained-surrogate", "gradient-norms", "mean-view")

LUMA: Final = (0.299, 0.587, 0.114)
"""Of R, G and B as they are displayed (ITU-R BT.601)."""

_FITTED = " After the affine colour map that fits best, found with the truth for this picture alone."
_OURS = "Ours: an unguided listener cannot know colours"

PSNR = Metric(
    "psnr",
    "dB",
    "higher",
    f"10 log10(255^2 / mean squared error) over 8-bit RGB against the photograph; equal pictures count {CAP_DB:g} dB.",
    "S2NeRF, whose reference under attack is a render and not the photograph",
    "PSNR",
)
CORRELATION = Metric(
    "luminance_correlation",
    "",
    "higher",
    "Pearson's correlation of luminance (BT.601) over pixels; 0 where one picture is flat.",
    "Ours: outlines and light without colours",
    "luminance correlation",
    (-1, 1),
)
PSNR_AFFINE = Metric("psnr_affine", "dB", "higher", PSNR.definition + _FITTED, _OURS, "PSNR, colours fitted")
SSIM_AFFINE = Metric("ssim_affine", "", "higher", SSIM.definition + _FITTED, _OURS, "SSIM, colours fitted", (0, 1))
CORRELATION_AFFINE = Metric(
    "luminance_correlation_affine",
    "",
    "higher",
    CORRELATION.definition + _FITTED,
    _OURS,
    "luminance correlation, colours fitted",
    (-1, 1),
)
COLOURFULNESS = Metric(
    "colourfulness",
    "",
    "neither",
    "sqrt(s_rg^2 + s_yb^2) + 0.3 sqrt(m_rg^2 + m_yb^2) with deviations s and means m of R - G and (R + G) / 2 - B over "
    "8-bit RGB; 0 for a grey picture.",
    "Hasler and Suesstrunk 2003",
    "colourfulness",
)
DEPTH_ERROR = Metric(
    "depth_error",
    "",
    "lower",
    "Median over pixels of |depth - true depth| / true depth, where the true depth is known.",
    "Ours: the shape of the scene, without colours",
    "depth error, median relative",
)
METRICS: Final = (
    PSNR, SSIM, CORRELATION, PSNR_AFFINE, SSIM_AFFINE, CORRELATION_AFFINE, COLOURFULNESS, DEPTH_ERROR,
)  # fmt: skip

VICTIM_PSNR = Metric("victim_psnr", "dB", "higher", f"Of the victim's own render. {PSNR.definition}", "usual", "PSNR")
VICTIM_SSIM = Metric(
    "victim_ssim", "", "higher", f"Of the victim's own render. {SSIM.definition}", "usual", "SSIM", (0, 1)
)
GAIN = Metric(
    "gain_over_mean",
    "dB",
    "higher",
    "The render's PSNR less that of the mean of the training photographs.",
    "Ours: what the training learned of this scene",
    "gain over the mean picture",
)
VICTIM_DEPTH = Metric(
    "victim_depth_error", "", "lower", f"Of the victim's own render. {DEPTH_ERROR.definition}", "Ours", "depth error"
)
KEPT = Metric(
    "kept_psnr",
    "dB",
    "higher",
    f"PSNR of the render against that of the same training without a defense; equal ones count {CAP_DB:g} dB.",
    "S2NeRF, whose reference this is",
    "PSNR against the undefended render",
)
UTILITIES: Final = (VICTIM_PSNR, VICTIM_SSIM, GAIN, VICTIM_DEPTH, KEPT)


class RadianceScorer:
    """The radiance modality's metrics. steps: how many must be done before a picture counts."""

    headline = PSNR_AFFINE.name
    key = (PSNR.name, SSIM.name, CORRELATION.name, PSNR_AFFINE.name, SSIM_AFFINE.name)
    floors = FLOORS
    oracle_is = "best possible"
    metrics: Sequence[Metric] = METRICS
    utilities: Sequence[Metric] = UTILITIES

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def score(self, truth: Sample, reconstruction: Arrays, rng: np.random.Generator) -> Scored:
        """``reconstruction``: ``image`` float32 (H, W, 3) in 0..1, ``depth`` float32 (H, W) where there is one."""
        return measured(truth, reconstruction) if self._counts(truth) else Scored({})

    def oracle(self, truth: Sample) -> Arrays | None:
        """None: the best that embeddings allow is the victim's own render, which stands in the table of its use."""
        return None

    def group(self, truth: Sample) -> str:
        """The view."""
        return truth.name

    def utility(self, answers: Sequence[Answer], seed: int) -> Mapping[str, Summary]:
        """What the victim's own renders are worth; a metric that no view has a value of is absent."""
        values: dict[str, list[float]] = {}
        groups: dict[str, list[str]] = {}
        for answer in answers:
            if not self._counts(answer.truth) or "image" not in answer.found:
                continue
            for name, value in _useful(answer).items():
                if value is not None:
                    values.setdefault(name, []).append(value)
                    groups.setdefault(name, []).append(answer.group)
        return {
            name: summarize(found, groups[name], generator(seed, f"bootstrap.{name}")) for name, found in values.items()
        }

    def _counts(self, truth: Sample) -> bool:
        return is_picture(truth) and int(truth.meta["step"]) >= self._steps  # type: ignore[arg-type]


def is_picture(truth: Sample) -> bool:
    """Whether a sample is a held-out view that was asked for, on the way or at the end, and no step of the training."""
    return "mean" in truth.truth and "image" in truth.truth


def measured(truth: Sample, reconstruction: Arrays) -> Scored:
    """Every metric of one picture, whenever it was asked for."""
    true, made = levels(truth.truth["image"]), reconstruction.get("image")
    if made is None or made.shape != true.shape:
        what = "without a picture" if made is None else f"of shape {made.shape}"
        note = f"a reconstruction {what} has no value; the photograph is {true.shape}"
        return Scored(dict.fromkeys((m.name for m in METRICS), None), (note,))
    rebuilt = levels(made)
    fitted = colour_fitted(true, rebuilt)
    return Scored(
        {
            PSNR.name: psnr(true, rebuilt),
            SSIM.name: ssim(true, rebuilt),
            CORRELATION.name: luminance_correlation(true, rebuilt),
            PSNR_AFFINE.name: psnr(true, fitted),
            SSIM_AFFINE.name: ssim(true, fitted),
            CORRELATION_AFFINE.name: luminance_correlation(true, fitted),
            COLOURFULNESS.name: colourfulness(rebuilt),
            DEPTH_ERROR.name: depth_error(truth.truth.get("depth"), reconstruction.get("depth")),
        }
    )


def levels(image: NDArray[Any]) -> Picture:
    """A picture as it would be shown: uint8 (H, W, 3) as it is, floats in 0..1 rounded; no number counts as black."""
    if image.dtype == np.uint8:
        return image
    return np.asarray((np.nan_to_num(image, posinf=1.0, neginf=0.0).clip(0, 1) * 255).round(), np.uint8)


def colour_fitted(true: Picture, rebuilt: Picture) -> Picture:
    """``rebuilt`` with every colour c turned into A c + b, A (3, 3) and b (3,) by least squares against ``true``.

    Of a grey picture every least-squares map gives the same colours; what comes out is clamped.
    """
    colours = np.column_stack([rebuilt.reshape(-1, 3).astype(np.float64), np.full(rebuilt[..., 0].size, 255.0)])
    mapped, *_ = np.linalg.lstsq(colours, true.reshape(-1, 3).astype(np.float64), rcond=1e-10)
    return np.asarray((colours @ mapped).clip(0, 255).round().reshape(true.shape), np.uint8)


def luminance_correlation(a: Picture, b: Picture) -> float:
    """Pearson's correlation of two pictures' luminance; 0 where one of them is flat."""
    x, y = ((picture.astype(np.float64) @ LUMA).ravel() for picture in (a, b))
    x, y = x - x.mean(), y - y.mean()
    spread = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / spread if spread > 1e-6 else 0.0


def colourfulness(picture: Picture) -> float:
    """Of Hasler and Suesstrunk: 0 for grey, about 100 for a very colourful photograph."""
    red, green, blue = np.moveaxis(picture.astype(np.float64), -1, 0)
    rg, yb = red - green, (red + green) / 2 - blue
    return float(np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean()))


def depth_error(true: NDArray[Any] | None, rebuilt: NDArray[Any] | None) -> float | None:
    """Median relative error where the truth is known (above 0); None where either is missing or of another size.

    A rebuilt depth that is no number counts as 0: it is off by all of the true one.
    """
    if true is None or rebuilt is None or true.shape != rebuilt.shape or not (true > 0).any():
        return None
    known = true > 0
    return float(np.median(np.abs(np.nan_to_num(rebuilt[known].astype(np.float64)) / true[known] - 1)))


def _useful(answer: Answer) -> dict[str, float | None]:
    true, render = levels(answer.truth.truth["image"]), levels(answer.found["image"])
    found = psnr(true, render)
    reference = answer.reference.get("image") if answer.reference else None
    return {
        VICTIM_PSNR.name: found,
        VICTIM_SSIM.name: ssim(true, render),
        GAIN.name: found - psnr(true, levels(answer.truth.truth["mean"])),
        VICTIM_DEPTH.name: depth_error(answer.truth.truth.get("depth"), answer.found.get("depth")),
        KEPT.name: psnr(levels(reference), render) if reference is not None else None,
    }


def scorer(settings: Mapping[str, Meta]) -> RadianceScorer:
    """The radiance scorer of a run: pictures of the end count.

    settings: those of the victim, of which ``preset`` and ``steps`` are read, and ``counts_from``, the steps that must
    be done in their place (0: every picture counts, on the live page).
    """
    return RadianceScorer(whole(settings, "counts_from", training(settings).steps))
