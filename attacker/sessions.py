"""What one mirror lets us hear, to sessions, transfers and frames. Sans-I/O.

A :class:`Ear` belongs to one mirror connection (a link's or a cloud's) and dies with it; the :class:`Sessions` outlive
every ear, so a session that reconnects, or is heard again from its start, goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from attacker.attacks.base import Direction, SessionInfo
from attacker.frames import FrameAssembler, RawFrame
from attacker.streams import Connections, Ended, Gap, Heard, Sizes
from attacker.transfers import Transfer, TransferAssembler
from wire.envelope import decode
from wire.errors import DecodeError
from wire.mirror import UP, Kind, Record
from wire.pb.frame_pb2 import Envelope, Open

MAX_SESSIONS = 1024
MAX_STREAMS = 4096
_DIRECTIONS: tuple[Direction, Direction] = ("up", "down")


@dataclass
class Session:
    """One session as one tap (``wire`` or ``cloud``) heard it."""

    info: SessionInfo
    tap: str
    frames: FrameAssembler
    incarnation: int = 0
    epochs: int = 0
    closed: bool = False


@dataclass(frozen=True)
class SessionOpened:
    """A session began, or began again; ``session`` is the live object."""

    session: Session


@dataclass(frozen=True)
class SessionClosed:
    """The edge said goodbye."""

    session: Session


@dataclass(frozen=True)
class TransferHeard:
    """A transfer that was not heard before."""

    session: Session
    incarnation: int
    direction: Direction
    transfer: Transfer


Event = SessionOpened | SessionClosed | TransferHeard | RawFrame | Gap | Sizes


class Sessions:
    """Every session that was heard of, oldest first."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[str, str], Session] = {}

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def get(self, info: SessionInfo, tap: str) -> tuple[Session, bool]:
        """The session called ``info.session`` as heard by ``tap``, and whether it is new."""
        key = (info.session, tap)
        known = self._sessions.get(key)
        if known is not None:
            return known, False
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        new = self._sessions[key] = Session(info, tap, FrameAssembler(info.session, tap))
        return new, True

    def find(self, session: str, tap: str) -> Session | None:
        """The session of that name as heard by ``tap``."""
        return self._sessions.get((session, tap))

    def totals(self) -> dict[str, int]:
        """captured, missed, incomplete, duplicates: sums over all sessions."""
        every = list(self._sessions.values())
        return {
            "captured": sum(len(s.frames.captured) for s in every),
            "missed": sum(s.frames.missed for s in every),
            "incomplete": sum(s.frames.incomplete for s in every),
            "duplicates": sum(s.frames.duplicates for s in every),
        }


@dataclass
class _Stream:
    session: Session | None = None
    incarnation: int = 0
    sides: tuple[TransferAssembler, TransferAssembler] = field(
        default_factory=lambda: (TransferAssembler(), TransferAssembler())
    )


class Ear:
    """Hears one mirror connection. name: tells anonymous sessions of several mirrors apart.

    :attr:`unreadable` counts messages that are no envelope.
    """

    def __init__(self, sessions: Sessions, name: str = "mirror") -> None:
        self.unreadable = 0
        self.connections = Connections()
        self._sessions = sessions
        self._name = name
        self._streams: dict[tuple[int, int], _Stream] = {}

    def feed(self, record: Record) -> list[Event]:
        """What this record completes."""
        tap = "cloud" if record.kind is Kind.COPY else "wire"
        events: list[Event] = []
        for sound in self.connections.feed(record):
            if isinstance(sound, Heard):
                self._message(sound, tap, events)
            elif isinstance(sound, Ended):
                self._end(sound)
            else:
                events.append(sound)
        return events

    def _end(self, sound: Ended) -> None:
        if sound.stream is not None:
            self._streams.pop((sound.connection, sound.stream), None)
            return
        for key in [key for key in self._streams if key[0] == sound.connection]:
            del self._streams[key]

    def _message(self, sound: Heard, tap: str, events: list[Event]) -> None:
        try:
            head, data = decode(sound.data)
        except DecodeError:
            self.unreadable += 1
            return
        key = (sound.connection, sound.stream)
        stream = self._streams.get(key)
        if stream is None:
            while len(self._streams) >= MAX_STREAMS:
                del self._streams[next(iter(self._streams))]
            stream = self._streams[key] = _Stream()
        if sound.direction == UP and head.HasField("open"):
            self._open(stream, head.open, tap, events)
        elif sound.direction == UP and head.HasField("close") and stream.session is not None:
            stream.session.closed = True
            events.append(SessionClosed(stream.session))
        else:
            self._payload(stream, sound, tap, head, data, events)

    def _open(self, stream: _Stream, opening: Open, tap: str, events: list[Event]) -> None:
        info = SessionInfo(
            session=bytes(opening.session_id).hex(),
            victim=opening.victim,
            split=opening.split,
            weights_sha256=bytes(opening.weights_sha256).hex(),
            layouts=tuple(opening.layouts),
            info=dict(opening.info),
        )
        session, _ = self._sessions.get(info, tap)
        stream.session, stream.incarnation = session, int(opening.incarnation)
        session.incarnation = max(session.incarnation, stream.incarnation)
        session.epochs += 1
        session.closed = False
        events.append(SessionOpened(session))

    def _payload(
        self, stream: _Stream, sound: Heard, tap: str, head: Envelope, data: memoryview, events: list[Event]
    ) -> None:
        transfer = self._transfer(stream, sound, head, data)
        if transfer is None:
            return
        if stream.session is None:
            self._adopt(stream, sound, tap, events)
        session = stream.session
        if session is None:
            return
        direction = _DIRECTIONS[sound.direction]
        new, frame = session.frames.feed(direction, stream.incarnation, transfer)
        if new:
            events.append(TransferHeard(session, stream.incarnation, direction, transfer))
        if frame is not None:
            events.append(frame)

    @staticmethod
    def _transfer(stream: _Stream, sound: Heard, head: Envelope, data: memoryview) -> Transfer | None:
        if sound.stream == 0 and head.HasField("header"):  # a copy is whole as it comes
            if len(data) != head.header.total_bytes:
                return None
            return Transfer(head, data, sound.t_first_ns, sound.t_last_ns)
        return stream.sides[sound.direction].feed(head, data, sound.t_first_ns, sound.t_last_ns)

    def _adopt(self, stream: _Stream, sound: Heard, tap: str, events: list[Event]) -> None:
        """A stream whose opening was not heard belongs to the session of its connection, or to the only open one."""
        siblings = [s for (c, _), s in self._streams.items() if c == sound.connection and s.session is not None]
        if siblings:
            stream.session, stream.incarnation = siblings[-1].session, siblings[-1].incarnation
            return
        known = [s for s in self._sessions if s.tap == tap and not s.closed]
        if len(known) == 1:
            stream.session, stream.incarnation = known[0], known[0].incarnation
            return
        name = f"unknown-{self._name}-{sound.connection}-{sound.stream}"
        stream.session, new = self._sessions.get(SessionInfo(name, "", "", "", ()), tap)
        if new:
            events.append(SessionOpened(stream.session))
