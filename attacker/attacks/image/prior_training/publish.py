"""The shipped prior: its folder, its card with measured figures, and its sample sheet."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import torch

from attacker.attacks.image.prior import Prior, load_prior
from attacker.attacks.image.prior_training.captions import COLOURS, FRAME, SHARES, TEMPLATES
from attacker.attacks.image.prior_training.measure import Figures, Words, measure
from attacker.attacks.image.prior_training.settings import PriorTraining
from attacker.attacks.image.prior_training.sheet import write_sheet
from victims.base import Progress, weights_digest
from victims.image.cifar import CLASSES
from wire.errors import InputError

NAME = "cifar-prior"
LIMIT_BYTES = 14_000_000


def publish(made: Path, work: Path, settings: PriorTraining, into: Path, progress: Progress) -> Path:
    """Copy ``made`` to ``into``/cifar-prior and write cifar-prior.md and cifar-prior.png beside it; returns the folder.

    ``settings.into`` overrides ``into``. The figures are measured on the float16 weights that are shipped. InputError
    where they would weigh more than 14 MB.
    """
    into = Path(settings.into) if settings.into else into
    weight = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
    if weight > LIMIT_BYTES:
        raise InputError(f"{made}: {weight / 1e6:.1f} MB; accepted: at most {LIMIT_BYTES / 1e6:g} MB to be shipped")
    prior = load_prior(made)
    progress(0, 3, "measuring the prior")
    figures = measure(prior, settings)
    progress(1, 3, "drawing samples")
    write_sheet(into / f"{NAME}.png", prior, settings.sampling)
    progress(2, 3, "writing the card")
    (into / f"{NAME}.md").write_text(card(prior, figures, work, settings, weight))
    target = into / NAME
    part = into / f"{NAME}.part"
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(made, part)
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
    progress(3, 3, "published")
    return target


def card(prior: Prior, figures: Figures, work: Path, settings: PriorTraining, weight: int) -> str:
    """The card's text. weight: bytes of the folder."""
    shared = {"vae": prior.autoencoder.module, "unet": prior.unet, "text_encoder": prior.text_encoder}
    says = {
        "vae": f"AutoencoderTiny, factor {prior.autoencoder.factor}, latents {'x'.join(map(str, prior.latent))}",
        "unet": f"UNet2DConditionModel, channels {', '.join(map(str, prior.unet.config.block_out_channels))}",
        "text_encoder": f"CLIPTextModel of width {prior.text_encoder.config.hidden_size}, "
        f"{prior.prompt_length} tokens, {len(prior.tokenizer)} words and pieces",
    }
    curves = {name: _curve(work / f"{name}.csv") for name in ("autoencoder", "unet")}
    batches = {"autoencoder": settings.autoencoder_batch, "unet": settings.batch}
    rates = {"autoencoder": settings.autoencoder_rate, "unet": settings.rate}
    decays = {"autoencoder": settings.autoencoder_decay, "unet": settings.decay}
    noise = prior.scheduler.config
    lines = [
        f"# {NAME}: latent diffusion with words, trained on CIFAR-10",
        "",
        "A prior over 32x32 pictures for the image attacks, in the diffusers layout; `attacker/attacks/image/prior.py`",
        f"loads it like any Stable Diffusion folder. {weight / 1e6:.1f} MB. Samples by class: `{NAME}.png`.",
        "",
        "| part | what | parameters | SHA-256 of the loaded float32 tensors |",
        "|---|---|---|---|",
    ]
    for name, network in shared.items():
        count = sum(p.numel() for p in network.parameters())
        lines.append(f"| `{name}` | {says[name]} | {count:,} | `{weights_digest(network.state_dict()).hex()}` |")
    lines += [
        "",
        f"Sampling: DDIM without noise, velocity prediction, {noise.num_train_timesteps} levels, {noise.beta_schedule}"
        f" {noise.beta_start:g} to {noise.beta_end:g}. No text is a zero embedding.",
        "",
        "## Training",
        "",
        f"Command: `eavesplit train prior --work DIR --seed {settings.seed} --set data=FOLDER "
        f"--set steps={settings.steps} --set decay={settings.decay} --set publish=true --set judge=RESNET20`",
        "",
        f"Data: {settings.pictures or '30,000'} pictures of CIFAR-10's training split that had been through JPEG",
        "(quality about 75), and their mirror images. The lossless pictures of `cifar10_lossless_4000` and `_test100`",
        "were never seen: they are the ones under attack. The data set carries no formal licence; it is in general",
        "research use, with citation (Krizhevsky 2009).",
        "",
        f"Words: the class, and the named colour nearest to the median of the {FRAME}-pixel frame, in the templates",
        ", ".join(
            f"{f'`{text}`' if text else 'nothing'} ({share:.0%})" for text, share in zip(TEMPLATES, SHARES, strict=True)
        )
        + f"; {settings.no_text:.0%} of the embeddings zero.",
        f"Colours: {', '.join(COLOURS)}.",
        "",
        "| stage | steps | pictures a step | rate | falling over the last | CPU minutes | device |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, rows in curves.items():
        step, minutes = int(rows[-1]["step"]), rows[-1]["seconds"] / 60
        row = (name, step, batches[name], f"{rates[name]:g}", decays[name], f"{minutes:.0f}", settings.device)
        lines.append("| " + " | ".join(map(str, row)) + " |")
    for name, rows in curves.items():
        terms = [key for key in rows[0] if key not in ("step", "seconds")]
        lines += ["", f"Curve of stage *{name}* (mean over a tenth of the steps):", ""]
        lines += ["| up to step | " + " | ".join(terms) + " |", "|" + "---|" * (len(terms) + 1)]
        for part in np.array_split(np.arange(len(rows)), min(10, len(rows))):
            means = [f"{np.mean([rows[i][term] for i in part]):.4f}" for term in terms]
            lines.append(f"| {rows[part[-1]]['step']:.0f} | " + " | ".join(means) + " |")
    lines += [
        "",
        "## Measured",
        "",
        f"On the float16 weights, run in float32, torch {torch.__version__.partition('+')[0]}.",
        "",
        f"- Held-out loss: {figures.heldout:.4f} (min-SNR weights), {figures.error:.4f} (mean square error of the",
        f"  velocity), on {figures.heldout_pictures:,} JPEG pictures of the test split.",
        f"- Autoencoder's round trip: {figures.roundtrip:.1f} dB PSNR, mean of {figures.roundtrip_pictures:,} lossless",
        "  pictures: what the encoder finds, not what the decoder can express.",
        "",
    ]
    for words in figures.words:
        lines += [*_words(words, settings.sampling), ""]
    return "\n".join(lines[:-1]) + "\n"


def _words(words: Words, steps: int) -> list[str]:
    lines = [
        f"With guidance {words.guidance:g}, {words.samples:,} samples of {steps} steps:",
        "",
        f"- Colour words: the background is the colour asked for in {words.coloured:.0%} of the samples, against"
        f" {words.unasked:.0%} from the same noise without text ({len(COLOURS)} colours); its mean distance to that"
        f" colour is {words.distance:.0f} of 255, against {words.far:.0f}.",
    ]
    if words.recognised is None:
        return [*lines, "- Class words: not measured (no classifier was given)."]
    by_class = ", ".join(f"{name} {share:.0%}" for name, share in zip(CLASSES, words.recognised, strict=True))
    mean = float(np.mean(words.recognised))
    return [
        *lines,
        f"- Class words: the published CIFAR ResNet names the class asked for in {mean:.0%} of the samples"
        f" (chance 10 %): {by_class}.",
    ]


def _curve(path: Path) -> list[dict[str, float]]:
    if not path.exists():
        raise InputError(f"{path}: no curve of a training; a prior is published from the folder it was trained in")
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
