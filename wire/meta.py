"""The small facts beside the tensors: Python values to protobuf values and back, with caps."""

from __future__ import annotations

import math
from collections.abc import Mapping

from wire.errors import DecodeError, InputError
from wire.payload import Meta
from wire.pb import frame_pb2 as pb

MAX_META = 64
"""Entries of a payload's meta; a listener reads them, so there should be few."""

MAX_ITEMS = 4096
"""Numbers in one list; more belong into a tensor."""

MAX_TEXT = 4096
"""Characters of a key or a text."""

_INT64 = range(-(1 << 63), 1 << 63)


def pack(meta: Mapping[str, Meta], header: pb.Header) -> None:
    """Put ``meta`` into ``header``. InputError names the key that cannot travel."""
    if len(meta) > MAX_META:
        raise InputError(f"meta has {len(meta)} entries; at most {MAX_META}")
    for key, value in meta.items():
        if not isinstance(key, str) or not 0 < len(key) <= MAX_TEXT:
            raise InputError(f"meta key {str(key)[:80]!r}; accepted: a text of 1 to {MAX_TEXT} characters")
        header.meta[key].CopyFrom(_value(key, value))


def unpack(header: pb.Header) -> dict[str, Meta]:
    """The meta of a checked header, in the order of its keys (a protobuf map has none of its own)."""
    return {key: _read(header.meta[key]) for key in sorted(header.meta)}


def check(header: pb.Header) -> None:
    """DecodeError for more or longer values than :func:`pack` would write, and for a value of no kind."""
    if len(header.meta) > MAX_META:
        raise DecodeError(f"meta has {len(header.meta)} entries; at most {MAX_META}")
    for key, value in header.meta.items():
        kind = value.WhichOneof("kind")
        if kind is None or not 0 < len(key) <= MAX_TEXT:
            raise DecodeError(f"meta {key[:80]!r}: a value of no known kind, or a key of {len(key)} characters")
        length = _length(value, kind)
        most = MAX_TEXT if kind == "text" else MAX_ITEMS
        if length > most:
            raise DecodeError(f"meta {key[:80]!r}: {kind} of length {length}; at most {most}")


def check_finite(meta: Mapping[str, Meta]) -> None:
    """DecodeError for an infinite or not-a-number value."""
    for key, value in meta.items():
        numbers = value if isinstance(value, tuple) else (value,)
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            raise DecodeError(f"meta {key!r}: {value!r} is not finite")


def _value(key: str, value: object) -> pb.Value:
    items = value if isinstance(value, tuple) else (value,)
    if any(type(item) is int and item not in _INT64 for item in items):
        raise InputError(f"meta {key!r}: {value!r}; integers of 64 bits are accepted")
    if isinstance(value, bool):
        return pb.Value(flag=value)
    if isinstance(value, int):
        return pb.Value(integer=value)
    if isinstance(value, float):
        return pb.Value(number=value)
    if isinstance(value, str) and len(value) <= MAX_TEXT:
        return pb.Value(text=value)
    if isinstance(value, tuple) and len(value) <= MAX_ITEMS:
        if all(type(item) is int for item in value):
            return pb.Value(integers=pb.Ints(items=value))
        if all(type(item) in (int, float) for item in value):
            return pb.Value(numbers=pb.Floats(items=value))
    accepted = f"bool, int, float, text of at most {MAX_TEXT} characters, tuple of at most {MAX_ITEMS} int or float"
    raise InputError(f"meta {key!r}: {str(value)[:80]!r} is {type(value).__name__}; accepted: {accepted}")


def _length(value: pb.Value, kind: str) -> int:
    if kind == "text":
        return len(value.text)
    if kind == "integers":
        return len(value.integers.items)
    return len(value.numbers.items) if kind == "numbers" else 1


def _read(value: pb.Value) -> Meta:
    kind = value.WhichOneof("kind")
    if kind == "flag":
        return bool(value.flag)
    if kind == "integer":
        return int(value.integer)
    if kind == "number":
        return float(value.number)
    if kind == "text":
        return str(value.text)
    if kind == "integers":
        return tuple(int(item) for item in value.integers.items)
    return tuple(float(item) for item in value.numbers.items)
