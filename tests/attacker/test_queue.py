"""The queue: live keeps the newest and counts what it drops; lossless loses nothing and keeps the order."""

from __future__ import annotations

import random
import threading
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attacker.attacks.base import CapturedFrame, CapturedPart, Needs
from attacker.queue import Counts, Entry, FrameQueue, Work
from wire.payload import Payload

ANY = Needs("wire", "none")
ORDERED = Needs("wire", "none", order="in_order")


def entry(frame: int, session: str = "s", incarnation: int = 0) -> Entry:
    return Entry(CapturedFrame(session, incarnation, frame, ()), time.monotonic_ns())


def ends(work: Work | None) -> list[int]:
    assert work is not None
    return [window[-1].frame.frame for window in work.windows]


def holds(counts: Counts) -> bool:
    done = counts.inverted + counts.failed + counts.dropped + counts.withdrawn
    return counts.offered == done + counts.waiting + counts.working


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["put", "take"]), max_size=60), st.integers(1, 6), st.integers(1, 4), st.booleans())
def test_live_keeps_the_newest_and_counts_the_rest(steps: list[str], capacity: int, batch: int, ordered: bool) -> None:
    needs = Needs("wire", "none", order="in_order" if ordered else "any", batch=batch)
    queue = FrameQueue({"a": needs}, "live", capacity)
    model: list[int] = []
    dropped = taken = number = 0
    for step in steps:
        if step == "put":
            queue.put(entry(number))
            model.append(number)
            number += 1
            if len(model) > capacity:
                model.pop(0)
                dropped += 1
        elif model:
            work = queue.take(0)
            count = min(batch, len(model))
            expected = model[:count] if ordered else model[-count:]
            assert ends(work) == expected
            model = [n for n in model if n not in expected]
            taken += count
            assert work is not None
            queue.done(work)
        else:
            assert queue.take(0) is None
        counts = queue.counts()["a"]
        assert (counts.offered, counts.dropped, counts.inverted, counts.waiting) == (number, dropped, taken, len(model))
        assert counts.peak <= capacity + 1
        assert holds(counts)


def test_in_order_live_drops_are_told_as_gaps() -> None:
    queue = FrameQueue({"a": ORDERED}, "live", 2)
    for number in range(5):
        queue.put(entry(number))
    work = queue.take(0)
    assert work is not None
    assert (ends(work), work.windows[0][0].frame.gap_before) == ([3], 3)
    queue.done(work)
    work = queue.take(0)
    assert work is not None
    assert (ends(work), work.windows[0][0].frame.gap_before) == ([4], 0)


@pytest.mark.parametrize(
    ("seed", "workers", "needs"), [(0, 1, ANY), (1, 3, ANY), (2, 3, ORDERED), (3, 4, Needs("wire", "none", batch=3))]
)
def test_lossless_loses_none(seed: int, workers: int, needs: Needs) -> None:
    queue = FrameQueue({"a": needs, "b": ORDERED}, "lossless", 3)
    seen: dict[str, list[tuple[str, int]]] = {"a": [], "b": []}
    lock = threading.Lock()

    def work() -> None:
        rng = random.Random(seed)
        while (item := queue.take()) is not None:
            if rng.random() < 0.2:
                time.sleep(0.001)
            with lock:
                seen[item.attack] += [(item.session, n) for n in ends(item)]
            queue.done(item)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    sent = [(session, number) for number in range(60) for session in ("s", "t")]
    for session, number in sent:
        queue.put(entry(number, session))
    queue.close(drain=True)
    for thread in threads:
        thread.join(10)
    assert sorted(seen["a"]) == sorted(seen["b"]) == sorted(sent)
    for session in ("s", "t"):
        assert [n for s, n in seen["b"] if s == session] == list(range(60))
    for counts in queue.counts().values():
        assert (counts.inverted, counts.dropped, counts.waiting, counts.working) == (120, 0, 0, 0)
        assert counts.peak <= 3


def test_lossless_holds_the_reader_back_until_there_is_room() -> None:
    queue = FrameQueue({"a": ANY}, "lossless", 2)
    queue.put(entry(0))
    queue.put(entry(1))
    passed = threading.Event()
    thread = threading.Thread(target=lambda: (queue.put(entry(2)), passed.set()))
    thread.start()
    assert not passed.wait(0.1)
    queue.take(0)
    assert passed.wait(2)
    thread.join()


