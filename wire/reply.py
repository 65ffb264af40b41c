"""What comes back for one part, and when each step of it happened."""

from __future__ import annotations

from dataclasses import dataclass

from wire.payload import Payload


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


@dataclass(frozen=True)
class Reply:
    """The reply to one part. ``duplicate``: the cloud had sent it before, on a connection that broke."""

    payload: Payload
    timing: ReplyTiming
    duplicate: bool = False
