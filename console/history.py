"""The curves: one row for each frame of the last minutes, filled in as its figures come. Sans-I/O."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any


class History:
    """At most ``window`` frames; the oldest goes."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._rows: OrderedDict[int, dict[str, Any]] = OrderedDict()

    def put(self, frame: int, **values: Any) -> None:
        """Figures of a frame. One that has left the window is not called back."""
        row = self._rows.get(frame)
        if row is None:
            if len(self._rows) >= self._window and frame < min(self._rows):
                return
            row = self._rows[frame] = {}
            if len(self._rows) > self._window:
                self._rows.pop(min(self._rows))
        row.update(values)

    def clear(self) -> None:
        """Another session: frames count from 0 again."""
        self._rows.clear()

    def columns(self) -> dict[str, list[Any]]:
        """``frame`` and every figure as lists of one length, in order of frames; None where a frame has none."""
        frames = sorted(self._rows)
        names = sorted({name for row in self._rows.values() for name in row})
        table: dict[str, list[Any]] = {"frame": list(frames)}
        for name in names:
            table[name] = [_short(self._rows[frame].get(name)) for frame in frames]
        return table


def _short(value: Any) -> Any:
    """Four digits are more than a curve can show, and half the bytes."""
    return float(f"{value:.4g}") if isinstance(value, float) else value
