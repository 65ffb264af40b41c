"""The spool: the reader sees the writer's bytes or an exact gap; the writer never waits."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wire import spool as spool_module
from wire.errors import InputError, WireError
from wire.mirror import DOWN, HEADER_BYTES, UP, Kind, Record
from wire.spool import MAX_LOST_CONNECTIONS, MIN_BYTES, Spool


def pattern(connection: int, direction: int, offset: int, size: int) -> bytes:
    """Bytes that depend on where they are, so that none can stand in for another."""
    return bytes((131 * connection + 17 * direction + 7 * i + (i >> 8)) % 256 for i in range(offset, offset + size))


class Checker:
    """Reads records and holds them to the contract."""

    def __init__(self) -> None:
        self.at: Counter[tuple[int, int]] = Counter()
        self.lost = 0
        self.opened: list[int] = []
        self.closed: dict[tuple[int, int], int] = {}

    def take(self, record: Record) -> None:
        key = (record.connection, record.direction)
        if record.kind is Kind.OPEN:
            self.opened.append(record.connection)
            return
        assert key not in self.closed
        assert record.offset == self.at[key]
        if record.kind is Kind.CLOSE:
            self.closed[key] = record.offset
        elif record.kind is Kind.GAP:
            self.lost += record.lost
        else:
            assert record.data == pattern(*key, record.offset, len(record.data))
        self.at[key] = record.end


WRITE = st.tuples(st.integers(0, 2), st.sampled_from((UP, DOWN)), st.integers(0, 1500))
STEP = st.one_of(WRITE, WRITE, st.just("read"))


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=60), st.integers(MIN_BYTES, MIN_BYTES + 200))
def test_bytes_or_an_exact_gap(steps: list[tuple[int, int, int] | str], capacity: int) -> None:
    checker, written = Checker(), Counter[tuple[int, int]]()
    opened: list[int] = []
    with Spool(None, capacity) as spool:
        for step in steps:
            if isinstance(step, str):
                if record := spool.read():
                    checker.take(record)
                continue
            connection, direction, size = step
            if connection not in opened:
                opened.append(connection)
                spool.append(Record(Kind.OPEN, connection, UP, 0, 0))
            at = written[connection, direction]
            data = pattern(connection, direction, at, size)
            spool.append(Record(Kind.DATA, connection, direction, 1, at, data))
            written[connection, direction] += size
            assert spool.depth <= capacity
        for connection in opened:
            for direction in (UP, DOWN):
                spool.append(Record(Kind.CLOSE, connection, direction, 2, written[connection, direction]))
        while record := spool.read():
            checker.take(record)
        assert checker.lost == spool.lost_bytes
        assert spool.depth == 0
        assert spool.peak <= capacity
    assert sorted(checker.opened) == sorted(opened)
    assert checker.closed == {(c, d): written[c, d] for c in opened for d in (UP, DOWN)}


def test_a_slow_reader_beside_fast_writers() -> None:
    """Two writing threads run through a small ring many times while the reader reads."""
    total = 4 << 20
    with Spool(None, 1 << 18) as spool:

        def write(direction: int) -> None:
            for at in range(0, total, 30_000):
                size = min(30_000, total - at)
                spool.append(Record(Kind.DATA, 0, direction, 1, at, source[at : at + size]))
            spool.append(Record(Kind.CLOSE, 0, direction, 2, total))

        source = memoryview(os.urandom(total))
        threads = [threading.Thread(target=write, args=(direction,)) for direction in (UP, DOWN)]
        for thread in threads:
            thread.start()
        at, lost, closes = [0, 0], 0, 0
        while closes < 2:
            record = spool.read(10.0)
            assert record is not None
            assert record.offset == at[record.direction]
            if record.kind is Kind.DATA:
                assert record.data == source[record.offset : record.end]
            closes += record.kind is Kind.CLOSE
            lost += record.lost
            at[record.direction] = record.end
        for thread in threads:
            thread.join()
        assert at == [total, total]
        assert lost == spool.lost_bytes


def test_oldest_records_become_one_gap_per_direction() -> None:
    with Spool(None, MIN_BYTES) as spool:
        for at in range(0, 5000, 500):
            spool.append(Record(Kind.DATA, 4, UP, at, at, bytes(500)))
            spool.append(Record(Kind.DATA, 4, DOWN, at, at // 5, bytes(100)))
        # 680 bytes a pair: 4096 hold six pairs, so the first four went, 2000 bytes up and 400 down.
        assert spool.depth == 6 * (500 + 100 + 2 * HEADER_BYTES)
        assert spool.read() == Record(Kind.GAP, 4, UP, 1500, 0, lost=2000)
        assert spool.read() == Record(Kind.GAP, 4, DOWN, 1500, 0, lost=400)
        assert spool.read() == Record(Kind.DATA, 4, UP, 2000, 2000, bytes(500))


def test_a_record_larger_than_the_ring_is_a_gap_after_the_rest() -> None:
    with Spool(None, MIN_BYTES) as spool:
        spool.append(Record(Kind.DATA, 0, UP, 1, 0, b"old"))
        spool.append(Record(Kind.DATA, 0, UP, 2, 3, bytes(MIN_BYTES)))
        spool.append(Record(Kind.DATA, 0, UP, 3, 3 + MIN_BYTES, b"new"))
        assert spool.read() == Record(Kind.GAP, 0, UP, 2, 0, lost=3 + MIN_BYTES)
        assert spool.read() == Record(Kind.DATA, 0, UP, 3, 3 + MIN_BYTES, b"new")
        assert spool.lost_bytes == 3 + MIN_BYTES


def test_a_failing_disk_costs_a_gap_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with Spool(None, MIN_BYTES) as spool:
        spool.append(Record(Kind.DATA, 0, UP, 1, 0, b"12345"))
        with monkeypatch.context() as broken:

            def fail(*_: object) -> int:
                raise OSError(5, "Input/output error")

            broken.setattr(os, "pwritev", fail)
            spool.append(Record(Kind.DATA, 0, UP, 2, 5, b"678"))
        spool.append(Record(Kind.DATA, 0, UP, 3, 8, b"9"))
        assert spool.read() == Record(Kind.GAP, 0, UP, 2, 0, lost=8)
        assert spool.read() == Record(Kind.DATA, 0, UP, 3, 8, b"9")


def test_a_reader_overtaken_in_the_middle_of_a_read_uses_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with Spool(None, MIN_BYTES) as spool:
        spool.append(Record(Kind.DATA, 0, UP, 1, 0, b"a" * 3000))
        pread, overtaken = os.pread, []

        def slow(fd: int, size: int, at: int) -> bytes:
            found = pread(fd, size, at)
            if not overtaken:
                overtaken.append(True)
                spool.append(Record(Kind.DATA, 0, UP, 2, 3000, b"b" * 3000))
            return found

        monkeypatch.setattr(os, "pread", slow)
        assert spool.read() == Record(Kind.GAP, 0, UP, 1, 0, lost=3000)
        assert spool.read() == Record(Kind.DATA, 0, UP, 2, 3000, b"b" * 3000)


def test_connections_that_nobody_ever_saw_are_bounded() -> None:
    with Spool(None, MIN_BYTES) as spool:
        count = MAX_LOST_CONNECTIONS + 500
        for number in range(count):
            spool.append(Record(Kind.OPEN, number, UP, 0, 0))
            spool.append(Record(Kind.DATA, number, UP, 0, 0, bytes(10)))
            spool.append(Record(Kind.CLOSE, number, UP, 0, 10))
            spool.append(Record(Kind.CLOSE, number, DOWN, 0, 0))
        told = []
        while record := spool.read():
            told.append(record)
        first = told[0].connection
        assert spool.lost_connections == first
        assert first >= 500 - MIN_BYTES // (4 * HEADER_BYTES)
        for number in range(first, count):
            kinds = [record.kind for record in told if record.connection == number]
            assert kinds in (
                [Kind.OPEN, Kind.GAP, Kind.CLOSE, Kind.CLOSE],
                [Kind.OPEN, Kind.DATA, Kind.CLOSE, Kind.CLOSE],
            )


def test_small_records_do_not_grow_the_index_without_bound() -> None:
    with Spool(None, 1 << 16) as spool:
        for at in range(2000):
            spool.append(Record(Kind.DATA, 0, UP, 0, at, b"x"))
        # One entry per 256 bytes of ring.
        assert spool.depth == 256 * (HEADER_BYTES + 1)
        assert spool.lost_bytes == 2000 - 256


def test_read_waits_for_a_record_and_for_close() -> None:
    spool = Spool(None, MIN_BYTES)
    assert spool.read(0.0) is None
    timer = threading.Timer(0.05, spool.append, [Record(Kind.OPEN, 1, UP, 0, 0)])
    timer.start()
    assert spool.read(10.0) == Record(Kind.OPEN, 1, UP, 0, 0)
    timer = threading.Timer(0.05, spool.close)
    timer.start()
    assert spool.read(None) is None
    timer.join()
    spool.append(Record(Kind.OPEN, 1, UP, 0, 0))
    assert spool.read() is None


def test_the_file_has_its_size_from_the_start_and_goes_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    with Spool(path, 1 << 20) as spool:
        size, blocks = path.stat().st_size, path.stat().st_blocks
        assert size == (1 << 20) + 64
        assert blocks * 512 >= size
        for at in range(0, 3 << 20, 1 << 16):
            spool.append(Record(Kind.DATA, 0, UP, 0, at, bytes(1 << 16)))
        assert (path.stat().st_size, path.stat().st_blocks) == (size, blocks)
        with pytest.raises(InputError, match="ring: in use by another process"):
            Spool(path, 1 << 20)
    assert not path.exists()


def test_a_ring_left_by_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    code = f"from pathlib import Path; import os; from wire.spool import Spool; s = Spool(Path({str(path)!r}), 65536)"
    subprocess.run([sys.executable, "-c", f"{code}; os.kill(os.getpid(), 9)"], check=False)
    assert path.stat().st_size == 65536 + 64
    with Spool(path, 1 << 17) as spool:
        assert spool.read() is None
        assert path.stat().st_size == (1 << 17) + 64


def test_a_file_that_is_no_ring_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "thesis.tex"
    path.write_text("years of work")
    with pytest.raises(InputError, match=r"thesis\.tex: holds something else"):
        Spool(path, MIN_BYTES)
    assert path.read_text() == "years of work"


@pytest.mark.parametrize(
    ("name", "capacity", "says"),
    [("ring", MIN_BYTES - 1, "4095 bytes; accepted: at least 4096"), ("no/ring", MIN_BYTES, "No such file")],
)
def test_what_cannot_be_had_is_said_in_one_line(tmp_path: Path, name: str, capacity: int, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        Spool(tmp_path / name, capacity)
    assert "\n" not in str(caught.value)


def test_no_room_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool_module.os, "posix_fallocate", full)
    with pytest.raises(InputError, match="no room for 4096 bytes: No space left on device"):
        Spool(tmp_path / "ring", MIN_BYTES)


def test_a_file_changed_by_somebody_else_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    with Spool(path, MIN_BYTES) as spool:
        spool.append(Record(Kind.DATA, 0, UP, 0, 0, b"abc"))
        with path.open("r+b") as file:
            file.seek(64)
            file.write(bytes(40))
        with pytest.raises(WireError, match="is not what was written there"):
            spool.read()
