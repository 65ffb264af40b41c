"""The edge's end of a session as a state machine: messages in, events out. No socket, no thread, no clock.

It keeps every transfer until it is answered and sends it again after a reconnect; what it has been answered before, it
drops. Together with :mod:`wire.cloud_session` every transfer is answered exactly once, whatever dies in between.
"""

from __future__ import annotations

from dataclasses import dataclass

from wire.clock import ClockEstimate
from wire.credit import WINDOW
from wire.errors import DecodeError
from wire.handshake import Offer, Opened
from wire.payload import Payload
from wire.pb import frame_pb2 as pb
from wire.peer import MAX_TEXT, UNANSWERED_WINDOWS, Buffers, Closed, Peer, Pulse, code_name
from wire.probing import ClockMeter
from wire.stream import Arrived, Fault, Inbox, Repeated, Sending
from wire.transfer import Outgoing

_RESUMABLE = ("BAD_PIECE", "PROTOCOL", "STALE_EPOCH")
_LATER = ("BUSY", "GOING_DOWN")


@dataclass(frozen=True)
class Replied:
    """A transfer was answered. ``head``: the reply's first message; ``sending``: what was sent, with its times."""

    number: int
    payload: Payload
    arrived: Arrived
    sending: Sending


@dataclass(frozen=True)
class Failed:
    """A transfer was answered with an error, or is lost (``LOST``); the session goes on."""

    number: int
    code: str
    message: str


@dataclass(frozen=True)
class Refused:
    """The cloud does not want this session; trying again is of no use."""

    code: str
    message: str


@dataclass(frozen=True)
class Broken:
    """The connection is of no more use: cancel it and connect again, after ``retry_ms`` at least."""

    code: str
    message: str
    retry_ms: int = 0


EdgeEvent = Opened | Replied | Failed | Refused | Broken | Closed


