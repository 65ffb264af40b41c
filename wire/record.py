"""An append-only record on disk: numbered MCAP segments, used by the edge (truth) and the listener (capture).

A folder holds ``0000.mcap``, ``0001.mcap`` ...  Each record is one MCAP chunk with its own CRC, written and flushed at
once, so a killed process loses at most the record it was writing. A restarted process begins a new segment and never
touches an old one. Reading needs no index and stops, per segment, at the first broken record. Format:
https://mcap.dev/spec (plain MCAP: any MCAP tool opens a segment).
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import (
    Attachment,
    Channel,
    Chunk,
    Header,
    McapRecord,
    Message,
    MessageIndex,
    Metadata,
    Schema,
)
from mcap.stream_reader import breakup_chunk
from mcap.writer import MCAP0_MAGIC, CompressionType, Writer

from wire.errors import InputError

SEGMENT = re.compile(r"(\d{4,})\.mcap")
_RECORD_HEAD = struct.Struct("<BQ")


@dataclass(frozen=True)
class Recorded:
    """One record as it was written. ``metadata`` belongs to the channel (for example the session's id)."""

    topic: str
    data: bytes
    log_ns: int
    publish_ns: int
    sequence: int
    metadata: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> dict[str, object]:
        """The record of :meth:`RecordWriter.event`. Raises ValueError where the data is no JSON object."""
        value = json.loads(self.data)
        if not isinstance(value, dict):
            raise ValueError(f"record of topic {self.topic!r} is {type(value).__name__}, not an object")
        return value


@dataclass
class ReadSummary:
    """What a reading found. ``broken`` names each segment that could not be read to its end, and why."""

    segments: int = 0
    records: int = 0
    unreadable_bytes: int = 0
    broken: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0: everything was read; 3: some bytes were not; 1: bytes are there, and none could be read."""
        if not self.unreadable_bytes:
            return 0
        return 3 if self.records else 1


def segments(folder: Path) -> list[Path]:
    """The segments of a record in writing order; empty where there is none."""
    found = [(int(m.group(1)), p) for p in folder.glob("*.mcap") if (m := SEGMENT.fullmatch(p.name))]
    return [path for _, path in sorted(found)]


class _Segment:
    """One open file of a record."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("xb")
        self._channels: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
        # chunk_size 1: every record closes its chunk, so every record has a CRC and is on disk when append() returns
        self._writer: Any = Writer(self._file, chunk_size=1, compression=CompressionType.NONE)
        self._writer.start(profile="eavesplit", library="eavesplit")

    def append(
        self, topic: str, data: bytes, log_ns: int, publish_ns: int, sequence: int, metadata: Mapping[str, str]
    ) -> None:
        key = (topic, tuple(sorted(metadata.items())))
        if key not in self._channels:
            encoding = "json" if data[:1] == b"{" else ""
            self._channels[key] = self._writer.register_channel(topic, encoding, schema_id=0, metadata=dict(metadata))
        self._writer.add_message(self._channels[key], log_ns, data, publish_ns, sequence & 0xFFFFFFFF)
        self._file.flush()

    @property
    def size(self) -> int:
        return self._file.tell()

    def finish(self) -> None:
        self._writer.finish()
        self._file.close()

    def abandon(self) -> None:
        with suppress(OSError):  # what the buffer still holds is lost, as it would be in a kill
            self._file.close()


class RecordWriter:
    """Writes a record. Not thread-safe: one owner.

    folder: made if absent. max_bytes: bound of the whole folder; the oldest segments are deleted (and counted in
    :attr:`deleted_segments`, :attr:`deleted_bytes`) to keep it; the newest one always stays. segment_bytes: a segment
    is closed when it has grown past this (at most a quarter of ``max_bytes``, so that deleting is gradual).
    """

    def __init__(self, folder: Path, *, max_bytes: int, segment_bytes: int = 64 << 20) -> None:
        if max_bytes < 1 or segment_bytes < 1:
            raise InputError(
                f"record in {folder}: max_bytes={max_bytes}, segment_bytes={segment_bytes}; both must be > 0"
            )
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.deleted_segments = 0
        self.deleted_bytes = 0
        self._max_bytes = max_bytes
        self._segment_bytes = min(segment_bytes, max(max_bytes // 4, 1))
        self._closed = {path: path.stat().st_size for path in segments(folder)}  # oldest first
        self._next = int(next(reversed(self._closed)).stem) + 1 if self._closed else 0
        self._sticky: dict[tuple[str, str], tuple[bytes, int]] = {}
        self._open: _Segment | None = None

    def write(
        self,
        topic: str,
        data: bytes | Sequence[bytes | memoryview],
        *,
        log_ns: int,
        publish_ns: int = 0,
        sequence: int = 0,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Append one record and flush it to the operating system (it survives a kill of this process).

        data: the bytes, or pieces to be joined. log_ns, publish_ns: nanoseconds, >= 0, of whatever clock the topic is
        documented with. sequence: any number; its low 32 bits are kept. metadata: kept once per distinct (topic,
        metadata) in each segment. Raises OSError (disk full); what was written before stays readable.
        """
        whole = data if isinstance(data, bytes) else b"".join(data)
        if self._open is not None and self._open.size >= self._segment_bytes:
            self.close()
        try:
            if self._open is None:
                self._open = self._begin()
            self._open.append(topic, whole, log_ns, publish_ns, sequence, metadata or {})
        except OSError:
            self._abandon()  # half a record may be in the file: nothing can follow it there
            raise
        self._prune()

    def event(self, topic: str, mapping: Mapping[str, object], *, log_ns: int = 0, sticky: str | None = None) -> None:
        """Append a JSON record. A ``sticky`` one is repeated at the head of every later segment (the newest per key),
        so that a reader understands what is left after the oldest segments were deleted."""
        data = json.dumps(mapping, separators=(",", ":"), sort_keys=True).encode()
        self.write(topic, data, log_ns=log_ns)
        if sticky is not None:
            self._sticky[topic, sticky] = (data, log_ns)

    @property
    def total_bytes(self) -> int:
        """Bytes of all segments that exist."""
        return sum(self._closed.values()) + (self._open.size if self._open else 0)

    def close(self) -> None:
        """Finish the open segment (index and summary, for other MCAP tools). Writing again starts a new segment."""
        if self._open is None:
            return
        try:
            self._open.finish()
        finally:
            self._abandon()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _begin(self) -> _Segment:
        segment = _Segment(self.folder / f"{self._next:04d}.mcap")
        self._next += 1
        for (topic, _), (data, log_ns) in self._sticky.items():
            segment.append(topic, data, log_ns, 0, 0, {})
        return segment

    def _abandon(self) -> None:
        if self._open is not None:
            self._open.abandon()
            self._closed[self._open.path] = self._open.path.stat().st_size
            self._open = None

    def _prune(self) -> None:
        while self._closed and self.total_bytes > self._max_bytes:
            oldest = next(iter(self._closed))
            self.deleted_bytes += self._closed.pop(oldest)
            self.deleted_segments += 1
            oldest.unlink(missing_ok=True)


def read(folder: Path, summary: ReadSummary | None = None) -> Iterator[Recorded]:
    """Every readable record of a folder, in writing order. Fills ``summary`` while it goes.

    A segment that is cut, still being written, or damaged gives its records up to the first broken one; the rest of its
    bytes are counted. Raises InputError where the folder does not exist.
    """
    if not folder.is_dir():
        raise InputError(f"no record at {folder}: not a folder")
    summary = summary if summary is not None else ReadSummary()
    for path in segments(folder):
        try:
            file = path.open("rb")
        except FileNotFoundError:  # its writer deleted it meanwhile
            continue
        with file:
            summary.segments += 1
            yield from _read_segment(file, path.stat().st_size, path.name, summary)


def _read_segment(file: BinaryIO, size: int, name: str, summary: ReadSummary) -> Iterator[Recorded]:
    channels: dict[int, Channel] = {}
    good = 0

    def broken(reason: str) -> None:
        summary.unreadable_bytes += size - good
        summary.broken.append(f"{name}: {reason} at byte {good} of {size}")

    if file.read(len(MCAP0_MAGIC)) != MCAP0_MAGIC:
        if size:
            broken("no MCAP magic")
        return
    good = len(MCAP0_MAGIC)
    while good < size:
        head = file.read(_RECORD_HEAD.size)
        if len(head) < _RECORD_HEAD.size:
            return broken("record head cut")
        opcode, length = _RECORD_HEAD.unpack(head)
        # the library would allocate what a damaged length asks for, and return short data without a word
        if length > size - good - _RECORD_HEAD.size:
            return broken(f"record of {length} bytes cut")
        if _ENDS.get(opcode) == length:
            return
        body = file.read(length)
        if len(body) < length:
            return broken("record cut")
        try:
            found = list(_records(opcode, body, channels))
        except (McapError, ValueError, struct.error, MemoryError) as error:
            return broken(f"record damaged ({error})")
        good += _RECORD_HEAD.size + length
        summary.records += len(found)
        yield from found


def _records(opcode: int, body: bytes, channels: dict[int, Channel]) -> Iterator[Recorded]:
    parse = _READERS.get(opcode)
    if parse is None:
        raise ValueError(f"opcode {opcode}")
    stream = ReadDataStream(BytesIO(body))
    record = parse(stream, len(body))
    if stream.count != len(body):  # a damaged length would swallow the records behind it
        raise ValueError(f"{len(body) - stream.count} bytes too many")
    for item in breakup_chunk(record, validate_crc=True) if isinstance(record, Chunk) else [record]:
        if isinstance(item, Channel):
            channels[item.id] = item
        elif isinstance(item, Message):
            channel = channels.get(item.channel_id)
            if channel is None:
                raise ValueError(f"channel {item.channel_id} was never declared")
            yield Recorded(
                channel.topic, item.data, item.log_time, item.publish_time, item.sequence, dict(channel.metadata)
            )


_READERS: dict[int, Callable[[ReadDataStream, int], McapRecord]] = {
    Opcode.HEADER: lambda stream, _: Header.read(stream),
    Opcode.SCHEMA: lambda stream, _: Schema.read(stream),
    Opcode.CHANNEL: lambda stream, _: Channel.read(stream),
    Opcode.MESSAGE: Message.read,
    Opcode.CHUNK: lambda stream, _: Chunk.read(stream),
    Opcode.MESSAGE_INDEX: lambda stream, _: MessageIndex.read(stream),
    Opcode.ATTACHMENT: lambda stream, _: Attachment.read(stream),
    Opcode.METADATA: lambda stream, _: Metadata.read(stream),
}
"""Records that may stand before the end of the data section."""
_ENDS = {Opcode.DATA_END: 4, Opcode.FOOTER: 20}
