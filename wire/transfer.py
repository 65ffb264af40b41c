"""A payload as a header and pieces, and back.

The tensors lie one behind the other, each at the next multiple of 64; pieces cut this row at fixed lengths, wherever
that falls. Every number of a header is checked before a byte is allocated.
"""

from __future__ import annotations

import math
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from wire import dtypes, meta
from wire.envelope import HEAD_MAX
from wire.errors import DecodeError, InputError
from wire.payload import ROLES, Payload
from wire.pb import frame_pb2 as pb

MAX_TENSORS = 256
"""Tensors in a payload. A head emits a dozen; each costs a Python object on arrival."""

MAX_DIMS = 8
"""Dimensions of a tensor: batch, time, three of space, channels, and two to spare."""

MAX_NAME = 128
"""Characters of a tensor's or layout's name; they are printed in errors."""

MAX_EMPTY = 1 << 40
"""Product of the other dimensions of a tensor with a zero in its shape: torch computes strides from it, in 64 bits."""

MAX_PARTS = 1 << 20
"""Parts of a turn. A training step of 512 MiB has up to 64."""

_PADDING = memoryview(bytes(dtypes.ALIGN))


class TooLarge(DecodeError):
    """A transfer above the size that was agreed when the session opened."""


def piece_count(total_bytes: int, piece_bytes: int) -> int:
    """Pieces of a transfer; one without data has one, which carries the header."""
    return max(1, -(-total_bytes // piece_bytes))


@dataclass(frozen=True)
class Outgoing:
    """A packed payload. ``views`` refer to the tensors' own memory: it must not change until the transfer is done."""

    header: pb.Header
    views: Sequence[memoryview]
    starts: Sequence[int]
    piece_bytes: int

    @property
    def nbytes(self) -> int:
        """Bytes of all pieces, alignment included."""
        return int(self.header.total_bytes)

    @property
    def pieces(self) -> int:
        """How many there are, at least one."""
        return int(self.header.pieces)

    def piece(self, index: int) -> list[memoryview]:
        """The data of one piece as views to be joined."""
        start = index * self.piece_bytes
        return self._span(start, min(start + self.piece_bytes, self.nbytes))

    def data(self) -> list[memoryview]:
        """The data of all pieces."""
        return self._span(0, self.nbytes)

    def _span(self, start: int, end: int) -> list[memoryview]:
        found: list[memoryview] = []
        at = bisect_right(self.starts, start) - 1
        while start < end:
            view = self.views[at][start - self.starts[at] : end - self.starts[at]]
            found.append(view)
            start += len(view)
            at += 1
        return found


def pack(
    payload: Payload,
    piece_bytes: int,
    *,
    exchange: int = 0,
    turn: int = 0,
    part: int = 0,
    parts: int = 1,
    crc: bool = False,
) -> Outgoing:
    """Describe ``payload`` and cut it into pieces of ``piece_bytes``. Copies only strided tensors and other devices'.

    crc: add a CRC-32 over the whole transfer (0.24 s per GB). InputError names what cannot travel and what can.
    """
    header = pb.Header(role=payload.role, layout=payload.layout, exchange=exchange, turn=turn, part=part, parts=parts)
    if len(payload.tensors) > MAX_TENSORS:
        raise InputError(f"payload has {len(payload.tensors)} tensors; at most {MAX_TENSORS}")
    meta.pack(payload.meta, header)
    views: list[memoryview] = []
    starts: list[int] = []
    end = 0

    def append(view: memoryview) -> None:
        nonlocal end
        if view.nbytes:
            views.append(view)
            starts.append(end)
            end += view.nbytes

    for name, tensor in payload.tensors.items():
        if not 0 < len(name) <= MAX_NAME or tensor.dim() > MAX_DIMS:
            accepted = f"a name of 1 to {MAX_NAME} characters and at most {MAX_DIMS} dimensions"
            raise InputError(f"tensor {name[:MAX_NAME]!r} of shape {tuple(tensor.shape)}; accepted: {accepted}")
        data = dtypes.to_bytes(tensor)
        append(_PADDING[: dtypes.aligned(end) - end])
        header.tensors.add(
            name=name, dtype=dtypes.code(name, tensor), shape=tuple(tensor.shape), offset=end, nbytes=data.nbytes
        )
        append(data)
    header.total_bytes = end
    header.pieces = piece_count(end, piece_bytes)
    if crc:
        checksum = 0
        for view in views:
            checksum = zlib.crc32(view, checksum)
        header.crc32 = checksum
    room = HEAD_MAX - 256  # the envelope's own fields, a reply's timing
    if header.ByteSize() > room:
        raise InputError(f"payload's header has {header.ByteSize()} bytes of names and meta; at most {room}")
    return Outgoing(header, views, starts, piece_bytes)


def check(header: pb.Header, piece_bytes: int, max_bytes: int) -> None:
    """Refuse every header that does not describe exactly one payload of at most ``max_bytes``. Allocates nothing.

    Raises TooLarge, or DecodeError naming the field, its value and what is accepted.
    """
    if header.total_bytes > max_bytes:
        raise TooLarge(f"transfer of {header.total_bytes} bytes; at most {max_bytes}")
    if header.role not in ROLES:
        raise DecodeError(f"role {header.role[:MAX_NAME]!r}; accepted: {', '.join(ROLES)}")
    if not 0 < len(header.layout) <= MAX_NAME:
        raise DecodeError(f"layout of {len(header.layout)} characters; accepted: 1 to {MAX_NAME}")
    if not 0 < header.parts <= MAX_PARTS or header.part >= header.parts:
        raise DecodeError(f"part {header.part} of {header.parts}; accepted: 0 to parts - 1, at most {MAX_PARTS} parts")
    if header.pieces != piece_count(header.total_bytes, piece_bytes):
        expected = piece_count(header.total_bytes, piece_bytes)
        raise DecodeError(f"{header.total_bytes} bytes in {header.pieces} pieces of {piece_bytes}; expected {expected}")
    meta.check(header)
    if len(header.tensors) > MAX_TENSORS:
        raise DecodeError(f"{len(header.tensors)} tensors; at most {MAX_TENSORS}")
    end = 0
    seen: set[str] = set()
    for tensor in header.tensors:
        end = _check_tensor(tensor, end)
        if tensor.name in seen:
            raise DecodeError(f"tensor {tensor.name!r} comes twice")
        seen.add(tensor.name)
    if end != header.total_bytes:
        raise DecodeError(f"tensors end at byte {end}, the transfer at {header.total_bytes}")


def _check_tensor(tensor: pb.Tensor, end: int) -> int:
    name = tensor.name[:MAX_NAME]
    if not 0 < len(tensor.name) <= MAX_NAME:
        raise DecodeError(f"tensor name of {len(tensor.name)} characters; accepted: 1 to {MAX_NAME}")
    dtype = dtypes.DTYPES.get(tensor.dtype)
    if dtype is None:
        raise DecodeError(f"tensor {name!r}: dtype {tensor.dtype}; accepted: {sorted(dtypes.DTYPES)}")
    if len(tensor.shape) > MAX_DIMS:
        raise DecodeError(f"tensor {name!r}: {len(tensor.shape)} dimensions; at most {MAX_DIMS}")
    if tensor.offset != dtypes.aligned(end):
        raise DecodeError(f"tensor {name!r}: offset {tensor.offset}; expected {dtypes.aligned(end)}")
    nbytes = math.prod(tensor.shape) * dtype.itemsize
    if tensor.nbytes != nbytes:
        raise DecodeError(f"tensor {name!r}: {tensor.nbytes} bytes for shape {list(tensor.shape)}; expected {nbytes}")
    if math.prod(max(1, size) for size in tensor.shape) > max(MAX_EMPTY, nbytes):
        raise DecodeError(f"tensor {name!r}: shape {list(tensor.shape)} is too large, even with nothing in it")
    return int(tensor.offset) + int(nbytes)


class Assembly:
    """Collects the pieces of one transfer into one buffer; the payload's tensors are views of it.

    Raises what :func:`check` raises, before the buffer exists.
    """

    def __init__(self, header: pb.Header, piece_bytes: int, max_bytes: int) -> None:
        check(header, piece_bytes, max_bytes)
        self.header = header
        self._piece_bytes = piece_bytes
        self._buffer = dtypes.buffer(int(header.total_bytes))
        self._next = 0

    @property
    def next_piece(self) -> int:
        """Index of the piece that must come now."""
        return self._next

    @property
    def complete(self) -> bool:
        """Whether every piece has come."""
        return self._next == self.header.pieces

    @property
    def nbytes(self) -> int:
        """Bytes of the whole transfer."""
        return len(self._buffer)

    @property
    def data(self) -> memoryview:
        """All pieces, joined."""
        return self._buffer.data

    def add(self, index: int, data: memoryview) -> None:
        """Take the next piece. DecodeError for any other index or length."""
        start = index * self._piece_bytes
        expected = min(self._piece_bytes, self.nbytes - start)
        if self.complete or index != self._next:
            raise DecodeError(f"piece {index} came; expected {self._next} of {self.header.pieces}")
        if data.nbytes != expected:
            raise DecodeError(f"piece {index} has {data.nbytes} bytes; expected {expected}")
        self._buffer[start : start + expected] = np.frombuffer(data, np.uint8) if expected else 0
        self._next += 1

    def payload(self, *, finite: bool = False) -> Payload:
        """The payload of a complete transfer. Raises DecodeError for a wrong CRC.

        finite: also refuse infinite and not-a-number elements and meta (a layout's validator may ask less or more).
        """
        if not self.complete:
            raise DecodeError(f"transfer has {self._next} of {self.header.pieces} pieces")
        if self.header.HasField("crc32") and (found := zlib.crc32(self._buffer.data)) != self.header.crc32:
            raise DecodeError(f"CRC-32 {found:#010x}; the header says {self.header.crc32:#010x}")
        tensors = {
            t.name: dtypes.from_bytes(self._buffer, dtypes.DTYPES[t.dtype], tuple(t.shape), int(t.offset))
            for t in self.header.tensors
        }
        facts = meta.unpack(self.header)
        if finite:
            for name, tensor in tensors.items():
                if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                    raise DecodeError(f"tensor {name!r} holds an infinite or not-a-number element")
            meta.check_finite(facts)
        return Payload(self.header.role, self.header.layout, tensors, facts)
