"""The surrogate and its dummy pictures, learnt together from what crosses, step by step, with nothing kept of a step.

S2NeRF's surrogate model attack: L = lambda * rho * L_g + L_dummy, with L_g the distance of the surrogate's gradient at
the cut from the one that the edge sent, and L_dummy the error of its render against the dummy pictures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from attacker.attacks.radiance.averaging import Averages
from attacker.attacks.radiance.balance import Balance
from attacker.attacks.radiance.heard import Chunks, HeardStep, Points
from attacker.attacks.radiance.matching import DISTANCES, answer
from attacker.attacks.radiance.network import surrogate
from attacker.attacks.radiance.noise import NoiseModel
from attacker.attacks.radiance.pictures import DummyPictures
from attacker.attacks.radiance.published_mask import ClientMask
from attacker.attacks.radiance.schedule import Schedule
from attacker.attacks.radiance.settings import SurrogateSettings
from attacker.attacks.radiance.solving import solved
from attacker.attacks.radiance.taken import Chunk, Taken
from victims.base import State
from victims.radiance.layouts import bounded
from victims.radiance.networks import EdgePart
from victims.radiance.optimiser import BETAS, EPSILON
from victims.radiance.settings import Training
from wire.payload import Meta
from wire.seeds import generator

_MOMENTS: Final = ("exp_avg", "exp_avg_sq", "step")


@dataclass
class Told:
    """What the learning has come to. skipped: steps whose loss was no number, which nothing was learnt from."""

    taken: int = 0
    skipped: int = 0
    dummy: float = math.nan
    gradient: float = math.nan
    rho: float = 0.0

    def meta(self) -> dict[str, Meta]:
        """What a picture's meta says of it; losses are those of the last step, and there are none before the first."""
        losses = {"loss_dummy": self.dummy, "loss_gradient": self.gradient, "rho": self.rho} if self.taken else {}
        return {"learnt": self.taken, "skipped": self.skipped, **losses}


