"""The record: nothing that was written is lost, whatever happens to the file after it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader

from wire.errors import InputError
from wire.record import ReadSummary, RecordWriter, read, segments

GB = 1 << 30


def write_some(folder: Path, count: int, *, first: int = 0) -> list[bytes]:
    written = []
    with RecordWriter(folder, max_bytes=GB) as writer:
        for number in range(first, first + count):
            data = bytes([number % 251]) * (number * 7 % 300 + 1)
            writer.write(
                f"topic/{number % 3}", data, log_ns=number, publish_ns=number + 1, sequence=number, metadata={"k": "v"}
            )
            written.append(data)
    return written


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(max_size=8),
            st.binary(max_size=400),
            st.integers(0, 2**63 - 1),
            st.integers(0, 2**63 - 1),
            st.integers(0, 2**32 - 1),
            st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2),
        ),
        max_size=12,
    ),
    st.integers(1, 2000),
)
def test_what_was_written_comes_back_in_order(items, segment_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        with RecordWriter(Path(name), max_bytes=GB, segment_bytes=segment_bytes) as writer:
            for topic, data, log_ns, publish_ns, sequence, metadata in items:
                halves = (data[: len(data) // 2], memoryview(data)[len(data) // 2 :])
                writer.write(topic, halves, log_ns=log_ns, publish_ns=publish_ns, sequence=sequence, metadata=metadata)
        summary = ReadSummary()
        back = [
            (r.topic, r.data, r.log_ns, r.publish_ns, r.sequence, dict(r.metadata)) for r in read(Path(name), summary)
        ]
    assert back == items
    assert (summary.records, summary.unreadable_bytes, summary.exit_code) == (len(items), 0, 0)


def test_another_mcap_reader_reads_a_finished_segment(tmp_path: Path) -> None:
    written = write_some(tmp_path, 20)
    with segments(tmp_path)[0].open("rb") as file:
        found = [message.data for _, _, message in make_reader(file, validate_crcs=True).iter_messages()]
    assert found == written


def test_cut_at_every_byte_gives_every_record_before_the_cut(tmp_path: Path) -> None:
    ends: list[int] = []
    source = tmp_path / "source"
    with RecordWriter(source, max_bytes=GB) as writer:
        for number in range(8):
            writer.write("t", bytes([number]) * 9, log_ns=number, metadata={"s": str(number % 2)})
            ends.append(writer.total_bytes)
    whole = segments(source)[0].read_bytes()
    folder = tmp_path / "cut"
    folder.mkdir()
    for length in range(len(whole) + 1):
        (folder / "0000.mcap").write_bytes(whole[:length])
        summary = ReadSummary()
        found = [r.data[0] for r in read(folder, summary)]
        whole_before = sum(end <= length for end in ends)
        assert found == list(range(len(found)))
        assert whole_before <= len(found) <= whole_before + 1  # its index, behind it, may be cut


def test_a_cut_segment_is_reported_with_exit_code_3_and_a_foreign_file_with_1(tmp_path: Path) -> None:
    write_some(tmp_path, 5)
    path = segments(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:500])
    summary = ReadSummary()
    assert 0 < len(list(read(tmp_path, summary))) < 5
    assert summary.exit_code == 3
    assert "0000.mcap" in summary.broken[0]
    path.write_bytes(b"no mcap at all")
    summary = ReadSummary()
    assert list(read(tmp_path, summary)) == []
    assert (summary.exit_code, summary.unreadable_bytes) == (1, 14)


def test_a_flipped_byte_ends_its_segment_and_nothing_wrong_is_read(tmp_path: Path) -> None:
    written = write_some(tmp_path, 6)
    path = segments(tmp_path)[0]
    whole = path.read_bytes()
    place = whole.index(written[3]) + 2
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    more = write_some(tmp_path, 2, first=100)
    summary = ReadSummary()
    assert [r.data for r in read(tmp_path, summary)] == [*written[:3], *more]
    assert summary.exit_code == 3


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=600), st.booleans())
def test_arbitrary_bytes_raise_nothing_and_give_nothing_wrong(data: bytes, with_magic: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        magic = b"\x89MCAP0\r\n" if with_magic else b""
        (Path(name) / "0000.mcap").write_bytes(magic + data)
        summary = ReadSummary()
        list(read(Path(name), summary))
        assert summary.unreadable_bytes <= len(magic + data)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_damage_leaves_a_prefix(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("damage")
    written = write_some(folder, 6)
    path = segments(folder)[0]
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    found = [r.data for r in read(folder)]
    assert found == written[: len(found)]


def test_a_restart_begins_a_new_segment_and_leaves_the_old_one_alone(tmp_path: Path) -> None:
    write_some(tmp_path, 3)
    before = segments(tmp_path)[0].read_bytes()
    write_some(tmp_path, 3, first=3)
    assert [p.name for p in segments(tmp_path)] == ["0000.mcap", "0001.mcap"]
    assert segments(tmp_path)[0].read_bytes() == before
    assert [r.log_ns for r in read(tmp_path)] == list(range(6))


def test_the_oldest_segments_go_and_are_counted_and_sticky_events_stay(tmp_path: Path) -> None:
    with RecordWriter(tmp_path, max_bytes=40_000, segment_bytes=8_000) as writer:
        writer.event("session", {"name": "first"}, sticky="a")
        for number in range(200):
            writer.write("t", bytes(1000), log_ns=number)
            assert writer.total_bytes <= 40_000 + 2_000
        assert writer.deleted_segments > 0
        assert writer.deleted_bytes > 100_000
    left = [r.log_ns for r in read(tmp_path) if r.topic == "t"]
    assert left == list(range(200 - len(left), 200))
    first = next(read(tmp_path))
    assert (first.topic, first.json()) == ("session", {"name": "first"})


def test_numbers_of_deleted_segments_are_not_used_again(tmp_path: Path) -> None:
    for _ in range(3):
        with RecordWriter(tmp_path, max_bytes=3_000, segment_bytes=500) as writer:
            for number in range(10):
                writer.write("t", bytes(400), log_ns=number)
    numbers = [int(p.stem) for p in segments(tmp_path)]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert numbers[0] > 10


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_writer_loses_nothing_that_write_returned_for(tmp_path: Path, seed: int) -> None:
    script = (
        "import sys; from pathlib import Path; from wire.record import RecordWriter\n"
        "w = RecordWriter(Path(sys.argv[1]), max_bytes=1 << 30)\n"
        "for n in range(10**6):\n"
        "    w.write('t', bytes([n % 256]) * 3000, log_ns=n); print(n, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert process.stdout is not None
    for _ in range(20 + 17 * seed):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    told = [int(line) for line in process.stdout.read().split()]
    process.stdout.close()
    process.wait()
    acknowledged = told[-1] if told else 19 + 17 * seed
    found = list(read(tmp_path))
    assert [r.log_ns for r in found] == list(range(len(found)))
    assert len(found) > acknowledged
    assert all(r.data == bytes([r.log_ns % 256]) * 3000 for r in found)


def test_bad_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="max_bytes=0"):
        RecordWriter(tmp_path, max_bytes=0)
    with pytest.raises(InputError, match="nowhere"):
        list(read(tmp_path / "nowhere"))


def test_a_full_disk_costs_the_record_and_not_the_ones_before(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path, max_bytes=GB)
    writer.write("t", b"kept", log_ns=0)
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
        with pytest.raises(OSError, match="File too large"):
            writer.write("t", bytes(100_000), log_ns=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    writer.write("t", b"after", log_ns=2)
    writer.close()
    assert [r.data for r in read(tmp_path)] == [b"kept", b"after"]
