"""Works and results as entries of a Redis stream, and back. Sans-I/O.

An entry has three fields: ``number`` (of the work), ``head`` (JSON) and ``data`` (everything large, one
behind the other, at the lengths that the head tells). Payloads are coded as they cross the wire
(:mod:`wire.transfer`), so every dtype that travels survives, and every number is checked on arrival; reconstructions
as they are recorded (:mod:`wire.arrays`). Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from google.protobuf.message import DecodeError as ProtobufError

from attacker.attacks.base import CapturedFrame, CapturedPart, Reconstruction, SessionInfo
from attacker.inverting import Failure, Outcome, unstorable
from attacker.queue import Entry, Work
from attacker.transfers import MAX_TRANSFER_BYTES
from wire import arrays
from wire.errors import DecodeError, InputError
from wire.pb.frame_pb2 import Header
from wire.transfer import Assembly, pack

MAX_VALUE_BYTES = 512 << 20
"""Redis takes no longer value (``proto-max-bulk-len``)."""

Fields = Mapping[bytes, bytes]


@dataclass(frozen=True)
class Task:
    """A work under way. number: grows with each; after: the number of the work before it in its stream, where order
    matters and there was one."""

    number: int
    after: int | None
    info: SessionInfo
    work: Work


@dataclass(frozen=True)
class Result:
    """What a worker made of a task. deliveries: how many workers got it, this one included. reason: why the whole of it
    failed; there are no outcomes then."""

    number: int
    worker: str
    deliveries: int
    outcomes: tuple[Outcome, ...] = ()
    reason: str = ""


class _Blob:
    """Pieces one behind the other."""

    def __init__(self) -> None:
        self.pieces: list[bytes | memoryview] = []
        self.size = 0

    def add(self, *pieces: bytes | memoryview) -> int:
        """Append; how many bytes that were."""
        length = sum(memoryview(piece).nbytes for piece in pieces)
        self.pieces += pieces
        self.size += length
        return length

    def join(self) -> bytes:
        if self.size > MAX_VALUE_BYTES:
            raise InputError(f"{self.size} bytes do not fit into Redis; accepted: at most {MAX_VALUE_BYTES}")
        return b"".join(self.pieces)


class _Reader:
    """The same from the other end. Raises DecodeError past the end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = memoryview(data), 0

    def take(self, length: int) -> memoryview:
        end = self._at + length
        if length < 0 or end > len(self._data):
            raise DecodeError(f"{length} bytes at {self._at}, of {len(self._data)}")
        self._at, start = end, self._at
        return self._data[start:end]

    def end(self) -> None:
        if self._at != len(self._data):
            raise DecodeError(f"{len(self._data) - self._at} bytes too many")


def encode_task(task: Task) -> dict[str, bytes]:
    """The fields of an entry. Raises InputError for what does not fit."""
    frames: list[CapturedFrame] = []
    places: dict[int, int] = {}  # windows share frames
    for window in task.work.windows:
        for entry in window:
            if id(entry.frame) not in places:
                places[id(entry.frame)] = len(frames)
                frames.append(entry.frame)
    blob = _Blob()
    head = {
        "after": task.after,
        "attack": task.work.attack,
        "info": asdict(task.info),
        "windows": [[places[id(entry.frame)] for entry in window] for window in task.work.windows],
        "frames": [_frame_head(frame, blob) for frame in frames],
    }
    return _fields(task.number, head, blob)


def number_of(fields: Fields) -> int:
    """The number of an entry's work, which can be had although the rest cannot be read. Raises DecodeError."""
    try:
        return int(fields[b"number"])
    except (ValueError, KeyError) as error:
        raise DecodeError(f"no entry of ours: {type(error).__name__}: {error}") from error


def decode_task(fields: Fields) -> Task:
    """The inverse of :func:`encode_task`; times of the queue do not travel. Raises DecodeError."""
    try:
        head = json.loads(fields[b"head"])
        reader = _Reader(fields[b"data"])
        info = _info(head["info"])
        frames = [Entry(_frame(item, info.session, reader), 0) for item in head["frames"]]
        reader.end()
        windows = tuple(tuple(frames[place] for place in window) for window in head["windows"])
        after = None if head["after"] is None else int(head["after"])
        return Task(number_of(fields), after, info, Work(str(head["attack"]), info.session, windows))
    except (ValueError, KeyError, TypeError, IndexError, ProtobufError) as error:
        raise DecodeError(f"no work: {type(error).__name__}: {error}") from error


