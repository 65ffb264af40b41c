"""What a frame's age is made of: by hand, on two clocks."""

from __future__ import annotations

from typing import Any

import pytest

from lab.freshness import Sight, by_stage, spread
from wire.clock import ClockEstimate

MS = 1_000_000
ORIGIN_MS = 5_000.0
"""The page's clock stands this far from its own beginning, which is 2,000 ms after the machine's."""

BEHIND_MS = 2_000.0


def sight() -> Sight:
    return Sight(ClockEstimate(round(-BEHIND_MS * MS), 0.0))


def row(frame: int, capture_ms: float, **stages: float) -> dict[str, Any]:
    way = dict.fromkeys(("capture", "head", "defend", "encode", "queue", "wire"), 0.0) | stages
    return {"frame": frame, "capture_ns": round(capture_ms * MS), "error": None, **way}


def mark(key: str, frame: int, told_ms: float, heard_ms: float, drawn_ms: float) -> dict[str, Any]:
    """As the page tells it: told on the machine's clock, the others on the page's own, from its beginning."""
    there = {"heard": heard_ms - BEHIND_MS - ORIGIN_MS, "drawn": drawn_ms - BEHIND_MS - ORIGIN_MS}
    return {"key": key, "frame": frame, "told_ns": round(told_ms * MS), **there}


def test_with_the_attack_paused_the_later_of_truth_and_payload_counts() -> None:
    seen = sight()
    seen.take_rows([row(7, 10_000.0, capture=2.0, head=80.0, wire=20.0)])
    seen.take_marks([mark("truth", 7, 10_090.0, 10_095.0, 10_110.0)], ORIGIN_MS)
    assert seen.stages(7, rebuilt=False) is None  # half of it
    seen.take_marks([mark("payload", 7, 10_150.0, 10_155.0, 10_175.0)], ORIGIN_MS)
    found = seen.stages(7, rebuilt=False)
    # 2 + 80 + 20 ms to the last byte, 48 to the console's word, 5 to the browser, 20 to the screen.
    expected = {"capture": 2.0, "head": 80.0, "wire": 20.0, "console": 48.0, "event": 5.0, "draw": 20.0, "total": 175.0}
    assert found == pytest.approx(expected | {"defend": 0.0, "encode": 0.0, "queue": 0.0})
    assert seen.captured_in(9_000 * MS, 10_000 * MS) == []
    assert seen.captured_in(10_000 * MS, 10_001 * MS) == [7]


def test_with_the_attack_running_the_reconstruction_counts_and_the_stages_add_up() -> None:
    seen = sight()
    seen.take_rows([row(7, 10_000.0, head=80.0, wire=20.0)])
    meta = {"attack": "a", "frames": [7], "t_captured_ns": 10_098 * MS, "decode_ms": 1.0, "wait_ms": 9.0}
    other = {**meta, "attack": "b", "t_captured_ns": 1}
    seen.take_rebuilt([{"meta": {**meta, "invert_ms": 400.0}}, {"meta": {**other, "invert_ms": 1.0}}], "a")
    seen.take_marks([mark("reconstruction", 7, 10_600.0, 10_610.0, 10_640.0)], ORIGIN_MS)
    found = seen.stages(7, rebuilt=True)
    assert found is not None
    assert (found["mirror"], found["invert"], found["console"]) == pytest.approx((-2.0, 400.0, 92.0))
    assert sum(value for stage, value in found.items() if stage != "total") == pytest.approx(found["total"])


def test_the_first_drawing_counts_and_a_failed_frame_has_no_age() -> None:
    seen = sight()
    seen.take_rows([row(1, 1_000.0), {**row(2, 1_500.0), "error": "refused"}])
    for drawn in (1_100.0, 9_000.0):
        seen.take_marks([mark(key, 1, 1_050.0, 1_060.0, drawn) for key in ("truth", "payload")], ORIGIN_MS)
    found = seen.stages(1, rebuilt=False)
    assert found is not None and found["total"] == pytest.approx(100.0)
    assert seen.stages(2, rebuilt=False) is None


def test_quantiles_of_nothing_say_so() -> None:
    assert spread([]) == {"n": 0, "p50": None, "p95": None}
    assert spread([1.0, 3.0]) == {"n": 2, "p50": 2.0, "p95": 2.9}
    assert by_stage([]) == {}
    assert by_stage([{"head": 1.0}, {"head": 3.0}]) == {"head": {"n": 2, "p50": 2.0, "p95": 2.9}}
