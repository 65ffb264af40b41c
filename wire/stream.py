"""One direction of a session: what waits to be sent, and what is coming in. Sans-I/O; both ends use both."""

from __future__ import annotations

from dataclasses import dataclass

from wire.errors import DecodeError, WireError
from wire.pb import frame_pb2 as pb
from wire.transfer import Assembly, Outgoing, TooLarge


class Fault(WireError):
    """The peer broke the protocol: the connection ends, the session may resume. ``code``: ``proto/frame.proto``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.text = code, message


@dataclass
class Sending:
    """A transfer that is kept until the other side has answered (edge) or acknowledged (cloud) it."""

    outgoing: Outgoing | None
    error: pb.Error | None
    exchange: int
    queued_ns: int
    first_ns: int = 0
    last_ns: int = 0
    wire_bytes: int = 0
    attempts: int = 0

    @property
    def nbytes(self) -> int:
        """Payload bytes, alignment included."""
        return self.outgoing.nbytes if self.outgoing else 0


class Outbox:
    """Transfers in order, by id, with the place that sending has reached."""

    def __init__(self, first_id: int = 0) -> None:
        self.entries: dict[int, Sending] = {}
        self.next_id = first_id
        self.nbytes = 0
        self.resent = 0
        self._at, self._piece = first_id, 0

    @property
    def oldest(self) -> int:
        """The first id that is kept; the next one to be given when none is."""
        return next(iter(self.entries), self.next_id)

    def add(self, sending: Sending) -> int:
        """Queue a transfer; returns its id."""
        number, self.next_id = self.next_id, self.next_id + 1
        self.entries[number] = sending
        self.nbytes += sending.nbytes
        return number

    def remove(self, number: int) -> Sending | None:
        """Forget a transfer; the rest of it is not sent."""
        sending = self.entries.pop(number, None)
        if sending is not None:
            self.nbytes -= sending.nbytes
        return sending

    def remove_below(self, number: int) -> None:
        """The other side is done with everything before ``number``."""
        while self.entries and self.oldest < number:
            self.remove(self.oldest)

    def rewind(self, number: int) -> None:
        """Send again from ``number`` on."""
        self._at, self._piece = number, 0

    def next(self, room: int, now_ns: int) -> tuple[pb.Envelope, list[memoryview], Sending] | None:
        """The next piece that fits into ``room`` bytes of credit: head, data and transfer; None when there is none."""
        while self._at not in self.entries:
            if self._at >= self.next_id:
                return None
            self._at, self._piece = self._at + 1, 0
        sending = self.entries[self._at]
        views = sending.outgoing.piece(self._piece) if sending.outgoing else []
        if sum(view.nbytes for view in views) > room:
            return None
        head = pb.Envelope(piece=self._piece, transfer_id=self._at, t_send_ns=now_ns)
        if self._piece == 0:
            self._begin(head, sending, now_ns)
        self._piece += 1
        if sending.outgoing is None or self._piece == sending.outgoing.pieces:
            self._at, self._piece = self._at + 1, 0
            sending.last_ns = now_ns
        return head, views, sending

    def _begin(self, head: pb.Envelope, sending: Sending, now_ns: int) -> None:
        if sending.error is not None:
            head.error.CopyFrom(sending.error)
        elif sending.outgoing is not None:
            head.header.CopyFrom(sending.outgoing.header)
            head.header.duplicate = sending.attempts > 0
        sending.attempts += 1
        self.resent += sending.attempts > 1
        sending.first_ns = sending.first_ns or now_ns


@dataclass
class Arrived:
    """A transfer that is whole, or was refused by its header, or is an error that answers a transfer."""

    number: int
    head: pb.Envelope
    first_ns: int
    last_ns: int
    wire_bytes: int
    assembly: Assembly | None = None
    refused: tuple[str, str] | None = None

    @property
    def nbytes(self) -> int:
        """Payload bytes, alignment included."""
        return self.assembly.nbytes if self.assembly else 0


@dataclass(frozen=True)
class Repeated:
    """A transfer that has arrived before; its data is dropped."""

    number: int


class Inbox:
    """Puts pieces together, in order. A transfer with a bad header is refused alone; anything else out of order ends
    the connection, because nothing after it can be trusted."""

    def __init__(self, piece_bytes: int, max_bytes: int) -> None:
        self.expected = 0
        self._piece_bytes, self._max_bytes = piece_bytes, max_bytes
        self._partial: Arrived | None = None
        self._skipping: int | None = None

    def disconnect(self) -> None:
        """The connection ended: what had begun will be sent again."""
        self._partial = self._skipping = None

    def feed(self, head: pb.Envelope, data: memoryview, wire_bytes: int, now_ns: int) -> Arrived | Repeated | None:
        """Take a message with a header, an error that answers a transfer, or a continuation. Raises Fault."""
        if head.WhichOneof("body") is not None:
            return self._begin(head, data, wire_bytes, now_ns)
        if head.transfer_id == self._skipping:
            return None
        partial = self._partial
        if partial is None or head.transfer_id != partial.number or partial.assembly is None:
            raise Fault("BAD_PIECE", f"piece {head.piece} of transfer {head.transfer_id}, which has not begun")
        try:
            partial.assembly.add(head.piece, data)
        except DecodeError as error:
            raise Fault("BAD_PIECE", f"transfer {head.transfer_id}: {error}") from error
        partial.wire_bytes += wire_bytes
        return self._finish(partial, now_ns) if partial.assembly.complete else None

    def _begin(self, head: pb.Envelope, data: memoryview, wire_bytes: int, now_ns: int) -> Arrived | Repeated | None:
        number = head.transfer_id
        self._skipping = None
        if self._partial is not None:
            raise Fault("BAD_PIECE", f"transfer {number} began before {self._partial.number} was whole")
        if head.piece != 0:
            raise Fault("BAD_PIECE", f"transfer {number} begins with piece {head.piece}")
        if number > self.expected:
            raise Fault("PROTOCOL", f"transfer {number} came; expected {self.expected}")
        if number < self.expected:
            self._skipping = number
            return Repeated(number)
        arrived = Arrived(number, head, now_ns, now_ns, wire_bytes)
        if head.HasField("error"):
            return self._finish(arrived, now_ns)
        try:
            arrived.assembly = Assembly(head.header, self._piece_bytes, self._max_bytes)
        except DecodeError as error:
            arrived.refused = ("TOO_LARGE" if isinstance(error, TooLarge) else "BAD_HEADER", str(error))
            self._skipping = number
            return self._finish(arrived, now_ns)
        try:
            arrived.assembly.add(0, data)
        except DecodeError as error:
            raise Fault("BAD_PIECE", f"transfer {number}: {error}") from error
        if arrived.assembly.complete:
            return self._finish(arrived, now_ns)
        self._partial = arrived
        return None

    def _finish(self, arrived: Arrived, now_ns: int) -> Arrived:
        self._partial = None
        self.expected += 1
        arrived.last_ns = now_ns
        return arrived
