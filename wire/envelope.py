"""One gRPC message: a protobuf head, and raw data appended by hand as its last field.

Any protobuf implementation reads and writes the same message. By hand, because a generated ``Envelope(data=...)`` takes
``bytes`` only, and copies a payload twice more at each end.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError as ProtobufError

from wire.errors import DecodeError
from wire.pb import frame_pb2 as pb

HEAD_MAX = 64 << 10
"""Bytes of a message without its data. Parsed fields cost up to 50 times their bytes in memory (an empty ``Tensor`` has
2), so a message full of fields must not be as large as one full of data. 256 tensors and 64 meta entries fit."""

_DATA_TAG = 0x7A  # field 15, length-delimited


def varint(value: int) -> bytes:
    """``value`` >= 0 as a protobuf varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def compose(head: pb.Envelope, views: Sequence[memoryview] = ()) -> list[bytes | memoryview]:
    """The message as buffers to be joined: the only copy on the way out. ``head`` must have no ``data``."""
    length = sum(view.nbytes for view in views)
    if not length:
        return [head.SerializeToString()]
    return [head.SerializeToString(), b"\x7a", varint(length), *views]


def encode(head: pb.Envelope, data: bytes | memoryview = b"") -> bytes:
    """The message as bytes. ``head`` must have no ``data`` of its own."""
    return b"".join(compose(head, (memoryview(data),)))


def decode(message: bytes) -> tuple[pb.Envelope, memoryview]:
    """The head without data, and the data as a view of ``message``.

    Accepts what the protobuf library accepts (data anywhere, repeated: the last counts, unknown fields), except heads
    above :data:`HEAD_MAX`. Raises DecodeError.
    """
    tail = _walk(message)
    try:
        if tail is None:
            head = pb.Envelope.FromString(message)
            data = memoryview(head.data)
        else:
            start, data_start = tail
            head = pb.Envelope.FromString(message[:start])
            data = memoryview(message)[data_start:]
    except ProtobufError as error:
        raise DecodeError(f"message of {len(message)} bytes is no Envelope: {error}") from error
    head.ClearField("data")
    return head, data


def _walk(message: bytes) -> tuple[int, int] | None:
    """Where the last field and its content begin, if that is the data; None: let the library find it.

    Raises DecodeError when more than :data:`HEAD_MAX` bytes would have to be parsed.
    """
    position, end, data_bytes = 0, len(message), 0
    tail: tuple[int, int] | None = None
    while position < end:
        start, kind = position, message[position] & 7
        tail = None
        try:
            tag, position = _varint(message, position)
            if kind == 0:
                _, position = _varint(message, position)
            elif kind == 1:
                position += 8
            elif kind == 5:
                position += 4
            elif kind == 2:
                length, position = _varint(message, position)
                if tag == _DATA_TAG:
                    data_bytes += length
                    tail = (start, position)
                position += length
            else:
                break  # a group or no wire type at all
        except IndexError:
            break  # cut within a number
    whole = position == end
    parsed = end - data_bytes if whole else end
    if parsed > HEAD_MAX:
        raise DecodeError(f"message of {end} bytes has a head of {parsed} bytes; at most {HEAD_MAX}")
    return tail if whole else None


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise IndexError("varint of more than 10 bytes")