class EdgeSession(Peer):
    """The edge's end, across all its connections.

    resend: send unanswered transfers again after a reconnect; without it those that had begun fail as ``LOST``.
    """

    def __init__(
        self, offer: Offer, *, window_bytes: int = WINDOW, resend: bool = True, pulse: Pulse | None = None
    ) -> None:
        inbox = Inbox(offer.piece_bytes, offer.max_transfer_bytes)
        super().__init__(inbox, window_bytes, offer.piece_bytes, pulse or Pulse())
        self.offer, self.epoch = offer, 0
        self.opened: Opened | None = None
        self.late = 0
        self.repeated = 0
        self._resend = resend
        self._instance = b""
        self._said_open = False
        self._clock = ClockMeter()

    @property
    def unanswered_bytes(self) -> int:
        """Payload bytes that are kept until they are answered."""
        return self.outbox.nbytes

    @property
    def has_room(self) -> bool:
        """Whether another transfer may be submitted now."""
        return self.outbox.nbytes < UNANSWERED_WINDOWS * self._window

    def submit(self, outgoing: Outgoing, now_ns: int) -> int:
        """Queue a transfer; returns its id."""
        self._clock.disturb()
        return self.outbox.add(Sending(outgoing, None, int(outgoing.header.exchange), now_ns))

    def connect(self, now_ns: int) -> None:
        """A new connection begins: the next message is an Open with the next epoch."""
        self._reset(now_ns)
        self.epoch += 1
        self.opened = None
        self._said_open = False
        self._clock.stop()

    def disconnect(self, now_ns: int) -> list[EdgeEvent]:
        """The connection ended. Without ``resend`` what had begun is lost."""
        self._reset(now_ns)
        self.opened = None
        if self._resend:
            return []
        begun = [number for number, sending in self.outbox.entries.items() if sending.attempts]
        for number in begun:
            self.outbox.remove(number)
        return [Failed(number, "LOST", "the connection broke before the reply") for number in begun]

    def close(self, reason: str) -> None:
        """Say goodbye as soon as possible; nothing is sent after it."""
        close = pb.Close(reason=reason[:MAX_TEXT], transfers=self.outbox.next_id, bytes=self.payload_out)
        self._control.append(pb.Envelope(close=close))

    def next_message(self, now_ns: int) -> Buffers | None:
        """What is to be sent now, as buffers to be joined; None when there is nothing."""
        if not self._said_open:
            self._said_open = True
            credit = self.inflow.announce()
            return self._emit(pb.Envelope(open=self.offer.message(self.epoch, self.outbox.oldest, credit)), [], now_ns)
        if self._control:
            return self._emit(self._control.popleft(), [], now_ns)
        if self.opened is None:
            return None
        probe = self._clock.next_probe(now_ns, unloaded=not self.outbox.entries or self._clock.holding(now_ns))
        if probe is not None:
            return self._emit(pb.Envelope(probe=probe), [], now_ns)
        data = None if self._clock.holding(now_ns) else self._data(now_ns)
        if data is None and (self._ack() != self._acked or self.inflow.due):
            return self._emit(pb.Envelope(), [], now_ns)
        return data

    def receive(self, message: bytes, now_ns: int) -> list[EdgeEvent]:
        """Take a message of the cloud."""
        try:
            head, data = self._take_in(message, now_ns)
            return self._handle(head, data, len(message), now_ns)
        except Fault as fault:
            return [Broken(fault.code, fault.text)]

    def tick(self, now_ns: int) -> list[EdgeEvent]:
        """Call at :meth:`next_tick`, or later."""
        if self.opened is None:
            return []
        silent = now_ns - self._heard_ns
        if silent >= self.pulse.silence_ns:
            return [Broken("SILENCE", f"nothing was heard for {silent / 1e9:.1f} s")]
        if not self.outbox.entries:
            self._clock.remeasure(now_ns)
        if now_ns - self._sent_ns >= self.pulse.beat_ns and not self._control:
            self._control.append(pb.Envelope(probe=pb.Probe()))
        return []

    def next_tick(self, now_ns: int) -> int:
        """When :meth:`tick` has something to do."""
        due = min(self._heard_ns + self.pulse.silence_ns, self._sent_ns + self.pulse.beat_ns)
        return min(due, self._clock.held_until) if self._clock.holding(now_ns) else due

    def clock(self, now_ns: int) -> ClockEstimate:
        """The cloud's clock against ours."""
        return self._clock.result.aged(now_ns)

    def _handle(self, head: pb.Envelope, data: memoryview, nbytes: int, now_ns: int) -> list[EdgeEvent]:
        body = head.WhichOneof("body")
        if body == "error" and head.error.fatal:
            return [self._fatal(head.error)]
        if body == "close":
            return [Closed(head.close.reason, head.close.transfers, head.close.bytes)]
        if self.opened is None:
            return self._open(head, now_ns) if body == "opened" else self._waiting(body)
        if body == "probe":
            self._clock.answer(head.probe, now_ns)
            return []
        found = self._feed(head, data, nbytes, now_ns)
        if isinstance(found, Repeated):
            self.repeated += 1
        return self._answered(found) if isinstance(found, Arrived) else []

    @staticmethod
    def _waiting(body: str | None) -> list[EdgeEvent]:
        if body is not None:
            raise Fault("PROTOCOL", f"message {body!r} before the session was opened")
        return []

    def _fatal(self, error: pb.Error) -> EdgeEvent:
        code = code_name(error.code)
        if code in _LATER or (self.opened is not None and code in _RESUMABLE):
            return Broken(code, error.message, error.retry_after_ms)
        return Refused(code, error.message)

    def _open(self, head: pb.Envelope, now_ns: int) -> list[EdgeEvent]:
        opened, oldest = head.opened, self.outbox.oldest
        if opened.session_id != self.offer.session_id or opened.piece_bytes != self.offer.piece_bytes:
            raise Fault("PROTOCOL", "Opened answers another session")
        fresh = opened.instance_id != self._instance
        last = oldest if fresh else self.outbox.next_id
        if not oldest <= opened.next_transfer <= last:
            raise Fault("PROTOCOL", f"cloud goes on at transfer {opened.next_transfer}; expected {oldest} to {last}")
        if fresh:
            self._instance = opened.instance_id
            self.inbox.expected = 0
            self._clock.start(now_ns)
        self.outbox.rewind(opened.next_transfer)
        self._outflow.raise_to(opened.credit)
        self.opened = Opened(
            epoch=self.epoch,
            instance_id=opened.instance_id,
            fresh=fresh,
            next_transfer=opened.next_transfer,
            max_transfer_bytes=opened.max_transfer_bytes,
            incarnation=opened.incarnation,
            checkpoints=tuple(opened.checkpoints),
            info=dict(opened.info),
        )
        return [self.opened]

    def _answered(self, arrived: Arrived) -> list[EdgeEvent]:
        head = arrived.head
        if head.HasField("header") and not head.header.HasField("reply_to"):
            raise Fault("PROTOCOL", f"transfer {arrived.number} of the cloud answers nothing")
        number = int(head.error.transfer_id if head.HasField("error") else head.header.reply_to)
        sending = self.outbox.remove(number)
        if sending is None:  # given up, or answered before
            self.late += 1
            self.inflow.taken(arrived.nbytes)
            return []
        if arrived.assembly is None:
            code, text = arrived.refused or (code_name(head.error.code), head.error.message)
            return [Failed(number, code, text)]
        try:
            return [Replied(number, arrived.assembly.payload(), arrived, sending)]
        except DecodeError as error:
            self.inflow.taken(arrived.nbytes)
            return [Failed(number, "BAD_HEADER", f"reply: {error}")]
