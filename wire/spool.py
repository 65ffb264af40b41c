"""The spool: a ring on disk between the link and its listener. The writer never waits; the reader may.

The file is allocated and touched once, so that writing never extends it. Records lie in it one after the other, header
and data, and wrap at the end. When a record does not fit, the oldest unread ones are dropped: per connection and
direction they become one GAP with the exact offset and number of bytes; a dropped OPEN or CLOSE is told beside it.
Only the reader reads the file: what the writer must know to drop a record stays in memory, 40 bytes a record.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from types import TracebackType

from wire.errors import InputError, WireError
from wire.mirror import HEADER_BYTES, Kind, Record, decode_header, encode_header

MIN_BYTES = 1 << 12
MAX_LOST_CONNECTIONS = 1024
"""So many connections that came and went wholly unread are remembered; the oldest are then only counted."""
_MARK = b"eavesplit spool 1\n".ljust(64, b"\0")
_TOUCH = 1 << 20
_BYTES_PER_ENTRY = 256
"""The ring holds at most one record per so many bytes of file, which bounds the index in memory to a third of that."""


@dataclass
class _Lost:
    """What of one connection was dropped and not yet told."""

    opened: Record | None = None
    gaps: list[Record | None] = field(default_factory=lambda: [None, None])
    closes: list[Record | None] = field(default_factory=lambda: [None, None])

    @property
    def whole(self) -> bool:
        return self.opened is not None and None not in self.closes

    def records(self) -> list[Record]:
        return [record for record in (self.opened, *self.gaps, *self.closes) if record is not None]


class Spool:
    """A bounded queue of mirror records, held in a ring file. Any number of writers, one reader.

    path: the file; one that exists is reused if a spool made it, else refused. None: a nameless temporary file.
    capacity: bytes of records, headers included, at least :data:`MIN_BYTES`.

    Records of one connection and direction must be appended in the order of their offsets, without holes.
    Raises :class:`~wire.errors.InputError` when the file cannot be had at that size.
    """

    def __init__(self, path: Path | None, capacity: int) -> None:
        if capacity < MIN_BYTES:
            raise InputError(f"spool: {capacity} bytes; accepted: at least {MIN_BYTES}")
        self.capacity = capacity
        self.lost_bytes = 0
        self.lost_connections = 0
        self.peak = 0
        self._path = path
        self._fd = _allocate(path, capacity)
        self._entries: deque[bytes] = deque()
        self._most_entries = max(2, capacity // _BYTES_PER_ENTRY)
        self._lost: dict[int, _Lost] = {}
        self._whole: deque[int] = deque()
        self._telling: deque[Record] = deque()
        self._head = 0
        self._tail = 0
        self._closed = False
        self._changed = threading.Condition(threading.Lock())
        self._reading = threading.Lock()

    @property
    def depth(self) -> int:
        """Unread bytes in the ring, headers included."""
        return self._head - self._tail

    @property
    def waiting(self) -> int:
        """Unread records in the ring."""
        return len(self._entries)

    def append(self, record: Record) -> None:
        """Add a record; never waits for the reader.

        What does not fit, or cannot be written because the disk fails, is counted as lost; nothing is raised for it.
        """
        header = encode_header(record)
        size = len(header) + len(record.data)
        with self._changed:
            if self._closed:
                return
            fits = size <= self.capacity
            while self._entries and (self.depth + size > self.capacity or len(self._entries) >= self._most_entries):
                self._drop_oldest()
            if fits and self._write(header, record.data):
                self._entries.append(header)
                self._head += size
                self.peak = max(self.peak, self.depth)
            else:
                # Older records may not be told after this gap, so everything unread becomes part of it.
                while self._entries:
                    self._drop_oldest()
                self._account(record, len(record.data))
            self._changed.notify_all()

    def read(self, timeout: float | None = 0.0) -> Record | None:
        """Take the oldest record, waiting up to ``timeout`` seconds (None: for ever).

        None: nothing came, or the spool is closed and empty. Raises :class:`~wire.errors.WireError` when the file does
        not hold what was written.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._entries or self._lost or self._telling or self._closed, timeout)
                if self._closed:
                    return None
                if self._lost or self._telling:
                    return self._next_lost()
                if not self._entries:
                    return None
                at, header = self._tail, self._entries[0]
            record, length = decode_header(header)
            # Outside the writers' lock: a slow disk delays the reader alone. What they overwrite meanwhile is not used.
            with self._reading:
                if self._closed:
                    return None
                found = self._fetch(at, HEADER_BYTES + length)
            with self._changed:
                if self._tail != at:
                    continue
                self._entries.popleft()
                self._tail += HEADER_BYTES + length
            if found[:HEADER_BYTES] != header:
                raise WireError(f"spool {self._path or '(temporary)'}: byte {at} is not what was written there")
            return replace(record, data=memoryview(found)[HEADER_BYTES:]) if length else record

    def close(self) -> None:
        """Wake the reader, forget what is unread and remove the file."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
            with self._reading:
                os.close(self._fd)
        if self._path is not None:
            with suppress(FileNotFoundError):
                self._path.unlink()

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, header: bytes, data: bytes | memoryview) -> bool:
        at = self._head % self.capacity
        size, room = len(header) + len(data), self.capacity - at
        try:
            if size <= room:
                return os.pwritev(self._fd, [header, data], len(_MARK) + at) == size
            both = memoryview(b"".join((header, data)))
            ahead = os.pwrite(self._fd, both[:room], len(_MARK) + at)
            return ahead + os.pwrite(self._fd, both[room:], len(_MARK)) == size
        except OSError:
            return False

    def _fetch(self, position: int, size: int) -> bytes:
        at = position % self.capacity
        room = self.capacity - at
        found = os.pread(self._fd, min(size, room), len(_MARK) + at)
        return found if size <= room else found + os.pread(self._fd, size - room, len(_MARK))

    def _drop_oldest(self) -> None:
        record, length = decode_header(self._entries.popleft())
        self._tail += HEADER_BYTES + length
        self._account(record, length)

    def _account(self, record: Record, length: int) -> None:
        lost = self._lost.setdefault(record.connection, _Lost())
        if record.kind is Kind.OPEN:
            lost.opened = record
        elif record.kind is Kind.CLOSE:
            lost.closes[record.direction] = record
        elif missing := length + record.lost:
            self.lost_bytes += length
            gap = lost.gaps[record.direction]
            lost.gaps[record.direction] = Record(
                Kind.GAP,
                record.connection,
                record.direction,
                record.t_ns,
                record.offset if gap is None else gap.offset,
                lost=missing if gap is None else gap.lost + missing,
            )
        if lost.whole:
            self._whole.append(record.connection)
            if len(self._whole) > MAX_LOST_CONNECTIONS:
                del self._lost[self._whole.popleft()]
                self.lost_connections += 1

    def _next_lost(self) -> Record:
        if not self._telling:
            connection = next(iter(self._lost))
            lost = self._lost.pop(connection)
            if lost.whole:
                self._whole.remove(connection)
            self._telling.extend(lost.records())
        return self._telling.popleft()


def _allocate(path: Path | None, capacity: int) -> int:
    """A file of that many bytes behind the mark, every block of it written once."""
    where = f"spool {path if path is not None else f'in {gettempdir()}'}"
    try:
        if path is None:
            with TemporaryFile(buffering=0) as file:
                fd = os.dup(file.fileno())
        else:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(f"{where}: {error.strerror}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_size and os.pread(fd, len(_MARK), 0) != _MARK:
            raise InputError(f"{where}: holds something else; accepted: a new name, or a file that a spool left behind")
        os.ftruncate(fd, len(_MARK) + capacity)
        os.posix_fallocate(fd, 0, len(_MARK) + capacity)
        os.pwrite(fd, _MARK, 0)
        zeros = bytes(_TOUCH)
        for at in range(0, capacity, _TOUCH):
            os.pwrite(fd, zeros[: capacity - at], len(_MARK) + at)
    except BlockingIOError:
        os.close(fd)
        raise InputError(f"{where}: in use by another process") from None
    except OSError as error:
        os.close(fd)
        raise InputError(f"{where}: no room for {capacity} bytes: {error.strerror}") from None
    except InputError:
        os.close(fd)
        raise
    return fd
