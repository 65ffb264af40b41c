"""What comes back for one part, and when each step of it happened."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from wire.errors import FrameError
from wire.payload import Payload
from wire.stream import Arrived, Sending


@dataclass(frozen=True)
class Stamps:
    """When a frame was captured, its head done and its defense done: the edge's monotonic clock, in ns (0: unknown)."""

    capture_ns: int = 0
    head_ns: int = 0
    defend_ns: int = 0


@dataclass(frozen=True)
class ReplyTiming:
    """Monotonic times in ns. ``cloud_`` is the cloud's clock; everything else the edge's.

    encode_start_ns, queued_ns: packing the part began and ended, credit awaited included. sent_first_ns, sent_last_ns:
    its first and last piece were handed to gRPC. reply_first_ns, received_ns: the reply's first and last piece came.
    wire_bytes_up, wire_bytes_down: of this transfer's messages, heads and resent pieces included.
    """

    encode_start_ns: int
    queued_ns: int
    sent_first_ns: int
    sent_last_ns: int
    cloud_first_ns: int
    cloud_last_ns: int
    cloud_decoded_ns: int
    cloud_tail_start_ns: int
    cloud_tail_end_ns: int
    cloud_sent_ns: int
    reply_first_ns: int
    received_ns: int
    wire_bytes_up: int
    wire_bytes_down: int

    @classmethod
    def of(cls, encode_start_ns: int, sending: Sending, arrived: Arrived) -> ReplyTiming:
        """From what was sent and what came back for it."""
        cloud = arrived.head.header.timing
        return cls(
            encode_start_ns=encode_start_ns,
            queued_ns=sending.queued_ns,
            sent_first_ns=sending.first_ns,
            sent_last_ns=sending.last_ns,
            cloud_first_ns=cloud.t_first_piece_ns,
            cloud_last_ns=cloud.t_last_piece_ns,
            cloud_decoded_ns=cloud.t_decoded_ns,
            cloud_tail_start_ns=cloud.t_tail_start_ns,
            cloud_tail_end_ns=cloud.t_tail_end_ns,
            cloud_sent_ns=arrived.head.t_send_ns,
            reply_first_ns=arrived.first_ns,
            received_ns=arrived.last_ns,
            wire_bytes_up=sending.wire_bytes,
            wire_bytes_down=arrived.wire_bytes,
        )


@dataclass(frozen=True)
class Reply:
    """The reply to one part. ``duplicate``: the cloud had sent it before, on a connection that broke."""

    payload: Payload
    timing: ReplyTiming
    duplicate: bool = False


@dataclass
class Slot:
    """One part that waits for its reply. ``left``: nobody will ask for it any more."""

    exchange: int
    encode_start_ns: int
    outcome: Reply | FrameError | None = None
    nbytes: int = 0
    left: bool = False


@dataclass
class Turn:
    """One turn on its way: ``queued`` of its parts were handed to the session; ``slots`` await their replies."""

    exchange: int
    number: int
    parts: Sequence[Payload]
    stamps: Stamps
    queued: int = 0
    slots: deque[Slot] = field(default_factory=deque)

    @property
    def all_queued(self) -> bool:
        """Whether no part is left to be queued."""
        return self.queued >= len(self.parts)


class Replies(Iterator[Reply]):
    """The replies to one turn, in order, one for each part; each is waited for when it is asked for.

    Parts that had no room when the turn was sent go up while the replies to earlier ones are taken, so all replies must
    be asked for. ``next`` raises FrameError where the cloud answered that part with an error; the parts after it can
    still be asked for. It raises SessionRefused or WireError when the session is over.
    """

    def __init__(self, turn: Turn, fetch: Callable[[Turn], Reply]) -> None:
        self._turn, self._fetch = turn, fetch
        self._taken = 0

    def __len__(self) -> int:
        """Replies that are still to be asked for."""
        return len(self._turn.parts) - self._taken

    def __next__(self) -> Reply:
        if not len(self):
            raise StopIteration
        self._taken += 1
        return self._fetch(self._turn)
