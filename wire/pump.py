"""One direction of one connection: from a socket, through the shaper, to a socket.

Unshaped, the reader sends what it has just received. Shaped, it queues chunks for a second thread, which sleeps until
each is due. Both hold for every moment: settings may change between any two chunks, and the order of bytes is kept.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from wire.shaper import LinkSettings, Shaper

READ_BYTES = 1 << 20

Forwarded = Callable[[int, memoryview], None]
"""Called with CLOCK_MONOTONIC in ns, before, and a view of what was handed to the sink, after."""


class Aborted(Exception):
    """The connection was cut; what is still queued is not sent."""


class Pump:
    """Moves bytes from ``source`` to ``sink`` until the source ends; run :meth:`run` in a thread.

    Both are blocking sockets; the sink must have ``SO_SNDTIMEO`` set, or :meth:`abort` waits for a blocked send.
    """

    def __init__(
        self,
        source: socket.socket,
        sink: socket.socket,
        settings: LinkSettings,
        rng: np.random.Generator,
        *,
        stalled: bool,
        forwarded: Forwarded,
    ) -> None:
        self._source = source
        self._sink = sink
        self._forwarded = forwarded
        self._shaper = Shaper(settings, rng)
        self._queue: deque[memoryview] = deque()
        self._changed = threading.Condition()
        self._stalled = stalled
        self._aborted = False
        self._ended = False
        self._failure: OSError | None = None
        self._writer: threading.Thread | None = None

    def change(self, settings: LinkSettings, *, stalled: bool) -> None:
        """New settings, at once and for what is queued too."""
        with self._changed:
            self._shaper.change(settings, time.monotonic())
            self._stalled = stalled
            self._changed.notify_all()

    def drain(self) -> None:
        """Read no more than what has arrived; :meth:`run` returns when that is forwarded."""
        _stop_reading(self._source)

    def abort(self) -> None:
        """Cut: nothing more is read or sent. :meth:`run` raises :class:`Aborted` within about 100 ms."""
        with self._changed:
            self._aborted = True
            self._changed.notify_all()
        _stop_reading(self._source)

    def run(self) -> None:
        """Forward until the source ends, and tell the sink so.

        Raises :class:`OSError` when either socket fails and :class:`Aborted` after :meth:`abort`.
        """
        buffer = memoryview(bytearray(READ_BYTES))
        try:
            size = READ_BYTES
            while size:
                settings = self._shaper.settings
                size = self._source.recv_into(buffer, settings.chunk_bytes if settings.shaped else READ_BYTES)
                self._accept(buffer[:size])
            with self._changed:
                self._wait(lambda: not self._queue)
            self._sink.shutdown(socket.SHUT_WR)
        except (OSError, Aborted):
            self.abort()
            raise
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
            if self._writer is not None:
                self._writer.join()

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Hold ``self._changed``; wait until the condition, an abort or the writer's failure."""
        self._changed.wait_for(lambda: condition() or self._aborted or self._failure is not None)
        if self._failure is not None:
            raise self._failure
        if self._aborted:
            raise Aborted

    def _accept(self, data: memoryview) -> None:
        """Send now, or queue in chunks. Empty data is the end of the stream: it travels like the rest."""
        with self._changed:
            self._wait(lambda: not self._stalled and (self._shaper.settings.shaped or not self._queue))
            shaped = self._shaper.settings.shaped
        if not shaped:
            self._send(data)
            return
        if self._writer is None:
            self._writer = threading.Thread(target=self._write, name="link-writer", daemon=True)
            self._writer.start()
        rest: memoryview | None = data
        while rest is not None:
            with self._changed:
                self._wait(lambda: not self._shaper.full)
                chunk = self._shaper.settings.chunk_bytes
                self._shaper.push(len(rest[:chunk]), time.monotonic())
                self._queue.append(memoryview(bytes(rest[:chunk])))
                if len(self._queue) == 1:
                    self._changed.notify_all()
            rest = rest[chunk:] if len(rest) > chunk else None

    def _write(self) -> None:
        """The second thread. A chunk leaves the queue once it is sent: an empty queue means nothing is under way."""
        try:
            while True:
                with self._changed:
                    chunk = self._next()
                if chunk is None:
                    return
                self._send(chunk)
                with self._changed:
                    was_full = self._shaper.full
                    self._shaper.pop()
                    rest = self._queue[0][len(chunk) :]
                    if rest:
                        self._queue[0] = rest
                    else:
                        self._queue.popleft()
                    if was_full or not self._queue:
                        self._changed.notify_all()
        except (OSError, Aborted) as error:
            with self._changed:
                self._failure = error if isinstance(error, OSError) else None
                self._changed.notify_all()
            # The reader may sit in recv, where no condition reaches it.
            _stop_reading(self._source)

    def _next(self) -> memoryview | None:
        """Hold ``self._changed``; wait until the oldest chunk is due. None when nothing will come any more."""
        while not self._aborted and (self._queue or not self._ended):
            due = None if self._stalled else self._shaper.due()
            left = None if due is None else due - time.monotonic()
            if left is not None and left <= 0:
                return self._queue[0][: self._shaper.oldest]
            self._changed.wait(left)
        return None

    def _send(self, data: memoryview) -> None:
        t_ns = time.monotonic_ns()
        sent = 0
        try:
            while sent < len(data):
                if self._aborted:
                    raise Aborted
                try:
                    sent += self._sink.send(data[sent:])
                except BlockingIOError:
                    continue
        finally:
            if sent:
                self._forwarded(t_ns, data[:sent])


def _stop_reading(source: socket.socket) -> None:
    try:
        source.shutdown(socket.SHUT_RD)
    except OSError:
        # Not connected any more: a recv on it has returned or will at once.
        return
