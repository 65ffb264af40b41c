"""The link's arithmetic: when a chunk that arrives now may leave. No clock, no socket, no thread.

A chunk of n bytes that arrives at ``now`` is clocked out at the link's rate, then travels, and never overtakes::

    free  = max(free, now - burst) + n / rate        the line is busy until then
    ready = max(free, now)
    due   = max(ready + delay + u * jitter, last)    u uniform in [0, 1), drawn per chunk from the seed

``burst`` (10 ms) lets the line make up for a sleeper's lateness; without it a fast link falls short of its rate.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from wire.errors import InputError

MIN_RATE_MBPS, MAX_RATE_MBPS = 0.05, 100_000.0
"""Megabits per second. Below the lower one a change could not take effect within 100 ms: one chunk takes longer."""
MAX_DELAY_MS = 60_000.0
"""Delay and jitter: a minute each."""

BURST_S = 0.010
CHUNK_S = 0.002
QUEUE_S = 0.020
MIN_CHUNK_BYTES = 64
MAX_CHUNK_BYTES = 256 << 10
MAX_QUEUE_BYTES = 64 << 20
"""Bytes that one direction holds at most. Rate times delay above this cannot be had; the link is then slower."""


def _within(name: str, value: float, low: float, high: float, unit: str) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= value <= high:
        raise InputError(f"{name} {value!r}; accepted: {low:g} to {high:g}{unit}")


@dataclass(frozen=True)
class LinkSettings:
    """One direction of a link.

    rate_mbps: megabits (10^6) per second, None for unlimited. delay_ms: one way. jitter_ms: added delay, uniform from 0
    to this. Raises :class:`~wire.errors.InputError` outside the limits above.
    """

    rate_mbps: float | None = None
    delay_ms: float = 0.0
    jitter_ms: float = 0.0

    def __post_init__(self) -> None:
        if self.rate_mbps is not None:
            _within("rate_mbps", self.rate_mbps, MIN_RATE_MBPS, MAX_RATE_MBPS, " Mbit/s, or none for unlimited")
        _within("delay_ms", self.delay_ms, 0.0, MAX_DELAY_MS, " ms")
        _within("jitter_ms", self.jitter_ms, 0.0, MAX_DELAY_MS, " ms")

    @property
    def rate(self) -> float:
        """Bytes per second; infinite when unlimited."""
        return math.inf if self.rate_mbps is None else self.rate_mbps * 125_000.0

    @property
    def shaped(self) -> bool:
        """Whether anything is done to the bytes at all."""
        return self != UNSHAPED

    @property
    def chunk_bytes(self) -> int:
        """How much is forwarded at once: 2 ms of the rate, at most 256 KiB."""
        return int(max(MIN_CHUNK_BYTES, min(MAX_CHUNK_BYTES, self.rate * CHUNK_S)))

    @property
    def queue_bytes(self) -> int:
        """How much the link holds: what is on its way and 20 ms more, at least two chunks."""
        held = self.rate * ((self.delay_ms + self.jitter_ms) / 1000.0 + QUEUE_S)
        return int(min(MAX_QUEUE_BYTES, max(2 * self.chunk_bytes, held)))


UNSHAPED = LinkSettings()
"""Forward at once."""


@dataclass
class _Chunk:
    size: int
    draw: float
    ready: float


class Shaper:
    """One direction of one connection: chunks go in with :meth:`push` and out, in order, when :meth:`due` has come.

    rng: ``wire.seeds.generator(seed, "link.jitter", connection, direction)``; one draw per chunk, whatever the
    settings, so equal chunks and seeds give equal draws. Times are seconds of any clock that does not run backwards.
    """

    def __init__(self, settings: LinkSettings, rng: np.random.Generator) -> None:
        self.settings = settings
        self._rng = rng
        self._chunks: deque[_Chunk] = deque()
        self._free = -math.inf
        self._last = -math.inf
        self.held = 0
        """Bytes in the queue."""

    @property
    def full(self) -> bool:
        """Whether the next chunk should wait."""
        return self.held >= self.settings.queue_bytes

    def push(self, size: int, now: float) -> None:
        """A chunk of ``size`` bytes arrives."""
        self._free = max(self._free, now - BURST_S) + size / self.settings.rate
        self._chunks.append(_Chunk(size, self._rng.random(), max(self._free, now)))
        self.held += size

    def due(self) -> float | None:
        """When the oldest chunk leaves; None when there is none."""
        if not self._chunks:
            return None
        chunk = self._chunks[0]
        travel = (self.settings.delay_ms + chunk.draw * self.settings.jitter_ms) / 1000.0
        return max(chunk.ready + travel, self._last)

    @property
    def oldest(self) -> int:
        """Bytes of the oldest chunk. Raises :class:`IndexError` when there is none."""
        return self._chunks[0].size

    def pop(self) -> int:
        """Take the oldest chunk out; its size. Raises :class:`IndexError` when there is none."""
        due = self.due()
        chunk = self._chunks.popleft()
        self.held -= chunk.size
        self._last = self._last if due is None else due
        return chunk.size

    def change(self, settings: LinkSettings, now: float) -> None:
        """New settings, from ``now`` on and for what is queued.

        Chunks on their way arrive after the new delay; chunks not yet clocked out are at the new rate, cut to its chunk
        size (the parts share their chunk's draw), or a large chunk of a fast link would hold up the slow one.
        """
        self.settings = settings
        self._free = min(self._free, now)
        chunks, self._chunks = self._chunks, deque()
        for chunk in chunks:
            if chunk.ready <= now:
                self._chunks.append(chunk)
                continue
            left = chunk.size
            while left >= 0:
                size = min(left, settings.chunk_bytes)
                self._free += size / settings.rate
                self._chunks.append(_Chunk(size, chunk.draw, max(self._free, now)))
                left = left - size or -1
