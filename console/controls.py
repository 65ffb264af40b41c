"""What the page may turn: checked here, refused or accepted by the process that it concerns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from console.poll import Port, PortDown
from wire.errors import InputError
from wire.profiles import profile


class DefenseWish(BaseModel):
    """A defense by name with its settings."""

    model_config = ConfigDict(extra="forbid")

    name: str
    settings: dict[str, Any] = Field(default_factory=dict)


class LinkWish(BaseModel):
    """A link: a profile by name, or figures of one's own; what is not given stays."""

    model_config = ConfigDict(extra="forbid")

    profile: str | None = None
    rate_mbps: float | None = None
    delay_ms: float = 0.0
    jitter_ms: float = 0.0


class Wishes(BaseModel):
    """``PATCH /settings`` of the page. One of them at a time, or several; they are passed on in this order.

    paused, step: the stream. listener_paused: nothing is inverted. shown: the attack that is pictured, for every page.
    split: a new session at another split point.
    """

    model_config = ConfigDict(extra="forbid")

    defense: DefenseWish | None = None
    link: LinkWish | None = None
    paused: bool | None = None
    step: bool | None = None
    listener_paused: bool | None = None
    shown: str | None = None
    split: str | None = None


class Controls:
    """Passes wishes on. Each process keeps its own settings: of two pages that turn one knob the last wins, and both
    see it, because what they show is what the process says."""

    def __init__(self, ports: Mapping[str, Port]) -> None:
        self._ports = ports

    def pass_on(self, wishes: Wishes) -> dict[str, Any]:
        """What each process answered, by wish. InputError, in one line, for what is refused or has nobody to do it."""
        done: dict[str, Any] = {}
        if wishes.defense is not None:
            done["defense"] = self._tell("edge", defense=wishes.defense.model_dump())
        if wishes.link is not None:
            done["link"] = self._tell("link", **self._link(wishes.link))
        if wishes.paused is not None:
            done["paused"] = self._tell("edge", paused=wishes.paused)
        if wishes.step:
            done["step"] = self._tell("edge", step=True)
        if wishes.listener_paused is not None:
            done["listener_paused"] = self._tell("attacker", paused=wishes.listener_paused)
        if wishes.split is not None:
            done["split"] = self._tell("edge", split=wishes.split)
        return done

    def _tell(self, name: str, **values: Any) -> dict[str, Any]:
        port = self._ports.get(name)
        if port is None:
            raise InputError(f"{next(iter(values))} cannot be changed here: this page was given no {name}")
        try:
            return port.settings(**values)
        except PortDown as error:
            raise InputError(f"{error}; nothing was changed, try again when it is back") from None

    def _link(self, wish: LinkWish) -> dict[str, Any]:
        own = wish.model_dump(exclude_unset=True, exclude={"profile"})
        return own if wish.profile is None else {**profile(wish.profile).role(), **own}
