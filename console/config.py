"""The live page's role file: which processes it looks at, and how what they say is pictured and scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from wire.rolefile import Role


class ConsoleConfig(Role):
    """``python -m console --config console.toml``.

    edge, attacker, link, cloud: their control ports, ``HOST:PORT``; link and cloud may be absent. others: further
    processes by name, whose state is watched. splits: where the page
    offers to cut, in a new session of the edge's.
    settings: the run's, for the scorer (preset, split). shown: the attack whose reconstructions are pictured first.
    only_shown: let the listener run no attack but that one and the floors: on two cores every further one costs lag.
    report: an HTML file that the page links to. hosts: further names under which browsers may reach the page.
    published: ``listen`` is a container's address that its host publishes on loopback only; no token is asked for then.
    """

    listen: str = "127.0.0.1:0"
    hosts: tuple[str, ...] = ()
    published: bool = False
    edge: str
    attacker: str
    link: str | None = None
    cloud: str | None = None
    others: dict[str, str] = Field(default_factory=dict)
    victim: str
    modality: str
    split: str
    splits: tuple[str, ...] = ()
    settings: dict[str, Any] = Field(default_factory=dict)
    shown: str | None = None
    only_shown: bool = False
    report: Path | None = None
    seed: int = Field(default=0, ge=0)
    points: int = Field(default=9000, ge=100, le=100_000)  # of a cloud that are sent to the page
    window: int = Field(default=240, ge=10, le=10_000)  # frames that the curves show
