"""The mirror port: links and clouds dial it, one thread for each reads what they push.

A thread that is busy (a full queue in lossless mode) does not read, so the pusher's own spool takes the strain.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from wire.errors import DecodeError
from wire.mirror import Record, RecordReader

READ_BYTES = 1 << 20
MAX_MIRRORS = 16

Hear = Callable[[Record], None]


class MirrorListener:
    """Accepts mirrors on ``server``. connected: called for each with its number, gives what takes its records;
    disconnected: called with the number when it is gone.

    :attr:`faults` counts mirrors that sent what is no record; they were hung up on.
    """

    def __init__(
        self, server: socket.socket, connected: Callable[[int], Hear], disconnected: Callable[[int], None]
    ) -> None:
        self.faults = 0
        self.refused = 0
        self._server = server
        self._connected = connected
        self._disconnected = disconnected
        self._open: dict[int, tuple[socket.socket, threading.Thread]] = {}
        self._lock = threading.Lock()
        self._stopping = False
        self._number = 0
        self._thread = threading.Thread(target=self._accept, name="mirrors", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.getsockname()[1])

    @property
    def mirrors(self) -> int:
        """How many are connected."""
        with self._lock:
            return len(self._open)

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Hang up on everybody; what was read is heard to its end. False if that took longer than ``timeout_s``."""
        self._stopping = True
        with self._lock:
            pairs = list(self._open.values())
        # shutdown wakes the threads that wait in accept and recv; close alone would not
        for waiting in (self._server, *(pair[0] for pair in pairs)):
            _shutdown(waiting)
        self._thread.join(timeout_s)
        for _, thread in pairs:
            thread.join(timeout_s)
        self._server.close()
        return not any(thread.is_alive() for _, thread in pairs)

    def _accept(self) -> None:
        while not self._stopping:
            try:
                mirror, _ = self._server.accept()
            except OSError:
                return
            with self._lock:
                if self._stopping or len(self._open) >= MAX_MIRRORS:
                    self.refused += 1
                    mirror.close()
                    continue
                number, self._number = self._number, self._number + 1
                thread = threading.Thread(
                    target=self._read, args=(number, mirror), name=f"mirror-{number}", daemon=True
                )
                self._open[number] = (mirror, thread)
            thread.start()

    def _read(self, number: int, mirror: socket.socket) -> None:
        reader, hear = RecordReader(), self._connected(number)
        try:
            with mirror:
                while data := mirror.recv(READ_BYTES):
                    for record in reader.feed(data):
                        hear(record)
        except DecodeError:
            self.faults += 1
        except OSError:  # reset by the pusher: it will come again
            pass
        finally:
            with self._lock:
                self._open.pop(number, None)
            self._disconnected(number)


def _shutdown(connection: socket.socket) -> None:
    with suppress(OSError):  # already gone
        connection.shutdown(socket.SHUT_RDWR)
