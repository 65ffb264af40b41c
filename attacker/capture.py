"""What the listener heard, on disk (MCAP, see :mod:`wire.record`), and back.

Topics: ``session`` (JSON, repeated in every segment); ``transfer/up``, ``transfer/down``: one serialised Envelope for a
whole transfer, header and all data (publish: first byte, log: last byte, the link's clock; metadata of the channel:
session, tap, incarnation); ``frame`` (JSON) when a frame is complete; ``gap`` (JSON): bytes that were not heard;
``sizes`` (JSON): encrypted bytes that passed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attacker.attacks.base import Direction, SessionInfo
from attacker.config import RecordLevel
from attacker.frames import RawFrame
from attacker.sessions import Event, Session, SessionClosed, SessionOpened, Sessions, TransferHeard
from attacker.streams import Gap
from attacker.transfers import Transfer
from wire.envelope import decode, encode
from wire.errors import DecodeError
from wire.record import ReadSummary, Recorded, RecordWriter, read

_DIRECTIONS: tuple[Direction, Direction] = ("up", "down")


class Capture:
    """Writes events. One owner.

    first: of each session, so many frames are kept whole at the level ``first``.

    A disk that is full must not stop the listening: :attr:`problem` then says why nothing more is recorded.
    """

    def __init__(self, folder: Path, level: RecordLevel, max_bytes: int, first: int = 0) -> None:
        self.problem: str | None = None
        self._level, self._first = level, first
        self._writer = RecordWriter(folder, max_bytes=max_bytes)

    def write(self, event: Event) -> None:
        """Append and flush one event."""
        if self.problem is not None:
            return
        try:
            self._write(event)
        except OSError as error:
            self.problem = f"recording stopped: {error.strerror or error}"

    @property
    def deleted_segments(self) -> int:
        return self._writer.deleted_segments

    @property
    def total_bytes(self) -> int:
        return self._writer.total_bytes

    def close(self) -> None:
        """Finish the segment."""
        try:
            self._writer.close()
        except OSError as error:
            self.problem = f"recording stopped: {error.strerror or error}"

    def _write(self, event: Event) -> None:
        if isinstance(event, SessionOpened | SessionClosed):
            self._session(event.session)
        elif isinstance(event, TransferHeard):
            self._transfer(event)
        elif isinstance(event, RawFrame):
            self._frame(event)
        elif isinstance(event, Gap):
            gap = {"connection": event.connection, "direction": _DIRECTIONS[event.direction]}
            self._writer.event("gap", gap | {"offset": event.offset, "bytes": event.lost}, log_ns=event.t_ns)
        else:
            size = {"connection": event.connection, "direction": _DIRECTIONS[event.direction], "bytes": event.size}
            self._writer.event("sizes", size, log_ns=event.t_ns)

    def _session(self, session: Session) -> None:
        info = session.info
        self._writer.event(
            "session",
            {
                "session": info.session,
                "tap": session.tap,
                "victim": info.victim,
                "split": info.split,
                "weights_sha256": info.weights_sha256,
                "layouts": list(info.layouts),
                "info": dict(info.info),
                "incarnation": session.incarnation,
                "epochs": session.epochs,
                "closed": session.closed,
            },
            sticky=f"{session.tap}/{info.session}",
        )

    def _transfer(self, event: TransferHeard) -> None:
        if self._level == "none":
            return
        transfer = event.transfer
        whole = self._level == "full" or (self._level == "features" and event.direction == "up")
        if self._level == "first":
            whole = int(transfer.header.exchange) - event.session.frames.first < self._first
        self._writer.write(
            f"transfer/{event.direction}",
            encode(transfer.head, memoryview(transfer.data) if whole else memoryview(b"")),
            log_ns=transfer.t_last_ns,
            publish_ns=transfer.t_first_ns,
            sequence=transfer.number,
            metadata={
                "session": event.session.info.session,
                "tap": event.session.tap,
                "incarnation": str(event.incarnation),
            },
        )

    def _frame(self, raw: RawFrame) -> None:
        self._writer.event(
            "frame",
            {
                "session": raw.session,
                "tap": raw.tap,
                "incarnation": raw.incarnation,
                "frame": raw.frame,
                "gap_before": raw.gap_before,
                "complete": True,
            },
            log_ns=max(transfer.t_last_ns for transfer in raw.transfers.values()),
        )


def replay(folder: Path, sessions: Sessions, summary: ReadSummary | None = None) -> Iterator[Event]:
    """The events of a capture, as if they were heard again: sessions, transfers, and the frames that they complete.

    ``sessions`` afterwards knows what was captured, so that whoever listens on does not take it for new. Frames whose
    payloads were not kept are known to have been captured, but not given out.
    """
    for recorded in read(folder, summary):
        try:
            yield from _replayed(recorded, sessions)
        except (DecodeError, ValueError, KeyError, TypeError):  # a record of somebody else's making
            if summary is not None:
                summary.unreadable_bytes += len(recorded.data)


def told(folder: Path, raw: RawFrame) -> bool:
    """Whether the capture says that this frame is whole: a kill may fall between its last transfer and that line."""
    place = (raw.session, raw.tap, raw.incarnation, raw.frame)
    for recorded in read(folder):
        if recorded.topic == "frame":
            said = recorded.json()
            if (said.get("session"), said.get("tap"), said.get("incarnation"), said.get("frame")) == place:
                return True
    return False


def _replayed(recorded: Recorded, sessions: Sessions) -> Iterator[Event]:
    if recorded.topic == "session":
        said = recorded.json()
        layouts, info = said["layouts"], said["info"]
        if not isinstance(layouts, list) or not isinstance(info, dict):
            raise TypeError("session record")
        name, victim, split, digest = (str(said[key]) for key in ("session", "victim", "split", "weights_sha256"))
        session, _ = sessions.get(SessionInfo(name, victim, split, digest, tuple(layouts), info), str(said["tap"]))
        session.incarnation = max(session.incarnation, _number(said["incarnation"]))
        session.epochs = max(session.epochs, _number(said["epochs"]))
        session.closed = bool(said["closed"])
        yield SessionClosed(session) if session.closed else SessionOpened(session)
    elif recorded.topic == "frame":
        said = recorded.json()
        session = _session(sessions, str(said["session"]), str(said["tap"]))
        frame, incarnation = _number(said["frame"]), _number(said["incarnation"])
        session.frames.restore(incarnation, frame)
    elif recorded.topic in ("transfer/up", "transfer/down"):
        head, data = decode(recorded.data)
        if not head.HasField("header") or len(data) != head.header.total_bytes:
            return
        session = _session(sessions, recorded.metadata["session"], recorded.metadata["tap"])
        incarnation = int(recorded.metadata["incarnation"])
        direction = _DIRECTIONS[recorded.topic == "transfer/down"]
        transfer = Transfer(head, data, recorded.publish_ns, recorded.log_ns)
        new, raw = session.frames.feed(direction, incarnation, transfer)
        if new:
            yield TransferHeard(session, incarnation, direction, transfer)
        if raw is not None:
            yield raw


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _session(sessions: Sessions, name: str, tap: str) -> Session:
    session, _ = sessions.get(SessionInfo(name, "", "", "", ()), tap)
    return session
