"""How a session opens: what the edge offers, what the cloud answers, and what neither accepts."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from wire.errors import SessionRefused
from wire.pb import frame_pb2 as pb

PROTOCOL = 1
"""The version of ``proto/frame.proto``; both ends must speak the same."""

PIECE_BYTES = 1 << 20
"""Payload bytes of a message; 256 KiB cost 1.2 to 1.5 times the CPU, more gains little."""

PIECE_RANGE = (4 << 10, 4 << 20)
"""Accepted ``piece_bytes``: below, heads outweigh data; above, one message takes too large a part of a window."""

TRANSFER_BYTES = 1 << 30
"""Largest transfer: a training step's 512 MiB, twice."""

CHECKPOINT_EVERY = "checkpoint_every"
"""In an Open's ``info``: after so many steps of a training, each time, both ends keep a checkpoint (0: they keep
none)."""

_MAX_LISTED = 1024
"""Layouts, checkpoints and info entries of an Open."""


@dataclass(frozen=True)
class Offer:
    """What an edge brings to a session.

    weights_sha256, config_sha256: must equal the cloud's. layouts: what head and defense may emit.
    session_id: 16 random bytes. incarnation: grows by one each time training rolls back; transfers then start anew.
    checkpoints: steps that could be loaded. max_transfer_bytes: the largest reply that is accepted.
    """

    victim: str
    split: str
    weights_sha256: bytes
    config_sha256: bytes
    layouts: tuple[str, ...]
    session_id: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    incarnation: int = 0
    checkpoints: tuple[int, ...] = ()
    info: Mapping[str, str] = field(default_factory=dict)
    max_transfer_bytes: int = TRANSFER_BYTES
    piece_bytes: int = PIECE_BYTES

    def message(self, epoch: int, next_transfer: int, credit: int) -> pb.Open:
        """The edge's first message of a connection."""
        return pb.Open(
            protocol=PROTOCOL,
            session_id=self.session_id,
            epoch=epoch,
            victim=self.victim,
            split=self.split,
            weights_sha256=self.weights_sha256,
            config_sha256=self.config_sha256,
            layouts=self.layouts,
            max_transfer_bytes=self.max_transfer_bytes,
            piece_bytes=self.piece_bytes,
            next_transfer=next_transfer,
            credit=credit,
            incarnation=self.incarnation,
            checkpoints=self.checkpoints,
            info=self.info,
        )


@dataclass(frozen=True)
class Opening:
    """An offer as the cloud sees it.

    next_transfer: the first that will come; above 0 an earlier instance has handled the others, whose state is gone.
    """

    session_id: bytes
    victim: str
    split: str
    weights_sha256: bytes
    config_sha256: bytes
    layouts: tuple[str, ...]
    incarnation: int
    checkpoints: tuple[int, ...]
    info: Mapping[str, str]
    epoch: int
    next_transfer: int
    credit: int
    max_transfer_bytes: int
    piece_bytes: int
    peer: str = ""


def read_open(message: pb.Open, peer: str = "") -> Opening:
    """Check the form of an Open; what it names is the service's to judge. Raises SessionRefused."""
    if message.protocol != PROTOCOL:
        raise SessionRefused("PROTOCOL", f"edge speaks protocol {message.protocol}, cloud speaks {PROTOCOL}")
    if len(message.session_id) != 16:
        raise SessionRefused("PROTOCOL", f"session id of {len(message.session_id)} bytes; expected 16")
    if max(len(message.layouts), len(message.checkpoints), len(message.info)) > _MAX_LISTED:
        raise SessionRefused("PROTOCOL", f"layouts, checkpoints and info have at most {_MAX_LISTED} entries each")
    low, high = PIECE_RANGE
    if not low <= message.piece_bytes <= high:
        raise SessionRefused("TOO_LARGE", f"piece_bytes {message.piece_bytes}; accepted: {low} to {high}")
    if message.max_transfer_bytes < 1:
        raise SessionRefused("TOO_LARGE", "max_transfer_bytes 0; accepted: at least 1")
    return Opening(
        session_id=message.session_id,
        victim=message.victim,
        split=message.split,
        weights_sha256=message.weights_sha256,
        config_sha256=message.config_sha256,
        layouts=tuple(message.layouts),
        incarnation=message.incarnation,
        checkpoints=tuple(message.checkpoints),
        info=dict(message.info),
        epoch=message.epoch,
        next_transfer=message.next_transfer,
        credit=message.credit,
        max_transfer_bytes=message.max_transfer_bytes,
        piece_bytes=message.piece_bytes,
        peer=peer,
    )


@dataclass(frozen=True)
class Opened:
    """The cloud's answer. ``fresh``: the cloud has no state of an earlier connection of this session."""

    epoch: int
    instance_id: bytes
    fresh: bool
    next_transfer: int
    max_transfer_bytes: int
    incarnation: int
    checkpoints: tuple[int, ...]
    info: Mapping[str, str]