@dataclass
class SurrogateLearner:
    """Learns online: one step of Adam (``inner``: more) for each step that is heard."""

    settings: SurrogateSettings
    victim: Training
    split: str
    seed: int
    noise: NoiseModel | None = None
    mask: ClientMask | None = None
    told: Told = field(default_factory=Told)

    def __post_init__(self) -> None:
        chosen, victim = self.settings, self.victim
        self.part = surrogate(self.split, victim, self.seed, chosen.colour_layers, chosen.width)
        self.pictures = DummyPictures(self.seed)
        self.schedule = Schedule(chosen.rate, chosen.decay, victim.steps, chosen.views, chosen.from_step, chosen.every)
        self._balance = Balance(chosen.balance_steps)
        self._averages = Averages(chosen.average_rays) if chosen.average else None
        self._adam = torch.optim.Adam(self.part.parameters(), lr=chosen.rate, betas=BETAS, eps=EPSILON, fused=True)

    def learn(self, heard: HeardStep) -> None:
        """Take one step of the training. One that the schedule leaves out changes nothing."""
        if not self.schedule.takes(heard.step):
            return
        if self.mask is not None:
            self.mask.refresh()
        picture = self._picture(heard)
        for group in self._adam.param_groups:
            group["lr"] = self.schedule.rate_at(heard.step)
        chosen = self.settings
        taken = Taken(
            self.rays(heard),
            heard.step,
            chosen.loss,
            drop_dead=chosen.drop_dead,
            noise=self.noise,
            averages=self._averages,
        )
        for _ in range(chosen.inner):
            self._descend(taken, picture)

    def rays(self, heard: HeardStep) -> Chunks:
        """The rays of a step that are learnt from, in chunks."""
        return heard.chunked(self.settings.at_once, self._rows(heard))

    def state(self) -> State:
        """All of it: weights, pictures, Adam's moments, rho, averages."""
        tensors: dict[str, Tensor] = self.pictures.state()
        for name, parameter in self._named().items():
            if not name.startswith("picture."):
                tensors[f"weight.{name}"] = parameter.detach().clone()
            for key, value in self._adam.state.get(parameter, {}).items():
                tensors[f"{key}.{name}"] = value.detach().clone()
        if self._averages is not None:
            tensors |= self._averages.state()
        said = {
            "rho": self._balance.rho, "seen": self._balance.seen, "taken": self.told.taken,
            "skipped": self.told.skipped, "dummy": self.told.dummy, "gradient": self.told.gradient,
            "rho_taken": self.told.rho,
        }  # fmt: skip
        return State(tensors, said)

    def load(self, state: State) -> None:
        """Go on from what :meth:`state` gave."""
        self.__post_init__()
        self.part.load_state_dict({name: state.tensors[f"weight.{name}"] for name in self.part.state_dict()})
        self.pictures.load(state.tensors)
        if self.settings.dummy == "learnt":
            for view, picture in self.pictures.all().items():
                self._adam.add_param_group({"params": [picture], "view": view})
                picture.grad = torch.zeros_like(picture)
        for name, parameter in self._named().items():
            if f"step.{name}" in state.tensors:
                shaped = {key: state.tensors[f"{key}.{name}"].clone() for key in _MOMENTS}
                self._adam.state[parameter] = shaped
        if self._averages is not None:
            self._averages.load(state.tensors)
        said: dict[str, Any] = dict(state.meta)
        self._balance.rho, self._balance.seen = said["rho"], said["seen"]
        self.told = Told(said["taken"], said["skipped"], said["dummy"], said["gradient"], said["rho_taken"])

    def _descend(self, taken: Taken, picture: Tensor) -> None:
        """One step of Adam on the surrogate and all dummy pictures.

        rho rests on the losses of the whole step. Of several chunks they are known only when all have been looked at,
        and what was worked out on the way is gone by then: each is worked a second time for its gradients.
        """
        pixels, dummy, gradient, alone = list[Tensor](), 0.0, 0.0, len(taken) == 1
        for chunk in taken:
            pixels.append(self._pixels(chunk, picture))
            losses = self._losses(chunk, pixels[-1], taken.variance, twice=alone)
            dummy, gradient = dummy + float(losses[0].detach()), gradient + float(losses[1].detach())
        if not (math.isfinite(dummy) and math.isfinite(gradient)):
            self.told.skipped += 1
            return
        rho = self._balance.take(dummy, gradient)
        self._adam.zero_grad(set_to_none=False)
        for chunk, wanted in zip(taken, pixels, strict=True):
            error, distance = losses if alone else self._losses(chunk, wanted, taken.variance)
            (self.settings.weight * rho * distance + error).backward()  # type: ignore[no-untyped-call]
        if not all(p.grad is None or bounded(p.grad) for p in self.part.parameters()):
            self.told.skipped += 1
            return
        self._adam.step()
        self.pictures.clip()
        self.told = Told(self.told.taken + 1, self.told.skipped, dummy, gradient, rho)

    def _losses(self, chunk: Chunk, pixels: Tensor, variance: float, *, twice: bool = True) -> tuple[Tensor, Tensor]:
        """A chunk's share of the dummy error, and of the gradients' distance."""
        own = answer(self._seen(chunk.points), chunk.points, pixels, twice=twice)
        distance = DISTANCES[self.settings.loss](chunk.wanted, own.gradient, chunk.counted) / variance
        return own.error * chunk.rays, distance * chunk.entries

    def _seen(self, points: Points) -> EdgePart:
        """The surrogate, behind the published code's mask where that is granted."""
        if self.mask is None:
            return self.part
        return self.mask.over(self.part, points.embeddings, points.distances, points.directions)

    def _pixels(self, chunk: Chunk, picture: Tensor) -> Tensor:
        """The dummy pixels (R, 3) of a chunk's rays: as they are learnt, or as this step says that they must be."""
        pixels = chunk.points.pixels.long()
        if self.settings.dummy == "learnt":
            return picture[pixels]
        found = solved(self._seen(chunk.points), chunk.points, chunk.wanted, chunk.counted)
        with torch.no_grad():
            picture[pixels] = found
        return found

    def _rows(self, heard: HeardStep) -> Tensor | None:
        """The rays of a step that are learnt from: chosen by seed and step alone."""
        if self.settings.share >= 1:
            return None
        rays = heard.rays
        rng = generator(self.seed, "radiance.share", frame=heard.step)
        chosen = rng.permutation(rays)[: max(1, round(self.settings.share * rays))]
        return torch.from_numpy(chosen).sort().values

    def _picture(self, heard: HeardStep) -> Tensor:
        """The dummy picture of the step's view.

        All pictures are one tensor to the published code's optimiser, so that one which is first seen now has stood
        still through all the steps before: it starts with their number and moments of zero.
        """
        picture, new = self.pictures.get(heard.camera.view, heard.camera.size)
        if new and self.settings.dummy == "learnt":
            self._adam.add_param_group({"params": [picture], "view": heard.camera.view})
            picture.grad = torch.zeros_like(picture)
            if self.told.taken:
                self._adam.state[picture] = {
                    "step": torch.tensor(float(self.told.taken)),
                    "exp_avg": torch.zeros_like(picture),
                    "exp_avg_sq": torch.zeros_like(picture),
                }
        return picture

    def _named(self) -> Mapping[str, Tensor]:
        """Every tensor that is learnt, by name."""
        named: dict[str, Tensor] = dict(self.part.named_parameters())
        return named | {f"picture.{view}": picture for view, picture in self.pictures.all().items()}
