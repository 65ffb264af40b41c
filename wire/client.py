"""The edge's end on synchronous gRPC: threads and a socket around :class:`wire.edge_session.EdgeSession`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc

from wire import options
from wire.clock import ClockEstimate
from wire.credit import WINDOW
from wire.edge_session import Broken, EdgeEvent, EdgeSession, Failed, Refused, Replied
from wire.errors import FrameError, InputError, SessionRefused, WireError
from wire.handshake import Offer, Opened
from wire.payload import Payload
from wire.peer import Closed, Pulse
from wire.reply import Replies, Reply, ReplyTiming, Slot, Stamps, Turn
from wire.tls import TlsFiles, channel_credentials
from wire.transfer import pack

__all__ = ["Disconnected", "EdgeClient", "Event", "Offer", "Opened", "Replies", "Reply", "ReplyTiming", "Stamps"]

METHOD = "/eavesplit.wire.v1.Split/Session"

RESUME_S = 60.0
"""A broken session is tried again for so long: a cloud that was killed has to load its weights."""

MAX_FAULTS = 5
"""Connections that end with a protocol error before one reply comes; more will not help."""

_BACKOFF_S = (0.05, 1.0)
_GOODBYE_S = 2.0


@dataclass(frozen=True)
class Disconnected:
    """A connection ended that should not have. ``epoch``: which one."""

    epoch: int
    reason: str


Event = Opened | Disconnected


class EdgeClient:
    """One session with a cloud. All methods may be called from any thread.

    address: ``HOST:PORT`` of the link or cloud. credentials: TLS. resend: see :class:`wire.edge_session.EdgeSession`.
    window_bytes: credit for the cloud's replies, and a third of what is kept unanswered. crc: add a CRC-32 to each
    transfer, and ask for it on replies. resume_s: how long to look for a cloud that is gone.
    on_event: called with each Opened and Disconnected, in a thread of the client's; must return soon.
    """

    def __init__(
        self,
        address: str,
        offer: Offer,
        *,
        credentials: TlsFiles | None = None,
        resend: bool = True,
        window_bytes: int = WINDOW,
        on_event: Callable[[Event], None] | None = None,
        crc: bool = False,
        resume_s: float = RESUME_S,
        pulse: Pulse | None = None,
    ) -> None:
        self._address, self._offer, self._crc, self._resume_s = address, offer, crc, resume_s
        self._session = EdgeSession(offer, window_bytes=window_bytes, resend=resend, pulse=pulse)
        self._channel = (
            grpc.secure_channel(address, channel_credentials(credentials), options.CHANNEL)
            if credentials
            else grpc.insecure_channel(address, options.CHANNEL)
        )
        self._stub = self._channel.stream_stream(METHOD, request_serializer=None, response_deserializer=None)
        self._on_event = on_event
        self._changed = threading.Condition()
        self._slots: dict[int, Slot] = {}
        self._error: WireError | None = None
        self._closing = self._goodbye = False
        self._call: Any = None
        self._cancelled: str | None = None
        self._threads: list[threading.Thread] = []
        self._opened: Opened | None = None
        self._faults = 0
        self._retry_ms = 0
        self._disconnected_ns = 0
        self._counts = {"transfers": 0, "replies": 0, "failed": 0, "lost": 0, "connections": 0, "credit_waits": 0}

    def open(self, timeout: float = 30.0) -> Opened:
        """Connect, waiting for the cloud to come up. SessionRefused by name; WireError after ``timeout`` seconds."""
        if self._threads:
            raise InputError("this session has been opened before")
        self._disconnected_ns = time.monotonic_ns()
        for name, target in (("wire-session", self._run), ("wire-pulse", self._pulse)):
            self._threads.append(threading.Thread(target=target, name=name, daemon=True))
            self._threads[-1].start()
        with self._changed:
            self._changed.wait_for(lambda: self._opened or self._error, timeout)
            if self._opened is not None:
                return self._opened
            error = self._error or WireError(f"no cloud answered at {self._address} within {timeout:g} s")
        self.close("not opened")
        raise error

    def send(
        self,
        exchange: int,
        turn: int,
        parts: Sequence[Payload],
        stamps: Stamps = Stamps(),  # noqa: B008 (frozen)
        *,
        reply_timeout: float | None = None,
    ) -> Replies:
        """Queue one turn and return its replies; blocks while too much of earlier turns is unanswered.

        Later parts of the turn that find no room go up while its replies are taken. exchange: the frame's number.
        parts: may be lazy; each is asked for once, when there is room for it. Tensors must not change until their part
        is answered. reply_timeout: seconds that each ``next`` of the replies waits before it raises FrameError
        ``TIMEOUT``. InputError for a payload that cannot travel, here or from ``next``.
        """
        sending = Turn(exchange, turn, parts, stamps)
        if not sending.all_queued:
            self._make_room()
            self._queue(sending)
        return Replies(sending, lambda turn: self._fetch(turn, reply_timeout))

    def counters(self) -> dict[str, int]:
        """What has happened so far; bytes as handed to gRPC (framed) and of payload."""
        with self._changed:
            session = self._session
            return {
                **self._counts,
                "reconnects": max(0, self._counts["connections"] - 1),
                "resent": session.outbox.resent,
                "duplicates": session.repeated,
                "late": session.late,
                "unanswered": len(session.outbox.entries),
                "unanswered_bytes": session.unanswered_bytes,
                "payload_up": session.payload_out,
                "payload_down": session.payload_in,
                "bytes_up": session.bytes_out,
                "bytes_down": session.bytes_in,
            }

    def clock(self) -> ClockEstimate:
        """The cloud's clock against the edge's, as old as it is."""
        with self._changed:
            return self._session.clock(time.monotonic_ns())

    def close(self, reason: str = "done") -> None:
        """Say goodbye and end every thread; replies that are still awaited raise WireError. May be called twice."""
        with self._changed:
            if not self._closing:
                self._closing = True
                if self._session.opened is not None:
                    self._session.close(reason)
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._session.opened is None or self._goodbye, _GOODBYE_S)
            self._fail(WireError(f"the session is closed: {reason}"))
            if self._call is not None:
                self._call.cancel()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self._channel.close()

    def _make_room(self) -> None:
        with self._changed:
            if not self._session.has_room:
                self._counts["credit_waits"] += 1
                self._wait(lambda: self._session.has_room, None)
            self._alive()

    def _queue(self, turn: Turn) -> None:
        """Queue parts of ``turn`` while there is room."""
        while not turn.all_queued and self._session.has_room:
            turn.slots.append(self._submit(turn, turn.queued))
            turn.queued += 1

    def _submit(self, turn: Turn, part: int) -> Slot:
        slot = Slot(turn.exchange, time.monotonic_ns())
        outgoing = pack(
            turn.parts[part],
            self._offer.piece_bytes,
            exchange=turn.exchange,
            turn=turn.number,
            part=part,
            parts=len(turn.parts),
            crc=self._crc,
        )
        header, stamps = outgoing.header, turn.stamps
        header.t_capture_ns, header.t_head_ns, header.t_defend_ns = stamps.capture_ns, stamps.head_ns, stamps.defend_ns
        with self._changed:
            self._alive()
            limit = self._opened.max_transfer_bytes if self._opened else 0
            if outgoing.nbytes > limit:
                text = (
                    f"part {part} of turn {turn.number} has {outgoing.nbytes} bytes; the cloud accepts at most {limit}"
                )
                slot.outcome = FrameError("TOO_LARGE", text, turn.exchange)
                self._counts["failed"] += 1
                return slot
            self._slots[self._session.submit(outgoing, time.monotonic_ns())] = slot
            self._counts["transfers"] += 1
            self._changed.notify_all()
        return slot

    def _fetch(self, turn: Turn, timeout: float | None) -> Reply:
        """The reply to the oldest part of ``turn``; queues more of its parts whenever there is room."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            self._queue(turn)
            with self._changed:
                slot = turn.slots[0] if turn.slots else None
                if slot is None or slot.outcome is None:
                    left = None if end is None else max(0.0, end - time.monotonic())
                    self._wait(partial(self._moved, turn, slot), left)
                if slot is not None and slot.outcome is not None:
                    turn.slots.popleft()
                    return self._take(slot, slot.outcome)
                self._alive()
                if slot is not None and end is not None and time.monotonic() >= end:
                    turn.slots.popleft()
                    slot.left = True
                    raise FrameError("TIMEOUT", f"no reply within {timeout:g} s", turn.exchange)

    def _moved(self, turn: Turn, slot: Slot | None) -> bool:
        answered = slot is not None and slot.outcome is not None
        return answered or (not turn.all_queued and self._session.has_room)

    def _take(self, slot: Slot, outcome: Reply | FrameError) -> Reply:
        self._session.inflow.taken(slot.nbytes)
        self._changed.notify_all()
        if isinstance(outcome, FrameError):
            raise outcome
        return outcome

    def _wait(self, predicate: Callable[[], bool], timeout: float | None) -> None:
        """Wait with the credit limit lifted: what is waited for may come behind replies that nobody has taken."""
        self._session.inflow.hunger(+1)
        self._changed.notify_all()
        try:
            self._changed.wait_for(lambda: predicate() or self._error is not None, timeout)
        finally:
            self._session.inflow.hunger(-1)

    def _alive(self) -> None:
        if self._error is not None:
            raise self._error
        if self._opened is None:
            raise InputError("the session has not been opened")

    def _fail(self, error: WireError) -> None:
        self._error = self._error or error
        self._changed.notify_all()

    def _run(self) -> None:
        """Connect, listen, connect again."""
        backoff = _BACKOFF_S[0]
        while True:
            with self._changed:
                if self._error is not None:
                    return
                self._session.connect(time.monotonic_ns())
                epoch = self._session.epoch
                self._counts["connections"] += 1
                self._call = call = self._stub(self._requests(epoch), wait_for_ready=True)
            reason = self._listen(call)
            call.cancel()
            with self._changed:
                now, reason = time.monotonic_ns(), self._cancelled or reason
                self._cancelled = None
                if self._session.opened is not None:
                    self._disconnected_ns, backoff = now, _BACKOFF_S[0]
                self._apply(self._session.disconnect(now))
                self._changed.notify_all()
                if self._error is not None or self._closing:
                    return
            self._tell(Disconnected(epoch, reason))
            with self._changed:
                self._changed.wait_for(lambda: self._error is not None, max(backoff, self._retry_ms / 1000))
                self._retry_ms = 0
            backoff = min(2 * backoff, _BACKOFF_S[1])

    def _listen(self, call: Any) -> str:
        """Take in messages until the connection ends; returns why it did."""
        try:
            for message in call:
                with self._changed:
                    events = self._session.receive(message, time.monotonic_ns())
                    reason = self._apply(events)
                    self._changed.notify_all()
                for event in events:
                    if isinstance(event, Opened):
                        self._tell(event)
                if reason is not None:
                    return reason
        except grpc.RpcError as error:
            return str(error.details()) if isinstance(error, grpc.Call) else str(error)
        return "the cloud ended the stream"

    def _requests(self, epoch: int) -> Iterator[bytes]:
        """What gRPC sends: pulled by a thread of its own."""
        while True:
            with self._changed:
                while True:
                    if self._session.epoch != epoch or self._error is not None or self._goodbye:
                        return
                    buffers = self._session.next_message(time.monotonic_ns())
                    if buffers is not None:
                        break
                    self._changed.wait()
            yield b"".join(buffers)

    def _pulse(self) -> None:
        """Heartbeats, silence, and the end of patience with a cloud that is gone."""
        with self._changed:
            while self._error is None:
                now = time.monotonic_ns()
                if self._session.opened is not None:
                    self._cancelled = self._apply(self._session.tick(now))
                    if self._cancelled is not None:
                        self._call.cancel()
                    due = self._session.next_tick(now)
                else:
                    due = self._disconnected_ns + int(self._resume_s * 1e9)
                    if self._opened is not None and now >= due:
                        text = (
                            f"no cloud at {self._address} for {self._resume_s:g} s; {self._session.epoch} connections"
                        )
                        self._fail(WireError(text))
                        self._call.cancel()
                        return
                self._changed.notify_all()
                self._changed.wait(max(0.01, min(1.0, (due - now) / 1e9)))

    def _apply(self, events: Sequence[EdgeEvent]) -> str | None:
        """Act on events; returns why the connection must end, if it must."""
        for event in events:
            if isinstance(event, Replied):
                self._replied(event)
            elif isinstance(event, Failed):
                self._failed(event)
            elif isinstance(event, Opened):
                self._opened = event
            elif isinstance(event, Closed):
                self._goodbye = self._closing
                return f"goodbye: {event.reason}"
            elif isinstance(event, Refused):
                self._fail(SessionRefused(event.code, event.message))
                return f"{event.code}: {event.message}"
            elif isinstance(event, Broken):
                self._broken(event)
                return f"{event.code}: {event.message}"
        return None

    def _broken(self, event: Broken) -> None:
        self._retry_ms = event.retry_ms
        if event.code in ("BAD_PIECE", "PROTOCOL", "STALE_EPOCH"):
            self._faults += 1
            if self._faults >= MAX_FAULTS:
                self._fail(SessionRefused(event.code, f"{event.message} (on {self._faults} connections)"))

    def _failed(self, event: Failed) -> None:
        slot = self._slots.pop(event.number)
        slot.outcome = FrameError(event.code, event.message, slot.exchange)
        self._counts["lost" if event.code == "LOST" else "failed"] += 1

    def _replied(self, event: Replied) -> None:
        slot, arrived, sending = self._slots.pop(event.number), event.arrived, event.sending
        timing = ReplyTiming.of(slot.encode_start_ns, sending, arrived)
        slot.outcome = Reply(event.payload, timing, arrived.head.header.duplicate)
        slot.nbytes = arrived.nbytes
        if slot.left:
            self._session.inflow.taken(arrived.nbytes)
        self._faults = 0
        self._counts["replies"] += 1

    def _tell(self, event: Event) -> None:
        if self._on_event is not None:
            self._on_event(event)
