"""One direction of an overheard HTTP/2 connection, cut into DATA (RFC 9113, section 4.1). Sans-I/O.

A listener has no say in the connection: no flow control, no settings to answer, no HPACK state after a late join. So
only the 9-byte frame headers are read; header blocks are stepped over, and what a stream carries is judged by its data.
After a gap the splitter looks for a place where three frame headers follow one another and the first is a DATA frame
whose first bytes begin a message (`starts_message`): a chain of headers alone is wrong about once in a hundred joins.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, PADDED = 0x1, 0x8
CHAIN = 3
RESYNC_WINDOW = 16 << 20
"""Bytes that may be held while one candidate for a new start is being judged."""

_ODD = b"".join(b"\\x%02x" % value for value in range(1, 256, 2))
# length24, DATA, no flag or END_STREAM, odd stream id; then a message that is not compressed
_CANDIDATE = re.compile(rb"(?=.{3}\x00[\x00\x01][\x00-\x7f]..[" + _ODD + rb"]\x00)", re.DOTALL)
_FIXED = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
_ON_STREAM = {DATA, HEADERS, PRIORITY, RST_STREAM, CONTINUATION}
_ON_CONNECTION = {SETTINGS, PING, GOAWAY}

StartsMessage = Callable[[memoryview], bool | None]
"""Whether bytes begin a message of ours; None: too few bytes to tell."""


@dataclass(frozen=True, slots=True)
class DataChunk:
    """Bytes of one DATA frame, without padding, in order. ``first``: the frame begins here; ``last``: it ends here."""

    stream: int
    data: memoryview
    first: bool
    last: bool
    t_ns: int


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """Nothing more comes on this stream in this direction; ``reset`` where it was broken off."""

    stream: int
    reset: bool
    t_ns: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Bytes are missing before what follows: every message that had begun is void."""


Event = DataChunk | StreamEnd | Lost


