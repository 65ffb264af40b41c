"""What an attack on pictures can say of its settings and files before there is a session, so that it is asked first."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from attacker.attacks.base import Grants


@runtime_checkable
class Checking(Protocol):
    """An attack that reads its settings, and looks at its files without loading networks. kind: of its settings."""

    kind: type[Any]

    def check(self, grants: Grants, size: tuple[int, int]) -> None:
        """InputError, one line, where settings or files do not do for pictures of ``size``, height and width in
        pixels: what opening a session would say."""
        ...
