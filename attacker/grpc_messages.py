"""One direction of one gRPC stream: DATA bytes to messages (5-byte prefix: compressed flag, length). Sans-I/O.

After a loss the assembler waits for a DATA frame that begins with a message of ours (gRPC begins a frame with each
message that it does not append to one before): a prefix, then an envelope whose fields walk cleanly to the message's
very end.
"""

from __future__ import annotations

from dataclasses import dataclass

from attacker.http2 import DataChunk

PREFIX_BYTES = 5
MAX_MESSAGE_BYTES = 8 << 20
"""What both ends of a session set as gRPC's limit; a longer length is no message of ours."""

MAX_HEAD_BYTES = 64 << 10
_TAIL = 15
_VARINT, _FIXED64, _LENGTH = 0, 1, 2
_FIELDS = {1: _VARINT, 2: _VARINT, 3: _VARINT, 4: _VARINT, 5: _FIXED64, _TAIL: _LENGTH} | dict.fromkeys(
    (6, 7, 8, 10, 11, 12), _LENGTH
)
"""Field number -> wire type of `Envelope` (proto/frame.proto)."""


@dataclass(frozen=True, slots=True)
class Message:
    """One whole gRPC message and when its first and last byte were heard."""

    data: bytes
    t_first_ns: int
    t_last_ns: int


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """(value, next position). Raises EOFError where the bytes end, ValueError where it is no varint."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise EOFError
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise ValueError


def _walks(data: memoryview, end: int) -> bool:
    """Whether the fields from the prefix on end exactly at ``end``. Raises as :func:`_varint` does."""
    at = PREFIX_BYTES
    while at < end:
        if at > MAX_HEAD_BYTES:
            return False
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if _FIELDS.get(number) != kind:
            return False
        if kind == _FIXED64:
            at += 8
            continue
        value, at = _varint(data, at)
        if kind == _LENGTH:
            at += value
            if number == _TAIL:
                break
    return at == end


def starts_message(data: memoryview) -> bool | None:
    """Whether bytes begin a prefixed envelope. None: they may, but end too early to tell.

    Stricter than protobuf: only fields of our contract, with their wire types, and the data field exactly up to the
    end.
    """
    if len(data) < PREFIX_BYTES:
        return None if not data or data[0] == 0 else False
    length = int.from_bytes(data[1:PREFIX_BYTES], "big")
    if data[0] != 0 or not 0 < length <= MAX_MESSAGE_BYTES:
        return False
    try:
        return _walks(data, PREFIX_BYTES + length)
    except EOFError:
        return None
    except ValueError:
        return False


class MessageAssembler:
    """Feed it the chunks of one stream and direction. late: the stream's beginning was not heard.

    :attr:`refused` counts messages that cannot be ours: compressed, or longer than :data:`MAX_MESSAGE_BYTES`.
    """

    def __init__(self, *, late: bool = False) -> None:
        self.refused = 0
        self._lost = late  # waiting for a DATA frame that begins with a message
        self._unsure = False  # _buffer may begin with a message
        self._buffer = bytearray()
        self._t_first = 0

    def lost(self) -> None:
        """Bytes of the stream are missing from here."""
        self._lost, self._unsure = True, False
        self._buffer.clear()

    def feed(self, chunk: DataChunk) -> list[Message]:
        """The messages that end in this chunk."""
        if self._lost:
            if chunk.first:
                self._unsure = True
                self._buffer.clear()
            if not self._unsure:
                return []
        if not self._buffer:
            self._t_first = chunk.t_ns
        self._buffer += chunk.data
        if self._lost:
            with memoryview(self._buffer) as view:
                verdict = starts_message(view)
            if verdict is not True:
                self._unsure = verdict is None and not chunk.last
                if not self._unsure:
                    self._buffer.clear()
                return []
            self._lost = self._unsure = False
        return self._cut(chunk.t_ns)

    def _cut(self, t_ns: int) -> list[Message]:
        found: list[Message] = []
        at, size = 0, len(self._buffer)
        while size - at >= PREFIX_BYTES:
            length = int.from_bytes(self._buffer[at + 1 : at + PREFIX_BYTES], "big")
            if self._buffer[at] != 0 or length > MAX_MESSAGE_BYTES:
                self.refused += 1
                self.lost()
                return found
            if size - at - PREFIX_BYTES < length:
                break
            with memoryview(self._buffer) as view:
                data = bytes(view[at + PREFIX_BYTES : at + PREFIX_BYTES + length])
            found.append(Message(data, self._t_first, t_ns))
            self._t_first = t_ns
            at += PREFIX_BYTES + length
        del self._buffer[:at]
        return found
