"""Further pictures beside the panels, each under a name: of the panels' frame, or the newest before it. Sans-I/O."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

KEPT: Final = 32
"""Pictures of a name that are kept until the panels come to their frame."""


class Beside:
    """Feed it pictures by frame and name; it says what stands beside the panels when that changes."""

    def __init__(self) -> None:
        self._kept: dict[str, OrderedDict[int, Any]] = {}
        self._frame = -1
        self._told: list[tuple[str, int]] = []

    def add(self, frame: int, name: str, picture: Any) -> None:
        """A picture of a frame."""
        kept = self._kept.setdefault(name, OrderedDict())
        kept[frame] = picture
        if len(kept) > KEPT:
            kept.popitem(last=False)

    def turn(self, frame: int) -> None:
        """The panels show this frame from now on."""
        self._frame = frame

    def fresh(self) -> list[dict[str, Any]] | None:
        """Each ``name``, ``frame``, ``picture``, in order of the names, once after a change."""
        newest = {name: max((f for f in kept if f <= self._frame), default=-1) for name, kept in self._kept.items()}
        chosen = [(name, frame) for name, frame in sorted(newest.items()) if frame >= 0]
        if chosen == self._told:
            return None
        self._told = chosen
        return [{"name": name, "frame": frame, "picture": self._kept[name][frame]} for name, frame in chosen]

    def forget(self) -> None:
        """Another session, or another attack in the panels."""
        self._kept.clear()
        self._frame = -1
