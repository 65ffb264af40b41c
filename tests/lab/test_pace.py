"""When the edge is held back, and that a ring which fills between two looks is emptied before it overflows."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lab.pace import HIGH, LOW, Pace, filled, held, ring_mb
from lab.stream import largest
from wire.errors import InputError, RunError


def link(depth: int, capacity: int = 100) -> dict[str, Any]:
    return {"mirror": {"spool": {"depth_bytes": depth, "capacity_bytes": capacity}}}


def test_the_fuller_ring_counts() -> None:
    assert filled({}, {}) == filled({"mirror": None}, {"sessions": 1}) == 0.0
    assert filled(link(30), {"copies": {"waiting_bytes": 10, "capacity_bytes": 20}}) == 0.5
    assert filled(link(30), {"copies": {"waiting_bytes": 1, "capacity_bytes": 20}}) == 0.3


def test_between_both_marks_it_stays_as_it_was() -> None:
    middle = (LOW + HIGH) / 2
    assert [held(share, False) for share in (0.0, middle, HIGH + 0.01)] == [False, False, True]
    assert [held(share, True) for share in (HIGH + 0.01, middle, LOW)] == [True, True, False]


def test_a_ring_holds_a_step_above_the_mark_at_which_the_edge_is_held() -> None:
    # Down 64 float32 values and a distance a sample, up 64 values again.
    step = 4096 * 512 * (2 * 64 * 4 + 4)
    assert largest("mid", {"preset": "paper"}) == step
    assert largest("mid", {"preset": "paper", "precision": "bfloat16"}) == 4096 * 512 * (2 * 64 * 2 + 4)
    assert largest("grid", {"samples": 48, "side": 96}) == 96 * 96 * 48 * (16 * 4 + 4)  # of a picture nothing goes up
    assert ring_mb(0, step) == 1376  # 1032 MB and a third
    assert ring_mb(0, 1024 * 64 * 516) == 512 and ring_mb(100, 1024 * 64 * 516) == 100
    assert ring_mb(1376, step) == 1376


def test_a_ring_that_holds_no_step_is_refused_with_what_to_set() -> None:
    with pytest.raises(InputError) as caught:
        ring_mb(512, 4096 * 512 * 516)
    assert str(caught.value) == (
        "spool_mb is 512: a sample of this training is 1,032 MB, and a ring holds one above a quarter; "
        "set spool_mb to 1376 or more, or to 0"
    )
    with pytest.raises(InputError, match=r"^a sample of this training is 49,153 MB, .* fewer rays, samples or side$"):
        ring_mb(0, 49_153 << 20)


class Toy:
    """A role whose state is set by hand."""

    def __init__(self) -> None:
        self.pid, self.told, self.asked, self.down = 1, dict[str, Any](), list[bool](), False

    def state(self) -> dict[str, Any]:
        return self.told

    def settings(self, paused: bool) -> None:
        if self.down:
            raise RunError("down")
        self.asked.append(paused)


def until(true: Any) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def roles() -> Any:
    edge, before, cloud = Toy(), Toy(), Toy()
    pace = Pace(edge, before, cloud)  # type: ignore[arg-type]
    pace.start()
    yield edge, before, pace
    pace.stop()


def test_an_edge_is_held_until_the_ring_is_empty(roles: Any) -> None:
    edge, before, pace = roles
    before.told = link(60)
    until(lambda: edge.asked == [True])
    before.told = link(0)
    until(lambda: edge.asked == [True, False])
    assert pace.holds == 1


def test_one_that_is_down_or_starts_again_is_told_when_it_can_hear(roles: Any) -> None:
    edge, before, _ = roles
    edge.down = True
    before.told = link(60)
    time.sleep(0.3)  # several looks
    edge.down = False
    until(lambda: edge.asked == [True])
    edge.pid = 2  # a new life, which knows of no pause
    until(lambda: edge.asked == [True, True])
