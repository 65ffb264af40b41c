"""The shaper's arithmetic, with a clock of the test's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.errors import InputError
from wire.seeds import generator
from wire.shaper import BURST_S, MAX_QUEUE_BYTES, LinkSettings, Shaper

SETTINGS = st.builds(LinkSettings, st.none() | st.floats(0.05, 1e4), st.floats(0, 500), st.floats(0, 100))
ARRIVALS = st.lists(st.tuples(st.integers(0, 1 << 18), st.floats(0, 0.3)), max_size=30)


def rng(connection: int = 0, direction: int = 0) -> np.random.Generator:
    return generator(1, "link.jitter", connection, direction)


def departures(shaper: Shaper) -> list[float]:
    """When everything queued leaves, in order."""
    times = []
    while (due := shaper.due()) is not None:
        times.append(due)
        shaper.pop()
    return times


@given(SETTINGS, ARRIVALS)
def test_the_equations(settings: LinkSettings, arrivals: list[tuple[int, float]]) -> None:
    """free = max(free, now - burst) + n/rate; t = max(free, now) + delay + jitter; t = max(t, last)."""
    shaper, draws, now = Shaper(settings, rng()), rng(), 100.0
    free, last, expected = -math.inf, -math.inf, []
    for size, pause in arrivals:
        now += pause
        shaper.push(size, now)
        seconds = 0.0 if settings.rate_mbps is None else size * 8 / (settings.rate_mbps * 1e6)
        free = max(free, now - 0.010) + seconds
        last = max(max(free, now) + settings.delay_ms / 1e3 + draws.random() * settings.jitter_ms / 1e3, last)
        expected.append(last)
    assert departures(shaper) == pytest.approx(expected, rel=0, abs=1e-6)
    assert shaper.held == 0


@given(SETTINGS, ARRIVALS, SETTINGS)
def test_order_is_kept_and_nothing_is_early_even_over_a_change(
    first: LinkSettings, arrivals: list[tuple[int, float]], second: LinkSettings
) -> None:
    shaper, now, sizes = Shaper(first, rng()), 0.0, 0
    for size, pause in arrivals:
        now += pause
        shaper.push(size, now)
        sizes += size
    shaper.change(second, now)
    assert shaper.held == sizes
    left, times = 0, []
    while (due := shaper.due()) is not None:
        times.append(due)
        oldest = shaper.oldest
        assert shaper.pop() == oldest
        left += oldest
    assert left == sizes
    assert times == sorted(times)
    if second.rate_mbps is not None and first == LinkSettings(first.rate_mbps) and times:
        # What was not clocked out at the change is clocked out at the new rate.
        assert times[-1] <= now + sizes / second.rate + (second.delay_ms + second.jitter_ms) / 1e3 + 1e-6


def test_ten_megabits_by_hand() -> None:
    """10 Mbit/s are 1,250,000 bytes/s: 2500 bytes take 2 ms. The burst lets the first 10 ms through at once."""
    settings = LinkSettings(10.0, delay_ms=5.0)
    assert settings.chunk_bytes == 2500
    shaper = Shaper(settings, rng())
    for _ in range(10):
        shaper.push(2500, 1.0)
    assert departures(shaper) == pytest.approx([1.005] * 5 + [1.007, 1.009, 1.011, 1.013, 1.015])


@pytest.mark.parametrize("rate_mbps", [0.05, 1.0, 80.0, 1600.0])
def test_a_full_queue_leaves_at_the_rate(rate_mbps: float) -> None:
    """A sender that always has more, a sleeper that is up to 3 ms late: the achieved rate is the asked one."""
    settings = LinkSettings(rate_mbps, delay_ms=7.0)
    shaper, late, now, sent = Shaper(settings, rng()), np.random.default_rng(3), 0.0, 0
    for _ in range(4000):
        while not shaper.full:
            shaper.push(settings.chunk_bytes, now)
        due = shaper.due()
        assert due is not None
        now = max(now, due + late.random() * 0.003)
        sent += shaper.pop()
    assert sent / settings.rate == pytest.approx(now - 0.007 + BURST_S, rel=0.02, abs=0.004)


def test_an_idle_line_saves_up_no_more_than_the_burst() -> None:
    shaper = Shaper(LinkSettings(8.0), rng())
    shaper.push(1000, 0.0)
    shaper.pop()
    for _ in range(20):
        shaper.push(1000, 60.0)
    assert departures(shaper) == pytest.approx([60.0] * 10 + [60.0 + 0.001 * i for i in range(1, 11)])


def test_equal_seeds_give_equal_draws_and_each_direction_its_own() -> None:
    def times(connection: int, direction: int) -> list[float]:
        shaper = Shaper(LinkSettings(jitter_ms=10.0), rng(connection, direction))
        for i in range(50):
            shaper.push(100, float(i))
        return departures(shaper)

    assert times(3, 0) == times(3, 0)
    lags = np.array([np.array(times(*key)) - np.arange(50) for key in ((3, 0), (3, 1), (4, 0))])
    assert (lags >= 0).all()
    assert (lags < 0.010).all()
    assert lags.std(axis=1).min() > 0.002
    assert np.abs(np.corrcoef(lags)[np.triu_indices(3, 1)]).max() < 0.5


def test_a_change_reaches_what_is_queued() -> None:
    """From 1 Mbit/s and 2 s of delay to nothing: everything leaves now. Back again: the new chunk waits."""
    shaper = Shaper(LinkSettings(1.0, delay_ms=2000.0), rng())
    for _ in range(100):
        shaper.push(1250, 0.0)
    assert shaper.due() == 2.0
    shaper.change(LinkSettings(), 0.5)
    assert departures(shaper) == pytest.approx([0.5 if i > 50 else 0.0 for i in range(100)], abs=0.51)
    shaper.change(LinkSettings(delay_ms=250.0), 1.0)
    shaper.push(1, 1.0)
    assert departures(shaper) == pytest.approx([1.25])


def test_a_slower_link_cuts_what_a_faster_one_queued() -> None:
    """256 KiB that wait behind a fast line's queue do not leave a slow one in one lump."""
    shaper = Shaper(LinkSettings(8000.0), rng())
    for _ in range(60):
        shaper.push(1 << 18, 0.0)
    slow = LinkSettings(8.0)
    shaper.change(slow, 0.001)
    while shaper.oldest == 1 << 18:
        shaper.pop()
    waiting, start = shaper.held, 0.001
    times = departures(shaper)
    assert np.diff([start, *times]) == pytest.approx(0.002, abs=0.0021)
    assert times[-1] == pytest.approx(start + waiting / 1e6, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "chunk", "queue"),
    [
        (LinkSettings(), 1 << 18, MAX_QUEUE_BYTES),
        (LinkSettings(8.0), 2000, 20_000),
        (LinkSettings(8.0, 30.0, 50.0), 2000, 100_000),
        (LinkSettings(0.05), 64, 128),
        (LinkSettings(4000.0), 1 << 18, 10_000_000),
        (LinkSettings(100_000.0, 60_000.0), 1 << 18, MAX_QUEUE_BYTES),
    ],
)
def test_chunk_and_queue_by_hand(settings: LinkSettings, chunk: int, queue: int) -> None:
    assert settings.chunk_bytes == chunk
    assert settings.queue_bytes == pytest.approx(queue, abs=1)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"rate_mbps": 0.0}, "rate_mbps 0.0; accepted: 0.05 to 100000 Mbit/s, or none for unlimited"),
        ({"rate_mbps": math.nan}, "rate_mbps nan"),
        ({"rate_mbps": True}, "rate_mbps True"),
        ({"delay_ms": -1.0}, "delay_ms -1.0; accepted: 0 to 60000 ms"),
        ({"jitter_ms": math.inf}, "jitter_ms inf"),
        ({"jitter_ms": "5"}, "jitter_ms '5'"),
    ],
)
def test_limits(given: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=f"^{says}"):
        LinkSettings(**given)


def test_shaped_is_anything_but_the_default() -> None:
    assert not LinkSettings().shaped
    assert LinkSettings(1000.0).shaped
    assert LinkSettings(jitter_ms=0.1).shaped
