"""Mirror records of one link or cloud, to what was heard on each gRPC stream. Sans-I/O.

A connection may be joined late, lose bytes at any place, and come again from its start when the mirror reconnects.
Offsets decide: bytes that were heard already are dropped, bytes that are missing are a gap whether a record says so
or not.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from attacker.grpc_messages import MessageAssembler, starts_message
from attacker.http2 import DataChunk, Event, FrameSplitter, Lost
from wire.mirror import UP, Kind, Record

MAX_CONNECTIONS = 256
MAX_STREAMS = 64
"""Per connection. Above either bound the oldest is forgotten: a listener must not be filled up by what it hears."""

_TLS_RECORD = b"\x16\x03"


@dataclass(frozen=True, slots=True)
class Heard:
    """A whole gRPC message. ``stream`` 0: a copy that the cloud pushed (``data`` is then a whole transfer)."""

    connection: int
    stream: int
    direction: int
    data: bytes
    t_first_ns: int
    t_last_ns: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A stream (or, where ``stream`` is None, a connection) is over."""

    connection: int
    stream: int | None
    t_ns: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes that were not heard."""

    connection: int
    direction: int
    offset: int
    lost: int
    t_ns: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of an encrypted connection: that they passed, and when, is all there is to know."""

    connection: int
    direction: int
    size: int
    t_ns: int


Sound = Heard | Ended | Gap | Sizes


@dataclass
class _Direction:
    splitter: FrameSplitter | None = None  # None: nothing was heard yet
    offset: int = 0
    closed: bool = False
    assemblers: dict[int, MessageAssembler] = field(default_factory=dict)


@dataclass
class _Connection:
    tls: bool = False
    sides: tuple[_Direction, _Direction] = field(default_factory=lambda: (_Direction(), _Direction()))


class Connections:
    """All connections of one mirror. Feed it its records in order.

    :attr:`tls`: encrypted connections so far. :attr:`skipped_bytes`: bytes that came, but could not be placed.
    """

    def __init__(self) -> None:
        self.tls = 0
        self._skipped = 0  # of connections that are gone
        self._refused = 0
        self._connections: dict[int, _Connection] = {}

    @property
    def skipped_bytes(self) -> int:
        return self._skipped + sum(self._unplaced(c) for c in self._connections.values())

    def feed(self, record: Record) -> list[Sound]:
        """What this record lets us hear, in order."""
        if record.kind is Kind.COPY:
            data = bytes(record.data)
            return [Heard(record.connection, 0, record.direction, data, record.t_ns, record.t_ns)]
        if record.kind is Kind.OPEN:
            self._forget(record.connection)
        connection = self._connections.get(record.connection)
        if connection is None:
            while len(self._connections) >= MAX_CONNECTIONS:
                self._forget(next(iter(self._connections)))
            connection = self._connections[record.connection] = _Connection()
        if record.kind is Kind.OPEN:
            return []
        side = connection.sides[record.direction]
        if record.kind is Kind.CLOSE:
            return self._close(record, connection, side)
        sounds: list[Sound] = []
        if record.kind is Kind.GAP:
            self._miss(record, side, record.offset + record.lost, sounds)
        else:
            self._miss(record, side, record.offset, sounds)
            known = side.offset - record.offset
            if known < len(record.data):
                side.offset += len(record.data) - known
                self._hear(
                    record, bytes(record.data[known:]) if known else bytes(record.data), connection, side, sounds
                )
        return sounds

    def _miss(self, record: Record, side: _Direction, reach: int, sounds: list[Sound]) -> None:
        if reach <= side.offset:
            return
        sounds.append(Gap(record.connection, record.direction, side.offset, reach - side.offset, record.t_ns))
        side.offset = reach
        if side.splitter is None:
            side.splitter = FrameSplitter(client=False, starts_message=starts_message, late=True)
        else:
            self._spread(record, side, side.splitter.gap(), sounds)

    def _hear(
        self, record: Record, data: bytes, connection: _Connection, side: _Direction, sounds: list[Sound]
    ) -> None:
        if side.splitter is None:
            if data[:2] == _TLS_RECORD[: len(data)] and record.offset == 0 and not connection.tls:
                connection.tls = True
                self.tls += 1
            side.splitter = FrameSplitter(client=record.direction == UP, starts_message=starts_message)
        if connection.tls:
            sounds.append(Sizes(record.connection, record.direction, len(data), record.t_ns))
            return
        self._spread(record, side, side.splitter.feed(data, record.t_ns), sounds)

    def _spread(self, record: Record, side: _Direction, events: list[Event], sounds: list[Sound]) -> None:
        for event in events:
            if isinstance(event, Lost):
                for assembler in side.assemblers.values():
                    assembler.lost()
            elif isinstance(event, DataChunk):
                assembler = side.assemblers.get(event.stream) or self._assembler(side, event.stream)
                sounds.extend(
                    Heard(record.connection, event.stream, record.direction, m.data, m.t_first_ns, m.t_last_ns)
                    for m in assembler.feed(event)
                )
            else:
                side.assemblers.pop(event.stream, None)
                if event.reset or record.direction != UP:  # the cloud ends a stream last
                    sounds.append(Ended(record.connection, event.stream, event.t_ns))

    @staticmethod
    def _assembler(side: _Direction, stream: int) -> MessageAssembler:
        while len(side.assemblers) >= MAX_STREAMS:
            del side.assemblers[next(iter(side.assemblers))]
        late = side.splitter is not None and side.splitter.resyncs > 0
        return side.assemblers.setdefault(stream, MessageAssembler(late=late))

    def _close(self, record: Record, connection: _Connection, side: _Direction) -> list[Sound]:
        sounds: list[Sound] = []
        self._miss(record, side, record.offset, sounds)
        if side.splitter is not None and not side.closed:
            self._spread(record, side, side.splitter.close(), sounds)
        side.closed = True
        if all(s.closed for s in connection.sides):
            self._forget(record.connection)
            sounds.append(Ended(record.connection, None, record.t_ns))
        return sounds

    def _forget(self, number: int) -> None:
        gone = self._connections.pop(number, None)
        if gone is not None:
            self._skipped += self._unplaced(gone)

    @staticmethod
    def _unplaced(connection: _Connection) -> int:
        return sum(side.splitter.skipped_bytes for side in connection.sides if side.splitter is not None)
