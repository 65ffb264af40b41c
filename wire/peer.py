"""What both ends of a session do alike. Sans-I/O."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from wire.credit import Inflow, Outflow
from wire.envelope import HEAD_MAX, compose, decode
from wire.errors import DecodeError, InputError, SessionRefused
from wire.pb import frame_pb2 as pb
from wire.stream import Arrived, Fault, Inbox, Outbox, Repeated

Buffers = list[bytes | memoryview]
"""One message, to be joined."""

UNANSWERED_WINDOWS = 3
"""Windows of payload that an edge keeps unanswered, and a cloud unacknowledged, before it waits."""

MAX_TEXT = 500
"""Characters of an error's text or a reason; longer ones are cut."""


@dataclass(frozen=True)
class Pulse:
    """Each end says something every ``beat_ns``; one that hears nothing for ``silence_ns`` gives the connection up.

    ``silence_ns`` must exceed what one piece takes on the slowest link.
    """

    beat_ns: int = 5_000_000_000
    silence_ns: int = 15_000_000_000


@dataclass(frozen=True)
class Closed:
    """The other end said goodbye; ``transfers`` and ``nbytes`` are its own count."""

    reason: str
    transfers: int
    nbytes: int


class Peer:
    """What both ends do alike: credit, acknowledgement, control messages before data, counting."""

    def __init__(self, inbox: Inbox, window: int, piece_bytes: int, pulse: Pulse) -> None:
        if window < 2 * piece_bytes:
            raise InputError(f"window_bytes {window}; accepted: at least two pieces of {piece_bytes} bytes")
        self.inbox, self.outbox = inbox, Outbox()
        self.pulse = pulse
        self.bytes_in = self.bytes_out = self.payload_in = self.payload_out = 0
        self._window, self._piece_bytes = window, piece_bytes
        self.inflow, self._outflow = Inflow(window), Outflow()
        self._control: deque[pb.Envelope] = deque()
        self._heard_ns = self._sent_ns = 0
        self._acked = 0

    def _reset(self, now_ns: int) -> None:
        self._control.clear()
        self.inbox.disconnect()
        self.inflow.reset()
        self._outflow = Outflow()
        self._heard_ns = self._sent_ns = now_ns

    def _ack(self) -> int:
        return self.inbox.expected

    def _emit(self, head: pb.Envelope, views: list[memoryview], now_ns: int) -> Buffers:
        head.t_send_ns = now_ns
        head.ack = self._acked = self._ack()
        head.credit = self.inflow.announce()
        if head.HasField("probe"):
            if head.probe.reply:
                head.probe.t3_ns = now_ns
            else:
                head.probe.t1_ns = now_ns
        buffers = compose(head, views)
        self._sent_ns = now_ns
        nbytes = sum(view.nbytes for view in views)
        self._outflow.take(nbytes)
        self.payload_out += nbytes
        self.bytes_out += sum(len(buffer) for buffer in buffers)
        return buffers

    def _data(self, now_ns: int) -> Buffers | None:
        piece = self.outbox.next(self._outflow.room, now_ns)
        if piece is None:
            return None
        head, views, sending = piece
        buffers = self._emit(head, views, now_ns)
        sending.wire_bytes += sum(len(buffer) for buffer in buffers)
        return buffers

    def _take_in(self, message: bytes, now_ns: int) -> tuple[pb.Envelope, memoryview]:
        """Decode and count a message; raises Fault."""
        self._heard_ns = now_ns
        self.bytes_in += len(message)
        if len(message) > self._piece_bytes + HEAD_MAX:
            raise Fault("BAD_PIECE", f"message of {len(message)} bytes; pieces have {self._piece_bytes}")
        try:
            head, data = decode(message)
            self.payload_in += data.nbytes
            self.inflow.arrived(data.nbytes)
        except DecodeError as error:
            raise Fault("PROTOCOL", str(error)) from error
        self._outflow.raise_to(head.credit)
        return head, data

    def _feed(self, head: pb.Envelope, data: memoryview, nbytes: int, now_ns: int) -> Arrived | Repeated | None:
        """Pass transfers on to the inbox; a message with nothing but acknowledgement and credit ends here."""
        body = head.WhichOneof("body")
        if body is None and head.piece == 0:
            if data.nbytes:
                raise Fault("BAD_PIECE", f"{data.nbytes} bytes of data without a header")
            return None
        if body not in (None, "header", "error"):
            raise Fault("PROTOCOL", f"message {body!r} is not expected here")
        found = self.inbox.feed(head, data, nbytes, now_ns)
        if isinstance(found, Arrived):
            self.inflow.completed(found.nbytes)
        return found


def refusal_text(error: SessionRefused) -> str:
    """The reason of a refusal, without its code."""
    return str(error).removeprefix(f"{error.code}: ")


def code_name(code: int) -> str:
    """The name of an error code; a newer peer's code has none here."""
    return pb.Code.Name(code) if code in pb.Code.values() else f"CODE_{code}"


def error_message(
    code: str, message: str, *, fatal: bool = False, transfer_id: int = 0, exchange: int = 0, retry_after_ms: int = 0
) -> pb.Error:
    """An Error; ``code`` is a name of ``proto/frame.proto``."""
    known = code if code in pb.Code.keys() else "COMPUTE"  # noqa: SIM118 (an enum wrapper, no mapping)
    return pb.Error(
        code=pb.Code.Value(known),
        fatal=fatal,
        transfer_id=transfer_id,
        exchange=exchange,
        message=message[:MAX_TEXT],
        retry_after_ms=retry_after_ms,
    )
