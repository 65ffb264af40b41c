"""Settings of an attack as a frozen dataclass: every value checked, every refusal one line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, field, fields
from typing import Any, ClassVar, Protocol, TypeVar

from wire.errors import InputError
from wire.payload import Meta

COMMON = frozenset({"device", "seed", "weights"})
"""What every white-box attack is told beside its own settings."""


class Settings(Protocol):
    """A dataclass whose fields are made by :func:`number` and :func:`choice`, or plain texts and switches."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    PAPER: ClassVar[Mapping[str, Meta]]
    """What ``paper`` changes in the defaults."""


S = TypeVar("S", bound=Settings)


def number(default: float, low: float, high: float) -> Any:
    """A field for a number from ``low`` to ``high``; whole where the default is."""
    return field(default=default, metadata={"low": low, "high": high})


def choice(default: str, options: Sequence[str]) -> Any:
    """A field for one of ``options``."""
    return field(default=default, metadata={"options": tuple(options)})


def read(kind: type[S], given: Mapping[str, Meta], attack: str) -> S:
    """``kind`` from the settings of an attack; ``paper`` (true or false) picks the paper's defaults.

    InputError names an unknown setting or a value that is not accepted.
    """
    known = {entry.name: entry for entry in fields(kind)}
    own = {key: value for key, value in given.items() if key not in COMMON}
    paper = own.pop("paper", False)
    if not isinstance(paper, bool):
        raise InputError(f"attack {attack}: setting paper is {paper!r}; accepted: true or false")
    unknown = sorted(own.keys() - known.keys())
    if unknown:
        accepted = ", ".join([*known, "paper"])
        raise InputError(f"attack {attack}: setting {unknown[0]!r} is unknown; accepted: {accepted}")
    merged = {**(kind.PAPER if paper else {}), **own}
    return kind(**{key: _checked(known[key], value, attack) for key, value in merged.items()})


def device(given: Mapping[str, Meta]) -> str:
    """Where networks run: the setting ``device``, by default ``cpu``."""
    return str(given.get("device", "cpu"))


def seed(given: Mapping[str, Meta], attack: str) -> int:
    """The run's seed. InputError where it is no whole number from 0."""
    value = given.get("seed", 0)
    if type(value) is not int or value < 0:
        raise InputError(f"attack {attack}: setting seed is {value!r}; accepted: a whole number from 0")
    return value


def _checked(entry: Field[Any], value: Meta, attack: str) -> Meta:
    default = entry.default
    assert default is not MISSING
    options = entry.metadata.get("options")
    low, high = entry.metadata.get("low", -math.inf), entry.metadata.get("high", math.inf)
    if options is not None:
        fits, accepted = value in options, ", ".join(options)
    elif isinstance(default, bool):
        fits, accepted = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        fits = type(value) is int and low <= value <= high
        accepted = f"a whole number from {low} to {high}"
    elif isinstance(default, float):
        fits = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
        accepted = f"a number from {low:g} to {high:g}"
    else:
        fits, accepted = isinstance(value, str), "a text"
    if not fits:
        raise InputError(f"attack {attack}: setting {entry.name} is {value!r}; accepted: {accepted}")
    return float(value) if isinstance(default, float) and isinstance(value, int) else value
