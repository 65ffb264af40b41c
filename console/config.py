"""The live page's role file: which processes it looks at, and how what they say is pictured and scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from wire.rolefile import Role


class ConsoleConfig(Role):
    """``python -m console --config console.toml``.

    edge, attacker, link, cloud: their control ports, ``HOST:PORT``; link and cloud may be absent. lab: the port of the
    process that opens a new session at another of ``splits``; without it the page offers none.
    settings: the run's, for the scorer (preset, split). shown: the attack whose reconstructions are pictured first.
    only_shown: let the listener run no attack but that one and the floors: on two cores every further one costs lag.
    report: an HTML file that the page links to. hosts: further names under which browsers may reach the page.
    """

    listen: str = "127.0.0.1:0"
    hosts: tuple[str, ...] = ()
    edge: str
    attacker: str
    link: str | None = None
    cloud: str | None = None
    lab: str | None = None
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
