"""Credit: how many payload bytes the other side may have sent since the connection opened.

Numbers are absolute and the maximum counts, so a repeated or overtaken grant does no harm.
"""

from __future__ import annotations

from wire.errors import DecodeError

WINDOW = 64 << 20
"""Payload bytes under way in one direction."""


class Outflow:
    """The sender's half: what it was granted and what it has used."""

    def __init__(self, granted: int = 0) -> None:
        self.granted, self.sent = granted, 0

    @property
    def room(self) -> int:
        """Bytes that may be sent now."""
        return self.granted - self.sent

    def raise_to(self, granted: int) -> None:
        """A grant arrived."""
        self.granted = max(self.granted, granted)

    def take(self, nbytes: int) -> None:
        """``nbytes`` are being sent. ValueError beyond :attr:`room`."""
        if nbytes > self.room:
            raise ValueError(f"{nbytes} bytes exceed the credit of {self.room}")
        self.sent += nbytes


class Inflow:
    """The receiver's half: what arrives is granted anew, unless finished transfers pile up behind a slow consumer.

    1. Bytes that arrive are consumed at once while the transfers that wait, whole, hold less than a window. Otherwise a
       transfer larger than the window could never complete.
    2. Beyond that they are held back until the consumer has taken some: at most two windows and one transfer are kept.
    3. ``hungry`` consumers (waiting for something that has not arrived) lift the limit: what they wait for may come
       behind what nobody takes yet.
    4. A grant is announced when it has grown by half a window.

    window: at least two pieces, or a sender could be left with less room than one piece below the half of rule 4.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._announced = self._arrived = self._consumed = 0
        self._waiting = self._hungry = 0

    def reset(self) -> None:
        """A new connection counts from 0; what waits for its consumer, and who waits for what, is as before."""
        self._announced = self._arrived = self._consumed = 0

    @property
    def waiting(self) -> int:
        """Bytes of whole transfers that nobody has taken."""
        return self._waiting

    @property
    def due(self) -> bool:
        """Whether a grant should be announced even if nothing else is to be said."""
        return self._window + self._consumed - self._announced >= self._window // 2

    def announce(self) -> int:
        """The absolute grant, to be put into a message."""
        self._announced = self._window + self._consumed
        return self._announced

    def arrived(self, nbytes: int) -> None:
        """Payload arrived. DecodeError when it exceeds what was announced."""
        self._arrived += nbytes
        if self._arrived > self._announced:
            raise DecodeError(f"{self._arrived} payload bytes came, credit was given for {self._announced}")
        self._release()

    def completed(self, nbytes: int) -> None:
        """A transfer is whole and waits for its consumer."""
        self._waiting += nbytes

    def taken(self, nbytes: int) -> None:
        """The consumer took a transfer."""
        self._waiting -= nbytes
        self._release()

    def hunger(self, change: int) -> None:
        """A consumer begins (+1) or ends (-1) to wait."""
        self._hungry += change
        self._release()

    def _release(self) -> None:
        if self._hungry or self._waiting < self._window:
            self._consumed = self._arrived
