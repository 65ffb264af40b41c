"""Stage times of a frame whose defense works while its parts are packed."""

from __future__ import annotations

from edge.driver import Done
from edge.timing import stages
from victims.base import Sample
from wire.client import ReplyTiming

MS = 1_000_000


def test_what_is_defended_while_packing_is_the_defenses_time() -> None:
    times = ReplyTiming(0, 9 * MS, 10 * MS, 11 * MS, 12 * MS, 13 * MS, 14 * MS, 15 * MS, 16 * MS, 17 * MS, 18 * MS,
                        19 * MS, 100, 200)  # fmt: skip
    plain = stages(Done(0, 0, Sample("s", {}), 0, timings=[[times]], defend_ms=1.0), None)
    assert (plain["defend"], plain["encode"], plain["wire_up"], plain["wire_down"]) == (1, 9, 100, 200)
    later = stages(Done(0, 0, Sample("s", {}), 0, timings=[[times]], defend_ms=1.0, later_ms=6.0), None)
    assert (later["defend"], later["encode"]) == (7, 3) and later["total"] == plain["total"]
