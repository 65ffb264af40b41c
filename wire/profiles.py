"""Link profiles by name (``lan``, ``wifi``, ``5g``, ``lte``, ``satellite``), each figure with its source.

The figures stand in ``profiles.toml`` beside this file. Needs neither torch nor gRPC.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from wire.errors import InputError
from wire.shaper import LinkSettings

FIGURES = ("rate", "delay", "jitter")
"""What a profile must give a source for."""


@dataclass(frozen=True)
class LinkProfile:
    """Both directions of one kind of link.

    sources: figure (:data:`FIGURES`) -> document and the figure in it, or ``typical, unsourced``.
    """

    name: str
    title: str
    up: LinkSettings
    down: LinkSettings
    sources: Mapping[str, str]

    def role(self) -> dict[str, dict[str, Any]]:
        """The profile as the link's role file and its ``PATCH /settings`` take it."""
        return {"up": asdict(self.up), "down": asdict(self.down)}


def names() -> list[str]:
    """Every profile, the fastest link first."""
    return list(_profiles())


def profile(name: str) -> LinkProfile:
    """The profile called ``name``; InputError lists the ones that exist."""
    found = _profiles().get(name)
    if found is None:
        raise InputError(f"link profile {name!r} does not exist; there are: {', '.join(names())}")
    return found


def name_of(link: Mapping[str, Any]) -> str | None:
    """The profile whose values a link's settings are, as :meth:`LinkProfile.role` gives them; None: of no profile."""
    return next((name for name, found in _profiles().items() if found.role() == dict(link)), None)


@cache
def _profiles() -> dict[str, LinkProfile]:
    return parse(files("wire").joinpath("profiles.toml").read_text(encoding="utf-8"), "wire/profiles.toml")


def parse(text: str, source: str) -> dict[str, LinkProfile]:
    """The profiles of a TOML text. InputError names ``source``, the profile and what is wrong with it."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source}: {error}") from None
    found = {}
    for name, table in tables.items():
        try:
            sources = {figure: str(table["sources"][figure]) for figure in FIGURES}
            up, down = LinkSettings(**table["up"]), LinkSettings(**table["down"])
            found[name] = LinkProfile(name, str(table["title"]), up, down, sources)
        except KeyError as error:
            raise InputError(f"{source}: profile {name!r} has no {error.args[0]}") from None
        except (TypeError, InputError) as error:
            raise InputError(f"{source}: profile {name!r}: {error}") from None
    return found