def heavy(frame: int, nbytes: int) -> Entry:
    payload = Payload("rays", "toy", {"x": torch.zeros(nbytes, dtype=torch.uint8)})
    part = CapturedPart("up", 0, 0, 1, payload, 0, 0)
    return Entry(CapturedFrame("s", 0, frame, (part,)), time.monotonic_ns())


def test_bytes_bound_a_queue_before_frames_do() -> None:
    """150 bytes: two frames of 100 are there before it is full; one that is larger than the bound comes alone."""
    queue = FrameQueue({"a": ORDERED}, "lossless", 8, max_bytes=150)
    passed: list[int] = []

    def put() -> None:
        for number, size in enumerate((100, 100, 100, 400)):
            queue.put(heavy(number, size))
            passed.append(number)

    thread = threading.Thread(target=put)
    thread.start()
    for waiting in ([0, 1], [0, 1, 2], [0, 1, 2, 3]):
        deadline = time.monotonic() + 10
        while passed != waiting and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.03)  # long enough for one more, if there were room
        assert passed == waiting
        work = queue.take(0)
        assert work is not None
        queue.done(work)
        if waiting == [0, 1, 2]:
            assert queue.counts()["a"].waiting <= 2
    thread.join(10)
    live = FrameQueue({"a": ANY}, "live", 8, max_bytes=150)
    for number, size in enumerate((100, 100, 40, 400)):
        live.put(heavy(number, size))
    assert (live.counts()["a"].waiting, live.counts()["a"].dropped) == (1, 3)


def test_windows_slide_over_the_frames_of_one_session() -> None:
    queue = FrameQueue({"a": Needs("wire", "none", window=3)}, "lossless", 10)
    for number in range(5):
        queue.put(entry(number, "s"))
        queue.put(entry(number + 100, "t"))
    found = []
    while (work := queue.take(0)) is not None:
        found += [[e.frame.frame for e in window] for window in work.windows]
        queue.done(work)
    assert sorted(found) == [[n, n + 1, n + 2] for n in (0, 1, 2, 100, 101, 102)]


def test_an_ordered_session_is_one_workers_at_a_time_and_late_frames_are_counted() -> None:
    queue = FrameQueue({"a": ORDERED}, "lossless", 10)
    for number in (0, 1, 3, 2):
        queue.put(entry(number))
    queue.put(entry(0, incarnation=1))
    first = queue.take(0)
    assert first is not None
    assert queue.take(0) is None
    queue.done(first, failed=1)
    assert ends(queue.take(0)) == [1]
    counts = queue.counts()["a"]
    assert (counts.late, counts.offered, counts.failed) == (1, 4, 1)


def test_a_session_is_finished_once_after_its_frames() -> None:
    queue = FrameQueue({"a": ANY}, "lossless", 10)
    queue.put(entry(0))
    queue.end("s")
    first = queue.take(0)
    assert first is not None
    assert not first.finish
    assert queue.take(0) is None  # not while its last frame is being worked on
    queue.done(first)
    last = queue.take(0)
    assert last is not None
    assert last.finish
    queue.done(last)
    assert queue.take(0) is None


def test_paused_and_selected() -> None:
    queue = FrameQueue({"a": ANY, "b": ANY}, "live", 3)
    queue.pause(True)
    queue.put(entry(0))
    assert queue.take(0) is None
    queue.select(frozenset({"b"}))
    queue.pause(False)
    queue.put(entry(1))
    first, second = queue.take(0), queue.take(0)
    assert first is not None
    assert second is not None
    assert {first.attack, second.attack} == {"b"}
    assert queue.take(0) is None
    counts = queue.counts()
    assert (counts["a"].withdrawn, counts["a"].waiting, counts["b"].offered) == (1, 0, 2)


def test_closing_without_draining_drops_and_counts() -> None:
    queue = FrameQueue({"a": ANY}, "live", 5)
    for number in range(4):
        queue.put(entry(number))
    queue.close(drain=False)
    work = queue.take()
    assert work is not None
    assert work.finish
    queue.done(work)
    assert queue.take() is None
    assert queue.counts()["a"].dropped == 4
