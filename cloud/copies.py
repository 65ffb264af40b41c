"""What a curious cloud hands on: whole transfers and its model, pushed to the listener's mirror port and never waited
for. What waits for a slow listener lies in a ring on disk (:mod:`wire.spool`); what does not fit is lost and counted,
the oldest first."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass, field

from wire import mirror
from wire.address import parse_address
from wire.envelope import decode
from wire.spool import Spool

WAITING_BYTES = 256 << 20
"""Copies that may wait for a slow listener, unless the role file says otherwise."""

RETRY_S = 0.2
_CONNECT_S = 5.0
_IDLE_S = 0.2


@dataclass
class _Session:
    """One session's copies: a connection of its own, which begins with the opening message."""

    number: int
    opening: bytes
    offsets: dict[int, int] = field(default_factory=lambda: {mirror.UP: 0, mirror.DOWN: 0})


class CopyPusher:
    """Pushes copies to the listener's mirror port; a slow or dead listener costs copies, never time.

    A listener that comes back, or has lost copies, is told the opening of every session again, so that it knows what
    it hears. waiting_bytes: of the ring.
    """

    def __init__(self, address: str, waiting_bytes: int = WAITING_BYTES) -> None:
        self._target = parse_address(address, "mirror")
        self._waiting = Spool(None, waiting_bytes)
        self._sessions: dict[bytes, _Session] = {}
        self._changed = threading.Lock()
        self._given = self._taken = self._pushed = self._snapshots = 0
        self._torn = 0  # were in hand when the listener went away
        self._ending, self._given_up = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="copies", daemon=True)
        self._thread.start()

    def push(self, session_id: bytes, direction: int, message: bytes) -> None:
        """Hand on one whole transfer (a serialised envelope with all its data); a session's first is its opening.

        A session that opens again (its training has rolled back) begins with another opening.
        """
        opens = direction == mirror.UP and decode(message)[0].HasField("open")
        with self._changed:
            session = self._sessions.setdefault(session_id, _Session(len(self._sessions), message))
            if opens:
                session.opening = message
            offset = session.offsets[direction]
            session.offsets[direction] += len(message)
            self._give(_record(mirror.Kind.COPY, session.number, direction, offset, message))

    def snapshot(self, session_id: bytes, model: bytes) -> None:
        """Hand on the model of a session that has begun, behind the copies that were pushed before."""
        with self._changed:
            session = self._sessions.get(session_id)
            if session is None:
                return
            self._snapshots += 1
            self._give(_record(mirror.Kind.SNAPSHOT, session.number, mirror.UP, 0, model))

    def counters(self) -> dict[str, int]:
        """Copies and snapshots pushed and lost; snapshots made; bytes that wait, of how many that may."""
        taken, waiting = self._taken, self._waiting.waiting  # in this order: what is just being taken is not lost
        return {
            "pushed": self._pushed,
            "lost": max(self._given - taken - waiting, 0) + self._torn,
            "snapshots": self._snapshots,
            "waiting_bytes": self._waiting.depth,
            "capacity_bytes": self._waiting.capacity,
        }

    def close(self, timeout: float = 5.0) -> None:
        """Push what waits, for at most ``timeout`` seconds, then stop."""
        self._ending.set()
        self._thread.join(timeout)
        self._given_up.set()
        self._waiting.close()

    def _give(self, record: mirror.Record) -> None:
        self._given += 1
        self._waiting.append(record)

    def _run(self) -> None:
        peer: socket.socket | None = None
        connects = 0
        while not self._given_up.is_set():
            record = self._waiting.read(_IDLE_S)
            if record is None:
                if self._ending.is_set():
                    break
                continue
            try:
                if record.kind is mirror.Kind.GAP:  # the numbers of what comes next tell the listener what it missed
                    if peer is not None:
                        self._tell_openings(peer)
                    continue
                self._taken += 1
                if peer is None:
                    peer = self._connect(again=connects > 0)
                    connects += 1
                if peer is None:
                    break
                peer.sendall(mirror.encode_header(record))
                peer.sendall(record.data)
                self._pushed += 1
            except OSError:
                if peer is not None:
                    peer.close()
                peer = None
                self._torn += record.kind is not mirror.Kind.GAP
        if peer is not None:
            peer.close()

    def _connect(self, *, again: bool) -> socket.socket | None:
        """A connection to the listener, however long it takes; None when it has been given up."""
        while not self._given_up.is_set():
            try:
                peer = socket.create_connection(self._target, timeout=_CONNECT_S)
                peer.settimeout(None)
                if again:
                    self._tell_openings(peer)
                return peer
            except OSError:
                time.sleep(RETRY_S)
        return None

    def _tell_openings(self, peer: socket.socket) -> None:
        with self._changed:
            known = list(self._sessions.values())
        for session in known:
            peer.sendall(mirror.encode(_record(mirror.Kind.COPY, session.number, mirror.UP, 0, session.opening)))


def _record(kind: mirror.Kind, number: int, direction: int, offset: int, message: bytes) -> mirror.Record:
    return mirror.Record(kind, number, direction, time.monotonic_ns(), offset, message)
