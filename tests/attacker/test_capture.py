"""The capture: written as it is heard, read back as if it were heard again, whatever was cut off."""

from __future__ import annotations

from pathlib import Path

import pytest

from attacker.capture import Capture, replay
from attacker.config import RecordLevel
from attacker.decoding import decode_frame
from attacker.frames import RawFrame
from attacker.sessions import Ear, Sessions
from wire.envelope import decode
from wire.mirror import UP, Kind, Record
from wire.record import ReadSummary, read, segments

GB = 1 << 30


def record(folder: Path, records: list[Record], level: RecordLevel = "full") -> Sessions:
    sessions = Sessions()
    ear = Ear(sessions)
    capture = Capture(folder, level, GB)
    for each in records:
        for event in ear.feed(each):
            capture.write(event)
    capture.close()
    return sessions


def numbers(folder: Path, sessions: Sessions) -> list[int]:
    return [event.frame for event in replay(folder, sessions) if isinstance(event, RawFrame)]


@pytest.mark.parametrize("kind", ["inference", "training"])
def test_replayed_frames_equal_heard_ones(traffic, tmp_path: Path, kind: str) -> None:
    messages = traffic.opening() + getattr(traffic, kind)(range(4)) + traffic.closing()
    record(tmp_path, traffic.session_records(messages))
    sessions, summary = Sessions(), ReadSummary()
    frames = [e for e in replay(tmp_path, sessions, summary) if isinstance(e, RawFrame)]
    assert [raw.frame for raw in frames] == [0, 1, 2, 3]
    assert summary.exit_code == 0
    for raw in frames:
        frame = decode_frame(raw)
        first = frame.payloads("up")[0]
        assert float(next(iter(first.tensors.values()))[0, 0]) == raw.frame
        assert all(0 < part.t_first_ns <= part.t_last_ns for part in frame.parts)
    (session,) = sessions
    assert (session.info.victim, session.closed) == ("toy", True)


def test_of_a_long_training_the_first_frames_are_kept_whole(traffic, tmp_path: Path) -> None:
    """A session that begins at frame 10, of which two frames are kept; every frame is counted, two can be replayed."""
    folder, sessions, ear = tmp_path / "capture", Sessions(), Ear(Sessions())
    capture = Capture(folder, "first", GB, first=2)
    for each in traffic.session_records(traffic.opening() + traffic.training(range(10, 15)) + traffic.closing()):
        for event in ear.feed(each):
            capture.write(event)
    capture.close()
    assert numbers(folder, sessions) == [10, 11]
    assert len(next(iter(sessions)).frames.captured) == 5
    heads = [decode(r.data) for r in read(folder) if r.topic == "transfer/up"]
    assert len(heads) == 5 * 4  # rays and three parts of gradients each
    assert [head.header.exchange for head, data in heads if not len(data)] == [12] * 4 + [13] * 4 + [14] * 4
    assert all(head.header.tensors for head, _ in heads)  # what the tensors were is still told


def test_cut_at_every_byte_all_whole_frames_before_the_cut_come_back(traffic, tmp_path: Path) -> None:
    messages = traffic.opening() + [
        m for n in range(3) for m in traffic.Sender(UP, 1 << 20, n).send(traffic.dense(n, 20), exchange=n)
    ]
    source = tmp_path / "source"
    record(source, traffic.session_records(messages))
    whole = segments(source)[0].read_bytes()
    starts = [whole.index(str(n).encode(), whole.index(b'"frame":' + str(n).encode())) for n in range(3)]
    folder = tmp_path / "cut"
    folder.mkdir()
    before: list[int] = []
    for length in range(len(whole) + 1):
        (folder / "0000.mcap").write_bytes(whole[:length])
        found = numbers(folder, Sessions())
        assert found == list(range(len(found)))
        assert len(found) >= len(before)
        assert len(found) >= sum(length > start + 100 for start in starts)  # the frame's own line is there as well
        before = found
    assert before == [0, 1, 2]


@pytest.mark.parametrize("level", ["full", "features", "heads", "none"])
def test_levels_bound_what_is_kept_and_frames_are_counted_in_each(traffic, tmp_path: Path, level: RecordLevel) -> None:
    record(tmp_path, traffic.session_records(traffic.opening() + traffic.inference(range(5))), level)
    topics = [r.topic for r in read(tmp_path)]
    assert topics.count("frame") == 5
    assert topics.count("transfer/up") == topics.count("transfer/down") == (0 if level == "none" else 5)
    up = sum(len(r.data) for r in read(tmp_path) if r.topic == "transfer/up")
    down = sum(len(r.data) for r in read(tmp_path) if r.topic == "transfer/down")
    assert (up > 5 * 12_000) == (level in ("full", "features"))
    full = sum(traffic.result(n).nbytes for n in range(5))
    assert (down > full + 5 * 50) == (level == "full") or level == "full"
    sessions = Sessions()
    inverted = numbers(tmp_path, sessions)
    assert inverted == (list(range(5)) if level in ("full", "features") else [])
    assert sessions.totals()["captured"] == 5
    assert sessions.totals()["missed"] == 0


def test_a_restart_knows_what_it_has_and_completes_what_had_begun(traffic, tmp_path: Path) -> None:
    """Killed between two parts of a step: the first is in the capture, the second comes to the next process."""
    messages = traffic.opening() + traffic.training(range(3), parts=2)
    records = traffic.session_records(messages)
    half = len(records) // 2
    record(tmp_path, records[:half])
    sessions = Sessions()
    first = numbers(tmp_path, sessions)
    ear = Ear(sessions)
    pinned = [r for r in records[:half] if r.kind is Kind.OPEN or r.offset < 600]
    capture = Capture(tmp_path, "full", GB)
    second = []
    for each in pinned + records[half:]:
        for event in ear.feed(each):
            capture.write(event)
            if isinstance(event, RawFrame):
                second.append(event.frame)
    capture.close()
    assert not set(first) & set(second)
    assert len(segments(tmp_path)) == 2
    totals = sessions.totals()
    assert totals["captured"] == len(first) + len(second) == totals["captured"]
    assert totals["captured"] + totals["missed"] == 3
    again = numbers(tmp_path, Sessions())
    assert sorted(again) == sorted(first + second)


def test_a_gap_is_written(traffic, tmp_path: Path) -> None:
    records = traffic.session_records(traffic.opening() + traffic.inference(range(5)))
    record(tmp_path, [*records[:20], Record(Kind.GAP, 0, UP, 7, records[19].end, lost=50)])
    gaps = [r.json() for r in read(tmp_path) if r.topic == "gap"]
    assert gaps
    assert gaps[0]["direction"] == "up"
    assert gaps[0]["bytes"] > 0


def test_records_of_others_are_stepped_over(tmp_path: Path) -> None:
    from wire.record import RecordWriter

    with RecordWriter(tmp_path, max_bytes=GB) as writer:
        for topic in ("session", "frame", "transfer/up", "transfer/down", "gap", "else"):
            for data in (b"", b"\xff\xff", b"{}", b"[1]", b'{"session": 3}', b"{" * 5000):
                writer.write(topic, data, log_ns=0)
                writer.write(topic, data, log_ns=0, metadata={"session": "a", "tap": "wire", "incarnation": "x"})
    summary = ReadSummary()
    assert list(replay(tmp_path, Sessions(), summary)) == []
    assert summary.unreadable_bytes > 0
