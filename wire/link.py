"""The link: accepts connections, forwards each to the cloud, shapes it, and shows it to a tap."""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from wire.address import Address, format_address
from wire.mirror import DOWN, UP
from wire.pump import Aborted, Pump
from wire.seeds import generator
from wire.shaper import UNSHAPED, LinkSettings
from wire.tap import SEND_TIMEOUT, Tap

DIAL_TIMEOUT_S = 5.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class LinkState:
    """Both directions' settings, and whether the link stands still."""

    up: LinkSettings = UNSHAPED
    down: LinkSettings = UNSHAPED
    stall: bool = False


class Connection:
    """One accepted connection and its twin to the cloud; :meth:`run` in a thread of its own."""

    def __init__(self, number: int, link: Link, near: socket.socket, far: socket.socket) -> None:
        self._link = link
        self._number = number
        self._ends = (near, far)
        for end in self._ends:
            end.settimeout(None)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, SEND_TIMEOUT)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pumps = (self._pump(UP, near, far), self._pump(DOWN, far, near))
        self._cut = False

    def _pump(self, direction: int, source: socket.socket, sink: socket.socket) -> Pump:
        return Pump(
            source,
            sink,
            self._link.settings(direction),
            generator(self._link.seed, "link.jitter", self._number, direction),
            stalled=self._link.state.stall,
            forwarded=lambda t_ns, data: self._link.forwarded(self._number, direction, t_ns, data),
        )

    def change(self) -> None:
        """Take the link's settings as they are now."""
        for direction, pump in zip((UP, DOWN), self._pumps, strict=True):
            pump.change(self._link.settings(direction), stalled=self._link.state.stall)

    def drain(self) -> None:
        """Forward what has arrived, then end."""
        for pump in self._pumps:
            pump.drain()

    def cut(self) -> None:
        """End at once; both peers see a reset."""
        self._cut = True
        for pump in self._pumps:
            pump.abort()

    def run(self) -> None:
        """Forward both directions until both have ended."""
        down = threading.Thread(target=self._forward, args=(DOWN,), name=f"link-{self._number}-down", daemon=True)
        down.start()
        self._forward(UP)
        down.join()
        for end in self._ends:
            if self._cut:
                # A reset is sent only by a close that no other thread is in the way of: both readers have returned.
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            end.close()

    def _forward(self, direction: int) -> None:
        try:
            self._pumps[direction].run()
        except (OSError, Aborted):
            # One peer reset the connection, or we were told to: the other peer learns it as a reset too.
            self.cut()
        finally:
            self._link.ended(self._number, direction)


class Link:
    """Forwards every connection accepted on ``listening`` to ``forward``.

    seed: of the jitter, per connection and direction. tap: where the bytes are shown, or None.
    """

    def __init__(
        self, listening: socket.socket, forward: Address, state: LinkState, *, seed: int, tap: Tap | None
    ) -> None:
        self.seed = seed
        self.state = state
        self._listening = listening
        self._forward = forward
        self._tap = tap
        self._lock = threading.Lock()
        self._connections: dict[int, Connection] = {}
        self._threads: set[threading.Thread] = set()
        self._stopping = False
        self._accepted = 0
        self._refused = 0
        self._resets = 0
        self._bytes = [0, 0]

    def start(self) -> None:
        """Begin to accept."""
        threading.Thread(target=self._accept, name="link-accept", daemon=True).start()

    def settings(self, direction: int) -> LinkSettings:
        """What holds for a direction now."""
        return self.state.down if direction == DOWN else self.state.up

    def change(self, state: LinkState) -> None:
        """New settings, for every connection and at once."""
        with self._lock:
            self.state = state
            for connection in self._connections.values():
                connection.change()

    def reset(self) -> int:
        """Reset every open connection; how many there were."""
        with self._lock:
            connections = list(self._connections.values())
            self._resets += len(connections)
        for connection in connections:
            connection.cut()
        return len(connections)

    def stop(self, timeout: float) -> None:
        """Accept no more, forward what has arrived for at most ``timeout`` seconds, reset the rest."""
        deadline = time.monotonic() + timeout
        with self._lock:
            self._stopping = True
            connections, threads = list(self._connections.values()), list(self._threads)
        with suppress(OSError):
            # Closing alone would leave the accepting thread, and with it the port, where they are.
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in connections:
            connection.drain()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for connection in connections:
            connection.cut()
        for thread in threads:
            thread.join(1.0)

    def report(self) -> Mapping[str, Any]:
        """Settings and counts, for ``GET /state``."""
        with self._lock:
            return {
                "forward": format_address(self._forward),
                "seed": self.seed,
                "settings": asdict(self.state),
                "connections": {
                    "open": len(self._connections),
                    "accepted": self._accepted,
                    "refused": self._refused,
                    "reset": self._resets,
                },
                "bytes": {"up": self._bytes[UP], "down": self._bytes[DOWN]},
                "mirror": None if self._tap is None else self._tap.state(),
            }

    def forwarded(self, connection: int, direction: int, t_ns: int, data: memoryview) -> None:
        """A pump handed ``data`` on."""
        with self._lock:
            self._bytes[direction] += len(data)
        if self._tap is not None:
            self._tap.data(connection, direction, t_ns, data)

    def ended(self, connection: int, direction: int) -> None:
        """A pump is done."""
        if self._tap is not None:
            self._tap.closed(connection, direction)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                if self._stopping or self._listening.fileno() < 0:
                    return
                # Out of file descriptors, or a peer that left the queue: neither is a reason to stop listening.
                time.sleep(0.05)
                continue
            thread = threading.Thread(target=self._serve, args=(near,), name="link-connection", daemon=True)
            with self._lock:
                self._threads.add(thread)
            thread.start()

    def _serve(self, near: socket.socket) -> None:
        try:
            try:
                far = socket.create_connection(self._forward, timeout=DIAL_TIMEOUT_S)
            except OSError as error:
                near.close()
                with self._lock:
                    self._refused += 1
                where = format_address(self._forward)
                print(f"link: cannot reach {where}: {error.strerror or error}", file=sys.stderr, flush=True)
                return
            with self._lock:
                if self._stopping:
                    near.close()
                    far.close()
                    return
                number = self._accepted
                self._accepted += 1
                if self._tap is not None:
                    self._tap.opened(number)
                connection = self._connections[number] = Connection(number, self, near, far)
            connection.run()
            with self._lock:
                del self._connections[number]
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())
