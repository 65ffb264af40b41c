"""The cloud's end of a session as a state machine: messages in, jobs out. No socket, no thread, no clock.

It keeps every answer until the edge has acknowledged it and sends it again after a reconnect; a transfer that it has
seen before is dropped. See :mod:`wire.edge_session` for the other end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from wire.credit import WINDOW
from wire.errors import SessionRefused
from wire.handshake import PROTOCOL, Opening
from wire.pb import frame_pb2 as pb
from wire.peer import UNANSWERED_WINDOWS, Buffers, Closed, Peer, Pulse, error_message
from wire.stream import Arrived, Fault, Inbox, Repeated, Sending
from wire.transfer import Outgoing

MAX_CONTROL = 64
"""Answers that may wait to be sent; a peer that probes faster than it reads loses probes."""

CloudEvent = Arrived | Repeated | Closed


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
