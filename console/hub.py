"""State for the page: keyed and collapsing. A late joiner gets the present at once, a slow one only the newest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import to_json


class Mailbox:
    """What one client has yet to be sent: at most one value for a key, so it can never hold more than there are keys.

    ``replaced`` counts the values that a newer one overtook before they were sent: what this client never saw.
    """

    def __init__(self, present: Mapping[str, bytes], wake: Callable[[], None]) -> None:
        self.replaced = 0
        self._waiting = dict(present)
        self._wake = wake
        self._lock = threading.Lock()

    def put(self, key: str, value: bytes) -> None:
        """Leave a value. It keeps the place of the one it replaces: a key that changes often starves no other."""
        with self._lock:
            self.replaced += key in self._waiting
            self._waiting[key] = value
        self._wake()

    def take(self) -> tuple[str, bytes] | None:
        """The value that has waited longest; None when all is sent."""
        with self._lock:
            if not self._waiting:
                return None
            key = next(iter(self._waiting))
            return key, self._waiting.pop(key)

    def wake(self) -> None:
        """Let whoever waits for more look again."""
        self._wake()

    def __len__(self) -> int:
        return len(self._waiting)


class Hub:
    """Thread-safe. ``publish`` never waits for a client."""

    def __init__(self) -> None:
        self.closed = False
        self._present: dict[str, bytes] = {}
        self._clients: set[Mailbox] = set()
        self._lock = threading.Lock()

    def publish(self, key: str, value: Any) -> None:
        """Make ``value`` (JSON-able; what is not finite becomes null) the present of ``key`` and tell every client."""
        data = to_json(value, inf_nan_mode="null")
        with self._lock:
            self._present[key] = data
            clients = list(self._clients)
        for client in clients:
            client.put(key, data)

    def join(self, wake: Callable[[], None]) -> Mailbox:
        """A new client's mailbox with the whole present in it. wake: called, from any thread, when more was put."""
        with self._lock:
            mailbox = Mailbox(self._present, wake)
            self._clients.add(mailbox)
            return mailbox

    def leave(self, mailbox: Mailbox) -> None:
        """This client is gone."""
        with self._lock:
            self._clients.discard(mailbox)

    def close(self) -> None:
        """Nothing more comes; every client is woken to see it."""
        with self._lock:
            self.closed = True
            clients = list(self._clients)
        for client in clients:
            client.wake()

    def present(self, key: str) -> bytes | None:
        """The JSON of a key as it is now; None before the first."""
        return self._present.get(key)

    @property
    def clients(self) -> int:
        """How many listen."""
        return len(self._clients)
