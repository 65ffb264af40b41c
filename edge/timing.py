"""Where a frame's time went: one row of stage times for the record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge.driver import Done
from wire.client import ReplyTiming
from wire.clock import ClockEstimate

STAGES = ("capture", "head", "defend", "encode", "queue", "wire", "decode", "tail", "reply")
"""capture: from the sensor's time stamp until the head begins; head; defend; encode: packing, and waiting for room;
queue: until gRPC takes the first piece; wire: until the cloud has the last piece; decode: until the tail begins; tail;
reply: until the edge has the last piece of the answer. Cloud times are moved to the edge's clock by the measured offset
(``clock_bound_ms`` in the row says how well it is known)."""


def stages(done: Done, clock: ClockEstimate | None) -> dict[str, Any]:
    """The frame's row, milliseconds each; None for what was not reached or not measured."""
    offset = clock.offset_ns if clock is not None else 0
    row: dict[str, Any] = {"frame": done.frame, "segment": done.segment, "name": done.sample.name}
    row |= dict.fromkeys(STAGES)
    row["capture"] = (done.start_ns - done.capture_ns) / 1e6
    row["head"], row["defend"] = done.head_ms, done.defend_ms + done.later_ms
    turns = [_turn(times, offset) for times in done.timings if times]
    for stage in ("encode", "queue", "wire", "decode", "tail", "reply"):
        if turns:
            row[stage] = sum(turn[stage] for turn in turns)
    if turns:
        row["encode"] -= done.later_ms  # defended while they were packed
    row["total"] = (done.done_ns - done.capture_ns) / 1e6
    row["clock_bound_ms"] = clock.bound_ns / 1e6 if clock is not None else None
    row["payload_bytes"] = done.payload_bytes
    row["wire_up"] = sum(t.wire_bytes_up for times in done.timings for t in times)
    row["wire_down"] = sum(t.wire_bytes_down for times in done.timings for t in times)
    row["error"] = done.error
    return row


def _turn(times: Sequence[ReplyTiming], offset_ns: int) -> dict[str, float]:
    """One turn's stages in ms. Parts overlap, so a stage runs from the first part's begin to the last part's end."""
    sent, heard = times[0].sent_first_ns, max(t.cloud_last_ns for t in times) - offset_ns
    return {
        "encode": sum(t.queued_ns - t.encode_start_ns for t in times) / 1e6,
        "queue": (sent - times[0].queued_ns) / 1e6,
        "wire": (heard - sent) / 1e6,
        "decode": sum(t.cloud_tail_start_ns - t.cloud_last_ns for t in times) / 1e6,
        "tail": sum(t.cloud_tail_end_ns - t.cloud_tail_start_ns for t in times) / 1e6,
        "reply": (times[-1].received_ns - (times[-1].cloud_tail_end_ns - offset_ns)) / 1e6,
    }
