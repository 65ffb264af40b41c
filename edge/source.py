"""Where samples come from: paced or not, waiting (lossless) or dropping the oldest unsent one (live)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from victims.base import Sample
from wire.errors import InputError

KEPT_BYTES = 64 << 20
"""Of a source that loops, so much is kept in memory: making the same samples again would cost as much as the head."""


class Source:
    """Hands out samples with the time they were captured.

    open_samples: starts the stream anew (called again when ``loop``). An unreadable sample is counted and passed over.
    """

    def __init__(
        self,
        open_samples: Callable[[], Iterator[Sample]],
        *,
        live: bool,
        rate_hz: float | None = None,
        loop: bool = False,
        on_unreadable: Callable[[InputError], None] = lambda error: None,
    ) -> None:
        self._open, self._loop, self._on_unreadable = open_samples, loop, on_unreadable
        self._live = live
        self.rate_hz = rate_hz
        self.dropped = 0
        self.unreadable = 0
        self._slot: tuple[Sample, int] | None = None
        self._ended = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._idle = False  # whether somebody waits for a sample (live)
        self._permits: int | None = None  # None: running; a number: paused, with this many steps left
        if live:
            threading.Thread(target=self._fill, name="source", daemon=True).start()

    def __iter__(self) -> Iterator[tuple[Sample, int]]:
        """(sample, capture time in ns of the monotonic clock), until the source ends."""
        return self._take() if self._live else self._paced()

    def pause(self, paused: bool) -> None:
        """Stop handing out samples, or go on."""
        with self._changed:
            self._permits = 0 if paused else None
            self._changed.notify_all()

    def step(self) -> None:
        """While paused, let one sample through."""
        with self._changed:
            if self._permits is not None:
                self._permits += 1
                self._changed.notify_all()

    @property
    def paused(self) -> bool:
        """Whether :meth:`pause` holds the stream."""
        return self._permits is not None

    def _samples(self) -> Iterator[Sample]:
        kept: list[Sample] | None = [] if self._loop else None
        size = 0
        while True:
            stream, read = iter(self._open()), 0
            while True:
                try:
                    sample = next(stream)
                except StopIteration:
                    break
                except InputError as error:
                    self.unreadable += 1
                    self._on_unreadable(error)
                    continue
                read += 1
                if kept is not None:
                    kept.append(sample)
                    size += sum(array.nbytes for array in sample.arrays.values())
                    kept = kept if size <= KEPT_BYTES else None
                yield sample
            if not self._loop or not read:
                return
            while kept:
                yield from kept

    def _paced(self) -> Iterator[tuple[Sample, int]]:
        due = time.monotonic()
        for sample in self._samples():
            self._permit()
            if self.rate_hz is not None:
                due = max(due + 1 / self.rate_hz, time.monotonic())
                time.sleep(max(0.0, due - time.monotonic()))
            yield sample, time.monotonic_ns()

    def _permit(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._permits is None or self._permits > 0)
            if self._permits is not None:
                self._permits -= 1

    def _fill(self) -> None:
        try:
            for pair in self._paced():
                with self._changed:
                    if self._slot is not None:
                        self.dropped += 1
                    self._slot, self._idle = pair, False
                    self._changed.notify_all()
                    # Making a sample takes the interpreter and a core: the head goes first, for half of its time.
                    self._changed.wait_for(lambda: self._idle, timeout=0.5 / self.rate_hz if self.rate_hz else 0.0)
        except BaseException as error:  # handed to the consumer, which runs in another thread
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _take(self) -> Iterator[tuple[Sample, int]]:
        while True:
            with self._changed:
                self._idle = self._slot is None
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._slot is not None or self._ended)
                pair, self._slot, self._idle = self._slot, None, False
            if pair is None:
                if self._error is not None:
                    raise self._error
                return
            yield pair