def encode_result(result: Result, work: Work) -> dict[str, bytes]:
    """The fields of an entry. What cannot be stored becomes the failure of its windows; InputError where all of it is
    too large."""
    blob = _Blob()
    outcomes = [
        {"spent_ms": outcome.spent_ms, "made": [_made(item, work, blob) for item in outcome.made]}
        for outcome in result.outcomes
    ]
    head = {
        "worker": result.worker,
        "deliveries": result.deliveries,
        "outcomes": outcomes,
        "reason": result.reason,
    }
    return _fields(result.number, head, blob)


def decode_result(fields: Fields) -> Result:
    """The inverse of :func:`encode_result`; ``begin_ns`` is of a clock that does not travel, and 0. Raises
    DecodeError."""
    try:
        head = json.loads(fields[b"head"])
        reader = _Reader(fields[b"data"])
        outcomes = tuple(
            Outcome(tuple(_unmade(item, reader) for item in outcome["made"]), 0, float(outcome["spent_ms"]))
            for outcome in head["outcomes"]
        )
        reader.end()
        sender = str(head["worker"]), int(head["deliveries"])
        return Result(number_of(fields), *sender, outcomes, str(head["reason"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DecodeError(f"no result: {type(error).__name__}: {error}") from error


def _fields(number: int, head: Mapping[str, Any], blob: _Blob) -> dict[str, bytes]:
    return {"number": b"%d" % number, "head": json.dumps(head).encode(), "data": blob.join()}


def _frame_head(frame: CapturedFrame, blob: _Blob) -> dict[str, Any]:
    return {
        "incarnation": frame.incarnation,
        "frame": frame.frame,
        "gap_before": frame.gap_before,
        "tap": frame.tap,
        "complete": frame.complete,
        "parts": [_part_head(part, blob) for part in frame.parts],
    }


def _part_head(part: CapturedPart, blob: _Blob) -> dict[str, Any]:
    packed = pack(part.payload, MAX_TRANSFER_BYTES, turn=part.turn, part=part.part, parts=part.parts)
    header = packed.header.SerializeToString()
    lengths = [blob.add(header), blob.add(*packed.data())]
    return {"direction": part.direction, "t_first_ns": part.t_first_ns, "t_last_ns": part.t_last_ns, "bytes": lengths}


def _frame(head: Mapping[str, Any], session: str, reader: _Reader) -> CapturedFrame:
    parts = tuple(_part(item, reader) for item in head["parts"])
    return CapturedFrame(
        session,
        int(head["incarnation"]),
        int(head["frame"]),
        parts,
        int(head["gap_before"]),
        str(head["tap"]),
        bool(head["complete"]),
    )


def _part(head: Mapping[str, Any], reader: _Reader) -> CapturedPart:
    if head["direction"] not in ("up", "down"):
        raise DecodeError(f"direction {head['direction']!r}; accepted: up, down")
    header_bytes, data_bytes = head["bytes"]
    header = Header.FromString(bytes(reader.take(header_bytes)))
    assembly = Assembly(header, MAX_TRANSFER_BYTES, MAX_TRANSFER_BYTES)
    assembly.add(0, reader.take(data_bytes))
    return CapturedPart(
        head["direction"],
        int(header.turn),
        int(header.part),
        int(header.parts),
        assembly.payload(),
        int(head["t_first_ns"]),
        int(head["t_last_ns"]),
    )


def _info(head: Mapping[str, Any]) -> SessionInfo:
    texts = {key: str(head[key]) for key in ("session", "victim", "split", "weights_sha256")}
    return SessionInfo(
        **texts,
        layouts=tuple(str(layout) for layout in head["layouts"]),
        info={str(key): str(value) for key, value in dict(head["info"]).items()},
    )


def _made(item: Reconstruction | Failure, work: Work, blob: _Blob) -> dict[str, Any]:
    if isinstance(item, Reconstruction):
        try:
            packed = arrays.pack(item.arrays, item.meta)
        except InputError as error:
            item = unstorable(work, item, error)
        else:
            return {"session": item.session, "frames": list(item.frames), "bytes": blob.add(packed)}
    return {"frames": list(item.frames), "reason": item.reason}


def _unmade(head: Mapping[str, Any], reader: _Reader) -> Reconstruction | Failure:
    frames = tuple(int(frame) for frame in head["frames"])
    if "reason" in head:
        return Failure(frames, str(head["reason"]))
    found, meta = arrays.unpack(bytes(reader.take(head["bytes"])))
    return Reconstruction(str(head["session"]), frames, "", found, meta)
