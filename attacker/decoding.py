"""Raw frames to captured frames: the payloads of every transfer, checked."""

from __future__ import annotations

from attacker.attacks.base import CapturedFrame, CapturedPart
from attacker.frames import RawFrame
from attacker.transfers import MAX_TRANSFER_BYTES, Transfer
from victims.base import LAYOUTS
from wire.payload import Payload
from wire.pb.frame_pb2 import Header
from wire.transfer import Assembly


def payload_of(transfer: Transfer) -> Payload:
    """The tensors of a transfer. Raises DecodeError for a header that does not describe its data, or a wrong CRC.

    Layouts that a victim has registered in this process are validated; a listener without the victim's code takes the
    tensors as they are.
    """
    # the pieces are joined already: for the library this is one piece as long as the transfer
    joined = Header()
    joined.CopyFrom(transfer.header)
    joined.pieces = 1
    assembly = Assembly(joined, max(len(transfer.data), 1), MAX_TRANSFER_BYTES)
    assembly.add(0, memoryview(transfer.data))
    payload = assembly.payload()
    check = LAYOUTS.get(payload.layout)
    if check is not None:
        check(payload)
    return payload


def decode_frame(raw: RawFrame) -> CapturedFrame:
    """The frame with its payloads as tensors. Raises DecodeError naming what is wrong."""
    parts = [
        CapturedPart(
            direction,
            turn,
            part,
            int(transfer.header.parts),
            payload_of(transfer),
            transfer.t_first_ns,
            transfer.t_last_ns,
        )
        for (direction, turn, part), transfer in sorted(raw.transfers.items())
    ]
    return CapturedFrame(raw.session, raw.incarnation, raw.frame, tuple(parts), raw.gap_before, raw.tap)
