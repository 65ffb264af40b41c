"""The starting noise of a latent diffusion model is optimised through the whole sampler (algorithms 1 and 2 of
"Unlocking Visual Secrets", equations 6, 9 and 10), with several seeds and prompts for a picture at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from attacker.attacks.base import Grants
from attacker.attacks.image.choices import choice, device, number
from attacker.attacks.image.decoder import from_latents
from attacker.attacks.image.descent import Descended, Variable, descend
from attacker.attacks.image.generators import granted_folder, prior_of
from attacker.attacks.image.inversion import Inversion, Method, Problem
from attacker.attacks.image.losses import NEGENTROPIES
from attacker.attacks.image.optimising import Optimising, OptimisingSettings, inverted, tie
from attacker.attacks.image.prior import Prior, normalise
from attacker.attacks.image.prior_layout import layout_of
from victims.base import Progress
from wire.errors import InputError
from wire.payload import Meta

CHECKPOINTING: Mapping[str, bool | None] = {"auto": None, "on": True, "off": False}


@dataclass(frozen=True)
class DiffusionSettings(OptimisingSettings):
    """steps: of the sampler. restarts: seeds a picture; the lowest feature loss is kept. normaliser: v is brought to
    mean 0 and deviation 1, by itself, before it is sampled. polish: so many further iterations on the latent that the
    sampler ends in, at ``polish_lr``.

    prompt: one, or several with "|" between; each is tried on every picture and the lowest feature loss is kept. Empty
    is no text. text: weight of ``negentropy`` (``alpha`` 1 to 2) where there is a prompt. checkpointing: whether each
    U-Net call is recomputed in the backward pass; ``auto`` decides by memory.
    """

    iterations: int = number(100, 0, 1_000_000)
    lr: float = number(0.2, 1e-6, 100)
    steps: int = number(10, 1, 1000)
    restarts: int = number(1, 1, 1024)
    normaliser: bool = True
    polish: int = number(0, 0, 1_000_000)
    polish_lr: float = number(0.1, 1e-6, 100)
    prompt: str = ""
    text: float = number(10.0, 0, 1e6)
    negentropy: str = choice("proper", tuple(NEGENTROPIES))
    alpha: float = number(1.0, 1, 2)
    checkpointing: str = choice("auto", tuple(CHECKPOINTING))

    PAPER: ClassVar[Mapping[str, Meta]] = {**OptimisingSettings.PAPER, "steps": 20, "negentropy": "printed"}

    @property
    def prompts(self) -> tuple[str, ...]:
        """The candidates, in order, each once."""
        return tuple(dict.fromkeys(prompt.strip() for prompt in self.prompt.split("|")))


def diffusion(problem: Problem, settings: DiffusionSettings, prior: Prior) -> Inversion:
    """Invert ``problem`` in the starting noise of ``prior``.

    InputError where its pictures are of another size than the problem's, or a prompt is too long for it.
    """
    if problem.size != (prior.side, prior.side):
        raise InputError(f"{prior.name} makes pictures of {prior.side}x{prior.side} pixels; asked for {problem.size}")
    tries = Tries.of(problem, settings)
    found = descend(
        _variable(problem, settings, prior, tries),
        problem.head,
        problem.features[tries.picture],
        settings,
        shelf=problem.shelf("diffusion"),
        progress=_part(problem, 0, settings.iterations, settings),
        note=problem.note,
    )
    best = tries.best(found.feature)
    first = inverted(_of(found, best), [tries.meta(row, settings) for row in best.tolist()])
    if not settings.polish:
        return first
    with torch.no_grad():
        text = _text(prior, settings.prompts)[tries.prompt[best]]
        latents = prior.sample(_scaled(settings)(first.variable), text, steps=settings.steps)
    polishing = replace(settings, iterations=settings.polish, lr=settings.polish_lr)
    rest = replace(problem, progress=_part(problem, settings.iterations, settings.polish, settings))
    second = from_latents(rest, polishing, prior.autoencoder, latents, "polish")
    return Inversion(
        second.pictures,
        first.course.then(second.course, first.iterations, first.cpu_s),
        [{**before, **after} for before, after in zip(first.meta, second.meta, strict=True)],
        second.variable,
        first.iterations + second.iterations,
        first.cpu_s + second.cpu_s,
    )


@dataclass(frozen=True)
class Tries:
    """Every prompt with every restart on every picture: int64 (rows,), picture by picture. each: tries a picture."""

    picture: Tensor
    prompt: Tensor
    restart: Tensor
    each: int

    @classmethod
    def of(cls, problem: Problem, settings: DiffusionSettings) -> Tries:
        """All of them."""
        counts = (len(problem.frames), len(settings.prompts), settings.restarts)
        rows = torch.cartesian_prod(*(torch.arange(count) for count in counts)).to(problem.device)
        picture, prompt, restart = rows.unbind(1)
        return cls(picture, prompt, restart, counts[1] * counts[2])

    def best(self, feature: Tensor) -> Tensor:
        """The row with the lowest feature loss (rows,) of each picture; int64 (B,)."""
        chosen = feature.view(-1, self.each).argmin(1)
        return torch.arange(len(chosen), device=chosen.device) * self.each + chosen

    def meta(self, row: int, settings: DiffusionSettings) -> dict[str, Meta]:
        """Which one a row is."""
        return {
            "prompt": settings.prompts[int(self.prompt[row])],
            "restart": int(self.restart[row]),
            "tries": self.each,
            "steps": settings.steps,
        }


def _variable(problem: Problem, settings: DiffusionSettings, prior: Prior, tries: Tries) -> Variable:
    drawn = [problem.noise(f"attack.diffusion.{i}", prior.latent) for i in range(settings.restarts)]
    text = _text(prior, settings.prompts)[tries.prompt]
    told = torch.tensor([float(bool(prompt)) for prompt in settings.prompts], device=problem.device)[tries.prompt]
    # A try is tied to the same try of the other pictures.
    group = (
        problem.groups(settings.group)[tries.picture] * tries.each + tries.prompt * settings.restarts + tries.restart
    )
    tied = tie(settings, group, normalise)
    gaussian = NEGENTROPIES[settings.negentropy]
    scaled = _scaled(settings)

    def penalty(variable: Tensor) -> Tensor:
        total = settings.text * told * gaussian(normalise(variable), settings.alpha)
        return total if tied is None else total + tied(variable)

    def pictures(variable: Tensor) -> Tensor:
        recompute = CHECKPOINTING[settings.checkpointing]
        return prior.generate(scaled(variable), text, steps=settings.steps, checkpointing=recompute)

    return Variable(torch.stack(drawn)[tries.restart, tries.picture], pictures, penalty)


def _scaled(settings: DiffusionSettings) -> Callable[[Tensor], Tensor]:
    return normalise if settings.normaliser else lambda variable: variable


def _text(prior: Prior, prompts: Sequence[str]) -> Tensor:
    """Embeddings (prompts, L, D); zeros for an empty one."""
    return torch.cat([prior.embed([prompt]) if prompt else prior.no_text(1) for prompt in prompts])


def _of(found: Descended, rows: Tensor) -> Descended:
    course = found.course.of(rows.cpu())
    picked = (found.variable[rows], found.pictures[rows], found.total[rows], found.feature[rows])
    return Descended(*picked, course, found.cpu_s)


def _part(problem: Problem, before: int, iterations: int, settings: DiffusionSettings) -> Progress:
    """Progress of one of the two descents, as a part of both."""
    whole = max(settings.iterations + settings.polish, 1)

    def progress(done: float, total: float, note: str = "") -> None:
        problem.progress(before + done / total * iterations, whole, note)

    return progress


class Diffusion(Optimising):
    """White box: the victim's weights and a diffusion prior of pictures."""

    name = "diffusion"
    kind = DiffusionSettings

    def method(self, settings: DiffusionSettings, grants: Grants, size: tuple[int, int]) -> Method:
        """:func:`diffusion` with the granted prior. InputError where a prompt is too long for it."""
        prior = prior_of(granted_folder(grants, self.name), size, device(grants.settings))
        _text(prior, settings.prompts)
        return partial(diffusion, settings=settings, prior=prior)

    def check_files(self, settings: DiffusionSettings, grants: Grants, size: tuple[int, int]) -> None:
        """InputError where the folder holds no prior for such pictures, prompts and steps."""
        layout_of(granted_folder(grants, self.name)).check(size, settings.steps, settings.prompts)
