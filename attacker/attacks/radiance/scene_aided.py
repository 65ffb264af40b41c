"""The paper's second attack: a surrogate that knows one picture of the scene learns its colours from it.

After the surrogate attack, some steps of Adam on the surrogate alone, towards the leaked picture at its pose; nothing
of the gradients, no dummy pictures, the cloud's features fixed. As the published code's, but for what it leaks: the
picture is a training view whose pose was transmitted, no depth is known, and no leaked view is scored.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from attacker.attacks.base import Grants, Inverter, Needs, SessionInfo
from attacker.attacks.image.choices import choice, number
from attacker.attacks.radiance.heard import View
from attacker.attacks.radiance.leak import Leak, leaked
from attacker.attacks.radiance.online import OnlineInverter, Pictured
from attacker.attacks.radiance.opening import Opened, opened
from attacker.attacks.radiance.pose_refining import PoseCorrections, embed
from attacker.attacks.radiance.posing import Render, picture, rendering, samples_of
from attacker.attacks.radiance.settings import SurrogateSettings
from attacker.attacks.radiance.snapshot_field import SnapshotField, Snapshots
from attacker.attacks.radiance.surrogate import FromTheCloud
from attacker.attacks.stateless import Untrained
from victims.radiance.networks import EdgePart
from victims.radiance.optimiser import BETAS, EPSILON
from wire.payload import Meta
from wire.seeds import generator

LEFT: Final = 0.1
"""What is left of the rate at the end of the stage."""


@dataclass(frozen=True)
class AidedSettings(SurrogateSettings):
    """aided_steps, aided_rays, aided_rate: of the stage with the leaked pictures. pose: ``known``, or ``refined`` from
    the leak's poses on, with pose_rate."""

    aided_steps: int = number(200, 1, 1_000_000)
    aided_rays: int = number(1024, 1, 1 << 20)
    aided_rate: float = number(1e-2, 1e-6, 10)
    pose: str = choice("known", ("known", "refined"))
    pose_rate: float = number(2e-3, 1e-6, 1)


@dataclass(frozen=True)
class Aided:
    """A surrogate that has seen the leak. error: mean squared error of its last rays. turned (radians) and shifted (in
    the unit of the pose): the mean correction of the leak's poses."""

    part: EdgePart
    error: float
    turned: float
    shifted: float

    def meta(self) -> dict[str, Meta]:
        return {"aided_error": self.error, "pose_turned": self.turned, "pose_shifted": self.shifted}


def aid(
    part: EdgePart,
    field: SnapshotField,
    leak: Leak,
    asked: View,
    settings: AidedSettings,
    samples: int,
    seed: int,
    progress: Callable[[float, float], None],
    rendered: Callable[[EdgePart], Render] = rendering,
) -> Aided:
    """The second stage, on a copy of ``part``. asked: any camera of the session, for ``near`` and ``box``. rendered:
    how a network's pictures are made."""
    part, corrections = copy.deepcopy(part), PoseCorrections(len(leak))
    network = rendered(part)
    refined = settings.pose == "refined"
    groups = [{"params": list(part.parameters()), "start": settings.aided_rate}]
    if refined:
        groups.append({"params": list(corrections.parameters()), "start": settings.pose_rate})
    adam = torch.optim.Adam(groups, lr=settings.aided_rate, betas=BETAS, eps=EPSILON)
    rng = generator(seed, "radiance.aided", frame=asked.step)
    error = 0.0
    for step in range(settings.aided_steps):
        which = int(rng.integers(len(leak)))
        pixels = torch.from_numpy(rng.integers(leak.colours.shape[1], size=settings.aided_rays, dtype="int32"))
        pose = corrections(leak.poses[which], which) if refined else leak.poses[which]
        camera = View(asked.step, which, pose, leak.focal, leak.centre, leak.size, asked.near, asked.box)
        made = _rendered(network, field, camera, pixels, samples, refined)
        loss = (made - leak.colours[which][pixels.long()]).square()
        error = float(loss.detach().mean())
        for group in adam.param_groups:
            group["lr"] = group["start"] * LEFT ** (step / settings.aided_steps)
        adam.zero_grad(set_to_none=True)
        loss.mean().backward()  # type: ignore[no-untyped-call]
        adam.step()
        progress(step + 1, settings.aided_steps)
    turned, shifted = (float(values.detach().norm(dim=1).mean()) for values in corrections.parameters())
    return Aided(part, error, turned, shifted)


def _rendered(
    network: Render, field: SnapshotField, camera: View, pixels: Tensor, samples: int, refined: bool
) -> Tensor:
    """Colours (R, 3); by pose differentiable where it is refined."""
    positions, distances, directions = samples_of(camera, pixels, samples)
    embeddings = embed(field.part, positions) if refined else field.embed(positions)
    return network(embeddings.view(*distances.shape, -1), distances, directions).colours


class _SceneAided(FromTheCloud):
    """The surrogate attack, whose pictures are made by a copy that has seen the leak."""

    def __init__(self, opening: Opened[AidedSettings], snapshots: Snapshots, leak: Leak) -> None:
        super().__init__(opening, snapshots)
        self._settings, self._leak = opening.settings, leak
        self._aided: tuple[int, int, Aided] | None = None

    def picture(self, asked: View) -> Pictured:
        """The stage is done once for all pictures at one step of the training."""
        opening, field = self._opening, self._snapshots.at(asked.step)
        place = asked.step, self._learner.told.taken
        if self._aided is None or self._aided[:2] != place:
            samples, seed = opening.victim.samples, opening.seed
            part, progress = self._learner.part, opening.grants.progress
            aided = aid(part, field, self._leak, asked, self._settings, samples, seed, progress, opening.render)
            self._aided = (*place, aided)
        aided = self._aided[2]
        image, depth = picture(field, opening.render(aided.part), asked, opening.victim.samples)
        return Pictured({"image": image, "depth": depth}, {**self._learner.told.meta(), **aided.meta()})


class SceneAided(Untrained):
    """One or more leaked pictures beside what the surrogate attack has."""

    name = "scene-aided"
    modality = "radiance"
    settings = AidedSettings
    needs = Needs("cloud", "none", order="in_order", learns=True)

    def open(self, session: SessionInfo, grants: Grants) -> Inverter:
        """An inverter of a session. InputError, one line, where settings or files do not do."""
        opening = opened(AidedSettings, session, grants, self.name)
        snapshots, leak = Snapshots(opening), leaked(grants, self.name)
        return OnlineInverter(
            self.name, lambda: _SceneAided(opening, snapshots, leak), opening.shelf, opening.settings.keep_every
        )
