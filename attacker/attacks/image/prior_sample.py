"""The floor with a prior and without an attack: a sample of the prior for every frame, whatever its features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from attacker.attacks.base import CapturedFrame, Grants, Inverter, Needs, Reconstruction, SessionInfo
from attacker.attacks.image import choices
from attacker.attacks.image.choices import number, read
from attacker.attacks.image.generators import granted_folder
from attacker.attacks.image.prior import Prior, load_prior
from attacker.attacks.image.prior_layout import layout_of
from attacker.attacks.image.sizes import size_of
from attacker.attacks.stateless import Stateless, Untrained
from victims.image.preprocessing import images_of
from wire.errors import InputError
from wire.payload import Meta
from wire.seeds import generator


@dataclass(frozen=True)
class PriorSampleSettings:
    """steps: of the sampler. prompt: what is drawn; empty is no text."""

    steps: int = number(10, 1, 1000)
    prompt: str = ""

    PAPER: ClassVar[Mapping[str, Meta]] = {"steps": 20}


class _Inverter(Stateless):
    def __init__(self, attack: str, prior: Prior, settings: PriorSampleSettings, seed: int) -> None:
        self._attack, self._prior, self._settings, self._seed = attack, prior, settings, seed
        self._text = prior.embed([settings.prompt]) if settings.prompt else None

    @torch.no_grad()
    def observe(self, frames: Sequence[CapturedFrame]) -> Sequence[Reconstruction]:
        by_side: dict[int, list[CapturedFrame]] = {}
        for frame in frames:
            by_side.setdefault(self._side(frame), []).append(frame)
        return [made for side, some in by_side.items() for made in self._drawn(self._prior.at(side), some)]

    def _side(self, frame: CapturedFrame) -> int:
        prior, (height, width) = self._prior, size_of(frame)
        if prior.layout.misfit(height, width):
            raise InputError(
                f"frame {frame.frame}: of {width}x{height} pixels; {prior.name} makes {prior.side}x{prior.side}"
            )
        return height

    def _drawn(self, prior: Prior, frames: Sequence[CapturedFrame]) -> list[Reconstruction]:
        steps = self._settings.steps
        drawn = [generator(self._seed, "attack.prior-sample", 0, f.frame).standard_normal(prior.latent) for f in frames]
        noise = torch.from_numpy(np.stack(drawn)).to(device=prior.device, dtype=prior.dtype)
        text = None if self._text is None else self._text.expand(len(frames), -1, -1)
        images = images_of(prior.generate(noise, text, steps=steps))
        meta: dict[str, Meta] = {"prompt": self._settings.prompt, "steps": steps}
        return [
            Reconstruction(frame.session, (frame.frame,), self._attack, {"image": image}, meta)
            for frame, image in zip(frames, images, strict=True)
        ]


class PriorSample(Untrained):
    """No knowledge of the victim."""

    name = "prior-sample"
    modality = "image"
    needs = Needs("wire", "none", batch=16)
    kind = PriorSampleSettings

    def check(self, grants: Grants, size: tuple[int, int]) -> None:
        """InputError where the folder holds no prior for such pictures, prompt and steps."""
        settings = read(self.kind, grants.settings, self.name)
        layout_of(granted_folder(grants, self.name)).check(size, settings.steps, [settings.prompt])

    def open(self, session: SessionInfo, grants: Grants) -> Inverter:
        """An inverter for any split point. InputError where no prior is granted, or it is none."""
        settings = read(self.kind, grants.settings, self.name)
        prior = load_prior(granted_folder(grants, self.name), device=choices.device(grants.settings))
        return _Inverter(self.name, prior, settings, choices.seed(grants.settings, self.name))
