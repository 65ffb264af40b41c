"""What a curious cloud hands on: whole transfers, pushed to the listener's mirror port and never waited for."""

from __future__ import annotations

import queue
import socket
import threading
import time
from dataclasses import dataclass, field

from wire import mirror
from wire.address import parse_address

MAX_WAITING = 256
"""Transfers that may wait for a slow listener; beyond it the newest is dropped and counted."""

RETRY_S = 0.2
_CONNECT_S = 5.0


@dataclass
class _Session:
    """One session's copies: a connection of its own, which begins with the opening message."""

    number: int
    opening: bytes
    offsets: dict[int, int] = field(default_factory=lambda: {mirror.UP: 0, mirror.DOWN: 0})


class CopyPusher:
    """Pushes copies to the listener's mirror port; a slow or dead listener costs copies, never time.

    A listener that comes back is told the opening of every session again, so that it knows what it hears.
    """

    def __init__(self, address: str) -> None:
        self._target = parse_address(address, "mirror")
        self._waiting: queue.Queue[mirror.Record | None] = queue.Queue(MAX_WAITING)
        self._sessions: dict[bytes, _Session] = {}
        self._changed = threading.Lock()
        self._lost = self._pushed = 0
        self._thread = threading.Thread(target=self._run, name="copies", daemon=True)
        self._thread.start()

    def push(self, session_id: bytes, direction: int, message: bytes) -> None:
        """Hand on one whole transfer (a serialised envelope with all its data); a session's first is its opening."""
        with self._changed:
            session = self._sessions.setdefault(session_id, _Session(len(self._sessions), message))
            offset = session.offsets[direction]
            session.offsets[direction] += len(message)
        try:
            self._waiting.put_nowait(_record(session.number, direction, offset, message))
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
        peer: socket.socket | None = None
        connects = 0
        while (record := self._waiting.get()) is not None:
            if peer is None:
                peer = self._connect(again=connects > 0)
                connects += 1
            try:
                peer.sendall(mirror.encode(record))
                self._pushed += 1
            except OSError:
                peer.close()
                peer = None
                self._lost += 1
        if peer is not None:
            peer.close()

    def _connect(self, *, again: bool) -> socket.socket:
        while True:
            try:
                peer = socket.create_connection(self._target, timeout=_CONNECT_S)
                peer.settimeout(None)
                if again:
                    with self._changed:
                        known = list(self._sessions.values())
                    for session in known:
                        peer.sendall(mirror.encode(_record(session.number, mirror.UP, 0, session.opening)))
                return peer
            except OSError:
                time.sleep(RETRY_S)


def _record(number: int, direction: int, offset: int, message: bytes) -> mirror.Record:
    return mirror.Record(mirror.Kind.COPY, number, direction, time.monotonic_ns(), offset, message)
