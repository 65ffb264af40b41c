"""Which frame the panels show: the same one in all of them as long as the listener keeps up. Sans-I/O.

A payload is late by the time of head and wire, a reconstruction by the time it takes to invert. Pictures of different
frames side by side would look like a bad reconstruction, so the truth waits for its payload, and both for their
reconstruction. When none comes any more - the listener is paused, down or hears nothing - they go on alone, and the
last reconstruction stays with its own frame number.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Literal

Panel = Literal["truth", "payload", "reconstruction"]

KEPT = 32
PATIENCE_S = 2.0
"""So long after the last one of a kind the other panels wait for the next, or, where they come more slowly, twice the
time between the last two."""

MOST_PATIENCE_S = 10.0

Shown = dict[Panel, Any]


class _Beat:
    """Whether another of a kind can be expected, from when the last ones came."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._patience = PATIENCE_S

    def heard(self, now: float) -> None:
        if self._last is not None:
            self._patience = min(max(PATIENCE_S, 2 * (now - self._last)), MOST_PATIENCE_S)
        self._last = now

    def expected(self, now: float) -> bool:
        return self._last is not None and now - self._last < self._patience


class Pairing:
    """Feed it pictures by frame; it says what changes on the page."""

    def __init__(self) -> None:
        self._kept: dict[Panel, OrderedDict[int, Any]] = {
            "truth": OrderedDict(),
            "payload": OrderedDict(),
            "reconstruction": OrderedDict(),
        }
        self._shown: dict[Panel, int] = {}
        self._beats: dict[Panel, _Beat] = {panel: _Beat() for panel in self._kept}

    def add(self, panel: Panel, frame: int, item: Any, now: float) -> None:
        """A picture of a frame. now: seconds of any steady clock."""
        kept = self._kept[panel]
        kept[frame] = item
        kept.move_to_end(frame)
        if len(kept) > KEPT:
            kept.popitem(last=False)
        self._beats[panel].heard(now)

    def forget(self, panel: Panel) -> None:
        """Its frames are those of another session, or of another attack."""
        self._kept[panel].clear()
        self._shown.pop(panel, None)
        self._beats[panel] = _Beat()

    def choose(self, now: float, listening: bool) -> Shown:
        """The items that are to be shown now and are not yet. listening: whether reconstructions can be expected."""
        wanted = self._wanted(now, listening)
        changed: Shown = {}
        for panel, frame in wanted.items():
            item = self._kept[panel].get(frame)
            if item is not None and self._shown.get(panel) != frame:
                self._shown[panel] = frame
                changed[panel] = item
        return changed

    def _wanted(self, now: float, listening: bool) -> dict[Panel, int]:
        truths, payloads, rebuilt = (self._kept[p] for p in ("truth", "payload", "reconstruction"))
        whole = max((frame for frame in rebuilt if frame in truths), default=-1)
        if whole >= 0 and whole != self._shown.get("reconstruction"):
            return {"truth": whole, "payload": whole, "reconstruction": whole}
        if whole >= 0 and listening and self._beats["reconstruction"].expected(now):
            # what belongs to it may come later than it
            return {"payload": whole} if self._shown.get("payload", -1) < whole else {}
        if self._beats["payload"].expected(now):
            pair = max((frame for frame in payloads if frame in truths), default=-1)
            return {"truth": pair, "payload": pair} if pair >= 0 else {}
        wanted: dict[Panel, int] = {}
        if truths:
            wanted["truth"] = next(reversed(truths))
        if payloads:
            wanted["payload"] = next(reversed(payloads))
        return wanted
