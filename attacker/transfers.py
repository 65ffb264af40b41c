"""Envelopes of one direction of one stream, to whole transfers: a header, then pieces in order. Sans-I/O.

Unlike an endpoint, a listener may miss anything: a transfer with a missing piece is dropped and counted, the stream
goes on.
"""

from __future__ import annotations

from dataclasses import dataclass

from wire.pb.frame_pb2 import Envelope, Header

MAX_TRANSFER_BYTES = 1 << 30
"""A header that promises more is not believed."""


@dataclass(frozen=True)
class Transfer:
    """One payload as it crossed, whole.

    head: the envelope of the first piece, with its header and without data. data: all pieces joined, ``total_bytes``
    long.
    """

    head: Envelope
    data: bytes | bytearray | memoryview
    t_first_ns: int
    t_last_ns: int

    @property
    def header(self) -> Header:
        return self.head.header

    @property
    def number(self) -> int:
        """The transfer's id: per direction, session and incarnation."""
        return int(self.head.transfer_id)


class TransferAssembler:
    """:attr:`incomplete` counts transfers that began and will not end; :attr:`orphans` pieces whose beginning was
    missed."""

    def __init__(self) -> None:
        self.incomplete = 0
        self.orphans = 0
        self._head: Envelope | None = None
        self._data = bytearray()
        self._next = 0
        self._t_first = 0

    def feed(self, head: Envelope, data: memoryview, t_first_ns: int, t_last_ns: int) -> Transfer | None:
        """Take one message; the transfer that it completes, if it does. Messages without payload pass unseen."""
        if head.HasField("header"):
            self.drop()
            if head.piece or head.header.total_bytes > MAX_TRANSFER_BYTES:
                self.incomplete += 1
                return None
            self._head, self._next, self._t_first = head, 0, t_first_ns
        elif head.WhichOneof("body") is not None or not len(data):
            return None
        begun = self._head
        if begun is None or (head.transfer_id, head.piece) != (begun.transfer_id, self._next):
            self.orphans += 1
            self.drop()
            return None
        self._data += data
        self._next += 1
        missing = begun.header.total_bytes - len(self._data)
        if missing < 0:
            self.drop()
        if missing:
            return None
        self._head = None
        joined, self._data = self._data, bytearray()
        return Transfer(begun, joined, self._t_first, t_last_ns)

    def drop(self) -> None:
        """Whatever had begun will not be completed."""
        if self._head is not None:
            self.incomplete += 1
            self._head, self._data = None, bytearray()
