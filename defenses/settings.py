"""A defense's settings: read by name, with a type and a range, and refused in one line."""

from __future__ import annotations

from collections.abc import Mapping

from wire.errors import InputError
from wire.payload import Meta


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

    def done(self) -> None:
        """Raise InputError for a setting that this defense does not have."""
        unknown = sorted(set(self._values) - set(self._asked))
        if unknown:
            accepted = ", ".join(self._asked) or "none"
            raise InputError(f"defense {self._defense}: setting {unknown[0]!r} is unknown; accepted: {accepted}")
