"""The mirror: what a link tells its listener, framed. Bytes in, records out; no socket, no clock, no thread.

One record is a fixed header of 40 bytes, in network order, and its data::

    0   2  magic 0xE5 0x4D
    2   1  kind          3   1  direction
    4   4  length of the data that follows
    8   8  connection    16  8  t_ns
    24  8  offset        32  8  lost

A listener hears, for each connection: one OPEN, then per direction DATA and GAP records whose offsets join without a
seam, then one CLOSE per direction whose offset is the length of that direction. :class:`Continuity` holds a link to
that, whatever was lost and however often the listener came back.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum

from wire.errors import DecodeError


class Kind(IntEnum):
    """What a record says."""

    DATA = 0
    """Bytes of one direction, as forwarded."""
    OPEN = 1
    """A connection began. Offset and data are empty."""
    CLOSE = 2
    """One direction ended; ``offset`` is its length."""
    GAP = 3
    """``lost`` bytes from ``offset`` on that the listener will never see."""
    COPY = 4
    """A whole transfer, pushed by a curious cloud."""
    SNAPSHOT = 5
    """The model of a curious cloud as it is now, pushed in order with its copies; safetensors that name session and
    step."""


WHOLE = frozenset({Kind.COPY, Kind.SNAPSHOT})
"""Records that stand for themselves: their offsets join nothing."""

UP = 0
"""Direction edge to cloud."""
DOWN = 1
"""Direction cloud to edge."""

MAX_DATA_BYTES = 1 << 22
"""Longest DATA record. A link reads 1 MiB at a time; a larger length is a lost frame boundary."""
MAX_COPY_BYTES = 1 << 28
"""Longest COPY or SNAPSHOT record: 256 MiB. The reader holds only what has arrived, so a lying length is cheap."""
MAX_COUNT = (1 << 63) - 1
"""Connections, offsets, losses and times must stay below this, so that sums of two never leave 64 bits."""

_LIMIT = {
    Kind.DATA: MAX_DATA_BYTES,
    Kind.OPEN: 0,
    Kind.CLOSE: 0,
    Kind.GAP: 0,
    Kind.COPY: MAX_COPY_BYTES,
    Kind.SNAPSHOT: MAX_COPY_BYTES,
}
_MAGIC = b"\xe5M"
_HEADER = struct.Struct("!2sBBIQQQQ")
HEADER_BYTES = _HEADER.size


@dataclass(frozen=True)
class Record:
    """One thing a listener is told.

    connection: the link's number for it, from 0, never reused by one link process.
    direction: :data:`UP` or :data:`DOWN`.
    t_ns: CLOCK_MONOTONIC of the link, just before it handed the bytes on.
    offset: of the first byte in this connection and direction.
    data: DATA, COPY and SNAPSHOT only. lost: GAP only, bytes missing.
    """

    kind: Kind
    connection: int
    direction: int
    t_ns: int
    offset: int
    data: bytes | memoryview = b""
    lost: int = 0

    @property
    def end(self) -> int:
        """Offset just after what this record covers."""
        return self.offset + len(self.data) + self.lost


def encode_header(record: Record) -> bytes:
    """The 40 bytes that precede ``record.data`` (so that large data need not be joined to them).

    Raises :class:`ValueError` for a record that no reader would accept.
    """
    _check(record.kind, record.direction, len(record.data), record.lost)
    for name in ("connection", "t_ns", "offset", "lost"):
        if not 0 <= getattr(record, name) <= MAX_COUNT:
            raise ValueError(f"mirror record: {name} {getattr(record, name)}; accepted: 0 to 2^63-1")
    return _HEADER.pack(
        _MAGIC,
        record.kind,
        record.direction,
        len(record.data),
        record.connection,
        record.t_ns,
        record.offset,
        record.lost,
    )


def decode_header(header: bytes | memoryview) -> tuple[Record, int]:
    """The record without its data, and how many bytes of data follow. Raises :class:`DecodeError`."""
    magic, kind, direction, length, connection, t_ns, offset, lost = _HEADER.unpack(header)
    if magic != _MAGIC:
        raise DecodeError(f"mirror record: starts with {magic.hex()}; expected {_MAGIC.hex()}")
    try:
        _check(kind, direction, length, lost)
    except ValueError as error:
        raise DecodeError(str(error)) from None
    if max(connection, t_ns, offset, lost) > MAX_COUNT:
        raise DecodeError("mirror record: connection, time, offset or loss above 2^63-1")
    return Record(Kind(kind), connection, direction, t_ns, offset, lost=lost), length


def _check(kind: int, direction: int, length: int, lost: int) -> None:
    if kind not in Kind._value2member_map_:
        raise ValueError(f"mirror record: kind {kind}; accepted: 0 to {max(Kind):d}")
    kind = Kind(kind)
    if direction not in (UP, DOWN):
        raise ValueError(f"mirror record: direction {direction}; accepted: {UP} (up), {DOWN} (down)")
    if length > _LIMIT[kind]:
        raise ValueError(f"mirror record: {kind.name} of {length} bytes; accepted: at most {_LIMIT[kind]}")
    if (lost > 0) != (kind is Kind.GAP):
        raise ValueError(f"mirror record: {kind.name} with {lost} bytes lost; a GAP has some, nothing else has any")


def encode(record: Record) -> bytes:
    """The whole record. Raises :class:`ValueError` for a record that no reader would accept."""
    return b"".join((encode_header(record), record.data))


class RecordReader:
    """Cuts a byte stream into records; any cut of the same bytes gives the same records.

    Records ahead of a fault are handed out first: the fault is raised by that call if it found no record, else by the
    next one, and by every one after. Memory: what has arrived of one record, and one feed.
    """

    def __init__(self) -> None:
        self._head = b""
        self._record: Record | None = None
        self._missing = 0
        self._body = bytearray()
        self._fault: DecodeError | None = None

    @property
    def pending(self) -> int:
        """Bytes of an unfinished record; not 0 at the end of a stream means that it was torn."""
        if self._record is None:
            return len(self._head)
        return HEADER_BYTES + len(self._body)

    def feed(self, data: bytes) -> list[Record]:
        """The records that ``data`` completes; their data is ``bytes``. Raises :class:`DecodeError` on garbage."""
        if self._fault is not None:
            raise self._fault
        view = memoryview(data if isinstance(data, bytes) else bytes(data))
        records: list[Record] = []
        at = 0
        while True:
            if self._record is None:
                take = min(HEADER_BYTES - len(self._head), len(view) - at)
                self._head += view[at : at + take]
                at += take
                if len(self._head) < HEADER_BYTES:
                    return records
                try:
                    self._record, self._missing = decode_header(self._head)
                except DecodeError as error:
                    self._fault = error
                    if records:
                        return records
                    raise
                self._head = b""
            take = min(self._missing, len(view) - at)
            self._body += view[at : at + take]
            at += take
            self._missing -= take
            if self._missing:
                return records
            records.append(replace(self._record, data=bytes(self._body)))
            self._body.clear()
            self._record = None


@dataclass
class Pinned:
    """The start of one connection, kept so that a late listener can still read it.

    t_ns: when it began. prefix: its first bytes, per direction. first_ns: when each prefix began. ended: per direction,
    the CLOSE that an earlier listener was told, and this one would otherwise never hear.
    """

    t_ns: int
    prefix: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    first_ns: list[int] = field(default_factory=lambda: [0, 0])
    ended: list[Record | None] = field(default_factory=lambda: [None, None])


@dataclass
class _Told:
    offset: list[int] = field(default_factory=lambda: [0, 0])
    closed: list[bool] = field(default_factory=lambda: [False, False])


class Continuity:
    """What one listener has been told so far; turns a stream of records with holes and overlaps into one without.

    A new listener gets a new object: :meth:`greet`, then :meth:`follow` for each record.
    """

    def __init__(self) -> None:
        self._told: dict[int, _Told] = {}

    def greet(self, pinned: Iterable[tuple[int, Pinned]]) -> list[Record]:
        """The start of every live connection: OPEN, then the pinned bytes of each direction from offset 0.

        A direction that had ended before is told to its end: a GAP from the pinned bytes on, and its CLOSE.
        """
        records = []
        for connection, pin in pinned:
            records += self._open(connection, pin.t_ns)
            for direction in (UP, DOWN):
                if prefix := bytes(pin.prefix[direction]):
                    records.append(Record(Kind.DATA, connection, direction, pin.first_ns[direction], 0, prefix))
                    self._told[connection].offset[direction] = len(prefix)
            for ended in pin.ended:
                records += self.follow(ended) if ended is not None else []
        return records

    def follow(self, record: Record) -> list[Record]:
        """What to tell for ``record``: nothing if it is known, itself, its unknown rest, or a GAP and itself."""
        if record.kind in WHOLE:
            return [record]
        records = self._open(record.connection, record.t_ns)
        told, direction = self._told[record.connection], record.direction
        if record.kind is Kind.OPEN or told.closed[direction]:
            return records
        known = told.offset[direction]
        reach = record.end if record.kind is Kind.GAP else record.offset
        if reach > known:
            records.append(Record(Kind.GAP, record.connection, direction, record.t_ns, known, lost=reach - known))
            known = reach
        if record.kind is Kind.DATA and record.end > known:
            records.append(replace(record, offset=known, data=memoryview(record.data)[known - record.offset :]))
        told.offset[direction] = max(known, record.end)
        if record.kind is Kind.CLOSE:
            records.append(record)
            told.closed[direction] = True
            if all(told.closed):
                del self._told[record.connection]
        return records

    def _open(self, connection: int, t_ns: int) -> list[Record]:
        if connection in self._told:
            return []
        self._told[connection] = _Told()
        return [Record(Kind.OPEN, connection, UP, t_ns, 0)]
