"""The source: paced, live and lossless, over unreadable samples, paused and stepped."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from edge.source import Source
from victims.base import Sample
from wire.errors import InputError


def sample(number: int) -> Sample:
    return Sample(f"s{number}", {"x": np.array([number])})


def numbered(count: int) -> Iterator[Sample]:
    return (sample(n) for n in range(count))


def test_lossless_hands_out_every_sample_in_order() -> None:
    source = Source(lambda: numbered(20), live=False)
    assert [s.name for s, _ in source] == [f"s{n}" for n in range(20)]
    assert source.dropped == 0


def test_an_unreadable_sample_is_counted_and_the_next_one_comes() -> None:
    def read(n: int) -> Sample:
        if n == 1:
            raise InputError("scan 1: 17 bytes is no multiple of 16")
        return sample(n)

    heard: list[str] = []
    source = Source(lambda: map(read, range(4)), live=False, on_unreadable=lambda e: heard.append(str(e)))
    assert [s.name for s, _ in source] == ["s0", "s2", "s3"]
    assert source.unreadable == 1
    assert heard == ["scan 1: 17 bytes is no multiple of 16"]


def test_a_loop_starts_anew_but_not_over_nothing() -> None:
    source = Source(lambda: numbered(2), live=False, loop=True)
    stream = iter(source)
    assert [next(stream)[0].name for _ in range(5)] == ["s0", "s1", "s0", "s1", "s0"]
    assert list(Source(lambda: numbered(0), live=False, loop=True)) == []


def test_live_gives_the_newest_and_counts_what_it_dropped() -> None:
    produced = threading.Event()

    def stream() -> Iterator[Sample]:
        yield from numbered(10)
        produced.set()

    source = Source(stream, live=True)
    assert produced.wait(10)
    time.sleep(0.05)  # the last sample moves from the generator into the slot
    taken = [s.name for s, _ in source]
    assert taken == ["s9"]
    assert source.dropped == 9
    assert len(taken) + source.dropped == 10


def test_pause_holds_the_stream_and_a_step_lets_one_through() -> None:
    source = Source(lambda: numbered(5), live=False)
    taken: list[str] = []
    source.pause(True)
    reader = threading.Thread(target=lambda: taken.extend(s.name for s, _ in source))
    reader.start()
    reader.join(0.1)
    assert taken == [] and source.paused
    source.step()
    source.pause(False)
    reader.join(10)
    assert taken == [f"s{n}" for n in range(5)]


def test_an_error_of_the_source_reaches_the_one_who_reads() -> None:
    def stream() -> Iterator[Sample]:
        yield sample(0)
        raise RuntimeError("sensor unplugged")

    for live in (True, False):
        with pytest.raises(RuntimeError, match="sensor unplugged"):
            list(Source(stream, live=live))


def test_a_loop_makes_each_sample_once() -> None:
    opened: list[int] = []

    def stream() -> Iterator[Sample]:
        opened.append(len(opened))
        return numbered(3)

    looping = iter(Source(stream, live=False, loop=True))
    assert [next(looping)[0].name for _ in range(8)] == ["s0", "s1", "s2", "s0", "s1", "s2", "s0", "s1"]
    assert opened == [0]


def test_a_loop_that_is_too_large_to_keep_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.source.KEPT_BYTES", 2 * np.array([0]).nbytes)
    opened: list[int] = []

    def stream() -> Iterator[Sample]:
        opened.append(len(opened))
        return numbered(3)

    looping = iter(Source(stream, live=False, loop=True))
    assert [next(looping)[0].name for _ in range(7)] == ["s0", "s1", "s2", "s0", "s1", "s2", "s0"]
    assert opened == [0, 1, 2]


def test_live_makes_the_next_sample_when_the_head_is_done_or_half_its_time_is_over() -> None:
    made: list[int] = []

    def stream() -> Iterator[Sample]:
        for number in range(2):
            made.append(number)
            yield sample(number)

    source = iter(Source(stream, live=True, rate_hz=2.0))
    first, capture_ns = next(source)
    # Nobody has asked for the next one: it is made a quarter of a second later (unless this machine slept as long).
    assert made == [0] or time.monotonic_ns() - capture_ns > 200_000_000
    assert [first.name, *(s.name for s, _ in source)] == ["s0", "s1"]
