"""A defense's settings: read by name, with a type and a range, and refused in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from wire.errors import InputError
from wire.payload import Meta

STRENGTH: Final = "strength"
"""The setting by which a page turns any defense from nothing to more."""


class Settings:
    """The settings of one defense, taken out by name; :meth:`done` refuses what was never asked for."""

    def __init__(self, defense: str, values: Mapping[str, Meta]) -> None:
        self._defense = defense
        self._values = values
        self._asked: list[str] = []

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """A finite number from ``low`` to ``high``, both included. Raises InputError."""
        self._asked.append(name)
        value = self._values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:  # nan is outside
            raise InputError(
                f"defense {self._defense}: {name} is {value!r}; accepted: a number from {low:g} to {high:g}"
            )
        return float(value)

    def knob(self, name: str, default: float, low: float, high: float) -> float:
        """The same, of the setting that pages turn: it may also be given as ``strength``. Raises InputError."""
        if self.given(name, STRENGTH) == [STRENGTH]:
            self._asked.append(name)
            return self.number(STRENGTH, default, low, high)
        self._asked.append(STRENGTH)
        return self.number(name, default, low, high)

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``, both included. Raises InputError."""
        self._asked.append(name)
        value = self._values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InputError(
                f"defense {self._defense}: {name} is {value!r}; accepted: a whole number from {low} to {high}"
            )
        return value

    def word(self, name: str, default: str, accepted: tuple[str, ...]) -> str:
        """One of ``accepted``. Raises InputError."""
        self._asked.append(name)
        value = self._values.get(name, default)
        if value not in accepted:
            raise InputError(f"defense {self._defense}: {name} is {value!r}; accepted: {', '.join(accepted)}")
        return str(value)

    def flag(self, name: str, default: bool) -> bool:
        """true or false. Raises InputError."""
        self._asked.append(name)
        value = self._values.get(name, default)
        if not isinstance(value, bool):
            raise InputError(f"defense {self._defense}: {name} is {value!r}; accepted: true, false")
        return value

    def given(self, *names: str) -> list[str]:
        """Those of ``names`` that were set. Raises InputError for more than one: they exclude each other."""
        found = [name for name in names if name in self._values]
        if len(found) > 1:
            raise InputError(
                f"defense {self._defense}: {' and '.join(found)} are given together; "
                f"accepted: one of {', '.join(names)}"
            )
        return found

    def done(self) -> None:
        """Raise InputError for a setting that this defense does not have."""
        unknown = sorted(set(self._values) - set(self._asked))
        if unknown:
            accepted = ", ".join(self._asked) or "none"
            raise InputError(f"defense {self._defense}: setting {unknown[0]!r} is unknown; accepted: {accepted}")
