"""What a curious cloud hands on: whole transfers, pushed to the listener and never waited for."""

from __future__ import annotations

import queue
import socket
import threading
import time

from wire import mirror

MAX_WAITING = 256
"""Transfers that may wait for a slow listener; beyond it the newest is dropped and counted."""


class CopyPusher:
    """Pushes copies to the listener's mirror port; a slow or dead listener costs copies, never time."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._target = (host, int(port))
        self._waiting: queue.Queue[bytes | None] = queue.Queue(MAX_WAITING)
        self._offsets = {mirror.UP: 0, mirror.DOWN: 0}
        self._lost = 0
        self._pushed = 0
        self._thread = threading.Thread(target=self._run, name="copies", daemon=True)
        self._thread.start()

    def push(self, direction: int, message: bytes) -> None:
        """Hand on one whole transfer (a serialised envelope with all its data)."""
        offset = self._offsets[direction]
        self._offsets[direction] += len(message)
        record = mirror.Record(mirror.Kind.COPY, 0, direction, time.monotonic_ns(), offset, message)
        try:
            self._waiting.put_nowait(mirror.encode(record))
        except queue.Full:
            self._lost += 1

    def counters(self) -> dict[str, int]:
        """Transfers pushed and lost."""
        return {"pushed": self._pushed, "lost": self._lost}

    def close(self, timeout: float = 5.0) -> None:
        """Push what waits, then stop."""
        try:
            self._waiting.put(None, timeout=timeout)
        except queue.Full:
            return
        self._thread.join(timeout)

    def _run(self) -> None:
        connection: socket.socket | None = None
        while (record := self._waiting.get()) is not None:
            while True:
                try:
                    if connection is None:
                        connection = socket.create_connection(self._target, timeout=5)
                    connection.sendall(record)
                    self._pushed += 1
                    break
                except OSError:
                    if connection is not None:
                        connection.close()
                        connection = None
                        self._lost += 1
                        break
                    time.sleep(0.2)
        if connection is not None:
            connection.close()
