"""What the surrogate attacks work out when a session opens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

from attacker.attacks.base import Grants, SessionInfo
from attacker.attacks.image import choices
from attacker.attacks.radiance.learner import SurrogateLearner
from attacker.attacks.radiance.noise import noise_model
from attacker.attacks.radiance.posing import Render, rendering
from attacker.attacks.radiance.published_mask import ClientMask
from attacker.attacks.radiance.settings import SurrogateSettings, own, victims
from attacker.attacks.radiance.shelf import Shelf
from victims.radiance.networks import EdgePart, check_split
from victims.radiance.settings import Training
from wire.errors import InputError

S = TypeVar("S", bound=SurrogateSettings)
S_co = TypeVar("S_co", bound=SurrogateSettings, covariant=True)


@dataclass(frozen=True)
class Opened(Generic[S_co]):
    """attack: its name. settings: its own. victim: how the victim is trained, as far as that is public."""

    attack: str
    settings: S_co
    victim: Training
    split: str
    session: str
    seed: int
    grants: Grants

    def learner(self) -> SurrogateLearner:
        """A surrogate that has learnt nothing yet."""
        noise = None
        if self.settings.weighting == "sigma":
            noise = noise_model(self.grants.defense, self.victim.steps, self.attack)
        return SurrogateLearner(self.settings, self.victim, self.split, self.seed, noise, self._mask)

    def render(self, part: EdgePart) -> Render:
        """How a picture is made with a surrogate: by itself, or with the published code's mask, as it is now."""
        if self._mask is None:
            return rendering(part)
        self._mask.refresh()
        return self._mask.render(part)

    @property
    def shelf(self) -> Shelf | None:
        """Where this session's states are kept; None where nothing may be."""
        work: Path | None = self.grants.work
        return None if work is None else Shelf(work / self.session)

    @cached_property
    def _mask(self) -> ClientMask | None:
        if not self.settings.published_mask:
            return None
        return ClientMask(self.grants.files.get("edge"), self.split, self.victim, self.attack)


def opened(kind: type[S], session: SessionInfo, grants: Grants, attack: str) -> Opened[S]:
    """Read an attack's settings for a session. InputError, one line, for what does not do."""
    if session.victim != "splitnerf":
        raise InputError(f"attack {attack}: the session's victim is {session.victim!r}; accepted: splitnerf")
    check_split(session.split)
    settings = own(kind, grants.settings, attack)
    if not settings.views:
        raise InputError(
            f"attack {attack}: setting views is missing; accepted: how many pictures the victim learns from"
        )
    made = Opened(
        attack,
        settings,
        victims(kind, grants.settings, attack),
        session.split,
        session.session,
        choices.seed(grants.settings, attack),
        grants,
    )
    made.learner()  # what it does not accept is said now
    return made