class FrameSplitter:
    """Feed it the bytes of one direction in order, tell it of gaps, and take the events.

    client: this direction begins with the client preface. late: the beginning was not heard.
    :attr:`skipped_bytes` counts bytes that could not be placed; :attr:`resyncs` how often the place was found again.
    """

    def __init__(self, *, client: bool, starts_message: StartsMessage, late: bool = False) -> None:
        self.skipped_bytes = 0
        self.resyncs = 0
        self._starts_message = starts_message
        self._preface = PREFACE if client and not late else b""
        self._head = bytearray()
        self._type = self._flags = self._stream = 0
        self._left = 0  # payload bytes still to come of the current frame, padding included
        self._padding: int | None = 0  # of those, padding; None: its length byte is still to come
        self._first = self._in_frame = False
        self._searching = late
        self._held = bytearray()  # while searching: from the candidate that is being judged on
        self._marks: list[tuple[int, int]] = []  # (end in _held, t_ns) of what was fed

    @property
    def searching(self) -> bool:
        """The place in the stream is not known at the moment."""
        return self._searching

    def feed(self, data: bytes, t_ns: int) -> list[Event]:
        """Take the next bytes, heard at ``t_ns``."""
        out: list[Event] = []
        if self._searching:
            self._held += data
            self._marks.append((len(self._held), t_ns))
            self._run(self._held, self._marks, out, final=False)
        else:
            self._run(data, [(len(data), t_ns)], out, final=False)
        return out

    def gap(self) -> list[Event]:
        """Bytes are missing between the last feed and the next."""
        self._forget()
        self._searching = True
        return [Lost()]

    def close(self) -> list[Event]:
        """The direction has ended: what is still held is judged with the frames that are there."""
        out: list[Event] = []
        if self._searching:
            self._run(self._held, self._marks, out, final=True)
        self._forget()
        return out

    def _forget(self) -> None:
        self.skipped_bytes += len(self._held)
        self._held, self._marks = bytearray(), []
        self._head.clear()
        self._preface = b""
        self._in_frame = False

    def _run(self, data: bytes | bytearray, marks: list[tuple[int, int]], out: list[Event], *, final: bool) -> None:
        at = 0
        while True:
            if self._searching:
                begin = at
                found, at = self._search(data, begin, final)
                self.skipped_bytes += at - begin
                if not found:
                    self._held = bytearray(memoryview(data)[at:])
                    self._marks = [(end - at, t) for end, t in marks if end > at]
                    return
                self._searching = False
                self.resyncs += 1
            if isinstance(data, bytearray):  # the events' views must outlive what is held
                data, self._held, self._marks = bytes(data), bytearray(), []
            lost_at = self._parse(memoryview(data), at, marks, out)
            if lost_at is None:
                return
            self._forget()
            self._searching = True
            out.append(Lost())
            at = lost_at

    # in step with the stream

    def _parse(self, data: memoryview, at: int, marks: list[tuple[int, int]], out: list[Event]) -> int | None:
        """Read frames from ``at`` on. Returns where to search on if what is there is no frame."""
        for end, t_ns in marks:
            while at < end:
                if self._preface:
                    if data[at] != self._preface[0]:
                        return at + 1
                    self._preface = self._preface[1:]
                    at += 1
                elif not self._in_frame:
                    step = min(HEADER_BYTES - len(self._head), end - at)
                    self._head += data[at : at + step]
                    at += step
                    if len(self._head) == HEADER_BYTES:
                        if not plausible(self._head, 0):
                            return at
                        self._begin(t_ns, out)
                else:
                    at += self._payload(data[at:end], t_ns, out)
        return None

    def _begin(self, t_ns: int, out: list[Event]) -> None:
        self._left = int.from_bytes(self._head[:3], "big")
        self._type, self._flags = self._head[3], self._head[4]
        self._stream = int.from_bytes(self._head[5:9], "big") & 0x7FFFFFFF
        self._head.clear()
        self._padding = None if self._type == DATA and self._flags & PADDED and self._left else 0
        self._first = self._in_frame = True
        if self._left == 0:
            self._end(t_ns, out)

    def _payload(self, data: memoryview, t_ns: int, out: list[Event]) -> int:
        """Consume payload of the current frame; returns how many bytes."""
        if self._padding is None:
            self._left -= 1
            self._padding = min(data[0], self._left)
            if self._left == 0:
                self._end(t_ns, out)
            return 1
        step = min(self._left, len(data))
        useful = min(self._left - self._padding, len(data))
        self._left -= step
        if self._type == DATA and useful > 0:
            out.append(DataChunk(self._stream, data[:useful], self._first, self._left <= self._padding, t_ns))
            self._first = False
        if self._left == 0:
            self._end(t_ns, out)
        return step

    def _end(self, t_ns: int, out: list[Event]) -> None:
        self._in_frame = False
        if self._type == RST_STREAM:
            out.append(StreamEnd(self._stream, True, t_ns))
        elif self._type in (DATA, HEADERS) and self._flags & END_STREAM:
            out.append(StreamEnd(self._stream, False, t_ns))

    # out of step

    def _search(self, data: bytes | bytearray, at: int, final: bool) -> tuple[bool, int]:
        """(True, where a frame of ours begins), or (False, the first byte that may still turn out to be one)."""
        while True:
            match = _CANDIDATE.search(data, at)
            if match is None:
                return False, max(at, len(data) - HEADER_BYTES)
            at = match.start()
            verdict = self._judge(data, at, final)
            if verdict:
                return True, at
            if verdict is None and len(data) - at <= RESYNC_WINDOW:
                return False, at
            at += 1

    def _judge(self, data: bytes | bytearray, start: int, final: bool) -> bool | None:
        """Whether the frames from ``start`` on are frames, the first with a message; None: more bytes are needed."""
        at = start + HEADER_BYTES + int.from_bytes(data[start : start + 3], "big")
        with memoryview(data) as view, view[start + HEADER_BYTES : at] as begin:
            message = self._starts_message(begin)
        if message is None:
            return None if len(data) < at and not final else False
        for _ in range(CHAIN - 1):
            if not message:
                return False
            if at + HEADER_BYTES > len(data):
                return at == len(data) if final else None
            message = plausible(data, at)
            at += HEADER_BYTES + int.from_bytes(data[at : at + 3], "big")
        return message


def plausible(data: bytes | bytearray, at: int) -> bool:
    """Whether nine bytes at ``at`` can be a frame header: known type, its fixed size, an id that the type may have."""
    length = int.from_bytes(data[at : at + 3], "big")
    kind = data[at + 3]
    stream = int.from_bytes(data[at + 5 : at + 9], "big") & 0x7FFFFFFF
    if kind > CONTINUATION or length != _FIXED.get(kind, length):
        return False
    if kind in _ON_STREAM:
        return stream % 2 == 1
    if kind in _ON_CONNECTION:
        return stream == 0 and (kind != SETTINGS or length % 6 == 0)
    return True
