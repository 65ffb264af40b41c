"""A session's two ends as state machines: messages in, events out. No socket, no thread, no clock: time is passed in.

The edge keeps every transfer until it is answered and sends it again after a reconnect. The cloud keeps every answer
until the edge has acknowledged it and sends it again after a reconnect. Each end drops what it has seen before, so
every transfer is answered exactly once to the edge's caller, whatever dies in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from wire.clock import ClockEstimate
from wire.credit import WINDOW
from wire.errors import DecodeError, SessionRefused
from wire.handshake import PROTOCOL, Offer, Opened, Opening
from wire.payload import Payload
from wire.pb import frame_pb2 as pb
from wire.peer import MAX_TEXT, Buffers, Peer, Pulse, code_name, error_message
from wire.probing import ClockMeter
from wire.stream import Arrived, Fault, Inbox, Repeated, Sending
from wire.transfer import Outgoing

UNANSWERED_WINDOWS = 3
"""Windows of payload that an edge keeps unanswered, and a cloud unacknowledged, before it waits."""

MAX_CONTROL = 64
"""Answers that may wait to be sent; a peer that probes faster than it reads loses probes."""

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


@dataclass(frozen=True)
class Closed:
    """The other end said goodbye; ``transfers`` and ``nbytes`` are its own count."""

    reason: str
    transfers: int
    nbytes: int


EdgeEvent = Opened | Replied | Failed | Refused | Broken | Closed
CloudEvent = Arrived | Repeated | Closed


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

    def has_room(self, nbytes: int) -> bool:
        """Whether a transfer of ``nbytes`` may be submitted now."""
        return not self.outbox.entries or self.outbox.nbytes + nbytes <= UNANSWERED_WINDOWS * self._window

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


class CloudSession(Peer):
    """The cloud's end, across all connections of one edge's session and incarnation."""

    def __init__(
        self,
        opening: Opening,
        instance_id: bytes,
        *,
        max_transfer_bytes: int,
        window_bytes: int = WINDOW,
        pulse: Pulse | None = None,
    ) -> None:
        inbox = Inbox(opening.piece_bytes, max_transfer_bytes)
        super().__init__(inbox, window_bytes, opening.piece_bytes, pulse or Pulse())
        self.opening, self.instance_id = opening, instance_id
        self.epoch = 0
        self.repeated = 0
        self.draining = False
        self._max_bytes = max_transfer_bytes
        self._jobs: deque[Arrived] = deque()
        self._busy: Arrived | None = None
        self._finished = 0
        self._over = False
        self._ready: pb.Opened | None = None
        self._refusal: pb.Error | None = None

    def attach(self, opening: Opening, ack: int, now_ns: int) -> None:
        """A connection of this session opened. SessionRefused unless its epoch is the newest.

        ack: of the message that carried the Open; counts when this instance has answered before.
        """
        if opening.epoch <= self.epoch:
            raise SessionRefused("STALE_EPOCH", f"epoch {opening.epoch} opens after {self.epoch}")
        first = not self.epoch
        self.epoch = opening.epoch
        self._reset(now_ns)
        self._outflow.raise_to(opening.credit)
        self._over = False
        self.inbox.expected = max(self.inbox.expected, opening.next_transfer)
        self._finished = max(self._finished, opening.next_transfer)
        for job in [job for job in self._jobs if job.number < opening.next_transfer]:  # the edge gave them up
            self._jobs.remove(job)
            self.inflow.taken(job.nbytes)
        if not first:
            self.outbox.remove_below(ack)
        self.outbox.rewind(self.outbox.oldest)
        self._say_opened()

    def ready(self, checkpoints: tuple[int, ...] = (), info: Mapping[str, str] | None = None) -> None:
        """The tail is there: the edge may send."""
        self._ready = pb.Opened(checkpoints=checkpoints, info=dict(info or {}))
        self._say_opened()

    def refuse(self, code: str, message: str, retry_after_ms: int = 0) -> None:
        """The session ends, with the reason."""
        self._refusal = error_message(code, message, fatal=True, retry_after_ms=retry_after_ms)
        self._end(self._refusal)

    def receive(self, epoch: int, message: bytes, now_ns: int) -> list[CloudEvent]:
        """Take a message that came on the connection of ``epoch``. Raises Fault when that is not the newest any more:
        what is half received on an old connection must not count."""
        self._fence(epoch)
        if self._over:
            return []
        try:
            head, data = self._take_in(message, now_ns)
            return self._handle(head, data, len(message), now_ns)
        except Fault as fault:
            self._end(error_message(fault.code, fault.text, fatal=True))
            return []

    def next_message(self, epoch: int, now_ns: int) -> Buffers | None:
        """What is to be sent on the connection of ``epoch``; None when there is nothing. Raises Fault like receive."""
        self._fence(epoch)
        if self._control:
            return self._emit(self._control.popleft(), [], now_ns)
        if self._over:
            return None
        data = self._data(now_ns) if self._ready else None
        if data is None and self._ready and self.inflow.due:
            return self._emit(pb.Envelope(), [], now_ns)
        return data

    def over(self, epoch: int) -> bool:
        """Whether nothing more will be sent on the connection of ``epoch``."""
        return epoch == self.epoch and self._over and not self._control

    def tick(self, epoch: int, now_ns: int) -> bool:
        """Beat when nothing else was said. Returns False when the edge has been silent for too long."""
        if epoch == self.epoch and now_ns - self._sent_ns >= self.pulse.beat_ns and not self._control:
            self._control.append(pb.Envelope())
        return epoch != self.epoch or now_ns - self._heard_ns < self.pulse.silence_ns

    def detach(self, epoch: int) -> None:
        """The connection of ``epoch`` ended."""
        if epoch == self.epoch:
            self.inbox.disconnect()
            self._control.clear()
            self._over = True

    @property
    def quiet(self) -> bool:
        """Whether everything that came has been answered, and every answer acknowledged."""
        return not self._jobs and self._busy is None and not self.outbox.entries

    @property
    def may_work(self) -> bool:
        """Whether a job waits and the answers that nobody has acknowledged leave room for another."""
        return bool(self._jobs) and self._busy is None and self.outbox.nbytes <= UNANSWERED_WINDOWS * self._window

    def take(self) -> Arrived:
        """The oldest job; answer it with :meth:`answer` or :meth:`fail` before the next."""
        self._busy = self._jobs.popleft()
        return self._busy

    def answer(self, job: Arrived, outgoing: Outgoing, timing: pb.Timing, now_ns: int) -> int:
        """The reply to a job; returns its transfer id. It is kept until the edge acknowledges it."""
        header = outgoing.header
        header.reply_to = job.number
        header.t_capture_ns = job.head.header.t_capture_ns
        header.timing.CopyFrom(timing)
        return self._done(job, Sending(outgoing, None, int(header.exchange), now_ns))

    def fail(self, job: Arrived, code: str, message: str, now_ns: int) -> int:
        """The error that answers a job; returns its transfer id. The session goes on."""
        exchange = int(job.head.header.exchange)
        error = error_message(code, message, transfer_id=job.number, exchange=exchange)
        return self._done(job, Sending(None, error, exchange, now_ns))

    def _done(self, job: Arrived, sending: Sending) -> int:
        self._busy = None
        self._finished = max(self._finished, job.number + 1)
        self.inflow.taken(job.nbytes)
        return self.outbox.add(sending)

    def _ack(self) -> int:
        return self._finished

    def _fence(self, epoch: int) -> None:
        if epoch != self.epoch:
            raise Fault("STALE_EPOCH", f"epoch {epoch} was replaced by {self.epoch}")

    def _end(self, error: pb.Error) -> None:
        self._control.clear()
        self._control.append(pb.Envelope(error=error))
        self._over = True

    def _say_opened(self) -> None:
        if self._refusal is not None:
            self._end(self._refusal)
        if self._ready is None or not self.epoch or self._over:
            return
        opened = pb.Opened()
        opened.CopyFrom(self._ready)
        opened.protocol = PROTOCOL
        opened.session_id = self.opening.session_id
        opened.instance_id = self.instance_id
        opened.next_transfer = self.inbox.expected
        opened.credit = self.inflow.announce()
        opened.max_transfer_bytes = self._max_bytes
        opened.piece_bytes = self.opening.piece_bytes
        opened.weights_sha256 = self.opening.weights_sha256
        opened.incarnation = self.opening.incarnation
        self._control.append(pb.Envelope(opened=opened))

    def _handle(self, head: pb.Envelope, data: memoryview, nbytes: int, now_ns: int) -> list[CloudEvent]:
        self.outbox.remove_below(head.ack)
        body = head.WhichOneof("body")
        if body == "probe":
            if len(self._control) < MAX_CONTROL:
                probe = pb.Probe(id=head.probe.id, reply=True, t1_ns=head.probe.t1_ns, t2_ns=now_ns)
                self._control.append(pb.Envelope(probe=probe))
            return []
        if body == "close":
            close = pb.Close(reason="goodbye", transfers=self.inbox.expected, bytes=self.payload_in)
            self._control.append(pb.Envelope(close=close))
            self._over = True
            return [Closed(head.close.reason, head.close.transfers, head.close.bytes)]
        if self._ready is None and (body is not None or data.nbytes):
            raise Fault("PROTOCOL", f"message {body!r} before Opened")
        if body == "error":
            raise Fault("PROTOCOL", "an edge answers nothing, so it sends no Error")
        if self.draining:
            return []
        found = self._feed(head, data, nbytes, now_ns)
        if isinstance(found, Repeated):
            self.repeated += 1  # its answer is kept, and was sent again when this connection opened
        elif found is not None:
            self._jobs.append(found)
        return [] if found is None else [found]
