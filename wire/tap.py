"""The tap: what passes the link goes into the spool, and from there to the listener, whenever there is one.

Nothing here makes the victim wait: the link's threads only append to the ring; one thread of the tap's own dials the
listener, for ever and with backoff, and may be stopped, slow or without a peer as long as it likes. Each time it gets
through it first tells the start of every live connection (:data:`PIN_BYTES` per direction), because without it the
compressed headers and the opening message could never be read; what was missed after that is a GAP.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from wire.address import Address, format_address
from wire.errors import WireError
from wire.mirror import UP, Continuity, Kind, Pinned, Record, encode_header
from wire.spool import Spool

PIN_BYTES = 64 << 10
"""HTTP/2 settings, headers and the first message of a session fit in."""
MAX_ENDED = 256
"""Connections that ended but were not yet read keep their pins; of more than these the oldest lose them (32 MiB)."""

SEND_TIMEOUT = struct.pack("ll", 0, 100_000)
"""``SO_SNDTIMEO`` of 100 ms: a blocked ``send`` looks up that often whether it should give up."""
_DIAL_TIMEOUT_S = 2.0
_BACKOFF_S = (0.05, 1.0)
_IDLE_S = 0.2


@dataclass
class _Connection:
    pinned: Pinned
    offset: list[int] = field(default_factory=lambda: [0, 0])
    open: int = 2
    """Directions that have not ended."""


class Tap:
    """Mirrors connections to the listener at ``listener`` through ``spool``, which it owns from now on.

    Per connection: :meth:`opened`, then :meth:`data` from one thread at a time per direction, then :meth:`closed` once
    per direction.
    """

    def __init__(self, listener: Address, spool: Spool, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._listener = listener
        self._spool = spool
        self._clock_ns = clock_ns
        self._connections: dict[int, _Connection] = {}
        self._ended: deque[int] = deque()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._connected = False
        self._connects = 0
        self._sent = 0
        self._replayed = 0
        self._fault: str | None = None

    def start(self) -> None:
        """Begin to dial."""
        self._thread.start()

    def opened(self, connection: int) -> None:
        """A connection began."""
        t_ns = self._clock_ns()
        with self._lock:
            self._connections[connection] = _Connection(Pinned(t_ns))
        self._spool.append(Record(Kind.OPEN, connection, UP, t_ns, 0))

    def data(self, connection: int, direction: int, t_ns: int, data: memoryview) -> None:
        """Bytes were forwarded; ``t_ns`` is when that began. The view is not kept."""
        with self._lock:
            entry = self._connections[connection]
            offset = entry.offset[direction]
            entry.offset[direction] += len(data)
            if offset < PIN_BYTES:
                if not offset:
                    entry.pinned.first_ns[direction] = t_ns
                entry.pinned.prefix[direction].extend(data[: PIN_BYTES - offset])
        self._spool.append(Record(Kind.DATA, connection, direction, t_ns, offset, data))

    def closed(self, connection: int, direction: int) -> None:
        """A direction ended."""
        with self._lock:
            entry = self._connections[connection]
            offset = entry.offset[direction]
            entry.open -= 1
            if not entry.open:
                self._ended.append(connection)
                if len(self._ended) > MAX_ENDED:
                    self._connections.pop(self._ended.popleft(), None)
        self._spool.append(Record(Kind.CLOSE, connection, direction, self._clock_ns(), offset))

    def stop(self, timeout: float) -> None:
        """Let the listener have what is in the spool, for at most ``timeout`` seconds, then end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._given_up.set()
        self._spool.close()
        if self._thread.is_alive():
            self._thread.join()

    def state(self) -> Mapping[str, Any]:
        """Counts in bytes: ``sent`` went to a listener, ``lost`` never will, ``replayed`` are pins sent once more."""
        spool = self._spool
        return {
            "listener": format_address(self._listener),
            "connected": self._connected,
            "connects": self._connects,
            "sent_bytes": self._sent,
            "replayed_bytes": self._replayed,
            "lost_bytes": spool.lost_bytes,
            "lost_connections": spool.lost_connections,
            "spool": {"depth_bytes": spool.depth, "peak_bytes": spool.peak, "capacity_bytes": spool.capacity},
            "fault": self._fault,
        }

    def _run(self) -> None:
        backoff, longest = _BACKOFF_S
        in_hand: Record | None = None
        while not self._stopping.is_set():
            try:
                peer = socket.create_connection(self._listener, timeout=_DIAL_TIMEOUT_S)
            except OSError:
                self._stopping.wait(backoff)
                backoff = min(2 * backoff, longest)
                continue
            backoff = _BACKOFF_S[0]
            peer.settimeout(None)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, SEND_TIMEOUT)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connects += 1
            self._connected = True
            try:
                with peer:
                    in_hand = self._tell(peer, in_hand)
            except WireError as error:
                self._fault = str(error)
                print(f"link: mirror off: {error}", file=sys.stderr, flush=True)
                return
            finally:
                self._connected = False

    def _tell(self, peer: socket.socket, in_hand: Record | None) -> Record | None:
        """Serve one listener until it is gone; what it did not get whole is returned, for the next one."""
        told = Continuity()
        with self._lock:
            greeting = told.greet((number, entry.pinned) for number, entry in self._connections.items())
        try:
            for record in greeting:
                self._send(peer, record)
                self._replayed += len(record.data)
            while True:
                if in_hand is None:
                    in_hand = self._spool.read(_IDLE_S)
                if in_hand is None:
                    if self._stopping.is_set() or _hung_up(peer):
                        return None
                    continue
                for record in told.follow(in_hand):
                    self._send(peer, record)
                self._done(in_hand)
                in_hand = None
        except OSError:
            return in_hand

    def _send(self, peer: socket.socket, record: Record) -> None:
        header = encode_header(record)
        parts = [memoryview(header), memoryview(record.data)]
        while parts:
            if self._given_up.is_set():
                raise TimeoutError("the listener did not take the rest in time")
            with suppress(BlockingIOError):
                sent = peer.sendmsg(parts)
                while parts and sent >= len(parts[0]):
                    sent -= len(parts.pop(0))
                if parts:
                    parts[0] = parts[0][sent:]

    def _done(self, record: Record) -> None:
        self._sent += len(record.data)
        if record.kind is Kind.CLOSE:
            with self._lock:
                entry = self._connections.get(record.connection)
                if entry is not None:
                    entry.pinned.ended[record.direction] = record
                    if None not in entry.pinned.ended:
                        del self._connections[record.connection]
                        self._ended.remove(record.connection)


def _hung_up(peer: socket.socket) -> bool:
    """Whether an idle listener has gone. What it says is thrown away: a listener only listens."""
    readable, _, _ = select.select([peer], [], [], 0)
    return bool(readable) and not peer.recv(4096)
