"""How old a frame is when the page shows it, and on what the time went. Plain data in, figures out.

Everything is told in nanoseconds of one machine's monotonic clock; the browser's own clock is moved to it by
:attr:`Sight.clock`, a measured offset with a bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wire.clock import ClockEstimate

SEEN = ("truth", "payload")
"""The result while the attack is paused: the frame's truth and payload, both drawn."""

REBUILT = "reconstruction"
"""The result while it runs."""

WAY = ("capture", "head", "defend", "encode", "queue", "wire")
"""Stages from the sensor to the last byte on the line, in the edge's own words."""

LISTENER = ("decode", "wait", "invert")


@dataclass(frozen=True)
class Drawn:
    """One thing that the page drew: told by the console, heard and drawn by the browser; ns of the machine's clock."""

    told_ns: int
    heard_ns: int
    drawn_ns: int


@dataclass
class Sight:
    """All that was seen of one session: the edge's rows, the listener's reconstructions and the page's marks, by frame.

    clock: browser minus machine, ns.
    """

    clock: ClockEstimate
    rows: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    rebuilt: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    marks: dict[tuple[str, int], Drawn] = field(default_factory=dict)

    def take_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Rows of the edge's ``GET /frames``."""
        self.rows.update({int(row["frame"]): row for row in rows})

    def take_rebuilt(self, listed: Iterable[Mapping[str, Any]], attack: str) -> None:
        """Entries of the listener's ``GET /reconstructions``; those of other attacks are passed over."""
        for entry in listed:
            if entry["meta"]["attack"] == attack:
                self.rebuilt[int(entry["meta"]["frames"][-1])] = entry["meta"]

    def take_marks(self, marks: Iterable[Mapping[str, Any]], origin_ms: float) -> None:
        """Entries of the page's ring; the first drawing counts. origin_ms: the page's ``performance.timeOrigin``."""
        for mark in marks:
            heard, drawn = (self._machine_ns(origin_ms + mark[key]) for key in ("heard", "drawn"))
            told = mark.get("told_ns")
            key = (str(mark["key"]), int(mark["frame"]))
            self.marks.setdefault(key, Drawn(heard if told is None else int(told), heard, drawn))

    def _machine_ns(self, page_ms: float) -> int:
        return round(page_ms * 1e6) - self.clock.offset_ns

    def captured_in(self, start_ns: int, end_ns: int) -> list[int]:
        """Frames whose samples were captured then, in order."""
        return sorted(f for f, row in self.rows.items() if start_ns <= row["capture_ns"] < end_ns)

    def stages(self, frame: int, *, rebuilt: bool) -> dict[str, float] | None:
        """Milliseconds by stage, and ``total``, from the capture to the result on the page.

        rebuilt: the result is the reconstruction, else truth and payload. None where the page never showed it, or the
        frame failed.
        """
        row, panels = self.rows[frame], (REBUILT,) if rebuilt else SEEN
        drawn = [self.marks.get((panel, frame)) for panel in panels]
        if row["error"] or None in drawn:
            return None
        last = max((d for d in drawn if d is not None), key=lambda d: d.drawn_ns)
        found = {stage: float(row[stage]) for stage in WAY}
        at = row["capture_ns"] + 1e6 * sum(found.values())
        if rebuilt:
            made = self.rebuilt.get(frame)
            if made is None:
                return None
            found["mirror"] = (made["t_captured_ns"] - at) / 1e6  # what the link had later than the cloud: below 0
            found |= {stage: float(made[f"{stage}_ms"]) for stage in LISTENER}
            at = made["t_captured_ns"] + 1e6 * sum(found[stage] for stage in LISTENER)
        found["console"] = (last.told_ns - at) / 1e6
        found["event"] = (last.heard_ns - last.told_ns) / 1e6
        found["draw"] = (last.drawn_ns - last.heard_ns) / 1e6
        found["total"] = (last.drawn_ns - row["capture_ns"]) / 1e6
        return found


def spread(values: Sequence[float]) -> dict[str, float | int | None]:
    """n, p50 and p95 of a list; None where it is empty."""
    if not values:
        return {"n": 0, "p50": None, "p95": None}
    p50, p95 = (float(v) for v in np.quantile(values, [0.5, 0.95]))
    return {"n": len(values), "p50": round(p50, 1), "p95": round(p95, 1)}


def by_stage(found: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float | int | None]]:
    """:func:`spread` of each stage over frames."""
    return {stage: spread([one[stage] for one in found]) for stage in (found[0] if found else ())}
