"""Which frame the panels show: the same one in all of them as long as the listener keeps up. Sans-I/O.

A reconstruction is late by the time it takes to invert. Pictures of different frames side by side would look like a bad
reconstruction, so truth and payload wait for theirs. When none comes any more - the listener is paused, down or hears
nothing - they go on alone, and the last reconstruction stays with its own frame number.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Literal

Panel = Literal["truth", "payload", "reconstruction"]

KEPT = 32
PATIENCE_S = 2.0
"""So long after the last reconstruction the other panels wait for the next, or, for a listener that needs longer, twice
the time between its last two."""

MOST_PATIENCE_S = 10.0

Shown = dict[Panel, Any]


class Pairing:
    """Feed it pictures by frame; it says what changes on the page."""

    def __init__(self) -> None:
        self._kept: dict[Panel, OrderedDict[int, Any]] = {
            "truth": OrderedDict(),
            "payload": OrderedDict(),
            "reconstruction": OrderedDict(),
        }
        self._shown: dict[Panel, int] = {}
        self._rebuilt_at: float | None = None
        self._patience = PATIENCE_S

    def add(self, panel: Panel, frame: int, item: Any, now: float) -> None:
        """A picture of a frame. now: seconds of any steady clock."""
        kept = self._kept[panel]
        kept[frame] = item
        kept.move_to_end(frame)
        if len(kept) > KEPT:
            kept.popitem(last=False)
        if panel == "reconstruction":
            if self._rebuilt_at is not None:
                self._patience = min(max(PATIENCE_S, 2 * (now - self._rebuilt_at)), MOST_PATIENCE_S)
            self._rebuilt_at = now

    def forget(self, panel: Panel) -> None:
        """Its frames are those of another session, or of another attack."""
        self._kept[panel].clear()
        self._shown.pop(panel, None)
        if panel == "reconstruction":
            self._rebuilt_at = None

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
        both = max((frame for frame in rebuilt if frame in truths), default=-1)
        waiting = listening and self._rebuilt_at is not None and now - self._rebuilt_at < self._patience
        if both >= 0 and both != self._shown.get("reconstruction"):
            return {"truth": both, "payload": both, "reconstruction": both}
        if both >= 0 and waiting:  # but what belongs to it may come later than it
            return {"payload": both} if self._shown.get("payload", -1) < both else {}
        wanted: dict[Panel, int] = {}
        if truths:
            wanted["truth"] = next(reversed(truths))
        if payloads:
            wanted["payload"] = next(reversed(payloads))
        return wanted
